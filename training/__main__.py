"""``python -m training``: the data scientist's door."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before LightGBM is loaded: its threads otherwise spin while they wait for each other.  Measured on two cores with one other
# busy process: 14.5 s for what takes 1.3 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tqdm import tqdm

from training.settings import override

if TYPE_CHECKING:
    from training.track import Store

# A failure that the user can mend is one line; anything else is a fault of ours and keeps its traceback.
USER_ERRORS = (ValueError, LookupError, OSError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 where it succeeded, 1 where the answer is no, 2 where the user's input was refused."""
    options = _parser().parse_args(arguments)
    try:
        code: int | None = options.run(options)
    except USER_ERRORS as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return 2
    return code or 0


def simulate(options: argparse.Namespace) -> None:
    """Write synthetic accounts whose true causes are known."""
    from training.simulate import SimulationConfig, write

    (config,) = override([SimulationConfig()], options.set)
    with tqdm(total=config.accounts, unit="account", desc="simulate", disable=options.quiet or None) as bar:
        summary = write(config, options.out, _shown_on(bar))
    rows = summary["rows"]
    print(f"simulated {rows['accounts']:,} accounts, {rows['statements']:,} statements: {options.out}")


def ingest(options: argparse.Namespace) -> None:
    """Read foreign data by a mapping file."""
    from training.ingest import ingest as read_foreign

    print(read_foreign(options.csv, options.mapping, options.out))


def fit(options: argparse.Namespace) -> None:
    """Fit, measure, register and keep everything in one run."""
    from training.bundling import BundleConfig
    from training.data import DataConfig
    from training.experiment import run_fit
    from training.fit import FitConfig
    from training.track import Store

    data, model, bundle = override([DataConfig(), FitConfig(), BundleConfig()], options.set)
    with tqdm(total=model.trees, unit="tree", desc="fit", disable=options.quiet or None) as bar:
        report = run_fit(options.data, Store(options.store), (data, model, bundle), _shown_on(bar))
    print(f"run {report.run}: version {report.version} of {bundle.name}, bundle {report.bundle[:12]}, kept in {options.store}")
    print("rows: " + ", ".join(f"{name} {count:,}" for name, count in report.rows.items() if count))
    for row in report.measures.iter_rows(named=True):
        print(f"  {row['measure']:6} {row['value']:.4f}  [{row['low']:.4f}, {row['high']:.4f}]")
    if report.fold_auc:
        mean = sum(report.fold_auc) / len(report.fold_auc)
        print(f"mean AUC over {len(report.fold_auc)} folds: {mean:.4f}  ({', '.join(f'{a:.4f}' for a in report.fold_auc)})")


def _version(options: argparse.Namespace, store: Store) -> str:
    """The version that is named, else the champion."""
    from training.track import TrackingError, champion

    version: str | None = options.version or champion(store, options.name)
    if version is None:
        raise TrackingError(f"{options.name} has no champion; promote a version first")
    return version


def compare(options: argparse.Namespace) -> int:
    """Compare models with the first of them on accounts that none has seen; 0 where one of the others is better."""
    from training.compare import STAGES, compare
    from training.track import Store

    with _stages(STAGES, options) as show:
        found = compare(options.models, options.data, Store(options.store), options.name, options.shared, show)
    if options.page is not None:
        options.page.write_text(found.page, encoding="utf-8")
    print(found.summary)
    print(f"run {found.run}, kept in {options.store}; the page: {options.page or 'comparison.md in the run'}")
    return 0 if found.better else 1


def promote(options: argparse.Namespace) -> int:
    """Make a registered version the champion if every gate passes; 1 where one refuses."""
    from training.gate_file import load_gates
    from training.promotion import STAGES, nominate, promote
    from training.track import Store

    store = Store(options.store)
    if options.challenger:
        print(f"challenger of {options.name} is version {nominate(store, options.name, options.version)}")
        return 0
    if options.force and options.why is None:
        raise ValueError("--force: expected the reason with --why TEXT; it is kept with the version")
    force = options.why if options.force else None
    gates = load_gates(options.gates)
    with _stages(STAGES, options) as show:
        done = promote(options.data, store, options.name, options.version, gates, force, show)
    print(done.summary)
    return 0 if done.promoted else 1


def rollback(options: argparse.Namespace) -> None:
    """Make the previous champion champion again."""
    from training.promotion import rollback
    from training.track import Store

    print(f"champion of {options.name} is version {rollback(Store(options.store), options.name, options.why)} again")


def request(options: argparse.Namespace) -> None:
    """Write the request of a hold-out account that gets an action."""
    from serving.decision import load as load_bundle
    from training import requests
    from training.data import DataConfig, load
    from training.track import Store, fetch_bundle, parameters, scratch

    store = Store(options.store)
    version = _version(options, store)
    with scratch() as folder:
        bundle = load_bundle(fetch_bundle(store, options.name, version, Path(folder)))
    # With another config than the fit's, the hold-out would hold accounts that the trees saw.
    fitted_with = parameters(store, options.name, version, "data")
    (config,) = override([DataConfig()], [f"{name}={value}" for name, value in fitted_with.items()])
    windows = requests.hold_out(load(options.data), config)
    statements, decision = requests.find(windows, bundle, options.action, options.number)
    requests.write(requests.request(statements), options.out)
    print(f"account {decision.account_id}, {statements.height} statements up to {decision.as_of:%Y-%m}: {options.out}")


def examine(options: argparse.Namespace) -> None:
    """Examine a version on simulated accounts that it never saw: advice, reasons, ceiling, treated accounts."""
    from training.examination import STAGES, run_examination
    from training.examine.world import ExamineConfig
    from training.track import Store

    (config,) = override([ExamineConfig()], options.set)
    store = Store(options.store)
    with _stages(STAGES, options) as show:
        found = run_examination(options.data, store, options.name, _version(options, store), config, show)
    if options.page is not None:
        options.page.write_text(found.page, encoding="utf-8")
    advice, reasons = (found.tables[name].row(0, named=True) for name in ("validity", "fidelity"))
    print(f"run {found.run}: version {found.examined.version} of {found.examined.name}, {found.examined.cut:,} limits cut")
    print(
        f"  plans kept within a month of the promise {advice['kept']:.1%}, without a new shock {advice['kept_unshocked']:.1%}"
    )
    print(f"  true probability lower after the plan    {advice['fell']:.1%}")
    print(f"  largest true cause named first           {reasons['top_1']:.1%}, among the reasons {reasons['top_4']:.1%}")
    print(f"the page: {options.page or 'examination.md in the run'}")


def policy(options: argparse.Namespace) -> None:
    """What other numbers in policy.toml, or a regulator's cap, would do to a version's hold-out."""
    from training.lab import STAGES, Cap, LabConfig, run_lab
    from training.markdown import columns
    from training.track import Store

    if (options.cap_income_multiple is None) != (options.from_month is None):
        raise ValueError("--cap-income-multiple and --from: expected both or neither")
    asked = [] if options.most_good_cut is None else [f"most_good_cut={options.most_good_cut}"]
    (config,) = override([LabConfig()], [*options.set, *asked])
    cap = None if options.from_month is None else Cap(options.cap_income_multiple, options.from_month)
    store = Store(options.store)
    with _stages(STAGES, options) as show:
        found = run_lab(options.data, store, options.name, _version(options, store), config, cap, show)
    if options.page is not None:
        options.page.write_text(found.page, encoding="utf-8")
    for name in ("points", "oracle", "cap"):
        if name in found.tables:
            print(columns(found.tables[name]), end="\n\n")
    for note in found.notes:
        print(f"Note: {note}")
    print(f"policy.toml at the best point, at most {config.most_good_cut:.1%} of good customers cut:\n{found.toml}\n")
    print(f"run {found.run}, kept in {options.store}; the page: {options.page or 'policy_lab.md in the run'}")


def monitor(options: argparse.Namespace) -> int:
    """Hold a period's decision records against what the version was fitted on; 1 where drift or decline is beyond bounds."""
    from training.markdown import columns
    from training.monitor import run_monitor
    from training.track import Store
    from training.watch.bounds import read_bounds

    store = Store(options.store)
    version = _version(options, store)
    bounds = read_bounds(options.bounds)
    found = run_monitor(options.records, options.data, store, options.name, version, options.labels, bounds)
    print(columns(found.performance), end="\n\n")
    for note in found.notes:
        print(note)
    for breach in found.breaches:
        print(f"{breach.month}  {breach.name}: {breach.measure} {breach.value:.3f}, bound {breach.bound:.3f}")
    page, data = found.write(options.report)
    print(f"{'beyond' if found.breaches else 'within'} bounds; the report: {page}, {data}")
    return found.code


def _month(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a month such as 2026-09, got {text!r}") from None


@contextmanager
def _stages(stages: int, options: argparse.Namespace) -> Iterator[Callable[[str], None]]:
    """A bar of the command's stages; called with what is done next."""
    with tqdm(total=stages, unit="stage", desc=options.command, disable=options.quiet or None) as bar:

        def show(stage: str) -> None:
            bar.set_postfix_str(stage)
            bar.update()

        yield show


# ``disable=None`` above: no bar where nobody watches a terminal.
def _shown_on(bar: tqdm[Any]) -> Callable[[int, int], None]:
    def show(done: int, most: int) -> None:
        bar.total = most
        bar.update(done - bar.n)  # which draws as often as is worth looking at

    return show


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: object, help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    added = _settable(command("simulate", simulate, "write synthetic accounts whose true causes are known"))
    added.add_argument("--out", type=Path, default=Path("data/simulated"))
    added = command("ingest", ingest, "read foreign data by a mapping file")
    added.add_argument("csv", type=Path)
    added.add_argument("--mapping", type=Path, required=True)
    added.add_argument("--out", type=Path, required=True)
    added = _stored(_settable(command("fit", fit, "fit, measure, register and keep everything in one MLflow run")))
    added.add_argument("--data", type=Path, default=Path("data/simulated"))
    _champions(command)
    what = "follow its advice and check its reasons where the truth is known: on simulated accounts that it never saw"
    added = _named(_stored(_settable(command("examine", examine, what))))
    added.add_argument(
        "--data", type=Path, default=Path("data/simulated"), help="the simulation that the version was fitted on"
    )
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument("--page", type=Path, help="where the page of the findings is written, beside the run")
    what = "what other numbers in policy.toml, or a regulator's cap, would do to a version's hold-out"
    added = _named(_stored(_settable(command("policy", policy, what))))
    added.add_argument("--data", type=Path, default=Path("data/simulated"))
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument("--most-good-cut", type=float, metavar="SHARE", help="of the good customers, that may be cut")
    added.add_argument("--cap-income-multiple", type=float, metavar="X", help="a cap of every limit, in monthly incomes")
    added.add_argument("--from", type=_month, dest="from_month", metavar="YYYY-MM", help="the month that the cap begins in")
    added.add_argument("--page", type=Path, help="where the page is written, beside the run")
    what = "hold a period's decision records against what the version was fitted on; 1 where something is beyond bounds"
    added = _named(_stored(command("monitor", monitor, what)))
    added.add_argument("records", type=Path, help="as `python -m serving export --asked` writes them")
    added.add_argument("--data", type=Path, default=Path("data/simulated"), help="what the version was fitted on")
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument("--labels", type=Path, help="what became of accounts, .parquet or .csv: account_id, as_of, label")
    added.add_argument("--bounds", type=Path, help="what is too much (default: training/watch/bounds.toml)")
    added.add_argument("--report", type=Path, default=Path("data/monitor"), help="written as this with .md and .json")
    added = _named(_stored(command("request", request, "write the request of a hold-out account that gets an action")))
    added.add_argument("--data", type=Path, default=Path("data/simulated"))
    added.add_argument("--version", help="of the model; the champion unless named")
    added.add_argument("--action", choices=("keep", "reduce", "suspend", "review"), default="reduce")
    added.add_argument("--number", type=int, default=1, help="the first such account, the second, ...")
    added.add_argument("--out", type=Path, default=Path("data/request.json"))
    return parser


def _champions(command: Callable[[str, object, str], argparse.ArgumentParser]) -> None:
    """The commands that choose which version is served."""
    what = "compare models with the first of them on accounts that none has seen; exit code 0 where another is better, else 1"
    added = _named(_stored(command("compare", compare, what)))
    added.add_argument("models", nargs="+", metavar="MODEL", help="alias, version (v3), run id or bundle folder; two or more")
    _measured(added)
    added.add_argument("--shared", action="store_true", help="where splits differ: on the accounts that all left unseen")
    added.add_argument("--page", type=Path, help="where the page is written, beside the run")
    what = "make a registered version the champion if every gate passes; exit code 1 where one refuses"
    added = _named(_stored(command("promote", promote, what)))
    added.add_argument("--version", help="number or alias; the newest unless named")
    _measured(added)
    added.add_argument("--gates", type=Path, help="another file of bounds than the project's own, training/gates.toml")
    added.add_argument("--force", action="store_true", help="whatever the gates say; needs --why")
    added.add_argument("--why", metavar="TEXT", help="the reason to force it, kept with the version")
    added.add_argument("--challenger", action="store_true", help="point the alias challenger at the version, and no more")
    added = _named(_stored(command("rollback", rollback, "make the previous champion champion again")))
    added.add_argument("--why", metavar="TEXT", default="", help="the reason, kept with both versions")


def _settable(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a field of the stage's config")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _stored(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--store", type=Path, default=Path("mlruns"), help="MLflow's folder")
    return parser


def _measured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("data/simulated"), help="what accounts are held out of")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _named(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """For fit the name is a field of its config: ``--set name=...``."""
    parser.add_argument("--name", default="limit-reduction", help="the registered model")
    return parser


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning, module="mlflow")
    raise SystemExit(main())
