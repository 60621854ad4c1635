"""What each command does: it reads the options, asks a room for the work, and prints what was found
and where it is kept.

Everything heavy is imported by the command that needs it, so that ``--help`` is at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from training.tracking.config import as_assignments, override

if TYPE_CHECKING:
    from training.tracking.store import Store


def simulate(options: argparse.Namespace) -> None:
    """Write synthetic accounts whose true causes are known."""
    from training.data.simulate.config import SimulationConfig
    from training.data.simulate.output import write

    (config,) = override([SimulationConfig()], options.set)
    with tqdm(
        total=config.accounts, unit="account", desc="simulate", disable=options.quiet or None
    ) as bar:
        summary = write(config, options.out, _shown_on(bar))
    rows = summary["rows"]
    print(
        f"simulated {rows['accounts']:,} accounts, {rows['statements']:,} statements: {options.out}"
    )


def ingest(options: argparse.Namespace) -> None:
    """Read foreign data by a mapping file."""
    from training.data.ingest.ingest import ingest as read_foreign

    print(read_foreign(options.csv, options.mapping, options.out))


def fit(options: argparse.Namespace) -> None:
    """Fit, measure, register and keep everything in one run."""
    from training.data.config import DataConfig
    from training.fit.bundle import BundleConfig
    from training.fit.config import FitConfig
    from training.fit.run import run_fit
    from training.tracking.store import Store

    data, model, bundle = override([DataConfig(), FitConfig(), BundleConfig()], options.set)
    with tqdm(total=model.trees, unit="tree", desc="fit", disable=options.quiet or None) as bar:
        report = run_fit(
            options.data,
            Store(options.store),
            (data, model, bundle),
            _shown_on(bar),
            options.data_digest,
        )
    print(
        f"run {report.run}: version {report.version} of {bundle.name}, bundle {report.bundle[:12]}, kept in {options.store}"
    )
    print("rows: " + ", ".join(f"{name} {count:,}" for name, count in report.rows.items() if count))
    for row in report.measures.iter_rows(named=True):
        print(f"  {row['measure']:6} {row['value']:.4f}  [{row['low']:.4f}, {row['high']:.4f}]")
    if report.fold_auc:
        mean = sum(report.fold_auc) / len(report.fold_auc)
        print(
            f"mean AUC over {len(report.fold_auc)} folds: {mean:.4f}  ({', '.join(f'{a:.4f}' for a in report.fold_auc)})"
        )


def tune(options: argparse.Namespace) -> None:
    """Search for the smallest model that is as good as the best."""
    from training.data.config import DataConfig
    from training.fit.bundle import BundleConfig
    from training.fit.config import FitConfig
    from training.tune.search import TuneConfig
    from training.tune.tune import TuneResult
    from training.tune.tune import tune as search

    data, base, bundle, config = override(
        [DataConfig(), FitConfig(), BundleConfig(), TuneConfig()],
        [*options.set, *([] if options.trials is None else [f"trials={options.trials}"])],
    )
    with tqdm(total=config.trials, unit="trial", desc="tune", disable=options.quiet or None) as bar:
        found: TuneResult = search(
            options.data,
            options.store,
            config,
            (data, base, bundle),
            options.study,
            _best_on(bar),
        )
    pruned = sum(not trial.whole for trial in found.trials)
    print(
        f"study {options.study}: {len(found.trials)} trials, {pruned} given up early; run {found.run}, kept in {options.store}"
    )
    for what, scored in (
        ("begun with", found.base),
        ("best", found.best),
        ("taken", found.selected),
    ):
        print(
            f"  {what:10} trial {scored.number:3}  AUC {scored.mean_auc:.4f}  {scored.mean_leaves:,.0f} leaves"
        )
    print(f"the smallest within one standard error of the best:\n  {found.command}")
    if options.fit:
        options.set = as_assignments([data, found.chosen, bundle])
        options.data_digest = None
        fit(options)


def peers(options: argparse.Namespace) -> None:
    """Our model beside others, on the same folds."""
    from training.compare.peers.compare import PeersConfig, compare
    from training.data.config import DataConfig
    from training.fit.config import FitConfig

    data, config, peers_config = override([DataConfig(), FitConfig(), PeersConfig()], options.set)
    with tqdm(unit="fit", desc="peers", disable=options.quiet or None) as bar:
        page = compare(options.data, data, config, peers_config, _shown_on(bar)).page()
    if options.page is not None:
        options.page.write_text(page, encoding="utf-8")
    print(page if options.page is None else f"the page: {options.page}")


def _version(options: argparse.Namespace, store: Store) -> str:
    """The version that is named, else the champion."""
    from training.tracking.registry import resolve_version

    return resolve_version(store, options.name, options.version)


def compare(options: argparse.Namespace) -> int:
    """Compare models with the first of them on accounts that none has seen; 0 where one of the
    others is better.
    """
    from training.compare.models.compare import Stage, compare
    from training.tracking.store import Store

    with _stages(Stage, options) as show:
        found = compare(
            options.models, options.data, Store(options.store), options.name, options.shared, show
        )
    if options.page is not None:
        options.page.write_text(found.page, encoding="utf-8")
    print(found.summary)
    print(
        f"run {found.run}, kept in {options.store}; the page: {options.page or 'comparison.md in the run'}"
    )
    return 0 if found.better else 1


def report(options: argparse.Namespace) -> None:
    """Write the report on a model as one HTML file."""
    from training.release.report.report import Stage, report
    from training.tracking.store import Store

    with _stages(Stage, options) as show:
        done = report(
            options.model,
            options.data,
            Store(options.store),
            options.out,
            options.name,
            options.shared,
            show,
        )
    print(
        f"report on {options.model}: {done.file} ({len(done.text) / 2**20:.1f} MiB), and report.html of run {done.run}"
    )


def promote(options: argparse.Namespace) -> int:
    """Make a registered version the champion if every gate passes; 1 where one refuses."""
    from training.release.gate_config import load_gates
    from training.release.promote import Stage, nominate, promote
    from training.tracking.store import Store

    store = Store(options.store)
    if options.challenger:
        print(
            f"challenger of {options.name} is version {nominate(store, options.name, options.version)}"
        )
        return 0
    if options.force and options.why is None:
        raise ValueError(
            "--force: expected the reason with --why TEXT; it is kept with the version"
        )
    force = options.why if options.force else None
    gates = load_gates(options.gates)
    with _stages(Stage, options) as show:
        done = promote(options.data, store, options.name, options.version, gates, force, show)
    print(done.summary)
    return 0 if done.promoted else 1


def rollback(options: argparse.Namespace) -> None:
    """Make the previous champion champion again."""
    from training.release.promote import rollback
    from training.tracking.store import Store

    print(
        f"champion of {options.name} is version {rollback(Store(options.store), options.name, options.why)} again"
    )


def request(options: argparse.Namespace) -> None:
    """Write the request of a hold-out account that gets an action."""
    from serving.decision.golden import load as load_bundle
    from training.data import sample_request
    from training.data.config import DataConfig
    from training.data.dataset import load
    from training.tracking.registry import fetch_bundle, fetch_parameters
    from training.tracking.store import Store, temporary_folder

    store = Store(options.store)
    version = _version(options, store)
    with temporary_folder() as folder:
        bundle = load_bundle(fetch_bundle(store, options.name, version, Path(folder)))
    # With another config than the fit's, the hold-out would hold accounts that the trees saw.
    fitted_with = fetch_parameters(store, options.name, version, "data")
    (config,) = override([DataConfig()], [f"{name}={value}" for name, value in fitted_with.items()])
    windows = sample_request.hold_out(load(options.data), config)
    statements, decision = sample_request.find(windows, bundle, options.action, options.number)
    sample_request.write(sample_request.request(statements), options.out)
    print(
        f"account {decision.account_id}, {statements.height} statements up to {decision.as_of:%Y-%m}: {options.out}"
    )


def examine(options: argparse.Namespace) -> None:
    """Examine a version on simulated accounts that it never saw: advice, reasons, ceiling, treated
    accounts.
    """
    from training.examine.run import Stage, run_examination
    from training.examine.truth.population import ExamineConfig
    from training.tracking.store import Store

    (config,) = override([ExamineConfig()], options.set)
    store = Store(options.store)
    with _stages(Stage, options) as show:
        found = run_examination(
            options.data, store, options.name, _version(options, store), config, show
        )
    if options.page is not None:
        options.page.write_text(found.page, encoding="utf-8")
    advice, reasons = (found.tables[name].row(0, named=True) for name in ("validity", "fidelity"))
    print(
        f"run {found.run}: version {found.examined.version} of {found.examined.name}, {found.examined.cut:,} limits cut"
    )
    print(
        f"  plans kept within a month of the promise {advice['kept']:.1%}, without a new shock {advice['kept_unshocked']:.1%}"
    )
    print(f"  true probability lower after the plan    {advice['fell']:.1%}")
    print(
        f"  largest true cause named first           {reasons['top_1']:.1%}, among the reasons {reasons['top_4']:.1%}"
    )
    print(f"the page: {options.page or 'examination.md in the run'}")


def policy(options: argparse.Namespace) -> None:
    """What other numbers in policy.toml, or a regulator's cap, would do to a version's hold-out."""
    from training.compare.policies.lab import Cap, LabConfig, Stage, run_lab
    from training.evaluate.model_lookup import RegisteredVersion
    from training.evaluate.text_tables import columns
    from training.tracking.store import Store

    if (options.cap_income_multiple is None) != (options.from_month is None):
        raise ValueError("--cap-income-multiple and --from: expected both or neither")
    asked = [] if options.max_good_cut is None else [f"max_good_cut={options.max_good_cut}"]
    (config,) = override([LabConfig()], [*options.set, *asked])
    cap = (
        None if options.from_month is None else Cap(options.cap_income_multiple, options.from_month)
    )
    store = Store(options.store)
    with _stages(Stage, options) as show:
        model = RegisteredVersion(store, options.name, _version(options, store))
        found = run_lab(options.data, model, config, cap, show)
    if options.page is not None:
        options.page.write_text(found.page, encoding="utf-8")
    for name in ("points", "oracle", "cap"):
        if name in found.tables:
            print(columns(found.tables[name]), end="\n\n")
    for note in found.notes:
        print(f"Note: {note}")
    print(
        f"policy.toml at the best point, at most {config.max_good_cut:.1%} of good customers cut:\n{found.toml}\n"
    )
    print(
        f"run {found.run}, kept in {options.store}; the page: {options.page or 'policy_lab.md in the run'}"
    )


def monitor(options: argparse.Namespace) -> int:
    """Hold a period's decision records against what the version was fitted on; 1 where drift or
    decline is beyond bounds.
    """
    from training.evaluate.text_tables import columns
    from training.release.monitor.bounds import read_bounds
    from training.release.monitor.monitor import run_monitor
    from training.tracking.store import Store

    store = Store(options.store)
    version = _version(options, store)
    bounds = read_bounds(options.bounds)
    found = run_monitor(
        options.records, options.data, store, options.name, version, options.labels, bounds
    )
    print(columns(found.performance), end="\n\n")
    for note in found.notes:
        print(note)
    for breach in found.breaches:
        print(
            f"{breach.month}  {breach.name}: {breach.measure} {breach.value:.3f}, bound {breach.bound:.3f}"
        )
    page, data = found.write(options.report)
    print(f"{found.verdict}; the report: {page}, {data}")
    return found.code


@contextmanager
def _stages(stages: type[StrEnum], options: argparse.Namespace) -> Iterator[Callable[[str], None]]:
    """A bar of the command's stages; called with what is done next."""
    with tqdm(
        total=len(stages), unit="stage", desc=options.command, disable=options.quiet or None
    ) as bar:

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


def _best_on(bar: tqdm[Any]) -> Callable[[Sequence[Any], int], None]:
    def show(trials: Sequence[Any], most: int) -> None:
        best = max(
            (trial.scored for trial in trials if trial.whole), key=lambda scored: scored.mean_auc
        )
        bar.total = most
        bar.set_postfix_str(
            f"best AUC {best.mean_auc:.4f}, {best.mean_leaves:,.0f} leaves", refresh=False
        )
        bar.update(len(trials) - bar.n)

    return show
