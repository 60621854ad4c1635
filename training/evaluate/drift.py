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

from features.types import Matrix, Rows, Vector
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import choose_as_ofs
from training.evaluate.bootstrap import (
    LEAST_OF_A_LABEL,
    cluster,
    count_fewest,
    interval_above_zero,
    resample_counts,
)
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out

BINS = 10
FIRST_REASON = "first reason"  # the row of the whole mix
NO_REASON = "none"
SCHEMA = {
    "kind": pl.String,
    "name": pl.String,
    "psi": pl.Float64,
    "wasserstein": pl.Float64,
}
_Row = tuple[object, ...]  # of SCHEMA


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
    _check_sample("expected", expected)
    _check_sample("actual", actual)
    edges = bin_edges(expected, bins)
    expected_counts = count_in_bins(expected, edges)
    actual_counts = count_in_bins(actual, edges)
    return psi_of_counts(expected_counts, actual_counts)


def _check_sample(name: str, values: Vector) -> None:
    if len(values) == 0 or np.isinf(values).any():
        raise ValueError(f"psi: expected values in {name}, none infinite, got {len(values)} values")


def bin_edges(
    expected: Vector,
    bins: int = BINS,
) -> tuple[Vector, Vector]:
    """Return the inner edges of the quantile bins, ascending, and those that are their own bin."""
    known = expected[~np.isnan(expected)]
    if len(known) == 0:
        return np.empty(0), np.empty(0)
    shares = np.arange(1, bins) / bins
    # "inverted_cdf" takes observed values.  Interpolated quantiles would move with a logarithm of
    # the feature, and so would its PSI.
    inner = np.quantile(known, shares, method="inverted_cdf")
    edges, times = np.unique(inner, return_counts=True)
    own_bin = edges[times > 1]
    return edges, own_bin


def count_in_bins(values: Vector, edges: tuple[Vector, Vector]) -> Vector:
    """Return how many values are in each bin, float64 (bins,); the last bin is the missing ones."""
    counts = np.bincount(_number_bins(values, edges), minlength=_count_bins(edges))
    return counts.astype(np.float64)


def _number_bins(values: Vector, edges: tuple[Vector, Vector]) -> Rows:
    """The bin of each value, from 0."""
    inner, own_bin = edges
    # A value equal to an edge of its own bin passes that edge once, larger values pass it twice.
    edges_below = np.searchsorted(inner, values, "left")
    own_bins_up_to = np.searchsorted(own_bin, values, "right")
    missing = _count_bins(edges) - 1
    return np.where(np.isnan(values), missing, edges_below + own_bins_up_to)


def _count_bins(edges: tuple[Vector, Vector]) -> int:
    inner, own_bin = edges
    return len(inner) + len(own_bin) + 2


def psi_of_counts(expected: Vector, actual: Vector) -> float:
    """Return the PSI of two samples counted over the same bins, smoothed as in :func:`psi`."""
    parts = psi_parts(expected, actual)
    return float(parts.sum())


def psi_interval(
    expected: Vector,
    actual: Vector,
    accounts: tuple[pl.Series, pl.Series],
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """Return the 95 % interval of a :func:`psi`, by bootstrap over accounts.

    ``accounts`` are the account ids of the values of each sample.  An account of both samples is
    drawn with both of its values: samples of the same accounts vary together, and their index is
    the more certain for it.  Null where a sample has fewer than
    :data:`~training.evaluate.bootstrap.LEAST_OF_A_LABEL` accounts.
    """
    edges = bin_edges(expected)
    bins = _count_bins(edges)
    was = _number_bins(expected, edges)
    now = _number_bins(actual, edges)
    owners = cluster(pl.concat(accounts))
    is_actual = np.repeat([0.0, 1.0], [len(expected), len(actual)])
    if count_fewest(is_actual, owners) < LEAST_OF_A_LABEL:
        return None, None
    draws = []
    for counts in resample_counts(is_actual, seed=seed, clusters=owners):
        was_counts = np.bincount(was, counts[: len(was)], bins)
        now_counts = np.bincount(now, counts[len(was) :], bins)
        index = psi_of_counts(was_counts.astype(np.float64), now_counts.astype(np.float64))
        draws.append(index)
    return interval_above_zero(psi(expected, actual), draws)


def psi_parts(expected: Vector, actual: Vector) -> Vector:
    """Return each bin's contribution to the PSI, float64 (bins,), at least 0.

    Raises ValueError where a sample is empty.
    """
    expected_total = expected.sum()
    actual_total = actual.sum()
    if expected_total <= 0 or actual_total <= 0:
        raise ValueError(
            f"psi: expected accounts in both samples, "
            f"got {expected_total:.0f} and {actual_total:.0f}"
        )
    # One account a sample, spread over the bins.  A constant added to the count of every bin, as is
    # usual, would make samples of different sizes differ although their shares are equal.
    both = (expected + actual) / (expected_total + actual_total)
    e = (expected + both) / (expected_total + 1.0)
    a = (actual + both) / (actual_total + 1.0)
    parts = np.zeros(len(both))
    # Bins that are empty in both samples contribute nothing; their logarithm would be of 0 / 0.
    used = both > 0
    difference = a[used] - e[used]
    ratio = a[used] / e[used]
    log_ratio = np.log(ratio)
    parts[used] = difference * log_ratio
    return parts


def psi_noise(
    expected: int,
    actual: int,
    bins: int = BINS,
    level: float = 0.999,
) -> float:
    """Return the bound that the PSI of two equal populations exceeds with probability 1 - level.

    ``expected`` and ``actual`` are the sample sizes.  Without change the PSI is about chi-squared
    with ``bins - 1`` degrees of freedom, times ``1 / expected + 1 / actual`` (Yurdakul 2018).
    """
    quantile = chi2.ppf(level, bins - 1)
    sampling_variance = 1.0 / expected + 1.0 / actual
    return float(quantile * sampling_variance)


def wasserstein(expected: Vector, actual: Vector) -> float | None:
    """Return the Wasserstein-1 distance of the known values in standard deviations of ``expected``.

    0.1 = moved by a tenth of a standard deviation.  In the values' own unit where ``expected`` does
    not vary; null where either sample has no known value.
    """
    e = expected[~np.isnan(expected)]
    a = actual[~np.isnan(actual)]
    if len(e) == 0 or len(a) == 0:
        return None
    distance = float(wasserstein_distance(e, a))
    spread = float(e.std())
    # A constant feature has no spread; dividing by 0 would call any change infinite.
    return distance / spread if spread > 0 else distance


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
    expected = drift_sample(reference, names)
    actual = drift_sample(current, names)
    return compare_samples(names, expected, actual)


def drift_sample(evaluation: Evaluation, names: Sequence[str]) -> DriftSample:
    """Return a bundle's inputs and outputs on a hold-out, in these features."""
    return DriftSample(
        matrix=evaluation.stages.features.matrix(names),
        log_odds=evaluation.log_odds,
        first_reasons=evaluation.first_reasons.tolist(),
    )


def compare_samples(
    names: Sequence[str],
    reference: DriftSample,
    current: DriftSample,
) -> pl.DataFrame:
    """Return the :func:`drift_table` of two samples with features of these names."""
    rows = []
    for place, name in enumerate(names):
        expected = reference.matrix[:, place]
        actual = current.matrix[:, place]
        rows.append(_row("feature", name, expected, actual))
    rows.append(_row("score", "log_odds", reference.log_odds, current.log_odds))
    rows += compare_reasons(reference.first_reasons, current.first_reasons)
    return pl.DataFrame(rows, SCHEMA, orient="row")


def compare_reasons(
    expected: Sequence[str],
    actual: Sequence[str],
) -> list[_Row]:
    """Return the rows of :func:`drift_table` for two lists of first reasons, "" = no reason."""
    codes = sorted({*expected, *actual})
    expected_counts = _count_codes(expected, codes)
    actual_counts = _count_codes(actual, codes)
    parts = psi_parts(expected_counts, actual_counts)
    whole = float(parts.sum())
    rows: list[_Row] = [("reason", FIRST_REASON, whole, None)]
    for code, part in zip(codes, parts.tolist(), strict=True):
        rows.append(("reason", code or NO_REASON, part, None))
    return rows


def _count_codes(reasons: Sequence[str], codes: Sequence[str]) -> Vector:
    counts = Counter(reasons)
    ordered = [counts[code] for code in codes]
    return np.array(ordered, dtype=np.float64)


def drift_by_month(
    reference: Evaluation,
    source: Source,
    config: DataConfig,
) -> pl.DataFrame:
    """Return the :func:`drift_table` of each month's hold-out accounts, after a column ``as_of``.

    The accounts are those that no tree saw, at the fit's as_ofs and the hold-out's; if the data
    bring labels, the labelled ones at each of their as_ofs.  Raises
    :class:`training.data.config.DataError` where the data are too short.
    """
    tables = []
    for month in _months(source, config):
        on = select_hold_out(source, config, as_of=month)
        current = evaluate(f"{month:%Y-%m}", reference.bundle, on)
        table = drift_table(reference, current)
        as_of = pl.lit(month, pl.Date).alias("as_of")
        tables.append(table.select(as_of, pl.all()))
    return pl.concat(tables)


def _row(
    kind: str,
    name: str,
    expected: Vector,
    actual: Vector,
) -> _Row:
    index = psi(expected, actual)
    distance = wasserstein(expected, actual)
    return kind, name, index, distance


def _months(source: Source, config: DataConfig) -> list[datetime.date]:
    if source.labels is not None:
        labelled = source.labels["as_of"].unique()
        return sorted(labelled.to_list())
    as_ofs = choose_as_ofs(source.statements["month"], config)
    return [month for month, _ in as_ofs]
