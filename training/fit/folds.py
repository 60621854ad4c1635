"""Folds for data with labels of their own: they draw accounts, so none is in two folds.

An account may have several rows, one an as_of, that are nearly the same row.  A model that saw one
of them knows the label of the others: folds of rows would measure what it remembers.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from sklearn.model_selection import StratifiedKFold

from features.types import Rows, Vector
from training.evaluate.bootstrap import Clusters, cluster
from training.fit.config import FitError


def stratified_folds(
    accounts: pl.Series,
    label: Vector,
    count: int,
    seed: int,
) -> list[tuple[Rows, Rows]]:
    """Return (rows to fit on, rows that score) of each fold, ascending row numbers.

    ``accounts`` and ``label`` (0 or 1) have one entry a row.  All rows of an account are in the
    same fold; accounts are stratified by whether they have a row of label 1.  Raises
    :class:`FitError` if fewer than ``count`` accounts have a row of either label, or if a side of a
    fold lacks one of the labels.
    """
    # Not StratifiedGroupKFold: with one row an account it draws other folds than StratifiedKFold,
    # and models that exist were measured on those.
    clusters = cluster(accounts)
    _check_accounts(clusters, label, count)
    first, second = clusters.split_by_outcome(label)
    stratum = np.zeros(clusters.count)
    # Where nearly every account has both labels, the few others are no stratum of their own.
    if min(len(first), len(second)) >= count:
        stratum[second] = 1.0
    folds = StratifiedKFold(count, shuffle=True, random_state=seed).split(stratum, stratum)
    parts = []
    for number, (_, held_out) in enumerate(folds, start=1):
        is_held_out = np.isin(clusters.owner, held_out)
        part = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
        check_both_sides(label, part, number, count)
        parts.append(part)
    return parts


def check_both_sides(
    label: Vector,
    part: tuple[Rows, Rows],
    number: int,
    count: int,
) -> None:
    """Raise :class:`FitError` if a side of fold ``number`` of ``count`` lacks one of the labels."""
    for side in part:
        if len(np.unique(label[side])) < 2:
            raise FitError(
                f"fold {number} of {count}: expected both labels on each side; "
                "take fewer folds or more data"
            )


def _check_accounts(clusters: Clusters, label: Vector, count: int) -> None:
    ones = int((clusters.sum(label) > 0).sum())
    zeros = int((clusters.sum(1.0 - label) > 0).sum())
    if min(ones, zeros) < count:
        raise FitError(
            f"train: expected {count} accounts or more with label 1 and {count} with label 0, "
            f"one a fold, got {ones} and {zeros} of {clusters.count:,} accounts; "
            "take fewer folds or more data"
        )
