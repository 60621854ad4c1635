"""The policy lab: other parameters of policy.toml, or a cap, on a version's hold-out.

Read :func:`run_lab` first.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import polars as pl

from features.display import notebook_display
from training.compare.policies.figures import frontier_figure
from training.compare.policies.frontier import Point, best_under, frontier, policy_grid, toml_of
from training.compare.policies.income_cap import cap_table
from training.compare.policies.oracle import (
    is_simulated,
    oracle_table,
    simulate_truth,
    true_frontier,
)
from training.compare.policies.page import page, points
from training.compare.policies.portfolio import Portfolio, portfolio_of
from training.evaluate.holdout import Evaluation
from training.evaluate.model_lookup import RegisteredVersion
from training.evaluate.unseen_accounts import caveats, evaluate_version, note_censored
from training.tracking import runs
from training.tracking.config import check_ranges
from training.tracking.progress import StageProgress
from training.tracking.store import Store


class Stage(StrEnum):
    """The stages of the policy lab, by the names that a progress bar shows."""

    HOLD_OUT = "the hold-out"
    FRONTIER = "the frontier"
    ORACLE = "the oracle"
    REGULATION = "the regulator's cap"


@dataclass(frozen=True, slots=True)
class LabConfig:
    """The points to evaluate and the constraint on them."""

    # share of the good customers that may be cut, by rules and model together
    max_good_cut: float = 0.05
    cut_offs: int = 60  # points, each with another harm, for each depth
    futures: int = 100  # of each simulated account, for the true probability; 0 = no oracle

    def __post_init__(self) -> None:
        check_ranges(self, max_good_cut=(0.0, 1.0), cut_offs=(2, 1000), futures=(0, 100_000))


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit of at most ``multiple`` monthly incomes, from an as_of month (its first day) on."""

    multiple: float
    from_month: datetime.date


@notebook_display
@dataclass(frozen=True, slots=True)
class LabFindings:
    """The result of the lab: tables, the best point, and the policy.toml that it needs.

    ``run`` is the id of the MLflow run; ``page`` is Markdown; ``notes`` warn about the accounts.
    """

    run: str
    page: str
    tables: Mapping[str, pl.DataFrame]
    best: Point
    toml: str
    notes: tuple[str, ...]


def run_lab(
    data_folder: Path,
    model: RegisteredVersion,
    config: LabConfig | None = None,
    cap: Cap | None = None,
    progress: StageProgress = lambda _: None,
) -> LabFindings:
    """Evaluate policies for a version on its hold-out, and log the result as one run.

    Tables: ``frontier``, ``points`` (served and best); ``oracle`` and ``true_frontier`` on
    simulated data; ``cap`` if one is given.  Raises DataError, TrackingError, and PolicyLabError
    for a constraint that no policy meets.

    An example::

        from pathlib import Path
        from training.compare.policies.lab import LabConfig, run_lab
        from training.evaluate.model_lookup import RegisteredVersion
        from training.tracking.store import Store

        model = RegisteredVersion(Store(Path("mlruns")), "limit-reduction", "1")
        findings = run_lab(Path("data/simulated"), model, LabConfig(max_good_cut=0.04))
        print(findings.toml)
    """
    config = config or LabConfig()
    progress(Stage.HOLD_OUT)
    evaluation, source, _ = evaluate_version(
        data_folder,
        model.store,
        model.name,
        model.version,
    )
    portfolio = portfolio_of(evaluation)
    policy = evaluation.bundle.policy
    progress(Stage.FRONTIER)
    table = frontier(portfolio, policy, config.cut_offs)
    best = best_under(table, config.max_good_cut)
    tables = {"frontier": table, "points": points(table, best)}
    progress(Stage.ORACLE)
    if config.futures and is_simulated(data_folder):
        tables |= _compare_with_truth(evaluation, portfolio, data_folder, config)
    progress(Stage.REGULATION)
    if cap is not None:
        tables["cap"] = cap_table(evaluation, cap.multiple, cap.from_month)
    toml = toml_of(best, policy)
    notes = (*caveats(source), *note_censored(evaluation.hold_out))
    fields = {
        **_head_fields(evaluation, table, config),
        **_cap_fields(cap),
        "toml": toml,
        "notes": "".join(f"\n**Note:** {note}.\n" for note in notes),
    }
    text = page(fields, tables["points"], tables.get("oracle"), tables.get("cap"))
    run = _log(model.store, evaluation, config, tables, best, text)
    return LabFindings(run, text, tables, best, toml, notes)


def _compare_with_truth(
    evaluation: Evaluation,
    portfolio: Portfolio,
    folder: Path,
    config: LabConfig,
) -> dict[str, pl.DataFrame]:
    policy = evaluation.bundle.policy
    truth = simulate_truth(evaluation.hold_out, folder, config.futures)
    policies = policy_grid(
        policy,
        portfolio.product,
        config.cut_offs,
        (policy.cut.depth,),
    )
    return {
        "oracle": oracle_table(portfolio, policy, truth),
        "true_frontier": true_frontier(portfolio, policies, truth),
    }


def _head_fields(
    evaluation: Evaluation,
    table: pl.DataFrame,
    config: LabConfig,
) -> dict[str, object]:
    return {
        "name": evaluation.name.capitalize(),
        "bundle": evaluation.bundle.digest[:12],
        "accounts": len(evaluation.label),
        "as_of": f"{evaluation.hold_out.as_of:%Y-%m}",
        "rules": table["good_cut_by_rules"][0],
        "points": table.height,
        "most": config.max_good_cut,
    }


def _cap_fields(cap: Cap | None) -> dict[str, object]:
    if cap is None:
        return {}
    return {"multiple": cap.multiple, "month": f"{cap.from_month:%Y-%m}"}


def _log(
    store: Store,
    evaluation: Evaluation,
    config: LabConfig,
    tables: Mapping[str, pl.DataFrame],
    best: Point,
    text: str,
) -> str:
    """Log the lab as a run; returns the run's id."""
    constraint = f"at most {config.max_good_cut:.1%} of good customers cut"
    facts = {
        "lab.version": evaluation.name,
        "lab.bundle": evaluation.bundle.digest,
        "data.digest": evaluation.hold_out.data,
    }
    figure = frontier_figure(
        tables["frontier"],
        best,
        config.max_good_cut,
        tables.get("true_frontier"),
    )
    with runs.start_run(store, f"policy lab: {evaluation.name}, {constraint}") as run:
        runs.log_configs({"lab": config}, facts)
        runs.log_tables(tables)
        runs.log_text(text, "policy_lab.md")
        runs.log_metrics(_metrics(tables))
        runs.log_figures({"policy_frontier": figure})
    return run


def _metrics(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    logged: dict[str, float] = {}
    for row in tables["points"].iter_rows(named=True):
        for key in ("harm", "depth", "good_cut", "loss_avoided", "loss_avoided_share"):
            logged[f"{row['point']}_{key}"] = float(row[key])
    if "oracle" in tables:
        for row in tables["oracle"].filter(decided_by="model").iter_rows(named=True):
            if row["share"] is not None:
                logged[f"oracle_share_{row['outcome']}"] = row["share"]
    return logged
