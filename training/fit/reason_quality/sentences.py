"""Does each stated reason push, and does its sentence state a difference that is real?

A sentence compares the account with the comparison accounts in one feature.  The account is
*materially worse* there if at least :data:`MATERIAL` of those whose value is known are strictly
better, and its number does not read as their median.  For an unknown value, those are better whose
value is known.

This counts the reference accounts one by one, without the code that chooses the feature when a
decision is made (:mod:`serving.decision.reasons.comparison`): the two check each other.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue import BY_NAME
from features.types import Rows, Vector
from serving.decision.reasons.wording import number
from training.evaluate.bootstrap import RESAMPLES_OF_MEANS, percentile_interval, resample_rows
from training.evaluate.metrics import wilson, wilson_clustered
from training.fit.reason_quality.deletion import reference_rows
from training.fit.reason_quality.stated import CutReasons, groups_of_features

MATERIAL = 0.75  # share of the comparison accounts that are better
SCHEMA = {
    "measure": pl.String,
    "of": pl.Int64,
    "value": pl.Float64,
    "value_low": pl.Float64,
    "value_high": pl.Float64,
}
EXPLAINED, FIRST_IS_LARGEST = "explained", "first_is_largest"
PUSHES, NAMED_PUSHES, MATERIALLY_WORSE = "pushes", "named_pushes", "materially_worse"
STATED, SHARE_BETTER = "stated", "share_better"


def measure_sentences(cuts: CutReasons, seed: int = 0) -> pl.DataFrame:
    """Return one row for each measure; no rows without accounts.

    Columns: ``measure``; ``of``, how many accounts or reasons it is of; ``value`` with a 95 %
    interval over accounts.  Of accounts: ``stated``, the mean number of reasons; ``explained``, the
    share with a reason; ``first_is_largest``, the share whose first reason is the group with the
    largest contribution.  Of reasons: the shares whose group and whose named feature push to the
    cut, ``pushes`` and ``named_pushes``; the share that is ``materially_worse``; and
    ``share_better``, the mean share of the comparison accounts that are better.
    """
    if not len(cuts):
        return pl.DataFrame(schema=SCHEMA)
    table = _reason_table(cuts)
    owner = table["account"].to_numpy()
    better = table["share_better"].to_numpy()
    of_accounts = {
        EXPLAINED: np.array([bool(own.groups) for own in cuts.stated], dtype=np.float64),
        FIRST_IS_LARGEST: _first_is_largest(cuts),
    }
    of_reasons = {
        PUSHES: table["contribution"].to_numpy() > 0,
        NAMED_PUSHES: table["named_contribution"].to_numpy() > 0,
        MATERIALLY_WORSE: better >= MATERIAL,
    }
    counts = np.bincount(owner, minlength=len(cuts)).astype(np.float64)
    rows = [_mean_row(STATED, counts, np.arange(len(cuts)), seed)]
    rows += [_account_row(name, hits) for name, hits in of_accounts.items()]
    if len(owner):
        rows += [_reason_row(name, hits, owner) for name, hits in of_reasons.items()]
        rows.append(_mean_row(SHARE_BETTER, better, owner, seed))
    return pl.DataFrame(rows, SCHEMA)


def share_better(name: str, value: float, others: Vector) -> float:
    """Return the share of the known ``others`` that are strictly better than ``value``.

    It is 0 where ``value`` reads as their median does.

    >>> share_better("utilization_now", 0.5, np.array([0.2, 0.3, 0.6, np.nan, 0.4]))
    0.75
    """
    known = others[~np.isnan(others)]
    if math.isnan(value):
        return len(known) / len(others)
    if not len(known):
        return 0.0
    feature = BY_NAME[name]
    is_stated = 2 * len(known) >= len(others)
    median = float(np.median(known)) if is_stated else math.nan
    texts = {number(shown, feature.unit, "en").removesuffix(".0") for shown in (value, median)}
    if len(texts) == 1:
        return 0.0
    return float((feature.direction * (value - known) > 0).mean())


def _reason_table(cuts: CutReasons) -> pl.DataFrame:
    """One row a stated reason: the account's place, contributions, and who is better."""
    references = reference_rows(cuts.bundle)
    place_of = {name: place for place, name in enumerate(cuts.bundle.features)}
    rows = []
    for account, stated in enumerate(cuts.stated):
        reference = references[str(cuts.products[account])]
        for name, contribution in zip(stated.named, stated.contributions, strict=True):
            place = place_of[name]
            value = float(cuts.matrix[account, place])
            own = float(cuts.contributions[account, place])
            better = share_better(name, value, reference[:, place])
            rows.append((account, contribution, own, better))
    columns = ("account", "contribution", "named_contribution", "share_better")
    types = (pl.Int64, pl.Float64, pl.Float64, pl.Float64)
    return pl.DataFrame(rows, dict(zip(columns, types, strict=True)), orient="row")


def _first_is_largest(cuts: CutReasons) -> Vector:
    """Whether the first reason has the largest contribution of all groups; 0 without a reason."""
    groups = groups_of_features(cuts.bundle)
    names, group_of_feature = np.unique(groups, return_inverse=True)
    is_member = group_of_feature[:, None] == np.arange(len(names))[None, :]
    sums = cuts.contributions @ is_member.astype(np.float64)
    largest = names[np.argmax(sums, axis=1)].tolist()
    hits = [own.first == group for own, group in zip(cuts.stated, largest, strict=True)]
    return np.array(hits, dtype=np.float64)


def _account_row(name: str, hits: Vector) -> dict[str, object]:
    share = float(hits.mean())
    return _row(name, len(hits), share, wilson(share, len(hits)))


def _reason_row(name: str, hits: NDArray[np.bool_], owner: Rows) -> dict[str, object]:
    values = hits.astype(np.float64)
    return _row(name, len(values), float(values.mean()), wilson_clustered(values, owner))


def _mean_row(
    name: str,
    values: Vector,
    owner: Rows,
    seed: int,
) -> dict[str, object]:
    """The mean, with a bootstrap interval over accounts."""
    accounts, place = np.unique(owner, return_inverse=True)
    sums = np.bincount(place, values)
    sizes = np.bincount(place)
    resamples = resample_rows(len(accounts), RESAMPLES_OF_MEANS, seed)
    draws = [float(sums[drawn].sum() / sizes[drawn].sum()) for drawn in resamples]
    return _row(name, len(values), float(values.mean()), percentile_interval(draws))


def _row(
    name: str,
    count: int,
    value: float,
    interval: tuple[float, float],
) -> dict[str, object]:
    low, high = interval
    return {
        "measure": name,
        "of": count,
        "value": value,
        "value_low": low,
        "value_high": high,
    }
