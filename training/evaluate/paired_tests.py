"""Paired comparison of two probabilities of the same accounts.

Conventions: ``label`` float64 (n,), 0 or 1, at least two accounts with each; ``first`` and
``second`` float64 (n,) in (0, 1), of label 1.  ``clusters`` say which rows are of one account;
null = each row is of another one.  A difference is second minus first.  Intervals are of 95 %.

Both models score the same accounts, so most of the noise is common to both and cancels in the
difference: the intervals of each alone may overlap where that of the difference is far from 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import norm, rankdata

from features.types import Mask, Vector
from training.evaluate.bootstrap import (
    LEAST_OF_A_LABEL,
    Clusters,
    count_fewest,
    one_row_each,
    percentile_interval,
    resample_counts,
)
from training.evaluate.metrics import MEASURES, Z_95, SortedScores, check

# A verdict rests on these intervals, so more than for those that are only shown; not 1,000, because
# every resample evaluates four measures of two models.
RESAMPLES = 500
# Whether more of a measure is better, 1, or less, -1; in the order of metrics.MEASURES.
BETTER: Mapping[str, int] = {
    "auc": 1,
    "ks": 1,
    "brier": -1,
    "log_loss": -1,
}


_Interval = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class DeLong:
    """Two AUCs, their difference with its standard error and interval, and the test's p-value.

    ``p`` is two-sided, of the hypothesis that the difference is 0.
    """

    first: float
    second: float
    difference: float
    error: float
    low: float
    high: float
    p: float


def delong(
    label: Vector,
    first: Vector,
    second: Vector,
    clusters: Clusters | None = None,
) -> DeLong:
    """Test the difference of two AUCs on the same accounts (DeLong et al. 1988).

    Where accounts have several rows, the components of an account are summed before their variance
    is taken (Obuchowski 1997, Biometrics 53); with one row each that is DeLong's own variance.
    By midranks (Sun and Xu 2014): n log n instead of n squared.  Raises ValueError where the
    conventions do not hold.

    >>> label = np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    >>> first = np.array([0.1, 0.2, 0.6, 0.5, 0.7])
    >>> second = np.array([0.1, 0.2, 0.3, 0.5, 0.7])
    >>> test = delong(label, first, second)
    >>> round(test.first, 3), test.second, round(test.difference, 3)
    (0.833, 1.0, 0.167)
    """
    owners = clusters or one_row_each(len(label))
    _check_both(label, first, second, owners)
    first_ones, first_zeros = _components(label, first)
    second_ones, second_zeros = _components(label, second)
    first_auc = float(first_ones.mean())
    second_auc = float(second_ones.mean())
    # The contrast of DeLong's covariance matrix is the variance of the components' differences.
    ones_gap = second_ones - first_ones
    zeros_gap = second_zeros - first_zeros
    error = _error_of_difference(label, ones_gap, zeros_gap, owners)
    difference = second_auc - first_auc
    p = 1.0  # equal rankings have error 0
    if error > 0:
        z = abs(difference) / error
        p = float(2 * norm.sf(z))
    return DeLong(
        first=first_auc,
        second=second_auc,
        difference=difference,
        error=error,
        low=difference - Z_95 * error,
        high=difference + Z_95 * error,
        p=p,
    )


def _error_of_difference(
    label: Vector,
    ones_gap: Vector,
    zeros_gap: Vector,
    clusters: Clusters,
) -> float:
    """The standard error of the mean gap, from the gaps of each 1 and of each 0."""
    if clusters.single:
        variance_of_ones = np.var(ones_gap, ddof=1) / len(ones_gap)
        variance_of_zeros = np.var(zeros_gap, ddof=1) / len(zeros_gap)
        return float(np.sqrt(variance_of_ones + variance_of_zeros))
    is_one = label == 1
    of_ones = np.zeros(len(label))
    of_zeros = np.zeros(len(label))
    # Less their means: an account's sum is then its part of the error, and 0 on average.
    of_ones[is_one] = (ones_gap - ones_gap.mean()) / len(ones_gap)
    of_zeros[~is_one] = (zeros_gap - zeros_gap.mean()) / len(zeros_gap)
    sums_of_ones = clusters.sum(of_ones)
    sums_of_zeros = clusters.sum(of_zeros)
    with_ones = _count_owners(clusters, is_one)
    with_zeros = _count_owners(clusters, ~is_one)
    variance = (
        _correct(with_ones) * np.sum(sums_of_ones**2)
        + _correct(with_zeros) * np.sum(sums_of_zeros**2)
        # An account with both outcomes moves both means at once.
        + 2 * _correct(clusters.count) * np.sum(sums_of_ones * sums_of_zeros)
    )
    # Rounding, or few accounts with both outcomes, can put it below 0.
    return float(np.sqrt(max(variance, 0.0)))


def _correct(count: int) -> float:
    """What makes a variance over so many accounts unbiased."""
    return count / (count - 1)


def _count_owners(clusters: Clusters, rows: Mask) -> int:
    return len(np.unique(clusters.owner[rows]))


def differences(
    label: Vector,
    first: Vector,
    second: Vector,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> pl.DataFrame:
    """Return one row for each measure of :data:`BETTER`.

    Columns: ``measure``, ``first``, ``second``, ``difference`` with ``low`` and ``high``, and
    ``favours``: ``first`` or ``second`` where the whole interval is on its side of 0, else
    ``neither``.

    The interval of AUC is DeLong's.  The others are percentile bootstrap intervals over accounts,
    the same accounts for both models; noise raises the KS of both, so its bias cancels.  ``low``
    and ``high`` are null where fewer than
    :data:`~training.evaluate.bootstrap.LEAST_OF_A_LABEL` accounts have one of the labels.  Raises
    ValueError where the conventions do not hold.
    """
    owners = clusters or one_row_each(len(label))
    auc_test = delong(label, first, second, owners)
    first_scores = SortedScores(label, first)
    second_scores = SortedScores(label, second)
    every_row_once = np.ones(len(label))
    first_values = first_scores.measures(every_row_once)
    second_values = second_scores.measures(every_row_once)
    intervals: dict[str, _Interval] = dict.fromkeys(MEASURES, (None, None))
    if count_fewest(label, owners) >= LEAST_OF_A_LABEL:
        draws = np.array(
            [
                second_scores.measures(counts) - first_scores.measures(counts)
                for counts in resample_counts(label, resamples, seed, owners)
            ]
        )
        for place, name in enumerate(MEASURES):
            intervals[name] = percentile_interval(draws[:, place])
        # DeLong's interval replaces the drawn one: it has no sampling noise of its own, and a
        # verdict should not depend on a seed where that can be avoided.
        intervals["auc"] = auc_test.low, auc_test.high
    lows = [intervals[name][0] for name in MEASURES]
    highs = [intervals[name][1] for name in MEASURES]
    sides = [favours(*intervals[name], BETTER[name]) for name in MEASURES]
    return pl.DataFrame(
        {
            "measure": MEASURES,
            "first": first_values,
            "second": second_values,
            "difference": second_values - first_values,
            "low": pl.Series(lows, dtype=pl.Float64),
            "high": pl.Series(highs, dtype=pl.Float64),
            "favours": sides,
        }
    )


def favours(low: float | None, high: float | None, better: int = 1) -> str:
    """Return which model the whole interval of a difference favours, or ``neither``.

    ``better`` is as in :data:`BETTER`; an unknown interval (null) favours neither.

    >>> favours(0.01, 0.03), favours(0.01, 0.03, better=-1), favours(-0.01, 0.03)
    ('second', 'first', 'neither')
    """
    if low is None or high is None or low <= 0 <= high:
        return "neither"
    second_has_more = low > 0
    more_is_better = better > 0
    return "second" if second_has_more == more_is_better else "first"


def _components(label: Vector, probability: Vector) -> tuple[Vector, Vector]:
    """DeLong's structural components; the mean of either is the AUC.

    For each 1 the share of 0s below it, for each 0 the share of 1s above it; ties count half.
    """
    ones = probability[label == 1]
    zeros = probability[label == 0]
    # A rank among all, less the rank among its own label, counts the other label's accounts below.
    ranks = rankdata(np.concatenate([ones, zeros]))
    ranks_of_ones = ranks[: len(ones)]
    ranks_of_zeros = ranks[len(ones) :]
    zeros_below = ranks_of_ones - rankdata(ones)
    ones_below = ranks_of_zeros - rankdata(zeros)
    below_ones = zeros_below / len(zeros)
    above_zeros = 1.0 - ones_below / len(ones)
    return below_ones, above_zeros


def _check_both(
    label: Vector,
    first: Vector,
    second: Vector,
    clusters: Clusters,
) -> None:
    for probability in (first, second):
        check(label, probability)
    fewest = count_fewest(label, clusters)
    # The variance of one component is not defined.
    if fewest < 2:
        raise ValueError(f"expected at least two accounts of each label, got {fewest} of one")
