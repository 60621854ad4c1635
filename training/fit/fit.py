"""A labelled frame to a calibrated LightGBM model.  No MLflow here.

The model is small on purpose (depth 4, 16 leaves): on real card data 200 such trees cost 0.001 AUC
against 600 unlimited ones and take a fifth of the time to explain.  Every feature is constrained to
its declared direction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from features.catalogue import BY_NAME, MODEL_FEATURES
from features.display import notebook_display
from features.types import Matrix, Rows, Vector
from serving.decision.scoring.score import Calibration, probability_of
from training.data.labels import Labelled
from training.data.splits import Split
from training.evaluate.metrics import auc
from training.fit.calibration import calibrate
from training.fit.config import FitConfig, FitError
from training.fit.folds import stratified_folds
from training.tracking.lightgbm_import import lgb
from training.tracking.progress import CountProgress


@notebook_display
@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model, and its predictions for rows that no tree saw."""

    booster: lgb.Booster
    features: tuple[str, ...]
    calibration: Calibration
    held_out: Rows  # row numbers in the labelled frame
    account: pl.Series  # id of the account of each row held out; an account may have several rows
    label: Vector  # of the rows held out, 0 or 1
    probability: Vector  # of the rows held out
    fold_auc: tuple[float, ...]  # one a fold; empty where a hold-out was split off instead
    never_missing: tuple[str, ...]  # features without an unknown value in training


def fit(data: Labelled, config: FitConfig, progress: CountProgress | None = None) -> Fitted:
    """Fit and calibrate a model.

    With a hold-out (splits ``valid`` and ``test`` present), trees are fitted on ``train``, stopped
    and calibrated on ``valid``, and measured on ``test``.  Without one, stratified folds of
    accounts give the measures and the calibration, and the model is fitted on all rows.

    ``progress`` is called with (trees fitted, trees in all), over all folds and the model itself.
    Raises :class:`FitError` if a split lacks one of the labels, or if fewer accounts have one of
    them than there are folds.
    """
    matrix = data.features.matrix(MODEL_FEATURES)
    _check_both_labels(data, "train")
    if len(data.rows("test")):
        return _fit_with_hold_out(data, matrix, config, progress)
    return _fit_with_folds(data, matrix, config, progress)


def train_booster(
    matrix: Matrix,
    label: Vector,
    config: FitConfig,
    valid: tuple[Matrix, Vector] | tuple[Matrix, Vector, Vector | None] | None = None,
    progress: CountProgress | None = None,
    weight: Vector | None = None,
) -> lgb.Booster:
    """Train trees on these rows, at most ``config.trees``.

    ``valid`` (matrix, label, weights) are the rows whose loss stops the trees; None = never stop.
    Raises :class:`FitError` if no tree splits at all.
    """
    parameters = lightgbm_parameters(config)
    train = lgb.Dataset(
        matrix,
        label,
        weight=weight,
        feature_name=list(MODEL_FEATURES),
        params=parameters,
        free_raw_data=False,
    )
    callbacks: list[Callable[..., Any]] = []
    if progress is not None:
        callbacks.append(lambda env: progress(env.iteration + 1, config.trees))
    valid_sets = []
    if valid is not None and config.stop_after:
        valid_sets = [train.create_valid(*valid)]
        callbacks.append(lgb.early_stopping(config.stop_after, verbose=False))
    booster = lgb.train(
        parameters,
        train,
        config.trees,
        valid_sets=valid_sets,
        callbacks=callbacks,
    )
    best = best_iteration(booster)
    if not booster.feature_importance(iteration=best).any():
        raise FitError(
            "expected trees that tell accounts apart, got no split at all: "
            f"{len(label):,} rows, {config}"
        )
    # Drop the trees after the best one: a text model that had them would score with all of them.
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=best))


def best_iteration(booster: lgb.Booster) -> int:
    """Return the number of trees to keep: all, unless early stopping chose fewer."""
    # LightGBM leaves best_iteration at -1 or 0 if nothing stopped the trees.
    return booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()


def lightgbm_parameters(config: FitConfig) -> dict[str, Any]:
    """Return the parameters of LightGBM that the config means."""
    directions = [0] * len(MODEL_FEATURES)
    if config.monotone:
        directions = [BY_NAME[name].direction for name in MODEL_FEATURES]
    parameters = {
        "objective": "binary",
        "num_leaves": config.leaves,
        "max_depth": config.depth,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.min_leaf,
        "lambda_l2": config.l2,
        "feature_fraction": config.feature_share,
        "bagging_fraction": config.row_share,
        "bagging_freq": 1,
        "monotone_constraints": directions,
        "monotone_constraints_method": config.monotone_method,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,  # with deterministic: the other layout adds in another order
        "num_threads": config.threads,
        "verbose": -1,
    }
    if config.excluded_features:
        # A gain multiplied by 0 is never the best split.
        gains = [float(name not in config.excluded_features) for name in MODEL_FEATURES]
        parameters["feature_contri"] = gains
    return parameters


def predict_log_odds(fitted: Fitted, matrix: Matrix) -> Vector:
    """Return calibrated log-odds of rows of model features.

    Without contributions: those would take a hundred times as long.
    """
    return _calibrated(fitted.calibration, _raw(fitted.booster, matrix))


def last_rows(data: Labelled, rows: Rows) -> Rows:
    """Return the row of each account's last as_of among these rows, ascending.

    For figures and shares of accounts: an account with many months must not count many times.
    """
    accounts = data.features.accounts[rows.tolist()].select("account_id", "as_of")
    numbered = accounts.with_columns(row=pl.Series(rows))
    by_month = numbered.sort("as_of", "row")
    last = by_month.unique("account_id", keep="last", maintain_order=True)
    return np.sort(last["row"].to_numpy())


def _fit_with_hold_out(
    data: Labelled,
    matrix: Matrix,
    config: FitConfig,
    progress: CountProgress | None,
) -> Fitted:
    train = data.rows("train")
    valid = data.rows("valid")
    test = data.rows("test")
    _check_both_labels(data, "valid")
    _check_both_labels(data, "test")
    booster = train_booster(
        matrix[train],
        data.label[train],
        config,
        valid=(matrix[valid], data.label[valid], data.weights(valid)),
        progress=progress,
        weight=data.weights(train),
    )
    valid_raw = _raw(booster, matrix[valid])
    calibration = calibrate(valid_raw, data.label[valid], data.weights(valid))
    test_log_odds = _calibrated(calibration, _raw(booster, matrix[test]))
    return Fitted(
        booster=booster,
        features=MODEL_FEATURES,
        calibration=calibration,
        held_out=test,
        account=_accounts(data, test),
        label=data.label[test],
        probability=probability_of(test_log_odds),
        fold_auc=(),
        never_missing=_never_missing(matrix[train]),
    )


def _fit_with_folds(
    data: Labelled,
    matrix: Matrix,
    config: FitConfig,
    progress: CountProgress | None,
) -> Fitted:
    label = data.label
    everyone = np.arange(len(label))
    accounts = _accounts(data, everyone)
    raw = np.zeros(len(label))
    fold_auc = []
    folds = stratified_folds(accounts, label, config.folds, config.seed)
    for number, (rows, held_out) in enumerate(folds):
        weight = data.weights(rows)
        # No early stopping here: the held-out fold would choose the trees that it then measures.
        booster = train_booster(
            matrix[rows],
            label[rows],
            config,
            progress=_in_all(progress, number, config.folds + 1),
            weight=weight,
        )
        raw[held_out] = _raw(booster, matrix[held_out])
        fold_auc.append(auc(label[held_out], raw[held_out]))
    # On scores of models that did not see the account; the model of all rows has seen every label.
    calibration = calibrate(raw, label, data.weight)
    booster = train_booster(
        matrix,
        label,
        config,
        progress=_in_all(progress, config.folds, config.folds + 1),
        weight=data.weight,
    )
    return Fitted(
        booster=booster,
        features=MODEL_FEATURES,
        calibration=calibration,
        held_out=everyone,
        account=accounts,
        label=label,
        probability=probability_of(_calibrated(calibration, raw)),
        fold_auc=tuple(fold_auc),
        never_missing=_never_missing(matrix),
    )


def _in_all(progress: CountProgress | None, before: int, models: int) -> CountProgress | None:
    """Return the progress of one of several models as that of all."""
    if progress is None:
        return None
    return lambda done, total: progress(before * total + done, models * total)


def _accounts(data: Labelled, rows: Rows) -> pl.Series:
    ids: pl.Series = data.features.accounts["account_id"]
    return ids.gather(rows)


def _raw(booster: lgb.Booster, matrix: Matrix) -> Vector:
    return np.asarray(booster.predict(matrix, raw_score=True), dtype=np.float64)


def _calibrated(calibration: Calibration, raw: Vector) -> Vector:
    return calibration.slope * raw + calibration.intercept


def _never_missing(matrix: Matrix) -> tuple[str, ...]:
    """Return the features without an unknown value in these rows.

    LightGBM scores an unknown value of such a feature as 0, so a decision has to know them.
    """
    known = ~np.isnan(matrix).any(axis=0)
    return tuple(np.array(MODEL_FEATURES)[known].tolist())


def _check_both_labels(data: Labelled, split: Split) -> None:
    label = data.label[data.rows(split)]
    ones = int(label.sum())
    if not 0 < ones < len(label):
        raise FitError(
            f"{split}: expected accounts of both labels, got {ones} of {len(label)} with label 1"
        )
