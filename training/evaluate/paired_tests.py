"""Two probabilities of the same accounts, compared in pairs.

Conventions: ``label`` float64 (n,), 0 or 1, at least two of each; ``first`` and ``second`` float64
(n,) in (0, 1), of label 1. A difference is second minus first.  Intervals are of 95 %.

The models are put to the same accounts, so that most of the noise is in both and goes out of the
difference: intervals of each alone may overlap where that of the difference is far from 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import norm, rankdata

from features.types import Vector
from training.evaluate.metrics import check

RESAMPLES = 500
# Whether more of a measure is better, 1, or less, -1.
BETTER: Mapping[str, int] = {"auc": 1, "ks": 1, "brier": -1, "log_loss": -1}
_Z = float(norm.ppf(0.975))


@dataclass(frozen=True, slots=True)
class DeLong:
    """The AUC of both, their difference with its standard error and interval, and ``p`` of its
    being 0 (two-sided).
    """

    first: float
    second: float
    difference: float
    error: float
    low: float
    high: float
    p: float


def delong(label: Vector, first: Vector, second: Vector) -> DeLong:
    """DeLong's test of two AUCs on the same accounts (DeLong et al. 1988), by midranks (Sun and Xu
    2014): n log n, not n squared.

    Raises ValueError where the conventions do not hold.

    >>> label = np.array([0.0, 0.0, 0.0, 1.0, 1.0])
    >>> found = delong(label, np.array([0.1, 0.2, 0.6, 0.5, 0.7]), np.array([0.1, 0.2, 0.3, 0.5, 0.7]))
    >>> round(found.first, 3), found.second, round(found.difference, 3)
    (0.833, 1.0, 0.167)
    """
    _check(label, first, second)
    ones, zeros = label == 1, label == 0
    one, other = (
        _components(probability[ones], probability[zeros]) for probability in (first, second)
    )
    aucs = float(one[0].mean()), float(other[0].mean())
    # The contrast of DeLong's covariance matrix is the variance of the components' differences.
    spread = [np.var(b - a, ddof=1) / len(a) for a, b in zip(one, other, strict=True)]
    difference, error = aucs[1] - aucs[0], float(np.sqrt(sum(spread)))
    p = float(2 * norm.sf(abs(difference) / error)) if error > 0 else 1.0
    return DeLong(*aucs, difference, error, difference - _Z * error, difference + _Z * error, p)


def differences(
    label: Vector, first: Vector, second: Vector, resamples: int = RESAMPLES, seed: int = 0
) -> pl.DataFrame:
    """One row a measure of :data:`BETTER`: ``measure``, ``first``, ``second``, ``difference`` with
    ``low`` and ``high``, and ``favours``: ``first`` or ``second`` where the whole interval is on
    its side of 0, else ``neither``.

    The interval of AUC is DeLong's; the others are percentile bootstrap intervals over accounts
    (Efron 1979), drawn within each label and the same for both.  Raises ValueError where the
    conventions do not hold.
    """
    by_ranks = delong(label, first, second)
    every = np.ones(len(label))
    one, other = (SortedScores(label, probability) for probability in (first, second))
    values = one.measures(every), other.measures(every)
    draws = [
        other.measures(counts) - one.measures(counts)
        for counts in bootstrap_differences(label, resamples, seed)
    ]
    lows, highs = np.quantile(draws, [0.025, 0.975], axis=0)
    lows[0], highs[0] = by_ranks.low, by_ranks.high
    return pl.DataFrame(
        [
            {
                "measure": name,
                "first": float(values[0][k]),
                "second": float(values[1][k]),
                "difference": float(values[1][k] - values[0][k]),
                "low": float(lows[k]),
                "high": float(highs[k]),
                "favours": favours(float(lows[k]), float(highs[k]), better),
            }
            for k, (name, better) in enumerate(BETTER.items())
        ]
    )


def favours(low: float, high: float, better: int = 1) -> str:
    """Whose side of 0 the whole interval of a difference is on; ``better`` as in :data:`BETTER`.

    >>> favours(0.01, 0.03), favours(0.01, 0.03, better=-1), favours(-0.01, 0.03)
    ('second', 'first', 'neither')
    """
    if low <= 0 <= high:
        return "neither"
    return "second" if (low > 0) == (better > 0) else "first"


class SortedScores:
    """A probability in its order, which no resample changes: only how often each account counts."""

    def __init__(self, label: Vector, probability: Vector) -> None:
        order = np.argsort(probability, kind="stable")
        ranked = probability[order]
        self._order = order
        self._label = label[order]
        self._first_of_ties = np.flatnonzero(np.append(True, np.diff(ranked) > 0))
        self._squared = (ranked - self._label) ** 2
        self._log_loss = -np.log(np.where(self._label == 1, ranked, 1.0 - ranked))

    def measures(self, counts: Vector) -> Vector:
        """AUC, KS, Brier and log loss, in order of :data:`BETTER`, where each account counts that
        often.
        """
        weight = counts[self._order]
        ones = np.add.reduceat(weight * self._label, self._first_of_ties)
        zeros = np.add.reduceat(weight * (1.0 - self._label), self._first_of_ties)
        below = np.cumsum(zeros)
        auc = np.sum(ones * (below - zeros / 2)) / (ones.sum() * zeros.sum())
        ks = np.abs(np.cumsum(ones) / ones.sum() - below / zeros.sum()).max()
        total = weight.sum()
        return np.array([auc, ks, weight @ self._squared / total, weight @ self._log_loss / total])


def _components(ones: Vector, zeros: Vector) -> tuple[Vector, Vector]:
    """DeLong's structural components: of each 1 the share of 0s below it, of each 0 the share of 1s
    above it; ties half.
    """
    m, n = len(ones), len(zeros)
    ranks = rankdata(np.concatenate([ones, zeros]))
    return (ranks[:m] - rankdata(ones)) / n, 1.0 - (ranks[m:] - rankdata(zeros)) / m


def bootstrap_differences(label: Vector, resamples: int, seed: int) -> Iterator[Vector]:
    """How often each account stands in each resample; stratified, for a resample without a default
    has no AUC.
    """
    random = np.random.default_rng(seed)
    strata = [np.flatnonzero(label == value) for value in (0, 1)]
    for _ in range(resamples):
        drawn = np.concatenate([random.choice(rows, len(rows)) for rows in strata])
        yield np.bincount(drawn, minlength=len(label)).astype(np.float64)


def _check(label: Vector, first: Vector, second: Vector) -> None:
    for probability in (first, second):
        check(label, probability)
    fewest = int(min(label.sum(), (1.0 - label).sum()))
    if fewest < 2:
        raise ValueError(f"expected at least two accounts of each label, got {fewest} of one")
