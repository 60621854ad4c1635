#!/bin/sh
# What the image runs: `serve`, `prepare` when it is built, or another command such as `python -m serving verify`.
set -eu
program=${CLEARLINE_PROGRAM:-/opt/clearline}

case "${1:-serve}" in
prepare)
    # Reading the model compiles most loops, and a decision on the documented request the rest.
    exec python -c '
import datetime, json, sys
from pathlib import Path
from serving.api.answers import Basis, answer_requests
from serving.decision.golden import load
from serving.schemas import examples
from serving.schemas.base import parse
from serving.schemas.decision import Request

now = datetime.datetime.now(datetime.UTC)
for folder in Path(sys.argv[1]).glob("*/*/bundle"):
    bundle = load(folder)
    sent = examples.REQUEST | {"product": min(bundle.comparisons)}
    request = parse(Request, json.dumps(sent).encode())
    answer_requests("decisions", [request], False, Basis(bundle, now, bytes(32)))
    print(bundle.digest)
' "$program/bento/models"
    ;;
serve)
    # The root of the file system is read-only. Models stay in the volume for replays and reviews of earlier decisions.
    mkdir -p "$BENTOML_HOME/models" "$NUMBA_CACHE_DIR"
    cp -R "$program/bento/models/." "$BENTOML_HOME/models/"
    if [ -d "$program/numba" ]; then
        cp -R "$program/numba/." "$NUMBA_CACHE_DIR/"
    fi
    shift
    exec bentoml serve "$program/bento" "$@"
    ;;
*)
    exec "$@"
    ;;
esac
