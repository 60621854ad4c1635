"""A labelled frame to a model: LightGBM and calibration.  Knows no MLflow.

The model is compact on purpose (depth 4, 16 leaves): on real card data 200 such trees cost 0.001
AUC against 600 unlimited ones and take a fifth of the time to explain.  Every feature is
constrained to its declared direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from features.catalogue import BY_NAME, MODEL_FEATURES
from features.types import Matrix, Vector
from serving.decision.scoring.score import Calibration, probability_of
from training.data.labels import Labelled
from training.evaluate.metrics import auc
from training.fit.calibration import calibrate
from training.fit.config import FitConfig, FitError
from training.tracking.progress import CountProgress


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model with the rows that no tree saw.

    ``held_out`` are row numbers of the labelled frame; ``label`` and ``probability`` are theirs,
    float64.  ``fold_auc`` has one entry a fold, empty where a hold-out was split off instead.
    ``never_missing``: features that were never unknown.
    """

    booster: lgb.Booster
    features: tuple[str, ...]
    calibration: Calibration
    held_out: NDArray[np.int64]
    label: Vector
    probability: Vector
    fold_auc: tuple[float, ...]
    never_missing: tuple[str, ...]


def fit(data: Labelled, config: FitConfig, progress: CountProgress | None = None) -> Fitted:
    """Fit and calibrate.

    With a hold-out (splits ``valid`` and ``test`` present) trees are fitted on ``train``, stopped
    and calibrated on ``valid``, and measured on ``test``.  Without one, in stratified folds: the
    folds give the measures and the calibration, and the model is fitted on all rows.  Raises
    :class:`FitError` where a split lacks one of the labels.
    """
    matrix = data.features.matrix(MODEL_FEATURES)
    train = data.rows("train")
    _both_labels(data.label[train], "train")
    if len(data.rows("test")):
        return _with_hold_out(data, matrix, config, progress)
    return _with_folds(data, matrix, config, progress)


def train_booster(
    matrix: Matrix,
    label: Vector,
    config: FitConfig,
    valid: tuple[Matrix, Vector] | tuple[Matrix, Vector, Vector | None] | None = None,
    progress: CountProgress | None = None,
    weight: Vector | None = None,
) -> lgb.Booster:
    """Trees on these rows; with ``valid`` (rows, labels, weights) as many as its loss wants, at
    most ``config.trees``.

    FitError where none of them splits anything.
    """
    parameters = lightgbm_parameters(config)
    names = list(MODEL_FEATURES)
    train = lgb.Dataset(
        matrix, label, weight=weight, feature_name=names, params=parameters, free_raw_data=False
    )
    callbacks: list[Callable[..., Any]] = []
    if progress is not None:
        callbacks.append(lambda env: progress(env.iteration + 1, config.trees))
    valid_sets = []
    if valid is not None and config.stop_after:
        valid_sets = [train.create_valid(*valid)]
        callbacks.append(lgb.early_stopping(config.stop_after, verbose=False))
    booster = lgb.train(parameters, train, config.trees, valid_sets=valid_sets, callbacks=callbacks)
    # Only the kept trees: a text model with more would score with all of them.
    best = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    if not booster.feature_importance(iteration=best).any():
        raise FitError(
            f"expected trees that tell accounts apart, got no split at all: {len(label):,} rows, {config}"
        )
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=best))


def lightgbm_parameters(config: FitConfig) -> dict[str, Any]:
    """The config in LightGBM's words."""
    left_out = config.left_out
    return {
        "objective": "binary",
        "num_leaves": config.leaves,
        "max_depth": config.depth,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.min_leaf,
        "lambda_l2": config.l2,
        "feature_fraction": config.feature_share,
        "bagging_fraction": config.row_share,
        "bagging_freq": 1,
        "monotone_constraints": [
            BY_NAME[name].direction if config.monotone else 0 for name in MODEL_FEATURES
        ],
        "monotone_constraints_method": config.monotone_method,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,  # with deterministic: the other layout adds in another order
        "num_threads": config.threads,
        "verbose": -1,
    } | (
        {"feature_contri": [float(name not in left_out) for name in MODEL_FEATURES]}
        if left_out
        else {}
    )


def predict_log_odds(fitted: Fitted, matrix: Matrix) -> Vector:
    """Calibrated log-odds of rows of model features, float64: without contributions, which cost a
    hundred times more.
    """
    return fitted.calibration.slope * _raw(fitted.booster, matrix) + fitted.calibration.intercept


def _with_hold_out(
    data: Labelled, matrix: Matrix, config: FitConfig, progress: CountProgress | None
) -> Fitted:
    train, valid, test = data.rows("train"), data.rows("valid"), data.rows("test")
    for rows, name in ((valid, "valid"), (test, "test")):
        _both_labels(data.label[rows], name)
    stopping = (matrix[valid], data.label[valid], data.weights(valid))
    booster = train_booster(
        matrix[train], data.label[train], config, stopping, progress, data.weights(train)
    )
    calibration = calibrate(_raw(booster, matrix[valid]), data.label[valid], data.weights(valid))
    probability = probability_of(
        calibration.slope * _raw(booster, matrix[test]) + calibration.intercept
    )
    never = _never_missing(matrix[train])
    return Fitted(
        booster, MODEL_FEATURES, calibration, test, data.label[test], probability, (), never
    )


def _with_folds(
    data: Labelled, matrix: Matrix, config: FitConfig, progress: CountProgress | None
) -> Fitted:
    label = data.label
    raw, fold_auc = np.zeros(len(label)), []
    folds = StratifiedKFold(config.folds, shuffle=True, random_state=config.seed)
    for rows, held_out in folds.split(matrix, label):
        booster = train_booster(
            matrix[rows], label[rows], config, progress=progress, weight=data.weights(rows)
        )
        raw[held_out] = _raw(booster, matrix[held_out])
        fold_auc.append(auc(label[held_out], raw[held_out]))
    calibration = calibrate(raw, label, data.weight)
    probability = probability_of(calibration.slope * raw + calibration.intercept)
    booster = train_booster(matrix, label, config, progress=progress, weight=data.weight)
    every = np.arange(len(label))
    return Fitted(
        booster,
        MODEL_FEATURES,
        calibration,
        every,
        label,
        probability,
        tuple(fold_auc),
        _never_missing(matrix),
    )


def _raw(booster: lgb.Booster, matrix: Matrix) -> Vector:
    return np.asarray(booster.predict(matrix, raw_score=True), dtype=np.float64)


def _never_missing(matrix: Matrix) -> tuple[str, ...]:
    """LightGBM scores an unknown value as 0 where training never saw one: a decision must know
    which these are.
    """
    known = np.logical_not(np.isnan(matrix).sum(axis=0))
    return tuple(name for name, always in zip(MODEL_FEATURES, known, strict=True) if always)


def _both_labels(label: Vector, split: str) -> None:
    ones = int(label.sum())
    if not 0 < ones < len(label):
        raise FitError(
            f"{split}: expected accounts of both labels, got {ones} of {len(label)} with label 1"
        )
