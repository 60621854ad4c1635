"""Performance estimated from probabilities, checked against labels drawn with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from serving.decision.bundle import Bundle
from tests.support.each import each
from training.data.config import DataConfig
from training.data.dataset import Source
from training.evaluate.holdout import evaluate, select_hold_out
from training.release.monitor.estimate import estimate_performance, measure_performance

MEASURES = ("auc", "brier", "rate")
DRAWS = 20


def value(table: pl.DataFrame, measure: str) -> tuple[Any, Any, Any]:
    return table.filter(measure=measure).select("value", "low", "high").row(0)


def test_the_estimate_is_right_where_probabilities_are_calibrated() -> None:
    random = np.random.default_rng(2)
    inside = dict.fromkeys(MEASURES, 0)
    bias = dict.fromkeys(MEASURES, 0.0)
    for seed in range(DRAWS):
        p = random.beta(0.4, 6.0, 800).clip(1e-6, 1 - 1e-6)
        label = (random.random(800) < p).astype(float)
        estimate = estimate_performance(p, seed)
        measured = measure_performance(label, p, seed)
        for measure in MEASURES:
            expected, low, high = value(estimate, measure)
            actual, _, _ = value(measured, measure)
            inside[measure] += low <= actual <= high
            bias[measure] += (expected - actual) / DRAWS
    assert all(hits >= 17 for hits in each(inside.values())), inside
    assert all(abs(mean) < 0.02 for mean in each(bias.values())), bias


def test_the_estimate_is_right_on_simulated_accounts(bundle: Bundle, source: Source) -> None:
    evaluation = evaluate("champion", bundle, select_hold_out(source, DataConfig()))
    estimate = estimate_performance(evaluation.probability)
    measured = measure_performance(evaluation.label, evaluation.probability)
    for measure in ("auc", "brier"):
        _, low, high = value(estimate, measure)
        assert low <= value(measured, measure)[0] <= high


def test_only_labels_show_that_the_same_accounts_default_more_often() -> None:
    random = np.random.default_rng(2)
    p = random.beta(0.4, 6.0, 3000).clip(1e-6, 0.49)
    label = (random.random(3000) < 2 * p).astype(float)
    _, _, high = value(estimate_performance(p), "rate")
    _, low, _ = value(measure_performance(label, p), "rate")
    assert low > high


def test_equal_labels_have_no_auc() -> None:
    measured = measure_performance(np.zeros(50), np.full(50, 0.1))
    assert value(measured, "auc") == (None, None, None)
    assert value(measured, "rate")[:2] == (0, 0)
    estimate = estimate_performance(np.full(20, 1e-9))
    assert value(estimate, "auc")[1:] == (None, None)


def test_a_month_of_one_decision_has_no_auc() -> None:
    """Its JSON would have NaN, and no report would be written."""
    estimate = estimate_performance(np.full(1, 0.1))
    assert value(estimate, "auc") == (None, None, None)
    assert value(estimate, "rate")[0] == 0.1
