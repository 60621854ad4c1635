"""Commands for the service, its models, its API keys and its audit log.

Each command describes itself: ``python -m serving COMMAND --help``.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from features.console import parse_line, use_utf8
from serving import MODEL_STORE, PROJECT
from serving.auth.caller import SCOPES
from serving.operations.decide_again.options import (
    add_allow_erased,
    add_backfill,
    add_command,
    add_period,
    add_replay,
    add_shadow,
    parse_day,
)
from serving.operations.serve.options import HOST, PORT, add_serve_commands
from serving.portfolio.options import add_portfolio_commands

# Set before a command imports bentoml: no usage data is sent to its makers.
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
os.environ.setdefault("BENTOML_HOME", str(MODEL_STORE))
# Not where `pack` downloads: a notebook's other downloads may need a progress bar.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

ALIAS = "champion"
_QUOTED = quote(str(PROJECT))
# With the driver's name: of a URI that begins with sqlite:///, MLflow creates the folder undecoded.
_SCHEME = "sqlite" if str(PROJECT) == _QUOTED else "sqlite+pysqlite"
TRACKING_URI = f"{_SCHEME}:///{_QUOTED}/mlruns/mlflow.db"
_THIS_MACHINE = "localhost,127.0.0.1,::1"
_COMMANDS = "serving.operations.commands"
_AUDIT = "serving.operations.audit"
_ERASE = "serving.operations.erase"
_BACKUP = "serving.operations.backup.commands"
# The state after an interruption, and the way to continue.
AFTER_INTERRUPTION = {
    "activate": "the service may take the bundle over all the same: /readyz names what it serves",
    "ask": "the service may have decided, and recorded it",
    "backfill": "no file was written",
    "backup": "only the copies that were printed are kept",
    "erase": "who was erased stays erased; run the same command again",
    "export": "no file was written",
    "keys": "`python -m serving keys list` shows whether a key was made or changed",
    "pack": "run the same command again",
    "portfolio": "the same command goes on from there",
    "restore": "no SQLite file was made; drop a PostgreSQL database before you restore again",
    "shadow": "no file was written",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 on success, 1 if the command found something wrong or nothing to do, 2 after a one-line
        error on stderr, 130 if it was interrupted.
    """
    use_utf8()
    _keep_this_machine_off_proxies()
    options = make_parser().parse_args(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        state = AFTER_INTERRUPTION.get(options.command, "nothing was changed")
        # On a new line, below what shows the progress.
        print(f"\n{options.command}: interrupted; {state}", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    module, name = options.run
    # Imported now and not above: `--help` answers at once, without the libraries of every command.
    command: Callable[[argparse.Namespace], int | None] = getattr(
        importlib.import_module(module), name
    )
    errors = importlib.import_module("serving.operations.errors")
    try:
        return command(options) or 0
    except errors.USER_ERRORS as error:
        print(errors.error_text(error), file=sys.stderr)
        return int(errors.exit_code(error))


def _keep_this_machine_off_proxies() -> None:
    """Let libraries of the commands (MLflow) reach servers on this machine without a proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        others = os.environ.get(name)
        os.environ[name] = f"{others},{_THIS_MACHINE}" if others else _THIS_MACHINE


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    commands = parser.add_subparsers(
        required=True,
        title="commands",
        metavar="COMMAND",
        dest="command",
    )
    _add_model_commands(commands)
    add_serve_commands(commands)
    add_portfolio_commands(commands)
    keys = commands.add_parser("keys", help="create, list and revoke API keys")
    _add_key_commands(keys.add_subparsers(required=True, title="commands", metavar="COMMAND"))
    _add_audit_commands(commands)
    return parser


def _add_model_commands(commands: Any) -> None:
    pack = add_command(
        commands,
        "pack",
        (_COMMANDS, "pack_model"),
        "store a registered model, or the bundle in a folder, and build a Bento",
    )
    source = pack.add_mutually_exclusive_group()
    source.add_argument(
        "--alias", default=ALIAS, help="alias of the registered model (default: %(default)s)"
    )
    source.add_argument("--version", help="version of the registered model")
    source.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="bundle that is not registered"
    )
    pack.add_argument(
        "--tracking-uri",
        default=TRACKING_URI,
        metavar="URI",
        help="MLflow's tracking server (default: mlruns/ of the project)",
    )
    pack.add_argument(
        "--force",
        type=parse_line,
        metavar="REASON",
        help="pack what the gates of `python -m training promote` did not pass, and record why",
    )
    pack.add_argument("--no-bento", action="store_true", help="store the model only")

    explain = add_command(
        commands,
        "explain",
        (_COMMANDS, "explain_request"),
        "show every stage of the decision on a request",
    )
    explain.add_argument("request", type=Path, metavar="REQUEST.json")
    explain.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="(default: the newest stored bundle)"
    )

    ask = add_command(
        commands, "ask", (_COMMANDS, "ask_service"), "request a decision from the service"
    )
    ask.add_argument("request", type=Path, metavar="REQUEST.json")
    where = ask.add_mutually_exclusive_group()
    where.add_argument(
        "--url", default=f"http://{HOST}:{PORT}", help="of the service (default: %(default)s)"
    )
    where.add_argument(
        "--start",
        action="store_true",
        help="start a service with the newest stored model, and stop it afterwards",
    )
    ask.add_argument("--advice", action="store_true", help="request advice too")
    ask.add_argument("--out", type=Path, metavar="FILE", help="save the answer's JSON here")


def _add_key_commands(commands: Any) -> None:
    new = add_command(
        commands, "new", (_COMMANDS, "create_key"), "create an API key and print it once"
    )
    new.add_argument(
        "--tenant", required=True, help="lender that the key belongs to; it sees only its own data"
    )
    new.add_argument(
        "--scopes", required=True, help=f"what the key allows: some of {','.join(SCOPES)}"
    )
    new.add_argument(
        "--days", type=float, default=365, help="until the key expires (default: %(default)s)"
    )
    new.add_argument(
        "--rate",
        type=float,
        default=100,
        help="requests a second for each worker (default: %(default)s)",
    )
    new.add_argument(
        "--owner",
        metavar="NAME",
        help="person, team or program that holds the key; reviews record it (default: unknown)",
    )
    add_command(
        commands, "list", (_COMMANDS, "list_keys"), "list all API keys, without their secrets"
    )
    revoke = add_command(
        commands,
        "revoke",
        (_COMMANDS, "revoke_key"),
        "revoke an API key; a running service refuses it two seconds later",
    )
    revoke.add_argument("key_id", metavar="KEY_ID", help="as `keys list` shows it")
    adopt = add_command(
        commands,
        "adopt",
        (_COMMANDS, "adopt_keys"),
        "let a service answer API keys that an earlier version made",
    )
    adopt.add_argument("key_id", nargs="+", metavar="KEY_ID", help="as `keys list` shows them")


def _add_audit_commands(commands: Any) -> None:
    add_command(
        commands,
        "verify",
        (_AUDIT, "verify_audit_log"),
        "verify that the audit log is complete and unchanged; ends with 1 if it is not",
    )

    _add_due(commands)
    _add_backup(commands)
    _add_erase(commands)
    add_replay(commands)
    add_backfill(commands)
    add_shadow(commands)
    _add_export(commands)


def _add_due(commands: Any) -> None:
    due = add_command(
        commands,
        "due",
        (_AUDIT, "list_due_accounts"),
        "list the accounts to decide on again: a cut is in force, and the day of the next look has "
        "come",
    )
    due.add_argument("--tenant", help="accounts of this lender only")
    due.add_argument(
        "--until",
        type=parse_day,
        metavar="YYYY-MM-DD",
        help="the last day, on the lender's clock (default: today)",
    )
    due.add_argument("--json", action="store_true", help="one JSON object a line")


def _add_backup(commands: Any) -> None:
    backup = add_command(
        commands,
        "backup",
        (_BACKUP, "backup_record"),
        "copy the audit log's database into a new file, and verify the copy",
    )
    backup.add_argument("destination", type=Path, metavar="DEST", help="must not exist")
    for name in ("secrets", "checkpoints"):
        backup.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"also copy the {name} to this new file"
        )
    backup.add_argument(
        "--keep-damaged",
        action="store_true",
        help="keep the copy although the audit log does not verify; ends with 1",
    )
    restore = add_command(
        commands,
        "restore",
        (_BACKUP, "restore_record"),
        "make the audit log's database from a copy; never overwrites one, and ends with 1 if the "
        "checkpoints go further than the copy",
    )
    restore.add_argument(
        "source",
        type=Path,
        metavar="COPY",
        help="a file that `backup` wrote",
    )


def _add_erase(commands: Any) -> None:
    erase = add_command(
        commands,
        "erase",
        (_ERASE, "erase_data_subjects"),
        "make the entries of a customer, or of all past the retention period, unreadable",
    )
    erase.add_argument("--tenant", help="lender that the account belongs to")
    erase.add_argument("--account", help="the lender's name of the account")
    erase.add_argument(
        "--expired",
        action="store_true",
        help="all customers whose newest entry is older than --years",
    )
    erase.add_argument(
        "--by",
        type=parse_line,
        required=True,
        metavar="NAME",
        help="who erases; recorded in the audit log",
    )
    erase.add_argument(
        "--why",
        type=parse_line,
        help="the reason; recorded in readable form, so it must not identify the customer",
    )
    erase.add_argument(
        "--hold-over",
        type=parse_line,
        metavar="WHY",
        help="erase although a notice is unsent, a review open, or a law keeps the records, and "
        "why; recorded in readable form",
    )
    _add_expired(erase)


def _add_expired(erase: argparse.ArgumentParser) -> None:
    """Add the options of ``--expired``."""
    erase.add_argument(
        "--years",
        type=int,
        help="with --expired: retention period (default: CLEARLINE_RETENTION_YEARS, or the legal "
        "minimum)",
    )
    erase.add_argument(
        "--force",
        action="store_true",
        help="with --expired: allow less than the legal minimum; needs --why",
    )
    erase.add_argument(
        "--yes",
        action="store_true",
        help="with --expired: erase; without it the command only says what it would erase",
    )
    erase.add_argument(
        "--max-share",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="with --expired: refuse to erase more of all customers (default: %(default)s)",
    )
    erase.add_argument(
        "--trust-clock",
        action="store_true",
        help="with --expired: erase although the newest row is more than a day old",
    )


def _add_export(commands: Any) -> None:
    export = add_command(
        commands,
        "export",
        (_AUDIT, "export_decisions"),
        "write the decisions of a period as JSON lines; docs/service/audit_log.md lists the fields",
    )
    add_period(export)
    add_allow_erased(export)
    export.add_argument("--tenant", help="decisions of this lender only")
    export.add_argument(
        "--asked",
        action="store_true",
        help="include account and statements, for `python -m training monitor`",
    )
    export.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="a new file (default: stdout)",
    )
    export.add_argument(
        "--overwrite", action="store_true", help="with --out: replace a file that exists"
    )


if __name__ == "__main__":
    sys.exit(main())
