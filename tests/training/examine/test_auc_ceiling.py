from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from features.build import Features
from features.types import Vector
from serving.decision.bundle import Bundle
from training.data.simulate.config import SimulationConfig
from training.evaluate.metrics import auc
from training.examine.auc_ceiling import SCHEMA, auc_ceiling, ceiling_table
from training.examine.truth.outcomes import TrueOutcomes
from training.examine.truth.population import ExamineConfig, draw_population

pytestmark = pytest.mark.slow

NONE = Features(pl.DataFrame(), (), np.zeros((0, 0)))  # a planted truth has no accounts behind it


def planted(probability: Vector, futures: int, seed: int = 0) -> TrueOutcomes:
    random = np.random.default_rng(seed)
    realised = (random.random(len(probability)) < probability).astype(np.float64)
    quarters = random.binomial(futures // 4, probability, (4, len(probability))) / (futures // 4)
    return TrueOutcomes(NONE, realised, quarters, (futures // 4,) * 4)


def values(table: pl.DataFrame, outcome: str) -> dict[str, float]:
    return dict(table.filter(pl.col("outcome") == outcome).select("measure", "value").iter_rows())


@pytest.fixture(scope="module")
def chances() -> Vector:
    return np.random.default_rng(5).beta(0.25, 4.0, 12_000)


def test_where_all_is_certain_the_ceiling_is_one() -> None:
    random = np.random.default_rng(1)
    certain = (random.random(500) < 0.2).astype(np.float64)
    model = certain + random.normal(0, 1, 500)
    table = ceiling_table(planted(certain, 40), model)
    for outcome in ("realised", "expected"):
        found = values(table, outcome)
        assert found["full_state"] == found["full_state_half"] == found["limit"] == 1.0
        assert found["ratio"] == found["model"] == pytest.approx(auc(certain, model), abs=1e-12)
        assert found["share_of_way"] == pytest.approx(2.0 * found["model"] - 1.0, abs=1e-12)
    assert values(table, "futures") == {
        "tied_at_0": float((certain == 0).mean()),
        "reliability": pytest.approx(1.0),
    }


@pytest.mark.parametrize("futures", [40, 200])
def test_no_score_is_above_the_limit(chances: Vector, futures: int) -> None:
    noisy = np.log(chances) + np.random.default_rng(2).normal(0, 1, len(chances))
    table = ceiling_table(planted(chances, futures), noisy)
    for outcome in ("realised", "expected"):
        found = values(table, outcome)
        # Twenty futures rank worse than a fair model: only the limit says so.
        assert found["full_state_half"] < found["full_state"] < found["limit"]
        assert found["model"] < found["limit"]
        assert found["ratio"] == found["model"] / found["full_state"]
        assert found["ratio_limit"] == found["model"] / found["limit"]
        assert futures < 200 or found["model"] < found["full_state"]


@pytest.mark.parametrize("outcome", ["realised", "expected"])
def test_the_limit_makes_good_most_of_what_the_noise_cost(chances: Vector, outcome: str) -> None:
    truth = planted(chances, 200)
    found = values(
        ceiling_table(truth, chances), outcome
    )  # the model that knows the probability itself
    lost, left = found["model"] - found["full_state"], found["model"] - found["limit"]
    assert lost > 0.001
    assert abs(left) < 0.6 * lost
    assert found["ratio_limit"] == pytest.approx(1.0, abs=0.003)


def test_reliability_is_the_share_of_variance_that_is_not_noise(chances: Vector) -> None:
    truth = planted(chances, 40)
    table = ceiling_table(truth, chances)
    assert values(table, "futures")["reliability"] == pytest.approx(
        chances.var() / truth.probability.var(), abs=0.01
    )
    assert values(table, "futures")["tied_at_0"] == (truth.probability == 0).mean()
    finer = values(ceiling_table(planted(chances, 400), chances), "futures")
    assert finer["reliability"] > values(table, "futures")["reliability"]
    assert finer["tied_at_0"] < values(table, "futures")["tied_at_0"]


def test_intervals_are_paired_and_hold_what_they_are_of(chances: Vector) -> None:
    table = ceiling_table(planted(chances, 200), np.log(chances))
    assert dict(table.schema) == SCHEMA
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    width = dict(
        table.filter(pl.col("outcome") == "realised")
        .select("measure", pl.col("high") - pl.col("low"))
        .iter_rows()
    )
    # The same accounts for both: much of the luck of the outcomes falls out of the ratio.
    assert width["ratio"] < 0.3 * width["model"]


def test_one_outcome_alone_is_refused(chances: Vector) -> None:
    truth = planted(np.zeros(10), 40)
    with pytest.raises(ValueError, match="expected both outcomes, got 0 defaults of 10"):
        ceiling_table(truth, np.arange(10.0))


def test_the_full_state_knows_more_than_the_served_model(bundle: Bundle) -> None:
    config = ExamineConfig(accounts=3_000, futures=40)
    table = auc_ceiling(draw_population(SimulationConfig(), config), bundle, config)
    found = values(table, "expected")
    assert 0.75 < found["model"] < found["full_state"] < found["limit"] < 1.0
    assert 0.5 < values(table, "futures")["reliability"] < 1.0
