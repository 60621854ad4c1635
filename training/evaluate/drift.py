"""Drift of features, scores and reasons: population stability index (PSI), Wasserstein distance.

Conventions: ``expected`` is the reference, ``actual`` the sample compared with it; arrays float64,
NaN = unknown.

``PSI = sum over bins of (a - e) ln(a / e)`` of the shares a and e: the symmetric divergence of
Jeffreys (1946).  By custom below 0.1 is no change and above 0.25 a large one (Siddiqi 2006).
Without any change it is about ``(bins - 1) (1 / n + 1 / m)`` for samples of n and m, see
:func:`psi_noise`: small samples vary that much by chance.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import chi2, wasserstein_distance

from features.types import Matrix, Vector
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import choose_as_ofs
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out

BINS = 10
FIRST_REASON = "first reason"  # the row of the whole mix
NO_REASON = "none"
SCHEMA = {"kind": pl.String, "name": pl.String, "psi": pl.Float64, "wasserstein": pl.Float64}


def psi(expected: Vector, actual: Vector, bins: int = BINS) -> float:
    """Return the population stability index over quantile bins of ``expected``; 0 = equal shares.

    Missing values are a bin of their own, and so is a value that fills a whole quantile (such as
    half of the accounts at 0).  Edges are observed values, so that an increasing transformation of
    both samples changes nothing.  Smoothing: each sample counts one account more, spread over the
    bins as both samples together are; no bin is then empty, and equal shares give exactly 0.

    Raises ValueError for an empty sample, an infinite value, or fewer than two bins.

    >>> psi(np.arange(100.0), np.arange(100.0))
    0.0
    >>> round(psi(np.arange(100.0), np.arange(100.0) + 50), 1)
    3.5
    """
    if bins < 2:
        raise ValueError(f"psi: expected at least 2 bins, got {bins}")
    for name, values in (("expected", expected), ("actual", actual)):
        if len(values) == 0 or np.isinf(values).any():
            raise ValueError(
                f"psi: expected values in {name}, none infinite, got {len(values)} values"
            )
    edges = bin_edges(expected, bins)
    return psi_of_counts(count_in_bins(expected, edges), count_in_bins(actual, edges))


def bin_edges(expected: Vector, bins: int = BINS) -> tuple[Vector, Vector]:
    """Return the inner edges of the quantile bins, ascending, and those that are their own bin."""
    known = expected[~np.isnan(expected)]
    if len(known) == 0:
        return np.empty(0), np.empty(0)
    inner = np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")
    edges, times = np.unique(inner, return_counts=True)
    return edges, edges[times > 1]


def count_in_bins(values: Vector, edges: tuple[Vector, Vector]) -> Vector:
    """Return how many values are in each bin, float64 (bins,); the last bin is the missing ones."""
    inner, own_bin = edges
    known = values[~np.isnan(values)]
    # A value equal to an edge of its own bin passes that edge once, larger values pass it twice.
    place = np.searchsorted(inner, known, "left") + np.searchsorted(own_bin, known, "right")
    counts = np.bincount(place, minlength=len(inner) + len(own_bin) + 1)
    missing = len(values) - len(known)
    return np.append(counts, missing).astype(np.float64)


def psi_of_counts(expected: Vector, actual: Vector) -> float:
    """Return the PSI of two samples counted over the same bins, smoothed as in :func:`psi`."""
    return float(psi_parts(expected, actual).sum())


def psi_parts(expected: Vector, actual: Vector) -> Vector:
    """Return each bin's contribution to the PSI, float64 (bins,), at least 0.

    Raises ValueError where a sample is empty.
    """
    if expected.sum() <= 0 or actual.sum() <= 0:
        raise ValueError(
            f"psi: expected accounts in both samples, "
            f"got {expected.sum():.0f} and {actual.sum():.0f}"
        )
    both = (expected + actual) / (expected.sum() + actual.sum())
    e = (expected + both) / (expected.sum() + 1.0)
    a = (actual + both) / (actual.sum() + 1.0)
    parts = np.zeros(len(both))
    used = both > 0
    parts[used] = (a[used] - e[used]) * np.log(a[used] / e[used])
    return parts


def psi_noise(expected: int, actual: int, bins: int = BINS, level: float = 0.999) -> float:
    """Return the bound that the PSI of two equal populations exceeds with probability 1 - level.

    ``expected`` and ``actual`` are the sample sizes.  Without change the PSI is about chi-squared
    with ``bins - 1`` degrees of freedom, times ``1 / expected + 1 / actual`` (Yurdakul 2018).
    """
    return float(chi2.ppf(level, bins - 1) * (1.0 / expected + 1.0 / actual))


def wasserstein(expected: Vector, actual: Vector) -> float | None:
    """Return the Wasserstein-1 distance of the known values in standard deviations of ``expected``.

    0.1 = moved by a tenth of a standard deviation.  In the values' own unit where ``expected`` does
    not vary; null where either sample has no known value.
    """
    e = expected[~np.isnan(expected)]
    a = actual[~np.isnan(actual)]
    if len(e) == 0 or len(a) == 0:
        return None
    spread = float(e.std())
    return float(wasserstein_distance(e, a)) / (spread if spread > 0 else 1.0)


@dataclass(frozen=True, slots=True)
class DriftSample:
    """A model's inputs and outputs for some accounts.

    ``matrix`` (accounts, features), calibrated log-odds, and first reasons ("" = no reason).
    """

    matrix: Matrix
    log_odds: Vector
    first_reasons: Sequence[str]


def drift_table(reference: Evaluation, current: Evaluation) -> pl.DataFrame:
    """Return one row for each feature of the reference's model, one for the score, one a reason.

    Columns: ``kind`` (feature, score or reason), ``name``, ``psi``, ``wasserstein``.  The score is
    the log-odds.  Among the reasons, ``first reason`` is the mix of all first reasons (``none``
    where nothing is cut), the others each code's contribution to it.  Reasons have no order and so
    no Wasserstein distance (null).
    """
    names = reference.bundle.features
    return compare_samples(names, drift_sample(reference, names), drift_sample(current, names))


def drift_sample(evaluation: Evaluation, names: Sequence[str]) -> DriftSample:
    """Return a bundle's inputs and outputs on a hold-out, in these features."""
    return DriftSample(
        evaluation.stages.features.matrix(names),
        evaluation.log_odds,
        evaluation.first_reasons.tolist(),
    )


def compare_samples(
    names: Sequence[str],
    reference: DriftSample,
    current: DriftSample,
) -> pl.DataFrame:
    """Return the :func:`drift_table` of two samples with features of these names."""
    rows = [
        _row("feature", name, reference.matrix[:, place], current.matrix[:, place])
        for place, name in enumerate(names)
    ]
    rows.append(_row("score", "log_odds", reference.log_odds, current.log_odds))
    rows += compare_reasons(reference.first_reasons, current.first_reasons)
    return pl.DataFrame(rows, SCHEMA, orient="row")


def compare_reasons(expected: Sequence[str], actual: Sequence[str]) -> list[tuple[object, ...]]:
    """Return the rows of :func:`drift_table` for two lists of first reasons, "" = no reason."""
    codes = sorted({*expected, *actual})
    parts = psi_parts(_count_codes(expected, codes), _count_codes(actual, codes))
    rows: list[tuple[object, ...]] = [("reason", FIRST_REASON, float(parts.sum()), None)]
    for code, part in zip(codes, parts.tolist(), strict=True):
        rows.append(("reason", code or NO_REASON, part, None))
    return rows


def _count_codes(reasons: Sequence[str], codes: Sequence[str]) -> Vector:
    counts = Counter(reasons)
    return np.array([counts[code] for code in codes], dtype=np.float64)


def drift_by_month(reference: Evaluation, source: Source, config: DataConfig) -> pl.DataFrame:
    """Return the :func:`drift_table` of each month's hold-out accounts, after a column ``as_of``.

    The accounts are those that no tree saw, at the fit's as_ofs and the hold-out's; if the data
    bring labels, the labelled ones at each of their as_ofs.  Raises
    :class:`training.data.config.DataError` where the data are too short.
    """
    tables = []
    for month in _months(source, config):
        on = select_hold_out(source, config, as_of=month)
        table = drift_table(reference, evaluate(f"{month:%Y-%m}", reference.bundle, on))
        tables.append(table.select(pl.lit(month, pl.Date).alias("as_of"), pl.all()))
    return pl.concat(tables)


def _row(kind: str, name: str, expected: Vector, actual: Vector) -> tuple[object, ...]:
    return kind, name, psi(expected, actual), wasserstein(expected, actual)


def _months(source: Source, config: DataConfig) -> list[datetime.date]:
    if source.labels is not None:
        return sorted(source.labels["as_of"].unique().to_list())
    return [month for month, _ in choose_as_ofs(source.statements["month"], config)]
