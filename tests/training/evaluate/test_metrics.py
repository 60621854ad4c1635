from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from features.types import Vector
from training.evaluate import metrics
from training.evaluate.bootstrap import LEAST_OF_A_LABEL, Clusters, cluster


@st.composite
def scored(draw: st.DrawFn) -> tuple[Vector, Vector]:
    """Labels, both present, and probabilities with ties."""
    size = draw(st.integers(4, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    label = (random.random(size) < 0.3).astype(np.float64)
    label[:2] = [0.0, 1.0]
    return label, np.round(random.uniform(0.01, 0.99, size), draw(st.integers(1, 6))).clip(
        0.01, 0.99
    )


@given(scored())
def test_auc_is_the_chance_that_a_one_ranks_above_a_zero(drawn: tuple[Vector, Vector]) -> None:
    label, probability = drawn
    pairs = itertools.product(probability[label == 1], probability[label == 0])
    wins = [1.0 if one > zero else 0.5 if one == zero else 0.0 for one, zero in pairs]
    assert metrics.auc(label, probability) == pytest.approx(np.mean(wins))


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 20))
def test_the_expected_auc_counts_pairs(seed: int, accounts: int, scores: int) -> None:
    random = np.random.default_rng(seed)
    chance, score = random.random(accounts), random.integers(0, scores, accounts).astype(np.float64)
    counts = random.integers(1, 4, accounts).astype(np.float64)
    right = total = 0.0
    for one in range(accounts):
        for other in range(accounts):
            # Nobody is compared with another copy of himself.
            if one != other:
                pair = counts[one] * chance[one] * counts[other] * (1.0 - chance[other])
                total += pair
                right += pair * (
                    float(score[one] > score[other]) + 0.5 * float(score[one] == score[other])
                )
    assert metrics.expected_auc(chance, score, counts) == pytest.approx(right / total, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_of_certain_outcomes_it_is_the_auc_also_of_a_resample(seed: int) -> None:
    random = np.random.default_rng(seed)
    label, score = (random.random(50) < 0.4).astype(np.float64), np.round(random.random(50), 1)
    label[:2] = 0.0, 1.0
    counts = random.integers(0, 4, 50)
    counts[:2] = 1
    assert metrics.expected_auc(label, score) == pytest.approx(metrics.auc(label, score), abs=1e-12)
    again = metrics.auc(np.repeat(label, counts), np.repeat(score, counts))
    of_resample = metrics.expected_auc(label, score, counts.astype(np.float64))
    assert of_resample == pytest.approx(again, abs=1e-12)


def test_it_is_the_mean_auc_of_outcomes_that_come_about() -> None:
    random = np.random.default_rng(0)
    chance = random.beta(0.5, 3.0, 2000)
    score = chance + random.normal(0, 0.1, 2000)
    outcomes = (random.random((300, 2000)) < chance).astype(np.float64)
    drawn = [metrics.auc(outcome, score) for outcome in outcomes]
    assert metrics.expected_auc(chance, score) == pytest.approx(
        np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(300)
    )


def test_the_expected_log_loss_is_that_of_both_outcomes_and_least_at_the_truth() -> None:
    chance = np.array([0.0, 0.1, 0.5, 1.0])
    log_odds = np.array([-3.0, 0.4, 2.0, 5.0])
    mean = 1.0 / (1.0 + np.exp(-log_odds))
    by_hand = -(chance * np.log(mean) + (1.0 - chance) * np.log(1.0 - mean))
    assert metrics.expected_log_loss(chance, log_odds) == pytest.approx(by_hand, abs=1e-12)
    grid = np.linspace(-5, 5, 1001)
    best = grid[np.argmin(metrics.expected_log_loss(np.full(1001, 0.3), grid))]
    assert best == pytest.approx(np.log(0.3 / 0.7), abs=0.01)


@given(scored())
def test_ks_is_the_largest_gap_of_the_distributions(drawn: tuple[Vector, Vector]) -> None:
    label, probability = drawn
    gaps = [
        abs(np.mean(probability[label == 1] <= cut) - np.mean(probability[label == 0] <= cut))
        for cut in probability
    ]
    assert metrics.ks(label, probability) == pytest.approx(max(gaps))


@given(scored())
def test_the_brier_score_is_the_sum_of_its_parts(drawn: tuple[Vector, Vector]) -> None:
    label, probability = drawn
    (parts,) = metrics.brier_parts(label, probability).to_dicts()
    total = parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
    assert total == pytest.approx(np.mean((label - probability) ** 2))
    assert parts["reliability"] >= 0
    assert 0 <= parts["resolution"] <= parts["uncertainty"] + 1e-12


@given(scored())
def test_lift_and_calibration_count_every_account(drawn: tuple[Vector, Vector]) -> None:
    label, probability = drawn
    lift, calibration = metrics.lift(label, probability), metrics.calibration(label, probability)
    assert lift["accounts"].sum() == len(label)
    assert lift["captured"][-1] == pytest.approx(1.0)
    assert calibration["accounts"].sum() == len(label)
    assert (calibration["low"] <= calibration["rate"] + 1e-12).all()
    assert (calibration["high"] >= calibration["rate"] - 1e-12).all()


def test_a_perfect_score() -> None:
    label = np.repeat([0.0, 1.0], 50)
    table = metrics.discrimination(label, np.where(label == 1, 0.99, 0.01))
    values = dict(table.select("measure", "value").iter_rows())
    assert values == pytest.approx(
        {"auc": 1.0, "ks": 1.0, "gini": 1.0, "brier": 0.0001, "log_loss": -np.log(0.99)}
    )


def test_few_defaults_have_measures_and_no_interval() -> None:
    random = np.random.default_rng(0)
    for count in (LEAST_OF_A_LABEL - 1, LEAST_OF_A_LABEL):
        label = np.repeat([1.0, 0.0], [count, 300])
        score = random.uniform(0.05, 0.95, len(label))
        for whole in (label, 1.0 - label):
            table = metrics.discrimination(whole, score)
            assert table["value"].null_count() == 0
            unknown = count < LEAST_OF_A_LABEL
            assert table["low"].null_count() == (table.height if unknown else 0)
            assert table["low"].is_null().equals(table["high"].is_null())


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="both present"):
        metrics.discrimination(np.zeros(5), np.full(5, 0.5))
    with pytest.raises(ValueError, match="one length"):
        metrics.discrimination(np.array([0.0, 1.0]), np.full(3, 0.5))
    with pytest.raises(ValueError, match="inside"):
        metrics.discrimination(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipy_s_interval(share: tuple[int, int]) -> None:
    hits, count = share
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    found = metrics.wilson(hits / count, count)
    assert found == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_wilson_holds_a_share_at_the_end_of_its_range(share: float) -> None:
    for count in range(1, 1_000):
        low, high = metrics.wilson(share, count)
        assert 0.0 <= low <= share <= high <= 1.0, count


def toss_per_account(seed: int, accounts: int, months: int) -> tuple[Vector, Vector, Clusters]:
    """A coin tossed once for each account, and a score that knows nothing of it."""
    random = np.random.default_rng(seed)
    coin = (random.random(accounts) < 0.3).astype(np.float64)
    coin[:2] = 0.0, 1.0
    score = random.uniform(0.05, 0.95, accounts)
    owner = np.repeat(np.arange(accounts), months)
    near = score[owner] + random.normal(0, 0.005, len(owner))
    return coin[owner], near, cluster(pl.Series(owner).cast(pl.String))


@pytest.mark.slow
def test_intervals_hold_the_truth_where_accounts_repeat() -> None:
    held = {"by account": 0, "by row": 0}
    for seed in range(40):
        label, score, clusters = toss_per_account(seed, 200, 4)
        for name, owners in (("by account", clusters), ("by row", None)):
            table = metrics.discrimination(label, score, seed, owners)
            low, high = table.filter(measure="auc").select("low", "high").row(0)
            held[name] += low <= 0.5 <= high
    assert held["by account"] >= 34
    # The control: resamples of rows are far too sure.
    assert held["by row"] < 30


def test_rates_of_accounts_that_repeat_are_as_certain_as_those_of_the_accounts() -> None:
    label, score, clusters = toss_per_account(1, 200, 6)
    for table in (metrics.calibration, metrics.lift):
        whole = table(label, score, 5, clusters)
        by_row = table(label, score, 5)
        assert whole["rate"].equals(by_row["rate"])
        # Six rows of an account are one observation: the interval is about sqrt(6) times as wide.
        width = pl.col("high") - pl.col("low")
        ratio = whole.select(width).to_series() / by_row.select(width).to_series()
        assert 1.8 < float(ratio.min()) <= float(ratio.max()) < 3.2  # type: ignore[arg-type]
        assert whole["accounts"].sum() < by_row["accounts"].sum()


@given(scored(), st.integers(0, 2**32 - 1))
@pytest.mark.slow  # seconds: every measure twice
def test_with_one_row_an_account_nothing_changes(drawn: tuple[Vector, Vector], seed: int) -> None:
    label, probability = drawn
    names = np.random.default_rng(seed).permutation(len(label))
    clusters = cluster(pl.Series(names).cast(pl.String))
    for table in (metrics.calibration, metrics.lift):
        assert table(label, probability).equals(table(label, probability, clusters=clusters))
    plain = metrics.discrimination(label, probability, 3)
    assert metrics.discrimination(label, probability, 3, clusters).equals(plain)


@pytest.mark.parametrize("hits", [np.zeros(12), np.ones(12)])
def test_a_share_that_is_0_or_1_is_as_certain_as_its_accounts(hits: Vector) -> None:
    owner = np.repeat(np.arange(4), 3)
    assert metrics.wilson_clustered(hits, owner) == metrics.wilson(hits[0], 4)
