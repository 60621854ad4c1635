"""Calibration of a model: slope, intercept and expected calibration error.

Conventions: ``label`` float64 (n,), 0 or 1, both present; ``log_odds`` float64 (n,), calibrated.
``clusters`` say which rows are of one account; null = each row is of another one.  Intervals are of
95 %.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from features.types import Matrix, Rows, Vector
from serving.decision.scoring.score import probability_of
from training.evaluate.bootstrap import (
    LEAST_OF_A_LABEL,
    RESAMPLES,
    Clusters,
    count_fewest,
    one_row_each,
    percentile_interval,
    resample_counts,
)
from training.evaluate.metrics import BINS, Z_95, check

_SHARES = 51  # of the gaps, tried for the lower end of the calibration error
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
    - ``ece``: see :func:`ece`, with a bootstrap interval that begins at 0 where noise explains all
      of it.

    Where accounts have several rows, the Wald intervals are robust to that (Liang and Zeger 1986)
    and the bootstrap draws accounts.  ``low`` and ``high`` are null where fewer than
    :data:`~training.evaluate.bootstrap.LEAST_OF_A_LABEL` accounts have one of the labels.  Raises
    ValueError where a label is absent, or for a single account.
    """
    probability = probability_of(log_odds)
    check(label, probability)
    owners = clusters or one_row_each(len(label))
    if owners.count < 2:
        raise ValueError("expected two accounts or more, got one")
    slope, slope_error = _fit_slope(label, log_odds, owners)
    intercept, intercept_error = _fit_intercept(label, log_odds, owners)
    error = ece(label, probability)
    rows: list[tuple[str, float, float | None, float | None]] = [
        ("slope", slope, *_wald_interval(slope, slope_error)),
        ("intercept", intercept, *_wald_interval(intercept, intercept_error)),
        ("ece", error, *_interval_of_ece(label, probability, owners, resamples, seed)),
    ]
    if count_fewest(label, owners) < LEAST_OF_A_LABEL:
        rows = [(name, value, None, None) for name, value, *_ in rows]
    return pl.DataFrame(
        rows,
        schema={
            "measure": pl.String,
            "value": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
        },
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
    # The weight of a bin times its mean gap is its summed gap over all accounts: no division by the
    # size of a bin.
    order, starts = _split_in_bins(probability, bins)
    residuals = (probability - label)[order]
    gaps = np.add.reduceat(residuals, starts)
    return float(np.abs(gaps).sum() / len(label))


def _split_in_bins(probability: Vector, bins: int) -> tuple[Rows, Rows]:
    """The rows in order of probability, and where the bins of equally many rows begin."""
    order = np.argsort(probability, kind="stable")
    edges = np.linspace(0, len(probability), bins + 1)
    # With fewer accounts than bins some edges are equal, and reduceat would count an account twice.
    return order, np.unique(edges[:-1].astype(np.int64))


def _interval_of_ece(
    label: Vector,
    probability: Vector,
    clusters: Clusters,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """The bootstrap interval of :func:`ece`: it allows for noise, which raises every bin's gap.

    The lower end is the error of the smallest gaps, in the proportions of the sample's, with which
    the noise of resamples reaches the value in 2.5 % of them (Carpenter 1999, Journal of the Royal
    Statistical Society B 61): 0 where noise alone does.  The upper end needs no such allowance: the
    value is as far below the truth as noise has it by chance, or nearer.
    """
    order, starts = _split_in_bins(probability, BINS)
    residuals = (probability - label)[order]
    gaps = np.add.reduceat(residuals, starts) / len(label)
    drawn_gaps = []
    for counts in resample_counts(label, resamples, seed, clusters):
        drawn = counts[order] * residuals
        drawn_gaps.append(np.add.reduceat(drawn, starts) / counts.sum())
    noise: Matrix = np.array(drawn_gaps) - gaps
    value = float(np.abs(gaps).sum())
    low = 0.0
    for share in np.linspace(0.0, 1.0, _SHARES):
        low = float(share) * value
        _, reached = percentile_interval(np.abs(share * gaps + noise).sum(axis=1))
        if reached >= value:
            break
    draws = np.abs(gaps + noise).sum(axis=1)
    _, drawn_high = percentile_interval(draws)
    return low, value + drawn_high - float(draws.mean())


def _wald_interval(value: float, error: float) -> tuple[float, float]:
    half_width = Z_95 * error
    return value - half_width, value + half_width


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
