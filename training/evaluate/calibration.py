"""Calibration of a model: slope, intercept and expected calibration error.

Conventions: ``label`` float64 (n,), 0 or 1, both present; ``log_odds`` float64 (n,), calibrated.
Intervals are of 95 %.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from features.types import Vector
from serving.decision.scoring.score import probability_of
from training.evaluate.bootstrap import RESAMPLES, percentile_interval, resample_rows
from training.evaluate.metrics import BINS, Z_95, check

_NEWTON_STEPS = 50  # a logistic regression on one number takes fewer than ten


def reliability(
    label: Vector,
    log_odds: Vector,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pl.DataFrame:
    """Return three rows with ``measure``, ``value``, ``low`` and ``high``.

    - ``slope`` of a logistic regression of the label on the log-odds (Cox 1958); 1 is best, below 1
      the probabilities are too far apart.  Wald interval.
    - ``intercept`` of the same regression with slope 1; 0 is best, above 0 the probabilities are
      too small, in log-odds.  Wald interval.
    - ``ece``: see :func:`ece`, with a basic bootstrap interval, widened to contain the value.

    Raises ValueError where a label is absent.
    """
    probability = probability_of(log_odds)
    check(label, probability)
    slope, slope_error = _fit_slope(label, log_odds)
    intercept, intercept_error = _fit_intercept(label, log_odds)
    error = ece(label, probability)
    rows = [
        ("slope", slope, slope - Z_95 * slope_error, slope + Z_95 * slope_error),
        (
            "intercept",
            intercept,
            intercept - Z_95 * intercept_error,
            intercept + Z_95 * intercept_error,
        ),
        ("ece", error, *_ece_interval(label, probability, resamples, seed)),
    ]
    return pl.DataFrame(rows, schema=["measure", "value", "low", "high"], orient="row")


def ece(label: Vector, probability: Vector, bins: int = BINS) -> float:
    """The expected calibration error: mean gap of probability and observed rate over equal bins.

    After Naeini et al. (2015).  The noise of each bin's rate makes it positive even for a perfect
    model.
    """
    order = np.argsort(probability, kind="stable")
    starts = np.unique(np.linspace(0, len(label), bins + 1).astype(np.int64)[:-1])
    gaps = np.add.reduceat((probability - label)[order], starts)
    return float(np.abs(gaps).sum() / len(label))


def _ece_interval(
    label: Vector,
    probability: Vector,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    error = ece(label, probability)
    draws = [
        ece(label[rows], probability[rows]) for rows in resample_rows(len(label), resamples, seed)
    ]
    # Every resample adds noise to each bin's gap, and so to the error.  A percentile interval would
    # count that noise twice; the basic one reflects it at the value and takes it off.
    drawn_low, drawn_high = percentile_interval(draws)
    low = 2 * error - drawn_high
    high = 2 * error - drawn_low
    return min(max(low, 0.0), error), max(high, error)


def _fit_slope(label: Vector, log_odds: Vector) -> tuple[float, float]:
    """The slope with a free intercept, and its standard error."""
    design = np.column_stack([np.ones(len(label)), log_odds])
    coefficients = np.array([0.0, 1.0])
    for _ in range(_NEWTON_STEPS):
        probability = probability_of(design @ coefficients)
        variance = probability * (1.0 - probability)
        information = design.T @ (design * variance[:, None])
        step = np.linalg.solve(information, design.T @ (label - probability))
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            break
    covariance = np.linalg.inv(information)
    return float(coefficients[1]), float(np.sqrt(covariance[1, 1]))


def _fit_intercept(label: Vector, log_odds: Vector) -> tuple[float, float]:
    """The intercept with slope 1, and its standard error."""
    # Not scikit-learn's LogisticRegression: it takes no offset.
    intercept, information = 0.0, 1.0
    for _ in range(_NEWTON_STEPS):
        probability = probability_of(log_odds + intercept)
        information = float(np.sum(probability * (1.0 - probability)))
        step = float(np.sum(label - probability)) / information
        intercept += step
        if abs(step) < 1e-10:
            break
    return intercept, information**-0.5
