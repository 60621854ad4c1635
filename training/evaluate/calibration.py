"""Calibration of a model: slope, intercept and expected calibration error.

Conventions: ``label`` float64 (n,), 0 or 1, both present; ``log_odds`` float64 (n,), calibrated.
``clusters`` say which rows are of one account; null = each row is of another one.  Intervals are of
95 %.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from features.types import Matrix, Vector
from serving.decision.scoring.score import probability_of
from training.evaluate.bootstrap import (
    RESAMPLES,
    Clusters,
    one_row_each,
    percentile_interval,
    resample_rows,
)
from training.evaluate.metrics import BINS, Z_95, check

_NEWTON_STEPS = 50  # a logistic regression on one number takes fewer than ten


def reliability(
    label: Vector,
    log_odds: Vector,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> pl.DataFrame:
    """Return three rows with ``measure``, ``value``, ``low`` and ``high``.

    - ``slope`` of a logistic regression of the label on the log-odds (Cox 1958); 1 is best, below 1
      the probabilities are too far apart.  Wald interval.
    - ``intercept`` of the same regression with slope 1; 0 is best, above 0 the probabilities are
      too small, in log-odds.  Wald interval.
    - ``ece``: see :func:`ece`, with a basic bootstrap interval, widened to contain the value.

    Where accounts have several rows, the Wald intervals are robust to that (Liang and Zeger 1986)
    and the bootstrap draws accounts.  Raises ValueError where a label is absent, or for a single
    account.
    """
    probability = probability_of(log_odds)
    check(label, probability)
    owners = clusters or one_row_each(len(label))
    if owners.count < 2:
        raise ValueError("expected two accounts or more, got one")
    slope, slope_error = _fit_slope(label, log_odds, owners)
    intercept, intercept_error = _fit_intercept(label, log_odds, owners)
    error = ece(label, probability)
    resampled = resample_rows(owners.count, resamples, seed)
    draws = []
    for accounts in resampled:
        drawn = owners.rows_of(accounts)
        draws.append(ece(label[drawn], probability[drawn]))
    error_low, error_high = _basic_interval(error, draws)
    rows = [
        ("slope", slope, *_wald_interval(slope, slope_error)),
        ("intercept", intercept, *_wald_interval(intercept, intercept_error)),
        ("ece", error, error_low, error_high),
    ]
    return pl.DataFrame(
        rows,
        schema=["measure", "value", "low", "high"],
        orient="row",
    )


def ece(
    label: Vector,
    probability: Vector,
    bins: int = BINS,
) -> float:
    """The expected calibration error: mean gap of probability and observed rate over equal bins.

    After Naeini et al. (2015).  The noise of each bin's rate makes it positive even for a perfect
    model.
    """
    accounts = len(label)
    order = np.argsort(probability, kind="stable")
    residuals = (probability - label)[order]
    edges = np.linspace(0, accounts, bins + 1)
    # With fewer accounts than bins some edges are equal, and reduceat would count an account twice.
    starts = np.unique(edges[:-1].astype(np.int64))
    # The weight of a bin times its mean gap is its summed gap over all accounts: no division by the
    # size of a bin.
    gaps = np.add.reduceat(residuals, starts)
    return float(np.abs(gaps).sum() / accounts)


def _wald_interval(value: float, error: float) -> tuple[float, float]:
    half_width = Z_95 * error
    return value - half_width, value + half_width


def _basic_interval(error: float, draws: list[float]) -> tuple[float, float]:
    # Every resample adds noise to each bin's gap, and so to the error.  A percentile interval would
    # count that noise twice; the basic one reflects it at the value and takes it off.
    drawn_low, drawn_high = percentile_interval(draws)
    low = 2 * error - drawn_high
    high = 2 * error - drawn_low
    low = max(low, 0.0)
    return min(low, error), max(high, error)


def _fit_slope(label: Vector, log_odds: Vector, clusters: Clusters) -> tuple[float, float]:
    """The slope with a free intercept, and its standard error."""
    # Not scikit-learn's LogisticRegression: it gives no standard errors.
    ones = np.ones(len(label))
    design = np.column_stack([ones, log_odds])
    # A calibrated model has intercept 0 and slope 1: few steps from there.
    coefficients = np.array([0.0, 1.0])
    for _ in range(_NEWTON_STEPS):
        probability = probability_of(design @ coefficients)
        variance = probability * (1.0 - probability)
        weighted = design * variance[:, None]
        information = design.T @ weighted
        gradient = design.T @ (label - probability)
        step = np.linalg.solve(information, gradient)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-10:
            break
    scores: Matrix = design * (label - probability)[:, None]
    covariance = _covariance(information, scores, clusters)
    slope = float(coefficients[1])
    slope_error = float(np.sqrt(covariance[1, 1]))
    return slope, slope_error


def _fit_intercept(label: Vector, log_odds: Vector, clusters: Clusters) -> tuple[float, float]:
    """The intercept with slope 1, and its standard error."""
    # Not scikit-learn's LogisticRegression: it takes no offset.
    intercept = 0.0
    information = 1.0
    for _ in range(_NEWTON_STEPS):
        probability = probability_of(log_odds + intercept)
        variance = probability * (1.0 - probability)
        information = float(np.sum(variance))
        gradient = float(np.sum(label - probability))
        step = gradient / information
        intercept += step
        if abs(step) < 1e-10:
            break
    gaps = (label - probability)[:, None]
    covariance = _covariance(np.array([[information]]), gaps, clusters)
    return intercept, float(np.sqrt(covariance[0, 0]))


def _covariance(information: Matrix, scores: Matrix, clusters: Clusters) -> Matrix:
    """The covariance of coefficients; ``scores`` are each row's part of the gradient.

    The inverse information where each account has one row, else the robust one, in which the scores
    of an account are summed first.
    """
    inverse: Matrix = np.asarray(np.linalg.inv(information), dtype=np.float64)
    if clusters.single:
        return inverse
    columns = [clusters.sum(column) for column in scores.T]
    by_account = np.column_stack(columns)
    middle: Matrix = by_account.T @ by_account
    correction = clusters.count / (clusters.count - 1)
    robust: Matrix = inverse @ middle @ inverse
    return robust * correction
