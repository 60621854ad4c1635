"""Whether what a model sees and says has moved: population stability index (PSI) and Wasserstein
distance.

Conventions: ``expected`` is the reference, ``actual`` what is compared with it; arrays float64, NaN
= not known.

``PSI = sum over bins of (a - e) ln(a / e)`` of the shares a and e: the symmetric divergence of
Jeffreys (1946).  By custom below 0.1 is no change and above 0.25 a large one (Siddiqi 2006);
without any change it is about ``(bins - 1) (1 / n + 1 / m)`` for samples of n and m, see
:func:`psi_noise`: small samples move by themselves.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import chi2, wasserstein_distance

from features.types import Vector
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import choose_as_ofs
from training.evaluate.holdout import Evaluation, HoldOut, evaluate, hold_out

BINS = 10
FIRST_REASON = "first reason"  # the row of the whole mix
NO_REASON = "none"
SCHEMA = {"kind": pl.String, "name": pl.String, "psi": pl.Float64, "wasserstein": pl.Float64}


def psi(expected: Vector, actual: Vector, bins: int = BINS) -> float:
    """The population stability index over quantile bins of ``expected``; 0 = the same shares.

    Missing values are a bin of their own, and so is a value that fills a quantile alone (half of
    the accounts at 0, say). Edges are values that occur, so that a rising transformation of both
    changes nothing.  Smoothing: each sample counts one account more, spread over the bins as both
    samples together are; so that no bin is empty and equal shares give exactly 0. ValueError for an
    empty sample, an infinite value, or fewer than two bins.

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
    edges = edges_of(expected, bins)
    return psi_of_counts(counts_of(expected, edges), counts_of(actual, edges))


def edges_of(expected: Vector, bins: int = BINS) -> tuple[Vector, Vector]:
    """The inner edges of the quantile bins, rising, and those among them that are bins of their
    own; float64.
    """
    known = expected[~np.isnan(expected)]
    if len(known) == 0:
        return np.empty(0), np.empty(0)
    inner = np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")
    edges, times = np.unique(inner, return_counts=True)
    return edges, edges[times > 1]


def counts_of(values: Vector, edges: tuple[Vector, Vector]) -> Vector:
    """How many values lie in each bin, float64 (bins,); the last bin is of the missing ones."""
    inner, alone = edges
    known = values[~np.isnan(values)]
    place = np.searchsorted(inner, known, "left") + np.searchsorted(alone, known, "right")
    counted = np.bincount(place, minlength=len(inner) + len(alone) + 1)
    # A value of an edge that stands alone is counted past the edge once, values above it twice.
    return np.append(counted, len(values) - len(known)).astype(np.float64)


def psi_of_counts(expected: Vector, actual: Vector) -> float:
    """The PSI of two samples counted over the same bins; see :func:`psi` for the smoothing."""
    return float(psi_parts(expected, actual).sum())


def psi_parts(expected: Vector, actual: Vector) -> Vector:
    """What each bin adds to the PSI, float64 (bins,), at least 0.

    ValueError where a sample is empty.
    """
    if expected.sum() <= 0 or actual.sum() <= 0:
        raise ValueError(
            f"psi: expected accounts in both samples, got {expected.sum():.0f} and {actual.sum():.0f}"
        )
    both = (expected + actual) / (expected.sum() + actual.sum())
    e, a = ((counts + both) / (counts.sum() + 1.0) for counts in (expected, actual))
    parts = np.zeros(len(both))
    used = both > 0
    parts[used] = (a[used] - e[used]) * np.log(a[used] / e[used])
    return parts


def psi_noise(expected: int, actual: int, bins: int = BINS, level: float = 0.999) -> float:
    """What the PSI of two samples of these sizes stays below with this chance where nothing
    changed.

    It is then about chi-squared with one degree of freedom less than there are bins, times ``1 /
    expected + 1 / actual`` (Yurdakul 2018).
    """
    return float(chi2.ppf(level, bins - 1) * (1.0 / expected + 1.0 / actual))


def wasserstein(expected: Vector, actual: Vector) -> float | None:
    """The Wasserstein-1 distance of the known values in standard deviations of ``expected``: 0.1 =
    moved by a tenth of one.

    In the values' own unit where ``expected`` does not vary; null where either has no known value.
    """
    e, a = expected[~np.isnan(expected)], actual[~np.isnan(actual)]
    if len(e) == 0 or len(a) == 0:
        return None
    spread = float(e.std())
    return float(wasserstein_distance(e, a)) / (spread if spread > 0 else 1.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen and said of some accounts: ``matrix`` (accounts, features), log-odds and first
    reasons ("" = none).
    """

    matrix: NDArray[np.float64]
    log_odds: Vector
    first_reasons: Sequence[str]


def drift_table(reference: Evaluation, current: Evaluation) -> pl.DataFrame:
    """One row a feature of the reference's model, one of the score and one a reason.

    Columns: ``kind`` (feature, score or reason), ``name``, ``psi``, ``wasserstein``.  The score is
    the log-odds. Of the reasons, ``first reason`` is the mix of all first reasons (``none`` where
    nothing is cut), the others what each code adds to it; reasons have no order and so no
    Wasserstein distance (null).
    """
    names = reference.bundle.features
    return drift_of(names, *(seen_of(evaluated, names) for evaluated in (reference, current)))


def seen_of(evaluated: Evaluation, names: Sequence[str]) -> Seen:
    """What a bundle saw of a hold-out and said of it, in these features."""
    return Seen(
        evaluated.stages.features.matrix(names),
        evaluated.log_odds,
        evaluated.first_reasons.tolist(),
    )


def drift_of(names: Sequence[str], was: Seen, now: Seen) -> pl.DataFrame:
    """:func:`drift_table` of what was and is seen, in features of these names."""
    rows = [
        _row("feature", name, was.matrix[:, place], now.matrix[:, place])
        for place, name in enumerate(names)
    ]
    rows.append(_row("score", "log_odds", was.log_odds, now.log_odds))
    rows += mix(was.first_reasons, now.first_reasons)
    return pl.DataFrame(rows, SCHEMA, orient="row")


def mix(expected: Sequence[str], actual: Sequence[str]) -> list[tuple[object, ...]]:
    """The rows of :func:`drift_table` for two lists of first reasons, "" = none."""
    codes = sorted({*expected, *actual})
    was, now = (
        np.array([list(reasons).count(code) for code in codes], float)
        for reasons in (expected, actual)
    )
    parts = psi_parts(was, now)
    each = [
        ("reason", code or NO_REASON, float(part), None)
        for code, part in zip(codes, parts, strict=True)
    ]
    return [("reason", FIRST_REASON, float(parts.sum()), None), *each]


def by_month(reference: Evaluation, source: Source, config: DataConfig) -> pl.DataFrame:
    """:func:`drift_table` of the hold-out accounts at each as_of of a source against the reference,
    with ``as_of`` before it.

    The accounts are those that no tree saw, at the fit's as_ofs and the hold-out's; where the data
    bring labels, the labelled ones at each of their as_ofs.  Raises
    :class:`training.data.config.DataError` where the data are too short.
    """
    return pl.concat([_dated(on, reference) for on in _hold_outs(source, config)])


def _dated(on: HoldOut, reference: Evaluation) -> pl.DataFrame:
    table = drift_table(reference, evaluate(f"{on.as_of:%Y-%m}", reference.bundle, on))
    return table.select(pl.lit(on.as_of, pl.Date).alias("as_of"), pl.all())


def _row(kind: str, name: str, expected: Vector, actual: Vector) -> tuple[object, ...]:
    return kind, name, psi(expected, actual), wasserstein(expected, actual)


def _hold_outs(source: Source, config: DataConfig) -> list[HoldOut]:
    months: list[datetime.date]
    if source.labels is not None:
        months = sorted(source.labels["as_of"].unique().to_list())
    else:
        months = [month for month, _ in choose_as_ofs(source.statements["month"], config)]
    return [hold_out(source, config, as_of=month) for month in months]
