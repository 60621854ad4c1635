"""Discrimination, calibration and lift of a probability, as small Polars tables.

Conventions: ``label`` float64 (n,), 0 or 1, both present; ``probability`` float64 (n,) in (0, 1),
of label 1.  Intervals are of 95 %: percentile bootstrap over accounts for measures
(:mod:`training.evaluate.bootstrap`), Wilson's for rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import polars as pl
from scipy.stats import norm

from features.types import Rows, Vector
from training.evaluate.bootstrap import percentile_interval, resample_strata

Measure = Callable[[Vector, Vector], float]
BINS = 10
Z_95 = float(norm.ppf(0.975))  # standard errors on either side of a normal 95 % interval


def auc(label: Vector, probability: Vector) -> float:
    """Area under the ROC curve: the chance that a random 1 ranks above a random 0; ties count half.

    0.5 = no signal.  scikit-learn's ``roc_auc_score`` gives the same number, but its input checks
    take seconds over the resamples of a bootstrap.

    >>> auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.1]))
    0.75
    """
    ones, zeros = count_by_score(probability, label, 1.0 - label)
    return auc_of_counts(ones, zeros)


def expected_auc(probability: Vector, score: Vector, counts: Vector | None = None) -> float:
    """The AUC of ``score``, averaged over outcomes that happen with ``probability``.

    Each pair of different accounts counts with the probability that the first defaults and the
    second does not; ties count half.  Where every probability is 0 or 1 this is :func:`auc`.
    ``counts`` is how often each account is in a resample; null = once.

    >>> expected_auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.1]))
    0.75
    """
    weight = np.ones(len(score)) if counts is None else counts
    ones, zeros = count_by_score(score, weight * probability, weight * (1.0 - probability))
    # An account is no pair with itself, or with its own copies in a resample.
    own_pairs = float((weight**2 * probability * (1.0 - probability)).sum())
    all_pairs = ones.sum() * zeros.sum()
    return float((_pairs_in_order(ones, zeros) - 0.5 * own_pairs) / (all_pairs - own_pairs))


def count_by_score(score: Vector, ones: Vector, zeros: Vector) -> tuple[Vector, Vector]:
    """Sum two weights of the accounts by distinct score, ascending; float64 (scores,) each."""
    _, place = np.unique(score, return_inverse=True)
    summed_ones: Vector = np.bincount(place, ones).astype(np.float64)
    summed_zeros: Vector = np.bincount(place, zeros).astype(np.float64)
    return summed_ones, summed_zeros


def auc_of_counts(ones: Vector, zeros: Vector) -> float:
    """The AUC from how many 1s and 0s have each distinct score, ascending."""
    return float(_pairs_in_order(ones, zeros) / (ones.sum() * zeros.sum()))


def ks_of_counts(ones: Vector, zeros: Vector) -> float:
    """Kolmogorov-Smirnov from how many 1s and 0s have each distinct score, ascending."""
    gaps = np.cumsum(ones) / ones.sum() - np.cumsum(zeros) / zeros.sum()
    return float(np.abs(gaps).max())


def _pairs_in_order(ones: Vector, zeros: Vector) -> float:
    """How many pairs of a 1 and a 0 have the 1 above the 0, ties counting half."""
    zeros_below = np.cumsum(zeros) - zeros
    return float(np.sum(ones * (zeros_below + 0.5 * zeros)))


def ks(label: Vector, probability: Vector) -> float:
    """Kolmogorov-Smirnov: the largest gap of the score distributions of both labels, 0 to 1."""
    ones, zeros = count_by_score(probability, label, 1.0 - label)
    return ks_of_counts(ones, zeros)


def brier(label: Vector, probability: Vector) -> float:
    """Mean squared error of the probability (Brier 1950); smaller is better."""
    return float(np.mean((probability - label) ** 2))


def expected_log_loss(probability: Vector, log_odds: Vector) -> Vector:
    """Each account's log-loss, averaged over its outcome, in nats; float64 (n,)."""
    # log(1 + exp(x)) - p x: the usual two terms, without a logarithm of 0.
    loss: Vector = np.logaddexp(0.0, log_odds) - probability * log_odds
    return loss


MEASURES: Mapping[str, Measure] = {"auc": auc, "ks": ks, "brier": brier}


def discrimination(label: Vector, probability: Vector, seed: int = 0) -> pl.DataFrame:
    """Return one row for each of auc, ks, brier and gini (2 auc - 1).

    Columns: ``measure``, ``value``, ``low``, ``high``.  Raises ValueError where a label is absent.
    """
    check(label, probability)
    values = {name: measure(label, probability) for name, measure in MEASURES.items()}
    draws: dict[str, list[float]] = {name: [] for name in MEASURES}
    strata = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    for rows in resample_strata(strata, seed=seed):
        for name, measure in MEASURES.items():
            draws[name].append(measure(label[rows], probability[rows]))
    values["gini"] = 2.0 * values["auc"] - 1.0
    draws["gini"] = [2.0 * drawn - 1.0 for drawn in draws["auc"]]
    ends = {name: percentile_interval(draws[name]) for name in values}
    return pl.DataFrame(
        {
            "measure": list(values),
            "value": list(values.values()),
            "low": [low for low, _ in ends.values()],
            "high": [high for _, high in ends.values()],
        }
    )


def calibration(label: Vector, probability: Vector, bins: int = BINS) -> pl.DataFrame:
    """Return one row for each bin of equal size, in order of probability.

    Columns: ``bin``, ``accounts``, ``probability`` (mean), and ``rate`` with its interval ``low``,
    ``high``.  Empty bins are left out.
    """
    rows = []
    for number, members in _split_by_rank(probability, bins):
        if len(members) == 0:
            continue
        rate = float(label[members].mean())
        low, high = wilson(rate, len(members))
        rows.append(
            {
                "bin": number,
                "accounts": len(members),
                "probability": float(probability[members].mean()),
                "rate": rate,
                "low": low,
                "high": high,
            }
        )
    return pl.DataFrame(rows)


def brier_parts(label: Vector, probability: Vector, bins: int = BINS) -> pl.DataFrame:
    """Return Murphy's decomposition of the Brier score (1973) over the bins of :func:`calibration`.

    One row: ``reliability`` (0 is best), ``resolution`` (large is best), ``uncertainty`` (of the
    data), and ``within``, the rest that binning leaves unexplained.
    ``brier = reliability - resolution + uncertainty + within``.
    """
    table = calibration(label, probability, bins)
    weight = table["accounts"].to_numpy() / len(label)
    rate = table["rate"].to_numpy()
    mean = table["probability"].to_numpy()
    overall = float(label.mean())
    reliability = float(np.sum(weight * (mean - rate) ** 2))
    resolution = float(np.sum(weight * (rate - overall) ** 2))
    uncertainty = overall * (1.0 - overall)
    parts = {
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "within": brier(label, probability) - (reliability - resolution + uncertainty),
    }
    return pl.DataFrame([parts])


def lift(label: Vector, probability: Vector, bins: int = BINS) -> pl.DataFrame:
    """Return one row for each tenth of the accounts, riskiest first.

    Columns: ``decile``, ``accounts``, ``defaults``, ``rate``, ``lift`` (rate to the overall rate)
    with its interval ``low``, ``high``, and ``captured``, the share of all defaults in this tenth
    and those above it.
    """
    overall = float(label.mean())
    total = float(label.sum())
    rows = []
    defaults_so_far = 0.0
    for number, members in _split_by_rank(-probability, bins):
        defaults = float(label[members].sum())
        defaults_so_far += defaults
        # Fewer accounts than bins leave bins empty: they have rate 0 and are kept.
        count = max(len(members), 1)
        rate = defaults / count
        low, high = wilson(rate, count)
        rows.append(
            {
                "decile": number,
                "accounts": len(members),
                "defaults": int(defaults),
                "rate": rate,
                "lift": rate / overall,
                "low": low / overall,
                "high": high / overall,
                "captured": defaults_so_far / total,
            }
        )
    return pl.DataFrame(rows)


def _split_by_rank(score: Vector, bins: int) -> Iterator[tuple[int, Rows]]:
    """Yield each bin of equal size in ascending order of score: its number from 1, its rows."""
    order = np.argsort(score, kind="stable")
    yield from enumerate(np.array_split(order, bins), start=1)


def wilson(rate: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): inside [0, 1] even where the share is 0.

    ``count`` is at least 1; without observations a share has no interval.

    ``scipy.stats.binomtest`` gives the same interval for whole numbers of successes.  It is not
    used: shares of plans kept over several futures are not whole numbers of accounts.

    >>> low, high = wilson(0.0, 10)
    >>> low, round(high, 3)
    (0.0, 0.278)
    """
    z_squared = Z_95 * Z_95
    shrink = 1 + z_squared / count
    centre = (rate + z_squared / (2 * count)) / shrink
    spread = rate * (1 - rate) / count + z_squared / (4 * count * count)
    half = Z_95 / shrink * np.sqrt(spread)
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def check(label: Vector, probability: Vector) -> None:
    """Raise ValueError where the conventions above do not hold, saying which."""
    if label.shape != probability.shape or label.ndim != 1:
        raise ValueError(
            f"expected label and probability of one length, "
            f"got {label.shape} and {probability.shape}"
        )
    labels = set(np.unique(label))
    if labels != {0.0, 1.0}:
        raise ValueError(f"expected labels 0 and 1, both present, got {sorted(labels)[:5]}")
    if not ((probability > 0) & (probability < 1)).all():
        raise ValueError("expected probabilities inside (0, 1)")
