"""Paired comparison of two probabilities of the same accounts.

Conventions: ``label`` float64 (n,), 0 or 1, at least two accounts with each; ``first`` and
``second`` float64 (n,) in (0, 1), of label 1.  ``clusters`` say which rows are of one account;
null = each row is of another one.  A difference is second minus first.  Intervals are of 95 %.

Both models score the same accounts, so most of the noise is common to both and cancels in the
difference: the intervals of each alone may overlap where that of the difference is far from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import norm, rankdata

from features.types import Mask, Vector
from training.evaluate.bootstrap import Clusters, count_rows, one_row_each, resample_strata
from training.evaluate.metrics import Z_95, auc_of_counts, check, ks_of_counts

# A verdict rests on these intervals, so more than for those that are only shown; not 1,000, because
# every resample evaluates four measures of two models.
RESAMPLES = 500
# Whether more of a measure is better, 1, or less, -1.
BETTER: Mapping[str, int] = {
    "auc": 1,
    "ks": 1,
    "brier": -1,
    "log_loss": -1,
}


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

    The interval of AUC is DeLong's; the others are percentile bootstrap intervals over accounts,
    drawn within each outcome and the same for both models.  Raises ValueError where the conventions
    do not hold.
    """
    owners = clusters or one_row_each(len(label))
    auc_test = delong(label, first, second, owners)
    first_scores = SortedScores(label, first)
    second_scores = SortedScores(label, second)
    every_account_once = np.ones(len(label))
    first_values = first_scores.measures(every_account_once)
    second_values = second_scores.measures(every_account_once)
    draws = [
        second_scores.measures(counts) - first_scores.measures(counts)
        for counts in resample_counts(label, resamples, seed, owners)
    ]
    lows, highs = np.quantile(draws, [0.025, 0.975], axis=0)
    # AUC is first in BETTER.  DeLong's interval replaces the drawn one: it has no sampling noise of
    # its own, and a verdict should not depend on a seed where that can be avoided.
    lows[0] = auc_test.low
    highs[0] = auc_test.high
    intervals = zip(lows, highs, BETTER.values(), strict=True)
    sides = [favours(low, high, better) for low, high, better in intervals]
    return pl.DataFrame(
        {
            "measure": list(BETTER),
            "first": first_values,
            "second": second_values,
            "difference": second_values - first_values,
            "low": lows,
            "high": highs,
            "favours": sides,
        }
    )


def favours(low: float, high: float, better: int = 1) -> str:
    """Return which model the whole interval of a difference favours, or ``neither``.

    ``better`` is as in :data:`BETTER`.

    >>> favours(0.01, 0.03), favours(0.01, 0.03, better=-1), favours(-0.01, 0.03)
    ('second', 'first', 'neither')
    """
    if low <= 0 <= high:
        return "neither"
    second_has_more = low > 0
    more_is_better = better > 0
    return "second" if second_has_more == more_is_better else "first"


class SortedScores:
    """One model's probabilities, sorted once, with their measures over any resample.

    A resample changes only how often each account counts, never the order of the probabilities.
    """

    def __init__(self, label: Vector, probability: Vector) -> None:
        order = np.argsort(probability, kind="stable")
        ranked = probability[order]
        self._order = order
        self._label = label[order]
        rises = np.diff(ranked) > 0
        self._first_of_ties = np.flatnonzero(np.append(True, rises))
        self._squared_error = (ranked - self._label) ** 2
        likelihood = np.where(self._label == 1, ranked, 1.0 - ranked)
        self._log_loss = -np.log(likelihood)

    def measures(self, counts: Vector) -> Vector:
        """Return AUC, KS, Brier score and log loss, in the order of :data:`BETTER`.

        ``counts`` is how often each account counts, float64 (n,).
        """
        weight = counts[self._order]
        weight_of_ones = weight * self._label
        weight_of_zeros = weight * (1.0 - self._label)
        # Tied scores are summed, as in metrics.count_by_score, but without sorting every resample.
        ones = np.add.reduceat(weight_of_ones, self._first_of_ties)
        zeros = np.add.reduceat(weight_of_zeros, self._first_of_ties)
        total = weight.sum()
        return np.array(
            [
                auc_of_counts(ones, zeros),
                ks_of_counts(ones, zeros),
                weight @ self._squared_error / total,
                weight @ self._log_loss / total,
            ]
        )


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


def resample_counts(
    label: Vector,
    resamples: int,
    seed: int,
    clusters: Clusters | None = None,
) -> Iterator[Vector]:
    """Yield how often each row counts in each resample of accounts; float64 (n,).

    Stratified by outcome, see :meth:`training.evaluate.bootstrap.Clusters.split_by_outcome`.
    """
    owners = clusters or one_row_each(len(label))
    for accounts in resample_strata(owners.split_by_outcome(label), resamples, seed):
        yield count_rows(accounts, owners.count)[owners.owner]


def _check_both(
    label: Vector,
    first: Vector,
    second: Vector,
    clusters: Clusters,
) -> None:
    for probability in (first, second):
        check(label, probability)
    ones = _count_owners(clusters, label == 1)
    zeros = _count_owners(clusters, label == 0)
    fewest = min(ones, zeros)
    # The variance of one component is not defined.
    if fewest < 2:
        raise ValueError(f"expected at least two accounts of each label, got {fewest} of one")
