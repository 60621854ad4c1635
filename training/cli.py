"""The commands: each calls its function of :mod:`training.api` and prints the result.

A command imports its stage when it runs, so that ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from features.console import refuse_options
from training import api
from training.tracking.command_line import count_bar, stage_bar, trial_bar
from training.tracking.defaults import MODEL
from training.tracking.outputs import write_page

if TYPE_CHECKING:
    from training.fit.run import FitReport

_NO_GATES = "expected none with --challenger, which passes no gate"
# Options of `policy` that estimate no effect.
_OF_POLICY_LAB = (
    "version",
    "data",
    "store",
    "name",
    "set",
    "max_good_cut",
    "cap_income_multiple",
    "page",
)


def simulate(options: argparse.Namespace) -> None:
    """Write synthetic accounts with known true causes."""
    settings = read_settings(options.set, api.simulate)
    with count_bar("account", options) as show:
        summary = api.simulate(options.out, progress=show, **settings)
    rows = summary["rows"]
    counts = f"{rows['accounts']:,} accounts, {rows['statements']:,} statements"
    print(f"simulated {counts}: {options.out}")


def sample(options: argparse.Namespace) -> None:
    """Write a share of the accounts of a data folder."""
    with count_bar("file", options) as show:
        summary = api.sample(
            options.data,
            options.out,
            options.share,
            options.seed,
            progress=show,
        )
    counts = f"{summary['accounts']:,} accounts, {summary['statements']:,} statements"
    print(f"sampled {counts}: {options.out}; sample.json has the digests of both")


def ingest(options: argparse.Namespace) -> None:
    """Convert foreign data by a mapping file."""
    print(api.ingest(options.csv, options.mapping, options.out))


def fit(options: argparse.Namespace) -> None:
    """Fit, measure and register a model, recorded in one run."""
    _fit(options, read_settings(options.set, api.fit), options.data_digest)


def _fit(
    options: argparse.Namespace,
    settings: dict[str, str],
    data_digest: str | None = None,
) -> None:
    with count_bar("%", options) as show:
        report = api.fit(
            options.data,
            options.store,
            data_digest=data_digest,
            progress=show,
            **settings,
        )
    _print_fit(report, settings.get("name", MODEL), options)


def _print_fit(
    report: FitReport,
    name: str,
    options: argparse.Namespace,
) -> None:
    version = f"version {report.version} of {name}, bundle {report.bundle[:12]}"
    print(f"run {report.run}: {version}, kept in {options.store}")
    counts = [f"{name} {count:,}" for name, count in report.rows.items() if count]
    print("rows: " + ", ".join(counts))
    for sentence in report.left_out:
        print(sentence)
    for row in report.measures.iter_rows(named=True):
        print(f"  {row['measure']:8} {row['value']:.4f}  {_interval(row)}")
    if report.fold_auc:
        folds = len(report.fold_auc)
        mean = sum(report.fold_auc) / folds
        each = ", ".join(f"{auc:.4f}" for auc in report.fold_auc)
        print(f"mean AUC over {folds} folds: {mean:.4f}  ({each})")

    for sentence in report.economics:
        print(sentence)


def _interval(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return "too few defaults for an interval"
    return f"[{row['low']:.4f}, {row['high']:.4f}]"


def tune(options: argparse.Namespace) -> None:
    """Search for the smallest model that is as good as the best."""
    settings = read_settings(options.set, api.tune)
    if options.trials is not None:
        _refuse_twice("trials", settings)
        settings["trials"] = str(options.trials)
    with trial_bar(options) as show:
        found = api.tune(
            options.data,
            options.store,
            options.study,
            progress=show,
            **settings,
        )
    pruned = sum(not trial.whole for trial in found.trials)
    trials = f"{len(found.trials)} trials, {pruned} stopped early"
    print(f"study {options.study}: {trials}; run {found.run}, kept in {options.store}")
    for label, score in (
        ("begun with", found.base),
        ("best", found.best),
        ("taken", found.selected),
    ):
        size = f"AUC {score.mean_auc:.4f}  {score.mean_leaves:,.0f} leaves"
        print(f"  {label:10} trial {score.number:3}  {size}")
    print(f"the smallest within one standard error of the best:\n  {found.command}")
    if options.fit:
        _fit(options, api.settings_of(found, **settings))


def peers(options: argparse.Namespace) -> None:
    """Compare our model with others on the same folds."""
    settings = read_settings(options.set, api.peers)
    with count_bar("fit", options) as show:
        page = api.peers(options.data, progress=show, **settings).page()
    write_page(page, options.page)
    print(page if options.page is None else f"the page: {options.page}")


def compare(options: argparse.Namespace) -> int:
    """Compare models with the first; return 0 if another is better, else 1."""
    from training.compare.models.compare import Stage

    with stage_bar(Stage, options) as show:
        found = api.compare(
            *options.models,
            data=options.data,
            store=options.store,
            name=options.name,
            shared=options.shared,
            progress=show,
        )
    write_page(found.page, options.page)
    print(found.summary)
    page = options.page or "comparison.md in the run"
    print(f"run {found.run}, kept in {options.store}; the page: {page}")
    return 0 if found.better else 1


def report(options: argparse.Namespace) -> None:
    """Write the report on a model as one HTML file."""
    from training.release.report.report import Stage

    with stage_bar(Stage, options) as show:
        done = api.report(
            options.model,
            options.data,
            options.store,
            options.out,
            options.name,
            options.shared,
            progress=show,
        )
    size = f"{len(done.text) / 2**20:.1f} MiB"
    print(f"report on {options.model}: {done.file} ({size}), and report.html of run {done.run}")


def promote(options: argparse.Namespace) -> int:
    """Make a version the champion if every gate passes; return 1 if one refuses."""
    from training.release.promote import Stage

    if options.challenger:
        refuse_options(options, ("data", "gates", "force", "why"), _NO_GATES)
        version = api.nominate(options.version, options.store, options.name)
        print(f"challenger of {options.name} is version {version}")
        return 0
    if options.force and options.why is None:
        raise ValueError("--force: expected the reason with --why TEXT")
    if not options.force:
        refuse_options(options, ("why",), "expected --force too, of which it is the reason")
    with stage_bar(Stage, options) as show:
        done = api.promote(
            options.version,
            options.data,
            options.store,
            options.name,
            options.gates,
            options.why if options.force else None,
            progress=show,
        )
    print(done.summary)
    return 0 if done.promoted else 1


def rollback(options: argparse.Namespace) -> None:
    """Make the previous champion the champion again."""
    version = api.rollback(options.store, options.name, options.why)
    print(f"champion of {options.name} is version {version} again")


def request(options: argparse.Namespace) -> None:
    """Write the request of a hold-out account that gets an action."""
    content = api.request(
        options.version,
        options.data,
        options.store,
        options.name,
        action=options.action,
        number=options.number,
        out=options.out,
    )
    statements = content["statements"]
    history = f"{len(statements)} statements up to {statements[-1]['month']}"
    print(f"account {content['account_id']}, {history}: {options.out}")


def answers(options: argparse.Namespace) -> None:
    """Write the answers to the first hold-out accounts that a model cuts."""
    page = api.answers(
        options.version,
        options.data,
        options.store,
        options.name,
        most=options.most,
        out=options.out,
    )
    count = page.count("\n## ")
    print(f"{count} answers, each with its statements: {options.out}")


def examine(options: argparse.Namespace) -> None:
    """Check a version's advice and reasons on new simulated accounts."""
    from training.examine.run import Stage

    settings = read_settings(options.set, api.examine)
    with stage_bar(Stage, options) as show:
        found = api.examine(
            options.version,
            options.data,
            options.store,
            options.name,
            progress=show,
            **settings,
        )
    write_page(found.page, options.page)
    examined = found.examined
    version = f"version {examined.version} of {examined.name}"
    print(f"run {found.run}: {version}, {examined.cut:,} limits cut")
    advice = found.tables["validity"].row(0, named=True)
    undone = dict(found.tables["reason_deletion"].select("deleted", "undone").iter_rows())
    stable = found.tables["reason_stability"].filter(against="redrawn_accounts").row(0, named=True)
    reasons = found.tables["fidelity"].row(0, named=True)
    unshocked = f"without a new shock {advice['kept_unshocked']:.1%}"
    among = f"among the reasons {reasons['top_4']:.1%}"
    print(f"  promise kept within a month            {advice['kept']:.1%}, {unshocked}")
    print(f"  true probability lower after the plan  {advice['fell']:.1%}")
    all_undone = f"without all stated {undone['stated']:.1%}"
    print(f"  cut undone without the first reason    {undone['first']:.1%}, {all_undone}")
    among_equals = f"or an equal of it {stable['among_equals']:.1%}"
    print(f"  same first reason, accounts drawn anew {stable['same_first']:.1%}, {among_equals}")
    print(f"  largest true cause named first         {reasons['top_1']:.1%}, {among}")
    print(f"the page: {options.page or 'examination.md in the run'}")


def policy(options: argparse.Namespace) -> None:
    """Apply other policies, or a regulator's cap, to a version's hold-out."""
    from training.compare.policies.effect import describe_effect, estimate_effect
    from training.compare.policies.lab import LabConfig, Stage
    from training.evaluate.text_tables import columns

    if (options.effect is None) != (options.labels is None):
        raise ValueError("--effect and --labels: expected both or neither")
    if (options.cap_income_multiple is None) != (options.from_month is None):
        raise ValueError("--cap-income-multiple and --from: expected both or neither")
    if options.effect is not None:
        refuse_options(options, _OF_POLICY_LAB, "expected none with --effect, which has no model")
        print(describe_effect(estimate_effect(options.effect, options.labels)))
        return
    multiple, from_month = options.cap_income_multiple, options.from_month
    settings = read_settings(options.set, api.policy)
    if options.max_good_cut is not None:
        _refuse_twice("max_good_cut", settings)
        settings["max_good_cut"] = str(options.max_good_cut)
    with stage_bar(Stage, options) as show:
        found = api.policy(
            options.version,
            options.data,
            options.store,
            options.name,
            cap=None if multiple is None else (multiple, from_month),
            progress=show,
            **settings,
        )
    write_page(found.page, options.page)
    # The oracle's table needs simulated data, and the cap's needs a cap.
    for name in ("points", "oracle", "cap"):
        if name in found.tables:
            print(columns(found.tables[name]), end="\n\n")
    for note in found.notes:
        print(f"Note: {note}")
    max_good_cut = float(settings.get("max_good_cut", LabConfig().max_good_cut))
    share = f"at most {max_good_cut:.1%} of good customers cut"
    print(f"policy.toml at the best point, {share}:\n{found.toml}\n")
    page = options.page or "policy_lab.md in the run"
    print(f"run {found.run}, kept in {options.store}; the page: {page}")


def monitor(options: argparse.Namespace) -> int:
    """Compare a period's decisions with the fit's hold-out; return 1 if a bound is broken."""
    from training.evaluate.text_tables import columns

    found = api.monitor(
        options.records,
        options.version,
        options.data,
        options.store,
        options.name,
        options.labels,
        options.bounds,
    )
    print(columns(found.performance), end="\n\n")
    for note in found.notes:
        print(note)
    for breach in found.breaches:
        value = f"{breach.measure} {breach.value:.3f}, bound {breach.bound:.3f}"
        print(f"{breach.month}  {breach.name}: {value}")
    page, data = found.write(options.report)
    print(f"{found.verdict}; the report: {page}, {data}")
    return found.code


def _refuse_twice(name: str, settings: Mapping[str, str]) -> None:
    """Refuse a field of the configs that has an option of its own too, if both are given."""
    if name in settings:
        raise ValueError(f"--set {name}: expected none with --{name.replace('_', '-')}")


def read_settings(assignments: Sequence[str], command: Callable[..., object]) -> dict[str, str]:
    """Return the ``name=value`` of ``--set`` by name; the last one of a name counts.

    Raises ValueError for a text without "=", and for a name that is an option of the command.

    >>> read_settings(["trees=40", "leaves=8", "trees=50"], api.fit)
    {'trees': '50', 'leaves': '8'}
    """
    options = inspect.signature(command).parameters
    settings = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set: expected name=value, got {assignment!r}")
        # The command passes its options to the function too: a setting of that name would clash.
        if name in options:
            raise ValueError(f"--set: no setting is named {name!r}; it is an option of the command")
        settings[name] = value
    return settings
