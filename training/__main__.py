"""``python -m training``: the data scientist's door."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

# Before LightGBM is loaded: its threads otherwise spin while they wait for each other.  Measured on
# two cores with one other busy process: 14.5 s for what takes 1.3 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from training import cli

# A failure that the user can mend is one line; anything else is a fault of ours and keeps its
# traceback.
USER_ERRORS = (ValueError, LookupError, OSError)
# What was interrupted can be done again; what is worth knowing beside that.
AGAIN = {
    "simulate": "what is there is incomplete: give the same command again",
    "ingest": "what is there is incomplete: give the same command again",
    "tune": "what was tried is kept: the same command goes on from there",
    "fit": "nothing can be served of it: give the same command again",
}
DATA = Path("data/simulated")
Added = Callable[..., argparse.ArgumentParser]  # (name, what runs it, what it does) -> its parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where it succeeded, 1 where the answer is no, 2 where there is none: input
    that was refused, or a fault of ours, which keeps its traceback; 130 where it was
    interrupted."""
    options = make_parser().parse_args(arguments)
    try:
        code: int | None = options.run(options)
    except USER_ERRORS as error:
        print(f"{options.command}: {_in_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            f"\n{options.command}: interrupted; {AGAIN.get(options.command, 'nothing was registered')}",
            file=sys.stderr,
        )
        return 130
    except Exception:  # noqa: BLE001  # Python would end with 1, and 1 says that the answer is no
        traceback.print_exc()
        return 2
    return code or 0


def _in_words(error: Exception) -> str:
    """Without the number that the system gives an error, and with the file that it is about."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    return str(error)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    below = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: object, help: str) -> argparse.ArgumentParser:
        added = below.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    for add in (_add_data, _add_models, _add_choices, _add_watches, _add_request):
        add(command)
    return parser


def _add_data(command: Added) -> None:
    added = _settable(
        command("simulate", cli.simulate, "write synthetic accounts whose true causes are known")
    )
    added.add_argument("--out", type=Path, default=DATA)
    added = command("ingest", cli.ingest, "read foreign data by a mapping file")
    added.add_argument("csv", type=Path)
    added.add_argument("--mapping", type=Path, required=True)
    added.add_argument("--out", type=Path, required=True)


def _add_models(command: Added) -> None:
    what = "fit, measure, register and keep everything in one MLflow run"
    added = _stored(_settable(command("fit", cli.fit, what)))
    added.add_argument("--data", type=Path, default=DATA)
    added.add_argument(
        "--data-digest", help="refuse data of another digest: what a run's own command says"
    )
    what = "search for the smallest model that is as good as the best"
    added = _stored(_settable(command("tune", cli.tune, what)))
    added.add_argument("--data", type=Path, default=DATA)
    added.add_argument(
        "--trials",
        type=int,
        help="how many the study is to have in all; it goes on where it was stopped",
    )
    added.add_argument(
        "--study",
        default="limit-reduction",
        help="the study's name; it belongs to its data, space and code",
    )
    added.add_argument("--fit", action="store_true", help="fit what is found, and register it")
    what = "our model beside others, on the same folds; the extra peers has them"
    added = _settable(command("peers", cli.peers, what))
    added.add_argument("--data", type=Path, default=DATA)
    added.add_argument("--page", type=Path, help="where the page is written; printed unless named")


def _add_choices(command: Added) -> None:
    what = "compare models with the first of them on accounts that none has seen; exit code 0 where another is better, else 1"
    added = _named(_stored(command("compare", cli.compare, what)))
    added.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="alias, version (v3), run id or bundle folder; two or more",
    )
    _measured(added)
    added.add_argument(
        "--shared",
        action="store_true",
        help="where splits differ: on the accounts that all left unseen",
    )
    added.add_argument("--page", type=Path, help="where the page is written, beside the run")
    what = (
        "make a registered version the champion if every gate passes; exit code 1 where one refuses"
    )
    added = _named(_stored(command("promote", cli.promote, what)))
    added.add_argument("--version", help="number or alias; the newest unless named")
    _measured(added)
    added.add_argument(
        "--gates",
        type=Path,
        help="another file of bounds than the project's own, training/release/gates.toml",
    )
    added.add_argument("--force", action="store_true", help="whatever the gates say; needs --why")
    added.add_argument(
        "--why", metavar="TEXT", help="the reason to force it, kept with the version"
    )
    added.add_argument(
        "--challenger",
        action="store_true",
        help="point the alias challenger at the version, and no more",
    )
    added = _named(
        _stored(command("rollback", cli.rollback, "make the previous champion champion again"))
    )
    added.add_argument(
        "--why", metavar="TEXT", default="", help="the reason, kept with both versions"
    )
    what = "write the report on a model, one HTML file that needs no network, and keep it with the model's run"
    added = _named(_stored(command("report", cli.report, what)))
    added.add_argument(
        "model", metavar="MODEL", help="alias, version (v3), run id or bundle folder"
    )
    _measured(added)
    added.add_argument(
        "--shared",
        action="store_true",
        help="with other data than the fit's: on the accounts left unseen",
    )
    added.add_argument("--out", type=Path, default=Path("report.html"))


def _add_watches(command: Added) -> None:
    what = "follow its advice and check its reasons where the truth is known: on simulated accounts that it never saw"
    added = _named(_stored(_settable(command("examine", cli.examine, what))))
    added.add_argument(
        "--data", type=Path, default=DATA, help="the simulation that the version was fitted on"
    )
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument(
        "--page", type=Path, help="where the page of the findings is written, beside the run"
    )
    what = (
        "what other numbers in policy.toml, or a regulator's cap, would do to a version's hold-out"
    )
    added = _named(_stored(_settable(command("policy", cli.policy, what))))
    added.add_argument("--data", type=Path, default=DATA)
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument(
        "--max-good-cut", type=float, metavar="SHARE", help="of the good customers, that may be cut"
    )
    added.add_argument(
        "--cap-income-multiple",
        type=float,
        metavar="X",
        help="a cap of every limit, in monthly incomes",
    )
    added.add_argument(
        "--from",
        type=_month,
        dest="from_month",
        metavar="YYYY-MM",
        help="the month that the cap begins in",
    )
    added.add_argument("--page", type=Path, help="where the page is written, beside the run")
    what = "hold a period's decision records against what the version was fitted on; 1 where something is beyond bounds"
    added = _named(_stored(command("monitor", cli.monitor, what)))
    added.add_argument(
        "records", type=Path, help="as `python -m serving export --asked` writes them"
    )
    added.add_argument("--data", type=Path, default=DATA, help="what the version was fitted on")
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument(
        "--labels",
        type=Path,
        help="what became of accounts, .parquet or .csv: account_id, as_of, label",
    )
    added.add_argument(
        "--bounds",
        type=Path,
        help="what is too much (default: training/release/monitor/bounds.toml)",
    )
    added.add_argument(
        "--report",
        type=Path,
        default=Path("data/monitor"),
        help="written as this with .md and .json",
    )


def _add_request(command: Added) -> None:
    what = "write the request of a hold-out account that gets an action"
    added = _named(_stored(command("request", cli.request, what)))
    added.add_argument("--data", type=Path, default=DATA)
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument(
        "--action", choices=("keep", "reduce", "suspend", "review"), default="reduce"
    )
    added.add_argument(
        "--number", type=int, default=1, help="the first such account, the second, ..."
    )
    added.add_argument("--out", type=Path, default=Path("data/request.json"))


def _month(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a month such as 2026-09, got {text!r}"
        ) from None


def _settable(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a field of the stage's config",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _stored(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--store", type=Path, default=Path("mlruns"), help="MLflow's folder")
    return parser


def _measured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=Path("data/simulated"), help="what accounts are held out of"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """For fit the name is a field of its config: ``--set name=...``."""
    parser.add_argument("--name", default="limit-reduction", help="the registered model")
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning, module="mlflow")
    raise SystemExit(main())
