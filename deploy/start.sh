#!/bin/sh
# What the image runs: `serve`, `prepare` when it is built, or another command such as `python -m serving verify`.
set -eu
program=${CLEARLINE_PROGRAM:-/opt/clearline}

case "${1:-serve}" in
prepare)
    exec python -c '
import sys
from pathlib import Path
from serving.decision.golden import load
for folder in Path(sys.argv[1]).glob("*/*/bundle"):
    print(load(folder).digest)
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
