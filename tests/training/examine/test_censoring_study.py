"""Treatments of censored accounts: properties of the table, and what docs/modelling/model.md says.

``PYTHONPATH=. python tests/training/examine/test_censoring_study.py`` prints the page's table: five
data seeds in three worlds, in about a quarter of an hour.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from features.schema import check
from features.types import Vector
from serving.decision.config.policy import Policy
from tests.support.paths import ROOT
from training.data.censoring import TREATED, observe_outcomes
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled, label_accounts
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import simulate
from training.examine.censoring_study import (
    FittedTreatment,
    censoring_study,
    compare_treatments,
    fit_treatments,
)
from training.examine.truth.futures import default_probability
from training.examine.truth.outcomes import TrueOutcomes, simulate_untreated
from training.examine.truth.population import ExamineConfig, Population, draw_population
from training.fit.bundle import BundleConfig, resolve_policy
from training.fit.config import FitConfig

PAGE = ROOT / "docs" / "modelling" / "model.md"


@pytest.fixture(scope="module")
def policy(data: Labelled) -> Policy:
    """The project's, with the economics that the session's data show."""
    return resolve_policy(data, BundleConfig())


@pytest.fixture(scope="module")
def world() -> Population:
    return draw_population(SimulationConfig(), ExamineConfig(accounts=2_000))


@pytest.fixture(scope="module")
def truth(world: Population) -> TrueOutcomes:
    return simulate_untreated(world, ExamineConfig(accounts=2_000, futures=8))


def planted(truth: TrueOutcomes, log_odds: Vector) -> TrueOutcomes:
    """The same accounts with exactly these probabilities."""
    chance = 1.0 / (1.0 + np.exp(-log_odds))
    return dataclasses.replace(truth, quarters=np.tile(chance, (4, 1)))


@pytest.fixture(scope="module")
def table(truth: TrueOutcomes, policy: Policy) -> pl.DataFrame:
    """``keep`` is too low, ``drop`` too steep, ``censor`` shuffled, ``reweight`` right."""
    log_odds = np.random.default_rng(0).normal(-2.5, 1.2, len(truth.realised))
    scores = {
        "keep": log_odds - 0.5,
        "drop": 2.0 * log_odds,
        "censor": np.random.default_rng(1).permutation(log_odds),
        "reweight": log_odds,
    }
    ways = {name: FittedTreatment(100, score) for name, score in scores.items()}
    return compare_treatments(planted(truth, log_odds), ways, policy)


def row(table: pl.DataFrame, way: str) -> dict[str, float]:
    found: dict[str, float] = table.row(by_predicate=pl.col("treated") == way, named=True)
    return found


def test_keep_is_what_the_others_are_compared_with(table: pl.DataFrame) -> None:
    keep = row(table, "keep")
    for name in (
        "log_loss_gain",
        "log_loss_gain_low",
        "log_loss_gain_high",
        "band_log_loss_gain",
        "changed",
        "changed_action",
    ):
        assert keep[name] == 0.0, name


def test_the_truth_is_best_and_calibrated(table: pl.DataFrame) -> None:
    right = row(table, "reweight")
    for part in ("", "band_"):
        assert right[f"{part}slope"] == pytest.approx(1.0, abs=1e-4)
        assert right[f"{part}intercept"] == pytest.approx(0.0, abs=1e-6)
        assert right[f"{part}log_loss_gain_low"] > 0.0
        for other in ("keep", "drop", "censor"):
            assert right[f"{part}log_loss"] < row(table, other)[f"{part}log_loss"]
            assert right[f"{part}brier"] < row(table, other)[f"{part}brier"]
    assert right["auc_expected"] == table["auc_expected"].max()


def test_each_fault_shows_where_it_belongs(table: pl.DataFrame) -> None:
    keep, drop = row(table, "keep"), row(table, "drop")
    assert keep["intercept"] == pytest.approx(0.5, abs=1e-6)
    assert keep["slope"] == pytest.approx(1.0, abs=1e-4)
    assert drop["slope"] == pytest.approx(0.5, abs=1e-4)
    assert drop["auc_expected"] == keep["auc_expected"] == row(table, "reweight")["auc_expected"]
    assert row(table, "censor")["auc_expected"] == pytest.approx(0.5, abs=0.05)
    # Too timid cuts too few; what changes is at least what changes its action.
    assert keep["cut"] < row(table, "reweight")["cut"]
    assert 0.0 < row(table, "reweight")["changed_action"] <= row(table, "reweight")["changed"]


def test_gains_are_differences_of_losses_within_their_interval(table: pl.DataFrame) -> None:
    for part in ("", "band_"):
        losses = table[f"{part}log_loss"].to_numpy()
        assert table[f"{part}log_loss_gain"].to_numpy() == pytest.approx(
            losses[0] - losses, abs=1e-12
        )
        assert (table[f"{part}log_loss_gain_low"] <= table[f"{part}log_loss_gain"]).all()
        assert (table[f"{part}log_loss_gain"] <= table[f"{part}log_loss_gain_high"]).all()


@pytest.mark.slow
def test_every_way_is_fitted_and_measured(
    world: Population, source: Source, policy: Policy, truth: TrueOutcomes
) -> None:
    config = ExamineConfig(accounts=2_000, futures=8)
    table = censoring_study(
        world, source, policy, (DataConfig(), FitConfig(trees=20)), config, truth
    )
    assert table["treated"].to_list() == list(TREATED)
    rows = dict(table.select("treated", "rows").iter_rows())
    assert rows["keep"] == rows["censor"] > rows["reweight"] >= rows["drop"]
    assert (table["auc_expected"] > 0.75).all()
    # Nobody who is cut is watched any longer, so that some of their defaults are missing.
    assert row(table, "censor")["intercept"] > row(table, "keep")["intercept"]


def test_data_with_labels_of_their_own_are_refused(
    world: Population, source: Source, policy: Policy
) -> None:
    own = dataclasses.replace(source, labels=pl.DataFrame())
    with pytest.raises(ValueError, match="labels of their own"):
        censoring_study(world, own, policy, (DataConfig(), FitConfig()), ExamineConfig())


# What the page states

SEEDS = (1, 2, 3, 4, 5)
MANY_CUTS = SimulationConfig(incumbent_cut_rate=0.10, incumbent_noise=0.5)


def as_simulated(statements: pl.DataFrame) -> pl.DataFrame:
    return statements


def prevented(statements: pl.DataFrame) -> pl.DataFrame:
    """Statements of a lender whose cuts prevent every default for six months.

    Accounts are then at most 59 days past due.
    """
    cut = pl.col("credit_limit") < pl.col("credit_limit").shift(1)
    lately = pl.any_horizontal(cut.shift(months).fill_null(False) for months in range(6)).over(
        "account_id"
    )
    days = pl.when(lately).then(pl.min_horizontal("days_past_due", 59)).otherwise("days_past_due")
    return statements.with_columns(days_past_due=days.cast(pl.Int32))


WORLDS: dict[str, tuple[SimulationConfig, Callable[[pl.DataFrame], pl.DataFrame]]] = {
    "as simulated": (SimulationConfig(), as_simulated),
    "many cuts": (MANY_CUTS, as_simulated),
    "many cuts, each preventing default": (MANY_CUTS, prevented),
}


def several(
    name: str, seeds: tuple[int, ...] = SEEDS, config: ExamineConfig | None = None
) -> pl.DataFrame:
    """The tables of one world for several seeds of the training data, after a column ``seed``."""
    simulation, lived = WORLDS[name]
    asked = config or ExamineConfig()
    world = draw_population(simulation, asked)
    truth = simulate_untreated(world, asked)
    tables = []
    for seed in seeds:
        blocks = simulate(dataclasses.replace(simulation, seed=seed))
        statements = check(lived(pl.concat([block.statements for block in blocks])), window=False)
        source = Source(statements, None, "", "")
        policy = resolve_policy(label_accounts(source, DataConfig()), BundleConfig())
        ways = fit_treatments(source, truth, (DataConfig(), FitConfig()))
        tables.append(
            compare_treatments(truth, ways, policy).select(pl.lit(seed).alias("seed"), pl.all())
        )
    return pl.concat(tables)


def effect_of_cuts(simulation: SimulationConfig, config: ExamineConfig) -> tuple[float, float]:
    """The rate of default on the day of decision, without cuts and with the incumbent's."""
    world = draw_population(simulation, config)
    truth = simulate_untreated(world, config)
    state = world.state.take(world.places(truth.features.accounts["account_id"]))
    return float(truth.probability.mean()), float(
        default_probability(state, world.config, config.futures).mean()
    )


def share_cut(simulation: SimulationConfig) -> tuple[float, float]:
    """The share of fitted rows, and of their defaults, with a cut within the horizon."""
    statements = check(
        pl.concat([block.statements for block in simulate(simulation)]), window=False
    )
    data = label_accounts(Source(statements, None, "", ""), DataConfig())
    fitting = np.flatnonzero(data.split != "test")
    cut = np.isfinite(
        observe_outcomes(statements, data.features.accounts[fitting.tolist()], 6, 60).cut
    )
    return float(cut.mean()), float(cut[data.label[fitting] == 1].mean())


def test_a_default_prevented_is_prevented_for_half_a_year() -> None:
    days = [0, 30, 90, 90, 90, 90, 90, 90, 90]
    limits = [9.0, 9.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    columns = {"account_id": ["a"] * 9, "credit_limit": limits, "days_past_due": days}
    assert prevented(pl.DataFrame(columns))["days_past_due"].to_list() == [
        0,
        30,
        59,
        59,
        59,
        59,
        59,
        59,
        90,
    ]


def test_the_page_has_every_way_in_every_world() -> None:
    page = PAGE.read_text("utf-8")
    for name in WORLDS:
        for way in TREATED:
            assert page.count(f"| {name} | {way} |") == 1


def _printed(name: str) -> str:
    table = several(name)
    table.write_csv(sys.stderr)
    shown = (
        "auc_expected",
        "log_loss_gain",
        "band_log_loss_gain",
        "intercept",
        "band_intercept",
        "band_slope",
        "changed",
    )
    lines = []
    for (way,), rows in table.group_by("treated", maintain_order=True):
        cells = [
            f"{np.mean(rows[one].to_numpy()):.4f} ± {np.std(rows[one].to_numpy(), ddof=1):.4f}"
            for one in shown
        ]
        lines.append(f"| {name} | {way} | " + " | ".join(cells) + " |\n")
    return "".join(lines)


if __name__ == "__main__":
    for name in WORLDS:
        sys.stdout.write(_printed(name))
        sys.stdout.flush()
    for simulation in (SimulationConfig(), MANY_CUTS):
        (rows, defaults), (untouched, cut) = (
            share_cut(simulation),
            effect_of_cuts(simulation, ExamineConfig()),
        )
        sys.stdout.write(
            f"incumbent_cut_rate {simulation.incumbent_cut_rate}: "
            f"cut within the window {rows:.4f} of the rows and {defaults:.4f} of the defaults; "
            f"default rate {untouched:.4f} if nothing is done, {cut:.4f} if cuts go on\n"
        )
