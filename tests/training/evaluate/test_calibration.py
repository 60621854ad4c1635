"""Slope, intercept and calibration error against other ways to the same number."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from features.types import Vector
from serving.decision.scoring.score import probability_of
from training.evaluate.bootstrap import LEAST_OF_A_LABEL, cluster
from training.evaluate.calibration import ece, reliability
from training.evaluate.metrics import calibration


def outcomes(seed: int, count: int = 4000) -> tuple[Vector, Vector]:
    """Labels drawn from their own probabilities, and the log-odds of these."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(-2.0, 1.2, count)
    return (random.random(count) < probability_of(log_odds)).astype(np.float64), log_odds


def values(
    label: Vector, log_odds: Vector, resamples: int = 100
) -> dict[str, tuple[float, float, float]]:
    table = reliability(label, log_odds, resamples)
    return {name: (value, low, high) for name, value, low, high in table.iter_rows()}


def test_slope_is_that_of_a_logistic_regression() -> None:
    label, log_odds = outcomes(0)
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=500).fit(log_odds[:, None], label)
    assert values(label, log_odds)["slope"][0] == pytest.approx(fitted.coef_[0, 0], abs=1e-4)


def test_with_its_intercept_the_mean_probability_is_the_rate() -> None:
    label, log_odds = outcomes(1)
    intercept = values(label, log_odds - 0.7)["intercept"][0]
    assert probability_of(log_odds - 0.7 + intercept).mean() == pytest.approx(
        label.mean(), abs=1e-10
    )
    assert intercept == pytest.approx(0.7, abs=0.15)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    found = [values(*outcomes(seed, 1500), resamples=2) for seed in range(120)]
    for name, truth in (("slope", 1.0), ("intercept", 0.0)):
        held = [low <= truth <= high for _, low, high in (one[name] for one in found)]
        assert 0.88 <= np.mean(held) <= 1.0, name


def test_the_calibration_error_is_the_mean_gap_of_the_table() -> None:
    label, log_odds = outcomes(2, 1234)
    probability = probability_of(log_odds)
    table = calibration(label, probability)
    by_table = (
        ((pl.col("probability") - pl.col("rate")).abs() * pl.col("accounts")).sum()
        / pl.col("accounts").sum()
    ).alias("e")
    # bins differ by one account
    assert ece(label, probability) == pytest.approx(table.select(by_table).item(), abs=2e-3)
    assert ece(label[:1230], probability[:1230]) == pytest.approx(
        calibration(label[:1230], probability[:1230]).select(by_table).item(), abs=1e-12
    )


def test_noise_is_not_taken_for_an_error_and_an_error_is_found() -> None:
    label, log_odds = outcomes(3)
    value, low, high = values(label, log_odds)["ece"]
    assert low <= value <= high
    assert low < 0.005
    ends = [values(*outcomes(seed, 1500))["ece"][1] for seed in range(20)]
    # of perfect probabilities; a percentile interval begins at 0.018
    assert np.median(ends) < 0.003
    assert values(label, log_odds + 1.0)["ece"][1] > 0.05


@pytest.mark.parametrize(("slope", "side"), [(0.5, 2.0), (2.0, 0.5)])
def test_log_odds_pressed_together_have_a_slope_above_1(slope: float, side: float) -> None:
    label, log_odds = outcomes(4)
    assert values(label, slope * log_odds)["slope"][0] == pytest.approx(side, rel=0.1)


def test_an_account_seen_four_times_is_as_certain_as_seen_once() -> None:
    label, log_odds = outcomes(5, 1000)
    four = np.tile(np.arange(1000), 4)
    clusters = cluster(pl.Series(four).cast(pl.String))
    once = reliability(label, log_odds)
    repeated = reliability(label[four], log_odds[four], clusters=clusters)
    by_row = reliability(label[four], log_odds[four])
    # Not the calibration error: its interval ends at 0, whatever its width.
    for place in range(2):
        width = [table["high"][place] - table["low"][place] for table in (once, repeated, by_row)]
        assert width[1] == pytest.approx(width[0], rel=0.15)
        # The control: four rows taken for four accounts halve the interval.
        assert width[2] < 0.7 * width[0]


def test_few_defaults_have_measures_and_no_interval() -> None:
    _, log_odds = outcomes(7, 400)
    for count in (LEAST_OF_A_LABEL - 1, LEAST_OF_A_LABEL):
        label = np.zeros(400)
        label[np.argsort(log_odds)[-100 : -100 + count]] = 1.0
        table = reliability(label, log_odds, resamples=40)
        assert table["value"].null_count() == 0
        unknown = count < LEAST_OF_A_LABEL
        assert table["low"].null_count() == table["high"].null_count() == (3 if unknown else 0)


def test_with_one_row_an_account_nothing_changes() -> None:
    label, log_odds = outcomes(6, 500)
    names = np.random.default_rng(0).permutation(500)
    clusters = cluster(pl.Series(names).cast(pl.String))
    assert reliability(label, log_odds, clusters=clusters).equals(reliability(label, log_odds))
    with pytest.raises(ValueError, match="two accounts or more, got one"):
        reliability(label, log_odds, clusters=cluster(pl.Series(["a"] * 500)))
