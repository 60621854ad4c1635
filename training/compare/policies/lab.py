"""The policy lab: what other numbers in policy.toml, or another regulation, would do to the
hold-out of a registered version.

Read :func:`run_lab` first.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from training.compare.policies import figures
from training.compare.policies.frontier import Point, best_under, frontier, grid, toml_of
from training.compare.policies.income_cap import cap_table
from training.compare.policies.oracle import is_simulated, oracle_table, true_frontier, truth_of
from training.compare.policies.page import page, points
from training.compare.policies.portfolio import Portfolio, portfolio_of
from training.evaluate.holdout import Evaluation
from training.evaluate.unseen_accounts import caveats, held_out
from training.tracking import runs
from training.tracking.config import check_ranges
from training.tracking.progress import StageProgress
from training.tracking.store import Store

STAGES = 4  # times that progress is told


@dataclass(frozen=True, slots=True)
class LabConfig:
    """What is looked through, and what is asked."""

    # share of the good customers that may be cut, by rules and model together
    max_good_cut: float = 0.05
    cut_offs: int = 60  # points of a depth
    futures: int = 100  # of each account, where the truth is known; 0 = do not ask for it

    def __post_init__(self) -> None:
        check_ranges(self, max_good_cut=(0.0, 1.0), cut_offs=(2, 1000), futures=(0, 100_000))


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit of at most ``multiple`` monthly incomes, from an as_of month (its first day) on."""

    multiple: float
    from_month: datetime.date


@dataclass(frozen=True, slots=True)
class LabFindings:
    """What the lab left: its run, the page, the tables by name, the best point with its
    policy.toml, and what to know.
    """

    run: str
    page: str
    tables: Mapping[str, pl.DataFrame]
    best: Point
    toml: str
    notes: tuple[str, ...]


def run_lab(
    data_folder: Path,
    store: Store,
    name: str,
    version: str,
    config: LabConfig | None = None,
    cap: Cap | None = None,
    progress: StageProgress = lambda _: None,
) -> LabFindings:
    """Look through policies for a version on its hold-out, and keep what is found as one run.

    Tables: ``frontier``, ``points`` (served and best); ``oracle`` and ``true_frontier`` on
    simulated data; ``cap`` where one is asked for.  Raises DataError, TrackingError, and
    PolicyLabError for a constraint that no policy meets.

    An example, with the names of :mod:`training.compare.policies.lab` and
    :mod:`training.tracking.runs`::

        found = run_lab(Path("data/simulated"), Store(Path("mlruns")), "limit-reduction", "1",
        LabConfig(max_good_cut=0.04)) print(found.toml)
    """
    config = config or LabConfig()
    progress("the hold-out")
    evaluated, source, _ = held_out(data_folder, store, name, version)
    book, policy = portfolio_of(evaluated), evaluated.bundle.policy
    progress("the frontier")
    table = frontier(book, policy, config.cut_offs)
    best = best_under(table, config.max_good_cut)
    tables = {"frontier": table, "points": points(table, best)}
    progress("one who knows")
    if config.futures and is_simulated(data_folder):
        tables |= _against_the_truth(evaluated, book, data_folder, config)
    progress("regulation")
    if cap is not None:
        tables["cap"] = cap_table(evaluated, cap.multiple, cap.from_month)
    toml = toml_of(best, policy)
    notes = caveats(source)
    facts = _facts(evaluated, table, config, cap, toml) | {
        "notes": "".join(f"\n**Note:** {note}.\n" for note in notes)
    }
    text = page(facts, tables["points"], tables.get("oracle"), tables.get("cap"))
    run_id = _keep(store, evaluated, config, tables, best, text)
    return LabFindings(run_id, text, tables, best, toml, notes)


def _against_the_truth(
    evaluated: Evaluation, book: Portfolio, folder: Path, config: LabConfig
) -> dict[str, pl.DataFrame]:
    policy = evaluated.bundle.policy
    truth = truth_of(evaluated.hold_out, folder, config.futures)
    policies = grid(policy, config.cut_offs, (policy.cut.tolerated_share,))
    return {
        "oracle": oracle_table(book, policy, truth),
        "true_frontier": true_frontier(book, policies, truth),
    }


def _facts(
    evaluated: Evaluation, table: pl.DataFrame, config: LabConfig, cap: Cap | None, toml: str
) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": evaluated.name.capitalize(),
        "bundle": evaluated.bundle.digest[:12],
        "accounts": len(evaluated.label),
        "as_of": f"{evaluated.hold_out.as_of:%Y-%m}",
        "rules": table["good_cut_by_rules"][0],
        "points": table.height,
        "most": config.max_good_cut,
        "toml": toml,
    }
    return (
        facts
        if cap is None
        else facts | {"multiple": cap.multiple, "month": f"{cap.from_month:%Y-%m}"}
    )


def _keep(
    store: Store,
    evaluated: Evaluation,
    config: LabConfig,
    tables: Mapping[str, pl.DataFrame],
    best: Point,
    text: str,
) -> str:
    named = f"policy lab: {evaluated.name}, at most {config.max_good_cut:.1%} of good customers cut"
    with runs.start_run(store, named) as run_id:
        runs.log_configs(
            {"lab": config},
            {
                "lab.version": evaluated.name,
                "lab.bundle": evaluated.bundle.digest,
                "data.digest": evaluated.hold_out.data,
            },
        )
        runs.log_tables(tables)
        runs.log_text(text, "policy_lab.md")
        runs.log_metrics(_metrics(tables))
        drawn = figures.frontier_figure(
            tables["frontier"], best, config.max_good_cut, tables.get("true_frontier")
        )
        runs.log_figures({"policy_frontier": drawn})
    return run_id


def _metrics(tables: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    found: dict[str, float] = {}
    for row in tables["points"].iter_rows(named=True):
        found |= {
            f"{row['point']}_{key}": float(row[key])
            for key in ("cut_off", "good_cut", "loss_avoided", "loss_avoided_share")
        }
    if "oracle" in tables:
        rows = tables["oracle"].filter(decided_by="model").iter_rows(named=True)
        found |= {
            f"oracle_share_{row['outcome']}": row["share"]
            for row in rows
            if row["share"] is not None
        }
    return found
