"""python -m serving {pack, explain, ask}: pack a model, explain a decision stage by stage, ask the service for one."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

# Before bentoml is imported: nothing is reported to its makers.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
# In a checkout models are stored where make stores them: a command says the same with and without make.
os.environ.setdefault(
    "BENTOML_HOME",
    str(
        Path(__file__).parents[1] / ".bentoml" if (Path(__file__).parents[1] / "Makefile").exists() else Path.home() / "bentoml"
    ),
)

from bentoml.exceptions import BentoMLException

from features.schema import StatementError
from serving.client import ServiceError, ask, started
from serving.decision import BundleError, ProductError, load, stages
from serving.explain import answer_text, stages_text
from serving.pack import ALIAS, TRACKING_URI, PackError, build, fetch, store
from serving.payload import Request, parse, statements
from serving.refusals import Refused
from serving.stored import NothingStored, newest

# What a user can set right; anything else is a fault of ours and keeps its traceback.
_USER_ERRORS = (BentoMLException, BundleError, NothingStored, OSError, PackError, ProductError, ServiceError, StatementError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it is done, 2 after one line on stderr when it cannot be."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except Refused as refused:
        faults = "; ".join(f"{fault.path}: {fault.message}" for fault in refused.problem.errors)
        print(f"{options.request}: {faults}", file=sys.stderr)
        return 2
    except _USER_ERRORS as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def pack(options: argparse.Namespace) -> None:
    """A registered model, or a bundle's folder, to a BentoML model and a Bento."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = options.bundle or fetch(options.version or options.alias, options.tracking_uri, Path(scratch))
        tag = store(bundle)
    print(f"model  {tag}  {newest()}")
    if not options.no_bento:
        print(f"bento  {build()}")


def explain(options: argparse.Namespace) -> None:
    """Each stage of the flow for a request."""
    request = parse(Request, options.request.read_bytes())
    bundle = load(options.bundle or newest())
    made = stages(statements([request]), bundle, datetime.datetime.now(datetime.UTC))
    print(stages_text(made, bundle))


def ask_service(options: argparse.Namespace) -> None:
    """The service's decision on a request."""
    body = options.request.read_bytes()
    if options.start:
        # A service whose bundle is damaged is started again for ever; this says what is wrong with it.
        load(newest())
    with tempfile.TemporaryDirectory() as scratch:
        service = started(Path(scratch) / "log") if options.start else nullcontext(options.url)
        with service as url:
            answered = ask(url.rstrip("/"), body, options.advice)
    print(answer_text(json.loads(answered)))
    if options.out:
        options.out.write_bytes(answered)
        print(f"\nanswer  {options.out}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="{pack,explain,ask}")

    packing = commands.add_parser("pack", help=pack.__doc__, description=pack.__doc__)
    source = packing.add_mutually_exclusive_group()
    source.add_argument("--alias", default=ALIAS, help="of the registered model (default: %(default)s)")
    source.add_argument("--version", help="of the registered model")
    source.add_argument("--bundle", type=Path, metavar="FOLDER", help="a bundle that was never registered")
    packing.add_argument(
        "--tracking-uri", default=TRACKING_URI, metavar="URI", help="MLflow's (default: mlruns/ of the project)"
    )
    packing.add_argument("--no-bento", action="store_true", help="store the model only")
    packing.set_defaults(run=pack)

    explaining = commands.add_parser("explain", help=explain.__doc__, description=explain.__doc__)
    explaining.add_argument("request", type=Path, metavar="REQUEST.json")
    explaining.add_argument("--bundle", type=Path, metavar="FOLDER", help="(default: the newest stored)")
    explaining.set_defaults(run=explain)

    asking = commands.add_parser("ask", help=ask_service.__doc__, description=ask_service.__doc__)
    asking.add_argument("request", type=Path, metavar="REQUEST.json")
    where = asking.add_mutually_exclusive_group()
    where.add_argument("--url", default="http://127.0.0.1:3000", help="of the service (default: %(default)s)")
    where.add_argument("--start", action="store_true", help="start a service for the duration, with the newest stored model")
    asking.add_argument("--advice", action="store_true", help="with the way back")
    asking.add_argument("--out", type=Path, metavar="FILE", help="keep the answer as it came")
    asking.set_defaults(run=ask_service)
    return parser


if __name__ == "__main__":
    sys.exit(main())
