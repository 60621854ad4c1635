"""Discrimination, calibration and lift of a probability, as small Polars tables.

Conventions: ``label`` float64 (n,), 0 or 1, both present; ``probability`` float64 (n,) in (0, 1),
of label 1.  Intervals are of 95 %: bootstrap over accounts for measures
(:mod:`training.evaluate.bootstrap`), Wilson's for rates.  ``clusters`` say which rows are of one
account; null = each row is of another one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy.stats import norm

from features.types import Rows, Vector
from training.evaluate.bootstrap import (
    LEAST_OF_A_LABEL,
    RESAMPLES,
    Clusters,
    count_fewest,
    one_row_each,
    percentile_interval,
    resample_counts,
    smoothed_interval,
)

_Interval = tuple[float | None, float | None]
BINS = 10
Z_95 = float(norm.ppf(0.975))  # standard errors on either side of a normal 95 % interval


def auc(label: Vector, probability: Vector) -> float:
    """Area under the ROC curve: the chance that a random 1 ranks above a random 0; ties count half.

    0.5 = no signal.

    >>> auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.1]))
    0.75
    """
    # Not scikit-learn's roc_auc_score, which gives the same number: its input checks take seconds
    # over the resamples of a bootstrap.
    ones, zeros = count_by_score(probability, label, 1.0 - label)
    return auc_of_counts(ones, zeros)


def expected_auc(
    probability: Vector,
    score: Vector,
    counts: Vector | None = None,
) -> float:
    """The AUC of ``score``, averaged over outcomes that happen with ``probability``.

    Each pair of different accounts counts with the probability that the first defaults and the
    second does not; ties count half.  Where every probability is 0 or 1 this is :func:`auc`.
    ``counts`` is how often each account is in a resample; null = once.

    >>> expected_auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.1]))
    0.75
    """
    weight = np.ones(len(score)) if counts is None else counts
    default_weight = weight * probability
    good_weight = weight * (1.0 - probability)
    ones, zeros = count_by_score(score, default_weight, good_weight)
    all_pairs = ones.sum() * zeros.sum()
    # An account is no pair with itself, or with its own copies in a resample.
    own_weight = weight**2 * probability * (1.0 - probability)
    own_pairs = float(own_weight.sum())
    # Its own scores tie, so half of these pairs count as in order.
    in_order = _pairs_in_order(ones, zeros) - 0.5 * own_pairs
    return float(in_order / (all_pairs - own_pairs))


def count_by_score(
    score: Vector,
    ones: Vector,
    zeros: Vector,
) -> tuple[Vector, Vector]:
    """Sum two weights of the accounts by distinct score, ascending; float64 (scores,) each."""
    # Equal scores are one place, so that ties are counted exactly and not by the order of a sort.
    _, place = np.unique(score, return_inverse=True)
    summed_ones = np.bincount(place, ones)
    summed_zeros = np.bincount(place, zeros)
    return summed_ones.astype(np.float64), summed_zeros.astype(np.float64)


def auc_of_counts(ones: Vector, zeros: Vector) -> float:
    """The AUC from how many 1s and 0s have each distinct score, ascending."""
    all_pairs = ones.sum() * zeros.sum()
    return float(_pairs_in_order(ones, zeros) / all_pairs)


def ks_of_counts(ones: Vector, zeros: Vector) -> float:
    """Kolmogorov-Smirnov from how many 1s and 0s have each distinct score, ascending."""
    distribution_of_ones = np.cumsum(ones) / ones.sum()
    distribution_of_zeros = np.cumsum(zeros) / zeros.sum()
    gaps = distribution_of_ones - distribution_of_zeros
    return float(np.abs(gaps).max())


def _pairs_in_order(ones: Vector, zeros: Vector) -> float:
    """How many pairs of a 1 and a 0 have the 1 above the 0, ties counting half."""
    zeros_below = np.cumsum(zeros) - zeros
    pairs_of_a_one = zeros_below + 0.5 * zeros
    return float(np.sum(ones * pairs_of_a_one))


def ks(label: Vector, probability: Vector) -> float:
    """Kolmogorov-Smirnov: the largest gap of the score distributions of both labels, 0 to 1."""
    ones, zeros = count_by_score(probability, label, 1.0 - label)
    return ks_of_counts(ones, zeros)


def brier(label: Vector, probability: Vector) -> float:
    """Mean squared error of the probability (Brier 1950); smaller is better."""
    squared_error = (probability - label) ** 2
    return float(np.mean(squared_error))


def expected_log_loss(probability: Vector, log_odds: Vector) -> Vector:
    """Each account's log-loss, averaged over its outcome, in nats; float64 (n,)."""
    # log(1 + exp(x)) - p x: the usual two terms, without a logarithm of 0.
    softplus = np.logaddexp(0.0, log_odds)
    loss: Vector = softplus - probability * log_odds
    return loss


# Measures with an interval, in the order of SortedScores.measures.  Gini is not one of them: it is
# a function of AUC.
MEASURES = ("auc", "ks", "brier", "log_loss")


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
        """Return the values of :data:`MEASURES`, float64 (4,).

        ``counts`` is how often each row counts, float64 (n,).
        """
        weight = counts[self._order]
        weight_of_ones = weight * self._label
        weight_of_zeros = weight * (1.0 - self._label)
        # Tied scores are summed, as in count_by_score, but without sorting every resample.
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


def discrimination(
    label: Vector,
    probability: Vector,
    seed: int = 0,
    clusters: Clusters | None = None,
) -> pl.DataFrame:
    """Return one row for each of auc, ks, brier, log_loss and gini (2 auc - 1).

    Columns: ``measure``, ``value``, ``low``, ``high``.  The interval of ks is that of
    :func:`~training.evaluate.bootstrap.smoothed_interval`, the others are percentile intervals.
    Ends are null where fewer than :data:`~training.evaluate.bootstrap.LEAST_OF_A_LABEL` accounts
    have one of the labels.  Raises ValueError where a label is absent.
    """
    check(label, probability)
    owners = clusters or one_row_each(len(label))
    scores = SortedScores(label, probability)
    every_row_once = np.ones(len(label))
    values = dict(zip(MEASURES, scores.measures(every_row_once).tolist(), strict=True))
    intervals: dict[str, _Interval] = dict.fromkeys(MEASURES, (None, None))
    if count_fewest(label, owners) >= LEAST_OF_A_LABEL:
        resamples = resample_counts(label, RESAMPLES, seed, owners)
        draws = np.array([scores.measures(counts) for counts in resamples])
        for place, name in enumerate(MEASURES):
            intervals[name] = percentile_interval(draws[:, place])
        log_odds = np.log(probability / (1.0 - probability))
        intervals["ks"] = smoothed_interval(ks, label, log_odds, seed, owners)
    rows = [(name, values[name], *intervals[name]) for name in MEASURES]
    gini = [None if number is None else 2.0 * number - 1.0 for number in rows[0][1:]]
    return pl.DataFrame(
        [*rows, ("gini", *gini)],
        schema={
            "measure": pl.String,
            "value": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
        },
        orient="row",
    )


def calibration(
    label: Vector,
    probability: Vector,
    bins: int = BINS,
    clusters: Clusters | None = None,
) -> pl.DataFrame:
    """Return one row for each bin of equally many rows, in order of probability.

    Columns: ``bin``, ``accounts`` (each once), ``probability`` (mean over rows), and ``rate`` with
    its interval ``low``, ``high``.  Empty bins are left out.
    """
    owner = (clusters or one_row_each(len(label))).owner
    rows = []
    for number, members in _split_by_rank(probability, bins):
        if len(members) == 0:
            continue
        rate = float(label[members].mean())
        mean_probability = float(probability[members].mean())
        low, high = wilson_clustered(label[members], owner[members])
        rows.append(
            {
                "bin": number,
                "accounts": len(np.unique(owner[members])),
                "probability": mean_probability,
                "rate": rate,
                "low": low,
                "high": high,
            }
        )
    return pl.DataFrame(rows)


def brier_parts(
    label: Vector,
    probability: Vector,
    bins: int = BINS,
) -> pl.DataFrame:
    """Return Murphy's decomposition of the Brier score (1973) over the bins of :func:`calibration`.

    One row: ``reliability`` (0 is best), ``resolution`` (large is best), ``uncertainty`` (of the
    data), and ``within``, the rest that binning leaves unexplained.
    ``brier = reliability - resolution + uncertainty + within``.
    """
    # Without clusters: they change intervals, which are not used here, and no share of a bin.
    table = calibration(label, probability, bins)
    weight = table["accounts"].to_numpy() / len(label)
    rate = table["rate"].to_numpy()
    mean = table["probability"].to_numpy()
    overall = float(label.mean())
    miscalibration = (mean - rate) ** 2
    separation = (rate - overall) ** 2
    reliability = float(np.sum(weight * miscalibration))
    resolution = float(np.sum(weight * separation))
    uncertainty = overall * (1.0 - overall)
    # Murphy's identity holds for probabilities that are equal within a bin.  Ours vary there, so a
    # fourth part remains.
    explained = reliability - resolution + uncertainty
    parts = {
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "within": brier(label, probability) - explained,
    }
    return pl.DataFrame([parts])


def lift(
    label: Vector,
    probability: Vector,
    bins: int = BINS,
    clusters: Clusters | None = None,
) -> pl.DataFrame:
    """Return one row for each tenth of the rows, riskiest first.

    Columns: ``decile``, ``accounts`` (each once), ``defaults`` (rows of label 1), ``rate``,
    ``lift`` (rate to the overall rate) with its interval ``low``, ``high``, and ``captured``, the
    share of all defaults in this tenth and those above it.
    """
    owner = (clusters or one_row_each(len(label))).owner
    overall = float(label.mean())
    total = float(label.sum())
    is_default = label == 1
    rows = []
    defaults_so_far = 0.0
    for number, members in _split_by_rank(-probability, bins):
        defaults = float(label[members].sum())
        defaults_so_far += defaults
        # Fewer accounts than bins leave bins empty: they have rate 0 and are kept.
        count = max(len(members), 1)
        rate = defaults / count
        in_bin = np.zeros(len(label))
        in_bin[members] = 1.0
        # The lift is the share of the defaults in the bin, to the bin's share of the rows.  Not the
        # interval of the rate to the overall rate: that one is as random, and of the same defaults.
        low, high = wilson_clustered(in_bin[is_default], owner[is_default])
        bins_of_this_size = len(label) / count
        rows.append(
            {
                "decile": number,
                "accounts": len(np.unique(owner[members])),
                "defaults": int(defaults),
                "rate": rate,
                "lift": rate / overall,
                "low": low * bins_of_this_size,
                "high": high * bins_of_this_size,
                "captured": defaults_so_far / total,
            }
        )
    return pl.DataFrame(rows)


def _split_by_rank(score: Vector, bins: int) -> Iterator[tuple[int, Rows]]:
    """Yield each bin of equal size in ascending order of score: its number from 1, its rows."""
    order = np.argsort(score, kind="stable")
    yield from enumerate(np.array_split(order, bins), start=1)


def wilson(rate: float, count: float) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): inside [0, 1] even where the share is 0.

    ``count`` is at least 1; without observations a share has no interval.

    >>> low, high = wilson(0.0, 10)
    >>> low, round(high, 3)
    (0.0, 0.278)
    """
    # Not scipy.stats.binomtest, which gives the same for whole numbers of successes: shares of
    # plans kept over several futures are not whole numbers of accounts.
    z_squared = Z_95 * Z_95
    shrink = 1 + z_squared / count
    centre = (rate + z_squared / (2 * count)) / shrink
    variance = rate * (1 - rate) / count
    spread = variance + z_squared / (4 * count * count)
    half = Z_95 / shrink * np.sqrt(spread)
    # Rounding alone can put an end outside [0, 1], or the share 0 or 1 outside its interval.
    low = max(min(centre - half, rate), 0.0)
    high = min(max(centre + half, rate), 1.0)
    return float(low), float(high)


def wilson_clustered(hits: Vector, owner: Rows) -> tuple[float, float]:
    """The interval of :func:`wilson` for the share of rows that are 1, where accounts repeat.

    ``hits`` are 0 or 1 and ``owner`` is the account of each, at least one row.  The count is the
    effective one: rows by the design effect (Kish 1965; Korn and Graubard 1998), at least 1.
    Where no row or every row is a hit, the count is that of accounts.

    >>> twice = np.repeat([0.0, 0.0, 0.0, 1.0], 2)
    >>> wilson_clustered(twice, np.repeat(np.arange(4), 2)) == wilson(0.25, 3)
    True
    """
    rows = len(hits)
    rate = float(np.sum(hits)) / rows
    accounts, place = np.unique(owner, return_inverse=True)
    count = len(accounts)
    if count == rows:
        return wilson(rate, rows)
    if count == 1 or rate in (0.0, 1.0):
        return wilson(rate, count)
    by_account = np.bincount(place, hits - rate)
    squares = float(np.sum(by_account**2))
    variance = squares / rows**2 * count / (count - 1)
    # Never more than the rows: of accounts that each have both outcomes the variance may be 0.
    variance = max(variance, rate * (1 - rate) / rows)
    return wilson(rate, max(rate * (1 - rate) / variance, 1.0))


def check(label: Vector, probability: Vector) -> None:
    """Raise ValueError where the conventions above do not hold, saying which."""
    same_length = label.shape == probability.shape
    if not same_length or label.ndim != 1:
        raise ValueError(
            f"expected label and probability of one length, "
            f"got {label.shape} and {probability.shape}"
        )
    labels = set(np.unique(label))
    if labels != {0.0, 1.0}:
        raise ValueError(f"expected labels 0 and 1, both present, got {sorted(labels)[:5]}")
    # At 0 or 1 the log-odds would be infinite, and so would one wrong account's log loss.
    inside = (probability > 0) & (probability < 1)
    if not inside.all():
        raise ValueError("expected probabilities inside (0, 1)")
