"""A labelled frame to a model: LightGBM and calibration.  Knows no MLflow.

The model is compact on purpose (depth 4, 16 leaves): on real card data 200 such trees cost 0.001 AUC against 600 unlimited ones
and take a fifth of the time to explain.  Every feature is constrained to its declared direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from features.catalogue import BY_NAME, MODEL_FEATURES
from serving.decision.score import Calibration, probability_of
from training.data import Labelled
from training.measure import auc
from training.settings import in_ranges, meant

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Progress = Callable[[int, int], None]  # trees fitted, trees at most
# From the crudest bounds on a split to the tightest; LightGBM's names.
MONOTONE_METHODS = ("basic", "intermediate", "advanced")


class FitError(ValueError):
    """Data that no model can be fitted on: what was expected and what came."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """The model's size and how it learns."""

    trees: int = 200  # at most; early stopping may keep fewer
    leaves: int = 16  # a tree's leaves at most
    depth: int = 4  # a tree's depth at most: explaining costs 2 ** depth a leaf
    learning_rate: float = 0.05  # weight of each tree
    min_leaf: int = 60  # accounts a leaf holds at least
    l2: float = 10.0  # shrinks leaf values
    feature_share: float = 0.6  # of the features, drawn for each tree
    row_share: float = 0.8  # of the rows, drawn for each tree
    stop_after: int = 30  # trees without better validation loss before stopping; 0 = never stop
    folds: int = 5  # where the data bring their own labels: stratified folds, out of which calibration is made
    monotone: bool = True  # constrain every feature to its declared direction
    monotone_method: str = "basic"  # how the constraints are kept: basic, intermediate or advanced; each keeps all of them
    without: str = ""  # model features that no tree splits on, with ; between: what are they worth?
    seed: int = 0  # of everything random in fitting and folding
    threads: int = 0  # 0 = all cores

    def __post_init__(self) -> None:
        in_ranges(
            self,
            trees=(1, 10_000),
            leaves=(2, 256),
            depth=(1, 8),
            learning_rate=(1e-4, 1.0),
            min_leaf=(1, 10_000_000),
            l2=(0.0, 1e6),
            feature_share=(0.01, 1.0),
            row_share=(0.01, 1.0),
            stop_after=(0, 10_000),
            folds=(2, 50),
            seed=(0, 2**31 - 1),
            threads=(0, 1024),
        )
        if self.monotone_method not in MONOTONE_METHODS:
            raise ValueError(f"FitConfig.monotone_method: expected one of {MONOTONE_METHODS}, got {self.monotone_method!r}")
        for name in self.left_out - set(MODEL_FEATURES):
            near = meant(name, MODEL_FEATURES)
            raise ValueError(f"FitConfig.without: expected features of the model, got {name!r}{near}")
        if len(self.left_out) == len(MODEL_FEATURES):
            raise ValueError("FitConfig.without: expected some feature to be left to the trees, all are named")

    @property
    def left_out(self) -> frozenset[str]:
        """The features of ``without``."""
        return frozenset(name.strip() for name in self.without.split(";") if name.strip())


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model with the rows that no tree saw.

    ``held_out`` are row numbers of the labelled frame; ``label`` and ``probability`` are theirs, float64.  ``fold_auc`` has one
    entry a fold, empty where a hold-out was split off instead.  ``never_missing``: features that were never unknown.
    """

    booster: lgb.Booster
    features: tuple[str, ...]
    calibration: Calibration
    held_out: NDArray[np.int64]
    label: Vector
    probability: Vector
    fold_auc: tuple[float, ...]
    never_missing: tuple[str, ...]


def fit(data: Labelled, config: FitConfig, progress: Progress | None = None) -> Fitted:
    """Fit and calibrate.

    With a hold-out (splits ``valid`` and ``test`` present) trees are fitted on ``train``, stopped and calibrated on
    ``valid``, and measured on ``test``.  Without one, in stratified folds: the folds give the measures and the calibration,
    and the model is fitted on all rows.  Raises :class:`FitError` where a split lacks one of the labels.
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
    progress: Progress | None = None,
    weight: Vector | None = None,
) -> lgb.Booster:
    """Trees on these rows; with ``valid`` (rows, labels, weights) as many as its loss wants, at most ``config.trees``.

    FitError where none of them splits anything.
    """
    parameters = parameters_of(config)
    names = list(MODEL_FEATURES)
    train = lgb.Dataset(matrix, label, weight=weight, feature_name=names, params=parameters, free_raw_data=False)
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
        raise FitError(f"expected trees that tell accounts apart, got no split at all: {len(label):,} rows, {config}")
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=best))


def parameters_of(config: FitConfig) -> dict[str, Any]:
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
        "monotone_constraints": [BY_NAME[name].direction if config.monotone else 0 for name in MODEL_FEATURES],
        "monotone_constraints_method": config.monotone_method,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,  # with deterministic: the other layout adds in another order
        "num_threads": config.threads,
        "verbose": -1,
    } | ({"feature_contri": [float(name not in left_out) for name in MODEL_FEATURES]} if left_out else {})


def calibrate(raw: Vector, label: Vector, weight: Vector | None = None) -> Calibration:
    """Platt's two numbers: a logistic regression of the label on the raw score, on his softened targets (Platt 1999).

    ``weight`` is what each row counts; None = once.
    :class:`FitError` where the slope is not above 0: the score would then rank accounts backwards.
    """
    counts = np.ones(len(label)) if weight is None else weight
    ones, zeros = float((counts * label).sum()), float((counts * (1.0 - label)).sum())
    target = np.where(label == 1, (ones + 1.0) / (ones + 2.0), 1.0 / (zeros + 2.0))
    # A target between 0 and 1 is the same row once as 1 and once as 0, weighted.
    regression = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    labels = np.repeat([1, 0], len(raw))
    regression.fit(np.tile(raw, 2)[:, None], labels, np.concatenate([counts * target, counts * (1.0 - target)]))
    slope, intercept = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    if not slope > 0:
        raise FitError(f"calibration: expected a slope above 0, got {slope:.4g}: the score does not rank these accounts")
    return Calibration(slope, intercept)


def log_odds(fitted: Fitted, matrix: Matrix) -> Vector:
    """Calibrated log-odds of rows of model features, float64: without contributions, which cost a hundred times more."""
    return fitted.calibration.slope * _raw(fitted.booster, matrix) + fitted.calibration.intercept


def _with_hold_out(data: Labelled, matrix: Matrix, config: FitConfig, progress: Progress | None) -> Fitted:
    train, valid, test = data.rows("train"), data.rows("valid"), data.rows("test")
    for rows, name in ((valid, "valid"), (test, "test")):
        _both_labels(data.label[rows], name)
    stopping = (matrix[valid], data.label[valid], data.weights(valid))
    booster = train_booster(matrix[train], data.label[train], config, stopping, progress, data.weights(train))
    calibration = calibrate(_raw(booster, matrix[valid]), data.label[valid], data.weights(valid))
    probability = probability_of(calibration.slope * _raw(booster, matrix[test]) + calibration.intercept)
    never = _never_missing(matrix[train])
    return Fitted(booster, MODEL_FEATURES, calibration, test, data.label[test], probability, (), never)


def _with_folds(data: Labelled, matrix: Matrix, config: FitConfig, progress: Progress | None) -> Fitted:
    label = data.label
    raw, fold_auc = np.zeros(len(label)), []
    folds = StratifiedKFold(config.folds, shuffle=True, random_state=config.seed)
    for rows, held_out in folds.split(matrix, label):
        booster = train_booster(matrix[rows], label[rows], config, progress=progress, weight=data.weights(rows))
        raw[held_out] = _raw(booster, matrix[held_out])
        fold_auc.append(auc(label[held_out], raw[held_out]))
    calibration = calibrate(raw, label, data.weight)
    probability = probability_of(calibration.slope * raw + calibration.intercept)
    booster = train_booster(matrix, label, config, progress=progress, weight=data.weight)
    every = np.arange(len(label))
    return Fitted(booster, MODEL_FEATURES, calibration, every, label, probability, tuple(fold_auc), _never_missing(matrix))


def _raw(booster: lgb.Booster, matrix: Matrix) -> Vector:
    return np.asarray(booster.predict(matrix, raw_score=True), dtype=np.float64)


def _never_missing(matrix: Matrix) -> tuple[str, ...]:
    """LightGBM scores an unknown value as 0 where training never saw one: a decision must know which these are."""
    known = np.logical_not(np.isnan(matrix).sum(axis=0))
    return tuple(name for name, always in zip(MODEL_FEATURES, known, strict=True) if always)


def _both_labels(label: Vector, split: str) -> None:
    ones = int(label.sum())
    if not 0 < ones < len(label):
        raise FitError(f"{split}: expected accounts of both labels, got {ones} of {len(label)} with label 1")
