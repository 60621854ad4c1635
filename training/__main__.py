"""Simulate or ingest data, fit, compare and release models."""

from __future__ import annotations

import argparse
import datetime
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

# MLflow reads these when it is imported, so they are set before.  Not in the packages: a notebook's
# other models may need a pickle, and its other downloads a progress bar.
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from features.console import use_utf8
from training import api, cli
from training.cluster import use_cluster
from training.tracking.command_line import Command
from training.tracking.outputs import check_output

# Errors that the user can correct are printed as one line; any other one with its traceback.
USER_ERRORS = (ValueError, LookupError, OSError)
# The state after an interruption, and the way to continue.
AFTER_INTERRUPTION = {
    "simulate": "the data are incomplete; run the same command again",
    "ingest": "the data are incomplete; run the same command again",
    "sample": "nothing was written; run the same command again",
    "tune": "the finished trials are kept; run the same command to resume",
    "fit": "no version was registered; run the same command again",
}
ACTIONS = ("keep", "reduce", "suspend", "review")
_HOLD_OUT_DATA = "folder of the data that has the hold-out"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done.  1: done, with a negative result (not better, refused by a gate, beyond bounds).
    2: invalid input, or a bug, which prints its traceback.  130: interrupted.
    """
    use_utf8()
    # It logs every migration of a new database.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    options = make_parser().parse_args(arguments)
    command = options.command
    try:
        _check_outputs(options)
        with use_cluster(getattr(options, "scheduler", None)):
            code: int | None = options.run(options)
    except USER_ERRORS as error:
        print(f"{command}: {_describe(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        state = AFTER_INTERRUPTION.get(command, "nothing was registered")
        # On a new line, below the progress bar.
        print(f"\n{command}: interrupted; {state}", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001
        # Python's own exit code would be 1, which here means a negative result.
        traceback.print_exc()
        return 2
    return code or 0


def _check_outputs(options: argparse.Namespace) -> None:
    """Raise OSError for a page or report that cannot be written, before the command works."""
    page: Path | None = getattr(options, "page", None)
    if page is not None:
        check_output(page)
    # The report of `monitor` is two files, which begin with its name.
    report: Path | None = getattr(options, "report", None)
    if report is not None:
        check_output(report.with_name(f"{report.name}.md"))


def _describe(error: Exception) -> str:
    """Return the message; of a system error the file and the reason, without its number."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        reason = error.strerror
        return f"{error.filename}: {reason[0].lower()}{reason[1:]}"
    return str(error)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    subparsers = parser.add_subparsers(dest="command", required=True)
    for name, function in api.COMMANDS.items():
        help, add_options = _OPTIONS[name]
        command = subparsers.add_parser(name, help=help, description=help)
        command.set_defaults(run=getattr(cli, name), parser=command)
        add_options(Command(command, function))
    return parser


def _add_simulate(command: Command) -> None:
    command.settings()
    command.scheduler()
    command.option("--out", "folder of the data", type=Path)


def _add_sample(command: Command) -> None:
    command.data("folder of the data that a part is taken of")
    command.scheduler()
    command.option("--out", "new folder of the sample", type=Path)
    command.option("--share", "of the accounts, above 0 and at most 1", type=float)
    command.option("--seed", "another one takes other accounts", type=int)
    command.quiet()


def _add_ingest(command: Command) -> None:
    parser = command.parser
    parser.add_argument("csv", type=Path, help="file to read")
    parser.add_argument("--mapping", type=Path, required=True, help="TOML file of the mapping")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data")


def _add_fit(command: Command) -> None:
    command.settings()
    command.option("--store", "folder of the MLflow store", type=Path)
    command.data()
    command.option("--data-digest", "refuse data with another digest (to reproduce a run)")


def _add_tune(command: Command) -> None:
    command.settings()
    command.option("--store", "folder of the MLflow store", type=Path)
    command.data()
    command.parser.add_argument(
        "--trials",
        type=int,
        help="number of trials of the study, finished ones included",
    )
    command.option("--study", "name of the study; it is bound to one state of data, space and code")
    command.parser.add_argument(
        "--fit",
        action="store_true",
        help="fit and register the chosen model",
    )


def _add_peers(command: Command) -> None:
    command.settings()
    command.data()
    command.page("write the page to this file instead of printing it")


def _add_compare(command: Command) -> None:
    command.model()
    command.parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="two or more of: alias, version (v3), run id, bundle folder",
    )
    command.data(_HOLD_OUT_DATA)
    command.quiet()
    command.option("--shared", "if splits differ, use the accounts in the hold-outs of all models")
    command.page()


def _add_promote(command: Command) -> None:
    command.model()
    command.option("--version", "number or alias (default: the newest version)")
    command.data(_HOLD_OUT_DATA)
    command.quiet()
    command.option("--gates", "file of bounds (default: training/release/gates.toml)", type=Path)
    # The reason is an option of its own, so that --force without it gets a helpful error.
    command.parser.add_argument(
        "--force",
        action="store_true",
        help="promote even if gates refuse; requires --why",
    )
    command.parser.add_argument(
        "--why",
        metavar="TEXT",
        help="reason of a forced promotion, recorded with the version",
    )
    command.parser.add_argument(
        "--challenger",
        action="store_true",
        help="only point the alias challenger at the version",
    )


def _add_rollback(command: Command) -> None:
    command.model()
    command.option("--why", "reason, recorded with both versions", metavar="TEXT")


def _add_report(command: Command) -> None:
    command.model()
    command.parser.add_argument(
        "model",
        metavar="MODEL",
        help="alias, version (v3), run id or bundle folder",
    )
    command.data(_HOLD_OUT_DATA)
    command.quiet()
    command.option("--shared", "with other data than the fit's, use the accounts in its hold-out")
    command.option("--out", "file of the report", type=Path)


def _add_examine(command: Command) -> None:
    command.settings()
    command.scheduler()
    command.model()
    command.data("folder of the simulation that the version was fitted on")
    command.version()
    command.page()


def _add_policy(command: Command) -> None:
    command.settings()
    command.model()
    command.data()
    command.version()
    parser = command.parser
    parser.add_argument(
        "--max-good-cut",
        type=float,
        metavar="SHARE",
        help="largest share of the good customers that may be cut",
    )
    parser.add_argument(
        "--cap-income-multiple",
        type=float,
        metavar="X",
        help="regulator's cap of every limit, in monthly incomes",
    )
    parser.add_argument(
        "--from",
        type=_month,
        dest="from_month",
        metavar="YYYY-MM",
        help="first month of the cap",
    )
    parser.add_argument(
        "--effect",
        type=Path,
        metavar="RECORDS",
        help="instead estimate what a cut does, treated accounts against the control arm, from "
        "this file of `python -m serving export --asked`",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="OUTCOMES",
        help="with --effect: file of outcomes, .parquet or .csv, with account_id, as_of and label, "
        "and earned and owed_at_default if they are known",
    )
    command.page()


def _add_monitor(command: Command) -> None:
    command.model()
    command.parser.add_argument(
        "records",
        type=Path,
        help="file written by `python -m serving export --asked`",
    )
    command.data("folder of the data that the version was fitted on")
    command.version()
    outcomes = "file of outcomes, .parquet or .csv, with account_id, as_of and label"
    command.option("--labels", outcomes, type=Path)
    own = "training/release/monitor/bounds.toml"
    command.option("--bounds", f"file of bounds (default: {own})", type=Path)
    command.parser.add_argument(
        "--report",
        type=Path,
        default=Path("data/monitor"),
        help="path of the report without its endings .md and .json (default: data/monitor)",
    )


def _add_answers(command: Command) -> None:
    command.model()
    command.data()
    command.version()
    command.option("--most", "number of accounts", type=int)
    command.option("--out", "file of the page", type=Path)


def _add_request(command: Command) -> None:
    command.model()
    command.data()
    command.version()
    command.option("--action", "action that the account gets", choices=ACTIONS)
    command.option("--number", "1 for the first such account, 2 for the second, ...", type=int)
    command.option("--out", "file of the request", type=Path)


# The help text of each command, and the function that adds its options.
_OPTIONS: dict[str, tuple[str, Callable[[Command], None]]] = {
    "simulate": ("write synthetic accounts with known true causes", _add_simulate),
    "ingest": ("convert foreign data by a mapping file", _add_ingest),
    "sample": ("write a share of the accounts, of data larger than memory", _add_sample),
    "fit": ("fit, measure and register a model, recorded in one MLflow run", _add_fit),
    "tune": ("search for the smallest model that is as good as the best", _add_tune),
    "peers": (
        "compare our model with others on the same folds; requires the extra peers",
        _add_peers,
    ),
    "compare": (
        "compare models with the first of them on accounts that none was fitted on; "
        "exit code 0 if another is better, else 1",
        _add_compare,
    ),
    "promote": (
        "make a registered version the champion if every gate passes; exit code 1 if one refuses",
        _add_promote,
    ),
    "rollback": ("make the previous champion the champion again", _add_rollback),
    "report": (
        "write the report on a model as one HTML file that needs no network, "
        "with a copy in the model's run",
        _add_report,
    ),
    "examine": (
        "check a version's advice and reasons on new simulated accounts, where the truth is known",
        _add_examine,
    ),
    "policy": ("apply other policies, or a regulator's cap, to a version's hold-out", _add_policy),
    "monitor": (
        "compare a period's decision records with the hold-out of a version's fit; "
        "exit code 1 if a bound is broken",
        _add_monitor,
    ),
    "answers": (
        "write a model's whole answers to the first hold-out accounts that it cuts",
        _add_answers,
    ),
    "request": ("write the request of a hold-out account that gets an action", _add_request),
}


def _month(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a month such as 2026-09, got {text!r}"
        ) from None


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning, module="mlflow")
    raise SystemExit(main())
