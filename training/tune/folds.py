"""A labelled frame to folds, binned once: what every trial of a search is scored on.

The hold-out is not touched.  With validation accounts a fold is a part of the training accounts, in
all their months; trees are stopped on the validation accounts, as :func:`training.fit.fit.fit`
stops them, and never on the fold that scores them. Without, folds are stratified by label and
nothing stops the trees.

LightGBM's bins are made of all training rows, as ``lgb.cv`` makes them: the edges of bins see a
fold's features, never its labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from sklearn.model_selection import StratifiedKFold

from features.catalogue import MODEL_FEATURES
from features.types import Matrix, Rows, Vector
from training.data.config import DataConfig
from training.data.labels import Labelled
from training.data.splits import assign_folds
from training.evaluate.metrics import auc
from training.fit.config import FitConfig, FitError
from training.fit.fit import lightgbm_parameters

_LEAVES = re.compile(r"^num_leaves=(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fold:
    """Binned rows to fit on and to stop on (None = trees are not stopped), and the rows that score:
    (n, features), (n,).
    """

    train: lgb.Dataset
    stop: lgb.Dataset | None
    matrix: Matrix
    label: Vector


def split_folds(
    data: Labelled, count: int, config: DataConfig, seed: int
) -> Iterator[tuple[Rows, Rows]]:
    """``count`` times the rows to fit on and those to score, int64; together the rows of split
    ``train``.

    By a hash of the account where accounts repeat or some are for validation, else stratified by
    label from ``seed``. FitError where a side of a fold lacks one of the labels.
    """
    rows = data.rows("train")
    accounts = data.features.accounts["account_id"][rows.tolist()]
    if len(data.rows("valid")) or accounts.n_unique() < len(rows):
        fold = assign_folds(accounts, count, config)
        parts = [(rows[fold != number], rows[fold == number]) for number in range(count)]
    else:
        label = data.label[rows]
        if min(label.sum(), len(label) - label.sum()) < count:
            raise FitError(
                f"train: expected {count} rows or more of each label, got {int(label.sum())} of {len(label)} with 1"
            )
        stratified = StratifiedKFold(count, shuffle=True, random_state=seed).split(rows, label)
        parts = [(rows[fitted], rows[held]) for fitted, held in stratified]
    for number, sides in enumerate(parts, start=1):
        if any(len(np.unique(data.label[side])) < 2 for side in sides):
            raise FitError(
                f"fold {number} of {count}: expected both labels on each side; take fewer folds or more data"
            )
        yield sides


def bin_folds(data: Labelled, parts: Sequence[tuple[Rows, Rows]]) -> list[Fold]:
    """The folds of :func:`split_folds`, sharing one set of bins."""
    matrix, train, valid = (
        data.features.matrix(MODEL_FEATURES),
        data.rows("train"),
        data.rows("valid"),
    )
    names, parameters = list(MODEL_FEATURES), binning_parameters()
    whole = lgb.Dataset(
        matrix[train],
        data.label[train],
        weight=data.weights(train),
        feature_name=names,
        params=parameters,
        free_raw_data=False,
    ).construct()
    place = np.full(len(data.label), -1)
    place[train] = np.arange(len(train))
    folds = []
    for fitted, held in parts:
        part = whole.subset(np.sort(place[fitted]).tolist(), params=parameters).construct()
        stop = None
        if len(valid):
            stop = whole.create_valid(
                matrix[valid], data.label[valid], weight=data.weights(valid), params=parameters
            ).construct()
        folds.append(Fold(part, stop, matrix[held], data.label[held]))
    return folds


def score_fold(fold: Fold, config: FitConfig) -> tuple[float, float]:
    """AUC on the rows that score, and the leaves of all trees that a fit would keep."""
    stops = [fold.stop] if fold.stop is not None and config.stop_after > 0 else None
    booster = lgb.train(
        lightgbm_parameters(config) | _KEPT,
        fold.train,
        config.trees,
        valid_sets=stops,
        callbacks=[lgb.early_stopping(config.stop_after, verbose=False)] if stops else None,
    )
    best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    raw = np.asarray(
        booster.predict(fold.matrix, raw_score=True, num_iteration=best, num_threads=config.threads)
    )
    return auc(fold.label, raw), count_leaves(booster.model_to_string(num_iteration=best))


def count_leaves(model_text: str) -> float:
    """Leaves of all trees of a LightGBM model's text."""
    return float(sum(int(count) for count in _LEAVES.findall(model_text)))


# A filter made for one ``min_leaf`` would be wrong for the next: bins are shared by all.
_KEPT: dict[str, Any] = {"feature_pre_filter": False}


def binning_parameters() -> dict[str, Any]:
    """What bins depend on: nothing that a search varies."""
    return {"verbose": -1, "deterministic": True, "force_row_wise": True} | _KEPT
