"""(label, probability) to small Polars tables: discrimination, calibration, lift.

Conventions: ``label`` float64 (n,), 0 or 1, both present; ``probability`` float64 (n,) in (0, 1),
of label 1.  Intervals are 95 % percentile bootstrap intervals over rows (Efron 1979), from a stated
seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from scipy.stats import rankdata

from features.types import Vector

Measure = Callable[[Vector, Vector], float]
RESAMPLES = 200
BINS = 10


def expected_auc(probability: Vector, score: Vector, counts: Vector | None = None) -> float:
    """The AUC of ``score`` over outcomes that come about with ``probability``: of pairs, the share
    ranked rightly.

    Each pair of different accounts counts with the probability that the first defaults and the
    second does not; ties count half.  Where all probabilities are 0 or 1 this is the AUC.
    ``counts`` is how often each account stands in a resample.

    >>> expected_auc(np.array([0.0, 1.0, 1.0]), np.array([0.1, 0.2, 0.1]))
    0.75
    """
    times = np.ones(len(score)) if counts is None else counts
    _, place = np.unique(score, return_inverse=True)
    ones, zeros = (
        np.bincount(place, times * probability),
        np.bincount(place, times * (1.0 - probability)),
    )
    itself = float((times**2 * probability * (1.0 - probability)).sum())
    below = np.cumsum(zeros) - zeros
    return float(
        ((ones * (below + 0.5 * zeros)).sum() - 0.5 * itself) / (ones.sum() * zeros.sum() - itself)
    )


def expected_log_loss(probability: Vector, log_odds: Vector) -> Vector:
    """Each account's log-loss on average over its outcome, in nats."""
    # log(1 + exp(x)) - p x: the usual two terms, without a logarithm of 0.
    loss: Vector = np.logaddexp(0.0, log_odds) - probability * log_odds
    return loss


def bootstrap_counts(accounts: int, seed: int = 0, times: int = RESAMPLES) -> Vector:
    """How often each account stands in each bootstrap resample, float64 (times, accounts)."""
    generator = np.random.default_rng(seed)
    return np.array(
        [
            np.bincount(generator.integers(0, accounts, accounts), minlength=accounts)
            for _ in range(times)
        ],
        float,
    )


def percentile_interval(values: Vector) -> tuple[float, float]:
    """The 95 % percentile interval of bootstrapped values (Efron 1979)."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def auc(label: Vector, probability: Vector) -> float:
    """Area under the ROC curve: the chance that a random 1 ranks above a random 0, ties counting
    half; 0.5 = no signal.
    """
    ones = float(label.sum())
    # not scikit-learn's: two hundred resamples of its checks take seconds
    ranks = rankdata(probability)
    return float((ranks[label == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(label) - ones)))


def ks(label: Vector, probability: Vector) -> float:
    """Kolmogorov-Smirnov: the largest gap between the score distributions of the two labels; 0 to
    1.
    """
    order = np.argsort(probability, kind="stable")
    ones = np.cumsum(label[order]) / label.sum()
    zeros = np.cumsum(1.0 - label[order]) / (len(label) - label.sum())
    last_of_ties = np.append(np.diff(probability[order]) > 0, True)
    return float(np.abs(ones - zeros)[last_of_ties].max())


def brier(label: Vector, probability: Vector) -> float:
    """Mean squared error of the probability (Brier 1950); smaller is better."""
    return float(np.mean((probability - label) ** 2))


MEASURES: Mapping[str, Measure] = {"auc": auc, "ks": ks, "brier": brier}


def discrimination(label: Vector, probability: Vector, seed: int = 0) -> pl.DataFrame:
    """One row a measure: ``measure`` (auc, ks, brier, and gini = 2 auc - 1), ``value``, ``low``,
    ``high`` (95 % interval).

    ValueError where a label is absent.
    """
    check(label, probability)
    values = {name: measure(label, probability) for name, measure in MEASURES.items()}
    generator = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {name: [] for name in MEASURES}
    ones, zeros = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    for _ in range(RESAMPLES):
        # Stratified: a resample without a default has no AUC.
        rows = np.concatenate(
            [generator.choice(ones, len(ones)), generator.choice(zeros, len(zeros))]
        )
        for name, measure in MEASURES.items():
            draws[name].append(measure(label[rows], probability[rows]))
    values["gini"] = 2.0 * values["auc"] - 1.0
    draws["gini"] = [2.0 * drawn - 1.0 for drawn in draws["auc"]]
    return pl.DataFrame(
        [
            {
                "measure": name,
                "value": value,
                "low": np.quantile(draws[name], 0.025),
                "high": np.quantile(draws[name], 0.975),
            }
            for name, value in values.items()
        ]
    )


def calibration(label: Vector, probability: Vector, bins: int = BINS) -> pl.DataFrame:
    """One row a bin of equal size, in order of probability: ``bin``, ``accounts``, ``probability``
    (mean), ``rate`` with its 95 % Wilson interval ``low``, ``high``."""
    rows = []
    for number, members in enumerate(
        np.array_split(np.argsort(probability, kind="stable"), bins), start=1
    ):
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
    """Murphy's decomposition (1973) over the bins of :func:`calibration`: one row with
    ``reliability`` (0 is best), ``resolution`` (large is best), ``uncertainty`` (of the data), and
    ``within``: what binning leaves unexplained.

    ``brier = reliability - resolution + uncertainty + within``.
    """
    table = calibration(label, probability, bins)
    weight = table["accounts"].to_numpy() / len(label)
    rate, mean = table["rate"].to_numpy(), table["probability"].to_numpy()
    overall = float(label.mean())
    reliability = float(np.sum(weight * (mean - rate) ** 2))
    resolution = float(np.sum(weight * (rate - overall) ** 2))
    uncertainty = overall * (1.0 - overall)
    within = brier(label, probability) - (reliability - resolution + uncertainty)
    parts = {
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "within": within,
    }
    return pl.DataFrame([parts])


def lift(label: Vector, probability: Vector, bins: int = BINS) -> pl.DataFrame:
    """One row a tenth of the accounts, riskiest first: ``decile``, ``accounts``, ``defaults``,
    ``rate``, ``lift`` (rate to the overall rate) with its 95 % interval ``low``, ``high``, and
    ``captured``: the share of all defaults up to there."""
    overall, total = float(label.mean()), float(label.sum())
    rows, seen = [], 0.0
    for number, members in enumerate(
        np.array_split(np.argsort(-probability, kind="stable"), bins), start=1
    ):
        defaults = float(label[members].sum())
        seen += defaults
        rate = defaults / max(len(members), 1)
        low, high = wilson(rate, max(len(members), 1))
        rows.append(
            {
                "decile": number,
                "accounts": len(members),
                "defaults": int(defaults),
                "rate": rate,
                "lift": rate / overall,
                "low": low / overall,
                "high": high / overall,
                "captured": seen / total,
            }
        )
    return pl.DataFrame(rows)


def wilson(rate: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927): inside [0, 1] also where the share is 0."""
    z = 1.959963984540054
    centre = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z / (1 + z * z / count) * np.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    )
    return float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def check(label: Vector, probability: Vector) -> None:
    """Nothing where the conventions above hold; ValueError saying which does not."""
    if label.shape != probability.shape or label.ndim != 1:
        raise ValueError(
            f"expected label and probability of one length, got {label.shape} and {probability.shape}"
        )
    if set(np.unique(label)) != {0.0, 1.0}:
        raise ValueError(
            f"expected labels 0 and 1, both present, got {sorted(set(np.unique(label)))[:5]}"
        )
    if not ((probability > 0) & (probability < 1)).all():
        raise ValueError("expected probabilities inside (0, 1)")
