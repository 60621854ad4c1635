"""A labelled frame to folds with bins made once: every trial of a search is scored on them.

The hold-out is not touched.  With validation accounts, a fold holds part of the training accounts
in all their months; trees are stopped on the validation accounts, as in
:func:`training.fit.fit.fit`, and never on the fold that scores them.  Without, folds are stratified
by label and nothing stops the trees.

LightGBM's bins are made from all training rows, as in ``lgb.cv``: their edges depend on the
features of a fold, never on its labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from features.catalogue import MODEL_FEATURES
from features.types import Matrix, Rows, Vector
from training.data.config import DataConfig
from training.data.labels import Labelled
from training.data.splits import assign_folds
from training.evaluate.metrics import auc
from training.fit.config import FitConfig
from training.fit.fit import best_iteration, lightgbm_parameters
from training.fit.folds import check_both_sides, stratified_folds
from training.tracking.lightgbm_import import lgb

_LEAVES = re.compile(r"^num_leaves=(\d+)$", re.MULTILINE)
# All trials share the bins: features filtered for one min_leaf would be wrong for the next.
_NO_FILTER: dict[str, Any] = {"feature_pre_filter": False}


@dataclass(frozen=True, slots=True)
class Fold:
    """Binned rows to fit on and to stop on, and the rows that score."""

    train: lgb.Dataset
    stop: lgb.Dataset | None  # None = nothing stops the trees
    matrix: Matrix  # of the rows that score
    label: Vector  # of the rows that score


def split_folds(
    data: Labelled,
    count: int,
    config: DataConfig,
    seed: int,
) -> Iterator[tuple[Rows, Rows]]:
    """Yield (rows to fit on, rows that score) of each fold; the rows of split ``train`` in all.

    By a hash of the account if accounts have several rows or some are for validation; otherwise
    stratified by label, drawn from ``seed``.  Raises :class:`FitError` if a side of a fold lacks
    one of the labels.
    """
    rows = data.rows("train")
    accounts = data.features.accounts["account_id"][rows.tolist()]
    if len(data.rows("valid")) or accounts.n_unique() < len(rows):
        fold = assign_folds(accounts, count, config)
        parts = [(rows[fold != number], rows[fold == number]) for number in range(count)]
    else:
        drawn = stratified_folds(accounts, data.label[rows], count, seed)
        parts = [(rows[fitted], rows[held_out]) for fitted, held_out in drawn]
    for number, part in enumerate(parts, start=1):
        check_both_sides(data.label, part, number, count)
        yield part


def bin_folds(data: Labelled, parts: Sequence[tuple[Rows, Rows]]) -> list[Fold]:
    """Return the folds of :func:`split_folds` as datasets that share one set of bins."""
    matrix = data.features.matrix(MODEL_FEATURES)
    train, valid = data.rows("train"), data.rows("valid")
    parameters = binning_parameters()
    whole = lgb.Dataset(
        matrix[train],
        data.label[train],
        weight=data.weights(train),
        feature_name=list(MODEL_FEATURES),
        params=parameters,
        free_raw_data=False,
    ).construct()
    place = np.full(len(data.label), -1)  # of a row within ``train``
    place[train] = np.arange(len(train))
    folds = []
    for fitted, held_out in parts:
        places = np.sort(place[fitted]).tolist()
        part = whole.subset(places, params=parameters).construct()
        stop = None
        if len(valid):
            stop = whole.create_valid(
                matrix[valid],
                data.label[valid],
                weight=data.weights(valid),
                params=parameters,
            ).construct()
        folds.append(Fold(part, stop, matrix[held_out], data.label[held_out]))
    return folds


def score_fold(fold: Fold, config: FitConfig) -> tuple[float, float]:
    """Return (AUC on the rows that score, leaves of all trees that a fit would keep)."""
    stops: list[lgb.Dataset] | None = None
    callbacks: list[Callable[..., Any]] | None = None
    if fold.stop is not None and config.stop_after > 0:
        stops = [fold.stop]
        callbacks = [lgb.early_stopping(config.stop_after, verbose=False)]
    booster = lgb.train(
        lightgbm_parameters(config) | _NO_FILTER,
        fold.train,
        config.trees,
        valid_sets=stops,
        callbacks=callbacks,
    )
    best = best_iteration(booster)
    raw = booster.predict(
        fold.matrix,
        raw_score=True,
        num_iteration=best,
        num_threads=config.threads,
    )
    leaves = count_leaves(booster.model_to_string(num_iteration=best))
    return auc(fold.label, np.asarray(raw)), leaves


def count_leaves(model_text: str) -> float:
    """Return the number of leaves of all trees in LightGBM's text of a model."""
    return float(sum(int(count) for count in _LEAVES.findall(model_text)))


def binning_parameters() -> dict[str, Any]:
    """Return the parameters that bins depend on; a search varies none of them."""
    return {"verbose": -1, "deterministic": True, "force_row_wise": True} | _NO_FILTER
