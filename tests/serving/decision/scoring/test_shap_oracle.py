"""``shap``'s interventional explainer and ours: where they are equal, and where shap is wrong.

The oracle is LightGBM: brute force over coalitions of its own predictions gives each contribution.
The faults are those of shap 0.51.0 with LightGBM 4.7.0, which docs/service/explanations.md lists;
check them again for another version.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version

import lightgbm as lgb
import numpy as np
import pytest

from features.catalogue import MODEL_FEATURES
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.shapley import explain_many, make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support.boosters import MISSING
from tests.support.brute_force import shapley_values
from training.data.labels import Labelled
from training.fit.fit import Fitted

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    import shap

TESTED = "0.51.0"
FEATURES = 6


def shap_values(model: lgb.Booster, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    # Without max_samples shap keeps 100 rows of the reference and says nothing.
    masker = shap.maskers.Independent(reference, max_samples=len(reference))
    explainer = shap.TreeExplainer(
        model, masker, feature_perturbation="interventional", model_output="raw"
    )
    return np.asarray(explainer.shap_values(rows, check_additivity=False))


def ours(model: lgb.Booster, reference: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return explain_many(rows, make_explainer(flatten_trees(read_trees(model)), reference))


def drawn(random: np.random.Generator, rows: int, unknown: float, zeros: float = 0.0) -> np.ndarray:
    matrix = random.normal(size=(rows, FEATURES))
    matrix[random.random(matrix.shape) < zeros] = 0.0
    matrix[random.random(matrix.shape) < unknown] = np.nan
    return matrix


def fitted_on(matrix: np.ndarray, options: dict[str, bool]) -> lgb.Booster:
    label = (np.nansum(matrix * [1, -1, 2, 0.5, -2, 1], axis=1) > 0).astype(float)
    parameters = {
        "objective": "binary",
        "num_leaves": 16,
        "max_depth": 4,
        "verbose": -1,
        "num_threads": 1,
    } | options
    return lgb.train(parameters, lgb.Dataset(matrix, label, params=parameters), 20)


def test_equal_to_shap_where_it_is_right() -> None:
    for unknown in (0.0, 0.2):
        random = np.random.default_rng(0)
        model = fitted_on(drawn(random, 500, unknown), {})
        reference, rows = drawn(random, 300, unknown), drawn(random, 100, unknown)
        assert (
            np.abs(ours(model, reference, rows) - shap_values(model, reference, rows)).max() <= 1e-6
        )


def test_equal_to_shap_on_the_served_model(data: Labelled, fitted: Fitted) -> None:
    matrix = data.features.matrix(MODEL_FEATURES)
    reference, rows = matrix[:500], matrix[-40:]
    assert (
        np.abs(
            ours(fitted.booster, reference, rows) - shap_values(fitted.booster, reference, rows)
        ).max()
        <= 1e-6
    )


@pytest.mark.skipif(version("shap") != TESTED, reason=f"the faults are those of shap {TESTED}")
@pytest.mark.parametrize(
    "case", ["NaN first seen at scoring", "use_missing=false", "zero_as_missing"]
)
def test_shap_is_wrong_and_does_not_say_so(case: str) -> None:
    options, _ = MISSING[
        {"NaN first seen at scoring": "none seen", "use_missing=false": "not used"}.get(
            case, "zero is missing"
        )
    ]
    random = np.random.default_rng(0)
    model = fitted_on(
        drawn(random, 500, 0.0 if case.startswith("NaN") else 0.2, zeros=0.3), options
    )
    reference, rows = drawn(random, 60, 0.2, zeros=0.3), drawn(random, 20, 0.2, zeros=0.3)
    exact, theirs = ours(model, reference, rows), shap_values(model, reference, rows)
    for row, found in zip(rows, exact, strict=True):
        assert np.abs(found - shapley_values(row, reference, model)).max() <= 1e-10
    assert np.abs(theirs - exact).max() > 0.1


@pytest.mark.skipif(version("shap") != TESTED, reason=f"the faults are those of shap {TESTED}")
def test_shap_is_wrong_on_categorical_splits_which_we_refuse() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 12, size=(600, 3)).astype(float)
    label = (
        random.normal(size=12)[codes[:, 0].astype(int)]
        + random.normal(size=12)[codes[:, 1].astype(int)]
    )
    parameters = {
        "num_leaves": 8,
        "min_data_per_group": 1,
        "cat_smooth": 0,
        "verbose": -1,
        "num_threads": 1,
    }
    model = lgb.train(
        parameters,
        lgb.Dataset(codes, label, categorical_feature=[0, 1, 2], params={"verbose": -1}),
        20,
    )
    reference, rows = codes[:60], codes[-20:]
    exact = np.array([shapley_values(row, reference, model) for row in rows])
    assert np.abs(shap_values(model, reference, rows) - exact).max() > 0.1
    with pytest.raises(ValueError, match="categorical"):
        read_trees(model)
