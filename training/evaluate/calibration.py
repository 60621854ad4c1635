"""How far a probability may be taken at its word: slope and intercept, and the expected calibration
error.

Conventions: ``label`` float64 (n,), 0 or 1, both present; ``log_odds`` float64 (n,), calibrated.
Intervals are of 95 %.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from features.types import Vector
from serving.decision.scoring.score import probability_of
from training.evaluate.metrics import BINS, check

RESAMPLES = 200
_Z = 1.959963984540054
_STEPS = 50  # of Newton; a logistic regression on one number takes fewer than ten


def reliability(
    label: Vector, log_odds: Vector, resamples: int = RESAMPLES, seed: int = 0
) -> pl.DataFrame:
    """Three rows, ``measure``, ``value``, ``low``, ``high``; ValueError where a label is absent.

    ``slope``: of a logistic regression of the label on the log-odds (Cox 1958); 1 is best, below 1
    the probabilities are too far apart.  ``intercept``: the same with slope 1; 0 is best, above 0
    the probabilities are too small, in log-odds.  Both with Wald intervals.  ``ece``: see
    :func:`ece`, with a basic bootstrap interval, stretched to hold the value: every resample adds
    noise to each bin's gap and so error to the whole, which a percentile interval would count
    twice.
    """
    probability = probability_of(log_odds)
    check(label, probability)
    slope, slope_error = _slope(label, log_odds)
    intercept, intercept_error = _intercept(label, log_odds)
    error = ece(label, probability)
    random = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        rows = random.integers(0, len(label), len(label))
        draws.append(ece(label[rows], probability[rows]))
    low, high = 2 * error - np.quantile(draws, [0.975, 0.025])
    rows_of_table = [
        ("slope", slope, slope - _Z * slope_error, slope + _Z * slope_error),
        (
            "intercept",
            intercept,
            intercept - _Z * intercept_error,
            intercept + _Z * intercept_error,
        ),
        ("ece", error, min(max(float(low), 0.0), error), max(float(high), error)),
    ]
    return pl.DataFrame(rows_of_table, schema=["measure", "value", "low", "high"], orient="row")


def ece(label: Vector, probability: Vector, bins: int = BINS) -> float:
    """The expected calibration error: the mean gap of probability and observed rate over bins of
    equal size (Naeini et al. 2015).

    Above 0 also where the model is perfect, by the noise of each bin's rate.
    """
    order = np.argsort(probability, kind="stable")
    starts = np.unique(np.linspace(0, len(label), bins + 1).astype(np.int64)[:-1])
    gaps = np.add.reduceat((probability - label)[order], starts)
    return float(np.abs(gaps).sum() / len(label))


def _slope(label: Vector, log_odds: Vector) -> tuple[float, float]:
    """The slope with a free intercept, and its standard error."""
    design = np.column_stack([np.ones(len(label)), log_odds])
    found = np.array([0.0, 1.0])
    for _ in range(_STEPS):
        probability = probability_of(design @ found)
        information = design.T @ (design * (probability * (1.0 - probability))[:, None])
        step = np.linalg.solve(information, design.T @ (label - probability))
        found = found + step
        if np.abs(step).max() < 1e-10:
            break
    return float(found[1]), float(np.sqrt(np.linalg.inv(information)[1, 1]))


def _intercept(label: Vector, log_odds: Vector) -> tuple[float, float]:
    """The intercept with slope 1, and its standard error; scikit-learn's regression takes no
    offset.
    """
    found, information = 0.0, 1.0
    for _ in range(_STEPS):
        probability = probability_of(log_odds + found)
        information = float(np.sum(probability * (1.0 - probability)))
        step = float(np.sum(label - probability)) / information
        found += step
        if abs(step) < 1e-10:
            break
    return found, information**-0.5
