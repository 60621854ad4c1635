"""Fit and calibration: against gradients, repeated rows, bare LightGBM, and unknown features."""

from __future__ import annotations

import dataclasses

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import expit

from features.catalogue import MODEL_FEATURES
from features.types import Matrix, Vector
from training.data.labels import Labelled
from training.evaluate.metrics import auc
from training.fit.calibration import calibrate
from training.fit.config import FitConfig, FitError
from training.fit.fit import (
    Fitted,
    fit,
    lightgbm_parameters,
    predict_log_odds,
    train_booster,
)


def predict(booster: lgb.Booster, matrix: Matrix) -> Vector:
    return np.asarray(booster.predict(matrix))


def as_own_labels(data: Labelled) -> Labelled:
    """Training rows without a hold-out, as of data that bring their own labels."""
    rows = data.rows("train")[:6000]
    own = data.take(rows)
    return dataclasses.replace(own, split=np.full(len(rows), "train"))


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 3.0), st.floats(-2.0, 2.0))
def test_calibration_minimises_the_log_loss_of_softened_targets(
    seed: int, slope: float, intercept: float
) -> None:
    random = np.random.default_rng(seed)
    raw = random.normal(0, 2, 400)
    label = (random.random(400) < expit(slope * raw + intercept)).astype(np.float64)
    assume(5 <= label.sum() <= 395)
    try:
        found = calibrate(raw, label)
    except FitError:
        assert np.corrcoef(raw, label)[0, 1] < 0.1
        return
    # At the minimum of a convex loss the gradient is 0.
    ones, zeros = label.sum(), (1 - label).sum()
    target = np.where(label == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    error = expit(found.slope * raw + found.intercept) - target
    assert abs(error.sum()) < 1e-4
    assert abs((error * raw).sum()) < 1e-4


def test_a_row_of_weight_two_calibrates_as_two_rows() -> None:
    random = np.random.default_rng(3)
    raw = random.normal(0, 2, 400)
    times = random.integers(1, 4, 400)
    label = (random.random(400) < expit(raw)).astype(np.float64)
    weighted = calibrate(raw, label, times.astype(np.float64))
    repeated = calibrate(np.repeat(raw, times), np.repeat(label, times))
    assert weighted.slope == pytest.approx(repeated.slope, abs=1e-6)
    assert weighted.intercept == pytest.approx(repeated.intercept, abs=1e-6)
    assert calibrate(raw, label, np.ones(400)) == calibrate(raw, label)


def test_weights_move_trees_and_calibration_alike(data: Labelled) -> None:
    config = FitConfig(trees=20)
    plain = fit(data, config)
    doubled = fit(dataclasses.replace(data, weight=1.0 + data.label), config)
    # Defaults with weight 2 double the odds; test rows are not weighted.
    matrix = data.features.matrix(MODEL_FEATURES)
    gap = predict_log_odds(doubled, matrix) - predict_log_odds(plain, matrix)
    assert gap.mean() == pytest.approx(np.log(2.0), abs=0.1)
    assert np.array_equal(doubled.label, plain.label)
    weight = np.where(data.split == "train", 1.0 + data.label, 1.0)
    trees = fit(dataclasses.replace(data, weight=weight), config).booster.model_to_string()
    assert trees != plain.booster.model_to_string()


def test_folds_use_the_weights(data: Labelled) -> None:
    own = as_own_labels(data)
    config = FitConfig(trees=10, folds=3)
    plain = fit(own, config)
    doubled = fit(dataclasses.replace(own, weight=1.0 + own.label), config)
    assert doubled.fold_auc != plain.fold_auc
    assert doubled.probability.mean() > 1.5 * plain.probability.mean()
    assert doubled.booster.model_to_string() != plain.booster.model_to_string()


def test_a_score_that_ranks_backwards_is_refused() -> None:
    raw = np.linspace(-2, 2, 200)
    with pytest.raises(FitError, match="slope above 0"):
        calibrate(raw, (raw < 0).astype(np.float64))


def test_the_booster_is_the_one_of_bare_lightgbm_and_within_its_limits(data: Labelled) -> None:
    config = FitConfig(trees=20)
    matrix = data.features.matrix(MODEL_FEATURES)
    booster = train_booster(matrix, data.label, config)
    dataset = lgb.Dataset(matrix, data.label, feature_name=list(MODEL_FEATURES))
    bare = lgb.train(lightgbm_parameters(config), dataset, 20)
    assert np.array_equal(predict(booster, matrix[:200]), predict(bare, matrix[:200]))
    trees = booster.trees_to_dataframe()
    assert trees["node_depth"].max() <= config.depth + 1
    leaves = trees[trees["left_child"].isna()]
    assert leaves.groupby("tree_index").size().max() <= config.leaves


def test_fitting_is_deterministic(data: Labelled, fitted: Fitted) -> None:
    again = fit(data, FitConfig(trees=80, min_leaf=30))
    assert again.booster.model_to_string() == fitted.booster.model_to_string()
    assert again.calibration == fitted.calibration


def test_early_stopping_keeps_only_the_trees_that_help(data: Labelled) -> None:
    stopped = fit(data, FitConfig(trees=400, learning_rate=0.3, stop_after=5))
    assert stopped.booster.num_trees() < 400
    matrix = data.features.matrix(MODEL_FEATURES)
    text = lgb.Booster(model_str=stopped.booster.model_to_string())
    assert np.array_equal(predict(text, matrix[:50]), predict(stopped.booster, matrix[:50]))


def test_the_model_finds_the_signal_and_is_calibrated(fitted: Fitted) -> None:
    assert 0.75 < auc(fitted.label, fitted.probability) < 0.95
    assert fitted.probability.mean() == pytest.approx(fitted.label.mean(), abs=0.02)


def test_data_with_their_own_labels_are_folded(data: Labelled) -> None:
    own = as_own_labels(data)
    seen: list[tuple[int, int]] = []
    found = fit(own, FitConfig(trees=30, folds=3), lambda *done: seen.append(done))
    # One progress over the three folds and the model itself, a tree at a time.
    assert seen == [(tree, 120) for tree in range(1, 121)]
    assert len(found.fold_auc) == 3
    assert np.array_equal(found.held_out, np.arange(len(own.label)))
    assert 0.7 < np.mean(found.fold_auc) < 0.95


def test_fewer_defaults_than_folds_are_refused(data: Labelled) -> None:
    own = as_own_labels(data)
    ones, zeros = np.flatnonzero(own.label == 1), np.flatnonzero(own.label == 0)
    rows = np.concatenate([ones[:3], zeros[:397]])
    few = own.take(rows)
    accounts = few.features.accounts["account_id"][: len(ones[:3])].n_unique()
    words = rf"expected 5 accounts or more with label 1 .* got {accounts} and "
    with pytest.raises(FitError, match=words):
        fit(few, FitConfig(trees=5, min_leaf=5))


def test_rows_of_one_account_are_one_default(data: Labelled) -> None:
    """Five rows of one account are no five defaults."""
    own = as_own_labels(data)
    one, zeros = np.flatnonzero(own.label == 1)[:1], np.flatnonzero(own.label == 0)
    repeated = own.take(np.concatenate([np.repeat(one, 5), zeros[:395]]))
    with pytest.raises(FitError, match="got 1 and "):
        fit(repeated, FitConfig(trees=5, min_leaf=5))


def test_one_label_alone_is_refused(data: Labelled) -> None:
    with pytest.raises(FitError, match="train: expected accounts of both labels"):
        fit(dataclasses.replace(data, label=np.zeros_like(data.label)), FitConfig(trees=2))


def test_no_tree_splits_on_an_excluded_feature(data: Labelled) -> None:
    """The oracle: the same trees on data in which these features are always unknown."""
    rows = data.rows("train")
    matrix = data.features.matrix(MODEL_FEATURES)[rows]
    label = data.label[rows]
    config = FitConfig(trees=20, feature_share=1.0)
    gains = train_booster(matrix, label, config).feature_importance("gain")
    places = np.argsort(gains)[-2:]
    names = tuple(MODEL_FEATURES[place] for place in places)
    booster = train_booster(matrix, label, dataclasses.replace(config, excluded_features=names))
    unknown = matrix.copy()
    unknown[:, places] = np.nan
    oracle = train_booster(unknown, label, config)
    assert not booster.feature_importance()[places].any()
    assert np.array_equal(predict(booster, matrix), predict(oracle, unknown))


def test_an_excluded_feature_has_to_be_a_model_feature() -> None:
    meant = r"got 'utilisation_now' \(did you mean 'utilization_now'\?\)"
    with pytest.raises(ValueError, match=meant):
        FitConfig(excluded_features=("income", "utilisation_now"))
    with pytest.raises(ValueError, match="all are excluded"):
        FitConfig(excluded_features=MODEL_FEATURES)
