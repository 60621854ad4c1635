"""Simulate or ingest data, fit, compare and release models."""

from __future__ import annotations

import argparse
import datetime
import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Before LightGBM is loaded: its threads otherwise spin while they wait for each other.  Measured on
# two cores with one other busy process: 14.5 s for what takes 1.3 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from training import api, cli

# Errors that the user can correct are printed as one line; any other one with its traceback.
USER_ERRORS = (ValueError, LookupError, OSError)
# What is left after an interruption, and what to do about it.
AFTER_INTERRUPTION = {
    "simulate": "what is there is incomplete: give the same command again",
    "ingest": "what is there is incomplete: give the same command again",
    "tune": "what was tried is kept: the same command goes on from there",
    "fit": "nothing can be served of it: give the same command again",
}
ACTIONS = ("keep", "reduce", "suspend", "review")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done.  1: done, and the answer is no (not better, refused, beyond bounds).  2: refused input,
    or a bug, which prints its traceback.  130: interrupted.
    """
    options = make_parser().parse_args(arguments)
    command = options.command
    try:
        code: int | None = options.run(options)
    except USER_ERRORS as error:
        print(f"{command}: {_describe(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        left = AFTER_INTERRUPTION.get(command, "nothing was registered")
        print(f"\n{command}: interrupted; {left}", file=sys.stderr)
        return 130
    except Exception:  # noqa: BLE001  # Python's own exit code is 1, which here is an answer
        traceback.print_exc()
        return 2
    return code or 0


def _describe(error: Exception) -> str:
    """The message; for an error of the system the file and the reason, without its number."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)


class _Command:
    """The parser of one command.  Defaults are those of its function in :mod:`training.api`."""

    def __init__(self, parser: argparse.ArgumentParser, function: Callable[..., object]) -> None:
        self.parser = parser
        self._parameters = inspect.signature(function).parameters

    def option(self, flag: str, help: str | None = None, **more: Any) -> None:
        """Add an option whose default is that of the function's parameter of this name."""
        default = self._parameters[flag.removeprefix("--").replace("-", "_")].default
        if default is False:
            self.parser.add_argument(flag, action="store_true", help=help)
        else:
            # argparse applies ``type`` to a default that is text too
            self.parser.add_argument(flag, default=default, help=help, **more)

    def data(self, help: str | None = None) -> None:
        self.option("--data", help, type=Path)

    def model(self) -> None:
        """Which registered model, in which store."""
        self.option("--store", "MLflow's folder", type=Path)
        self.option("--name", "the registered model")

    def version(self) -> None:
        self.option("--version", "of the model; the champion unless named")

    def settings(self) -> None:
        """Fields of the configs, which ``fit`` also has its model's name among."""
        self.parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="a field of the stage's config",
        )
        self.quiet()

    def quiet(self) -> None:
        self.parser.add_argument("--quiet", action="store_true", help="no progress bar")

    def page(self, help: str = "where the page is written, beside the run") -> None:
        self.parser.add_argument("--page", type=Path, help=help)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    below = parser.add_subparsers(dest="command", required=True)
    for name, function in api.COMMANDS.items():
        help, add_options = _OPTIONS[name]
        command = below.add_parser(name, help=help, description=help)
        command.set_defaults(run=getattr(cli, name))
        add_options(_Command(command, function))
    return parser


def _add_simulate(command: _Command) -> None:
    command.settings()
    command.option("--out", type=Path)


def _add_ingest(command: _Command) -> None:
    command.parser.add_argument("csv", type=Path)
    command.parser.add_argument("--mapping", type=Path, required=True)
    command.parser.add_argument("--out", type=Path, required=True)


def _add_fit(command: _Command) -> None:
    command.settings()
    command.option("--store", "MLflow's folder", type=Path)
    command.data()
    command.option("--data-digest", "refuse data of another digest; a run's own command has it")


def _add_tune(command: _Command) -> None:
    command.settings()
    command.option("--store", "MLflow's folder", type=Path)
    command.data()
    command.parser.add_argument(
        "--trials", type=int, help="of the study in all; a stopped study is resumed"
    )
    command.option("--study", "the study's name; a study is for one state of data, space and code")
    command.parser.add_argument(
        "--fit", action="store_true", help="fit and register the model that is found"
    )


def _add_peers(command: _Command) -> None:
    command.settings()
    command.data()
    command.page("where the page is written; printed unless named")


def _add_compare(command: _Command) -> None:
    command.model()
    command.parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="alias, version (v3), run id or bundle folder; two or more",
    )
    command.data("what accounts are held out of")
    command.quiet()
    command.option("--shared", "if splits differ: use the accounts that all models left unseen")
    command.page()


def _add_promote(command: _Command) -> None:
    command.model()
    command.option("--version", "number or alias; the newest unless named")
    command.data("what accounts are held out of")
    command.quiet()
    own = "training/release/gates.toml"
    command.option("--gates", f"a file of bounds instead of the project's own, {own}", type=Path)
    # The reason is an option of its own: ``--force`` alone is refused with what is missing.
    command.parser.add_argument(
        "--force", action="store_true", help="promote whatever the gates find; needs --why"
    )
    command.parser.add_argument(
        "--why", metavar="TEXT", help="the reason to force it, kept with the version"
    )
    command.parser.add_argument(
        "--challenger", action="store_true", help="only point the alias challenger at the version"
    )


def _add_rollback(command: _Command) -> None:
    command.model()
    command.option("--why", "the reason, kept with both versions", metavar="TEXT")


def _add_report(command: _Command) -> None:
    command.model()
    command.parser.add_argument(
        "model", metavar="MODEL", help="alias, version (v3), run id or bundle folder"
    )
    command.data("what accounts are held out of")
    command.quiet()
    command.option("--shared", "with other data than the fit's: use the accounts left unseen")
    command.option("--out", type=Path)


def _add_examine(command: _Command) -> None:
    command.settings()
    command.model()
    command.data("the simulation that the version was fitted on")
    command.version()
    command.page("where the page of the findings is written, beside the run")


def _add_policy(command: _Command) -> None:
    command.settings()
    command.model()
    command.data()
    command.version()
    parser = command.parser
    parser.add_argument(
        "--max-good-cut", type=float, metavar="SHARE", help="of the good customers, that may be cut"
    )
    parser.add_argument(
        "--cap-income-multiple",
        type=float,
        metavar="X",
        help="a cap of every limit, in monthly incomes",
    )
    parser.add_argument(
        "--from",
        type=_month,
        dest="from_month",
        metavar="YYYY-MM",
        help="the month that the cap begins in",
    )
    command.page()


def _add_monitor(command: _Command) -> None:
    command.model()
    command.parser.add_argument(
        "records", type=Path, help="a file of `python -m serving export --asked`"
    )
    command.data("what the version was fitted on")
    command.version()
    outcomes = "outcomes of accounts, .parquet or .csv: account_id, as_of, label"
    command.option("--labels", outcomes, type=Path)
    own = "training/release/monitor/bounds.toml"
    command.option("--bounds", f"a file of bounds (default: {own})", type=Path)
    command.parser.add_argument(
        "--report",
        type=Path,
        default=Path("data/monitor"),
        help="the report's files are this path with .md and .json",
    )


def _add_request(command: _Command) -> None:
    command.model()
    command.data()
    command.version()
    command.option("--action", choices=ACTIONS)
    command.option("--number", "the first such account, the second, ...", type=int)
    command.option("--out", type=Path)


_OPTIONS: dict[str, tuple[str, Callable[[_Command], None]]] = {
    "simulate": ("write synthetic accounts whose true causes are known", _add_simulate),
    "ingest": ("read foreign data by a mapping file", _add_ingest),
    "fit": ("fit, measure, register and keep everything in one MLflow run", _add_fit),
    "tune": ("search for the smallest model that is as good as the best", _add_tune),
    "peers": (
        "compare our model with others on the same folds; needs the extra peers",
        _add_peers,
    ),
    "compare": (
        "compare models with the first of them on accounts that none has seen; "
        "exit code 0 if another is better, else 1",
        _add_compare,
    ),
    "promote": (
        "make a registered version the champion if every gate passes; exit code 1 if one refuses",
        _add_promote,
    ),
    "rollback": ("make the previous champion champion again", _add_rollback),
    "report": (
        "write the report on a model, one HTML file that needs no network, "
        "and keep it with the model's run",
        _add_report,
    ),
    "examine": (
        "follow a version's advice and check its reasons where the truth is known: "
        "on simulated accounts that it never saw",
        _add_examine,
    ),
    "policy": (
        "apply other policies, or a regulator's cap, to a version's hold-out",
        _add_policy,
    ),
    "monitor": (
        "compare a period's decision records with what the version was fitted on; "
        "exit code 1 if a bound is broken",
        _add_monitor,
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
