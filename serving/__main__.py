"""python -m serving COMMAND: pack a model, explain a decision, ask the service for one, hand out
keys, keep the record.

Each command says of itself what it does: python -m serving COMMAND --help.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from serving import MODEL_STORE

# Before bentoml is imported: nothing is reported to its makers.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("BENTOML_HOME", str(MODEL_STORE))

from bentoml.exceptions import BentoMLException

from features.schema import StatementError
from serving.auth import keys
from serving.auth.caller import SCOPES
from serving.decision.bundle import BundleError
from serving.decision.golden import load
from serving.decision.pipeline import stages
from serving.decision.result import ProductError
from serving.operations import audit
from serving.operations.client import ServiceError, ask, settings_for, start_service
from serving.operations.explain import answer_text, stages_text
from serving.operations.pack import ALIAS, TRACKING_URI, PackError, build, fetch, store
from serving.schemas.base import parse
from serving.schemas.decision import Request, statements_table
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.models import NoStoredModel, newest_bundle
from serving.web.errors import ApiError

# What a user can set right; anything else is a fault of ours and keeps its traceback.
_USER_ERRORS = (
    BentoMLException, BundleError, keys.KeyRefused, NoStoredModel, OSError, PackError, ProductError, StorageError, ServiceError,
    StatementError,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 when it is done, 1 when it found something wrong, 2 after one line on stderr
    when it cannot be done.
    """
    options = make_parser().parse_args(arguments)
    try:
        status: int | None = options.run(options)
    except ApiError as refused:
        faults = "; ".join(f"{fault.path}: {fault.message}" for fault in refused.problem.errors)
        print(f"{options.request}: {faults}", file=sys.stderr)
        return 2
    except _USER_ERRORS as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return status or 0


def pack(options: argparse.Namespace) -> None:
    """A registered model, or a bundle's folder, to a BentoML model and a Bento."""
    with tempfile.TemporaryDirectory() as scratch:
        bundle = options.bundle or fetch(
            options.version or options.alias, options.tracking_uri, Path(scratch)
        )
        tag = store(bundle)
    print(f"model  {tag}  {newest_bundle()}")
    if not options.no_bento:
        print(f"bento  {build()}")


def explain(options: argparse.Namespace) -> None:
    """Each stage of the flow for a request."""
    request = parse(Request, options.request.read_bytes())
    bundle = load(options.bundle or newest_bundle())
    made = stages(statements_table([request]), bundle, datetime.datetime.now(datetime.UTC))
    print(stages_text(made, bundle))


def ask_service(options: argparse.Namespace) -> None:
    """The service's decision on a request."""
    body = options.request.read_bytes()
    if options.start:
        # A service whose bundle is damaged is started again for ever; this says what is wrong with
        # it.
        load(newest_bundle())
    with tempfile.TemporaryDirectory() as scratch:
        key = _key_for(Path(scratch)) if options.start else None
        service = (
            start_service(Path(scratch) / "log")
            if options.start
            else contextlib.nullcontext(options.url)
        )
        with service as url:
            answered = ask(url.rstrip("/"), body, options.advice, key)
    print(answer_text(json.loads(answered)))
    if options.out:
        options.out.write_bytes(answered)
        print(f"\nanswer  {options.out}")


def _key_for(folder: Path) -> str:
    """A key of the record that a service started beside this folder's log will have."""
    database = Database(settings_for(folder)["CLEARLINE_RECORD"])
    try:
        return keys.create(database, "demo", {"score"}, days=1)[0]
    finally:
        database.close()


def keys_new(options: argparse.Namespace) -> None:
    """A new API key: alone on stdout, once and never again."""
    scopes = [scope.strip() for scope in options.scopes.split(",")]
    with contextlib.closing(keys.open_database()) as database:
        text, key = keys.create(database, options.tenant, scopes, options.days, options.rate)
    print(text)
    print(f"key {_key_line(key)}; keep it now, for only its hash is stored", file=sys.stderr)


def keys_list(_: argparse.Namespace) -> None:
    """The API keys that were ever made, without their secrets."""
    now = datetime.datetime.now(datetime.UTC)
    with contextlib.closing(keys.open_database()) as database:
        for key in keys.list_keys(database):
            state = "live" if key.lives(now) else "revoked" if key.revoked_at else "expired"
            print(f"{state:8}{_key_line(key)}")


def keys_revoke(options: argparse.Namespace) -> None:
    """End an API key; a service that runs refuses it two seconds later."""
    with contextlib.closing(keys.open_database()) as database:
        print(f"revoked {_key_line(keys.revoke(database, options.key_id))}")


def _key_line(key: keys.Key) -> str:
    return f"{key.key_id}  {key.tenant}  {keys.scopes_text(key.scopes)}  until {key.expires_at:%Y-%m-%d}  {key.rate:g}/s"


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(
        required=True, metavar="{pack,explain,ask,keys,verify,erase,replay,export}"
    )

    packing = commands.add_parser("pack", help=pack.__doc__, description=pack.__doc__)
    source = packing.add_mutually_exclusive_group()
    source.add_argument(
        "--alias", default=ALIAS, help="of the registered model (default: %(default)s)"
    )
    source.add_argument("--version", help="of the registered model")
    source.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="a bundle that was never registered"
    )
    packing.add_argument(
        "--tracking-uri",
        default=TRACKING_URI,
        metavar="URI",
        help="MLflow's (default: mlruns/ of the project)",
    )
    packing.add_argument("--no-bento", action="store_true", help="store the model only")
    packing.set_defaults(run=pack)

    explaining = commands.add_parser("explain", help=explain.__doc__, description=explain.__doc__)
    explaining.add_argument("request", type=Path, metavar="REQUEST.json")
    explaining.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="(default: the newest stored)"
    )
    explaining.set_defaults(run=explain)

    asking = commands.add_parser("ask", help=ask_service.__doc__, description=ask_service.__doc__)
    asking.add_argument("request", type=Path, metavar="REQUEST.json")
    where = asking.add_mutually_exclusive_group()
    where.add_argument(
        "--url", default="http://127.0.0.1:3000", help="of the service (default: %(default)s)"
    )
    where.add_argument(
        "--start",
        action="store_true",
        help="start a service for the duration, with the newest stored model",
    )
    asking.add_argument("--advice", action="store_true", help="with the way back")
    asking.add_argument("--out", type=Path, metavar="FILE", help="keep the answer as it came")
    asking.set_defaults(run=ask_service)

    _key_commands(
        commands.add_parser("keys", help="API keys: new, list, revoke", description="API keys")
    )
    audit.add_commands(commands)
    return parser


def _key_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="{new,list,revoke}")
    making = commands.add_parser("new", help=keys_new.__doc__, description=keys_new.__doc__)
    making.add_argument(
        "--tenant",
        required=True,
        help="the lender that it is for, which sees its own decisions only",
    )
    making.add_argument(
        "--scopes", required=True, help=f"what it is for: some of {','.join(SCOPES)}"
    )
    making.add_argument(
        "--days", type=float, default=365, help="until it expires (default: %(default)s)"
    )
    making.add_argument(
        "--rate",
        type=float,
        default=100,
        help="requests a second, per worker (default: %(default)s)",
    )
    making.set_defaults(run=keys_new)
    commands.add_parser("list", help=keys_list.__doc__, description=keys_list.__doc__).set_defaults(
        run=keys_list
    )
    ending = commands.add_parser(
        "revoke", help=keys_revoke.__doc__, description=keys_revoke.__doc__
    )
    ending.add_argument("key_id", metavar="KEY_ID", help="as `keys list` shows it")
    ending.set_defaults(run=keys_revoke)


if __name__ == "__main__":
    sys.exit(main())
