"""Who is compared: each learner behind the same two calls, with its library imported only when it
is asked for.

All see the same rows and the same features, float64 (n, features) with NaN = unknown, and are told
no more than that.  A peer's settings are its library's own defaults, but for what its row of the
page says.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import lightgbm as lgb
import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from features.catalogue import MODEL_FEATURES
from features.types import Matrix, Vector
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.shapley import explain_many, make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees
from training.data.labels import Labelled
from training.fit.config import FitConfig
from training.fit.fit import lightgbm_parameters, train_booster
from training.tune.folds import count_leaves


class Model(Protocol):
    """A fitted contender."""

    def probability(self, matrix: Matrix) -> Vector:
        """Of label 1, float64 (n,) inside [0, 1]."""

    @property
    def leaves(self) -> float | None:
        """Of all its trees; None where it has none, or nobody counted."""

    def explain(self, matrix: Matrix) -> Matrix | None:
        """What each feature adds to the score, by the learner's own means, (n, terms); None where
        it has none.
        """


@dataclass(frozen=True, slots=True)
class Contender:
    """A learner: its name on the page, how it is set, the package it needs (None = always there),
    and how it is fitted.
    """

    name: str
    told: str
    package: str | None
    fit: Callable[[Labelled, FitConfig], Model]

    @property
    def installed(self) -> bool:
        """Whether its package can be imported."""
        return self.package is None or importlib.util.find_spec(self.package) is not None


@dataclass(frozen=True, slots=True)
class _Model:
    """A model of two functions."""

    score: Callable[[Matrix], Any]
    parts: Callable[[Matrix], Any] | None = None
    leaves: float | None = None

    def probability(self, matrix: Matrix) -> Vector:
        return np.asarray(self.score(matrix), dtype=np.float64)

    def explain(self, matrix: Matrix) -> Matrix | None:
        return None if self.parts is None else np.asarray(self.parts(matrix), dtype=np.float64)


def _of(data: Labelled, config: FitConfig) -> tuple[Matrix, Vector]:
    """What a learner is given: features that the config leaves out are unknown throughout, so that
    none learns from them.
    """
    matrix = data.features.matrix(MODEL_FEATURES)
    matrix[:, [place for place, name in enumerate(MODEL_FEATURES) if name in config.excluded_features]] = (
        np.nan
    )
    return matrix, data.label


def _logistic(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _of(data, config)
    scaled = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    regression = LogisticRegression(max_iter=1000).fit(scaled.fit_transform(matrix), label)
    return _Model(
        lambda rows: regression.predict_proba(scaled.transform(rows))[:, 1],
        lambda rows: scaled.transform(rows) * regression.coef_[0],
    )


def _scorecard(data: Labelled, config: FitConfig) -> Model:
    from optbinning import BinningProcess

    matrix, label = _of(data, config)
    # it bins no column that is unknown throughout
    known = np.flatnonzero(~np.isnan(matrix).all(axis=0))
    names = [MODEL_FEATURES[place] for place in known]
    # One direction a feature, found from the data: what makes a scorecard readable.
    trends = {name: {"monotonic_trend": "auto_asc_desc"} for name in names}
    process = BinningProcess(names, binning_fit_params=trends)

    def binned(rows: Matrix) -> Matrix:
        return np.asarray(
            process.transform(rows[:, known], metric="woe", metric_missing="empirical"),
            dtype=np.float64,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of the libraries below it
        process.fit(matrix[:, known], label)
        regression = LogisticRegression(max_iter=1000).fit(binned(matrix), label)
    return _Model(
        lambda rows: regression.predict_proba(binned(rows))[:, 1],
        lambda rows: binned(rows) * regression.coef_[0],
    )


def _ebm(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _of(data, config)
    from interpret.glassbox import ExplainableBoostingClassifier

    model = ExplainableBoostingClassifier(random_state=config.seed, n_jobs=config.threads or -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(matrix, label.astype(np.int64))
    return _Model(lambda rows: model.predict_proba(rows)[:, 1], model.eval_terms)


def _xgboost(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _of(data, config)
    import xgboost

    parameters = {
        "objective": "binary:logistic",
        "seed": config.seed,
        "nthread": config.threads or None,
    }
    booster = xgboost.train(
        {k: v for k, v in parameters.items() if v is not None}, xgboost.DMatrix(matrix, label), 100
    )
    return _Model(
        booster.inplace_predict,
        lambda rows: booster.predict(xgboost.DMatrix(rows), pred_contribs=True),
    )


def _catboost(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _of(data, config)
    import catboost

    model = catboost.CatBoostClassifier(
        random_seed=config.seed,
        verbose=False,
        allow_writing_files=False,
        thread_count=config.threads or -1,
    ).fit(matrix, label)
    return _Model(
        lambda rows: model.predict_proba(rows)[:, 1],
        lambda rows: model.get_feature_importance(catboost.Pool(rows), type="ShapValues"),
    )


def _of_booster(booster: lgb.Booster) -> _Model:
    return _Model(
        lambda rows: booster.predict(rows, num_threads=1 if len(rows) == 1 else 0),
        lambda rows: booster.predict(
            rows, pred_contrib=True, num_threads=1 if len(rows) == 1 else 0
        ),
        count_leaves(booster.model_to_string()),
    )


def _lightgbm(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _of(data, config)
    parameters = {
        "objective": "binary",
        "seed": config.seed,
        "verbose": -1,
        "num_threads": config.threads,
    }
    return _of_booster(lgb.train(parameters, lgb.Dataset(matrix, label, params=parameters), 100))


def _unconstrained(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _of(data, config)
    free = replace(config, monotone=False)
    parameters = lightgbm_parameters(free)
    return _of_booster(
        lgb.train(parameters, lgb.Dataset(matrix, label, params=parameters), free.trees)
    )


def ours(data: Labelled, config: FitConfig) -> Model:
    """Our trees as a fit in folds makes them, explained as a decision is: exactly, against 1,000 of
    the rows fitted on.
    """
    matrix, label = _of(data, config)
    booster = train_booster(matrix, label, config, weight=data.weight)
    reference = np.random.default_rng(config.seed).permutation(matrix)[:REFERENCE]
    explainer = make_explainer(flatten_trees(read_trees(booster)), reference)
    return replace(_of_booster(booster), parts=lambda rows: explain_many(rows, explainer))


OURS = "Clearline"
REFERENCE = 1000
CONTENDERS: tuple[Contender, ...] = (
    Contender(OURS, "the config asked for, every feature held to its direction", None, ours),
    Contender(
        "LightGBM, our config unconstrained", "the same without directions", None, _unconstrained
    ),
    Contender("LightGBM", "defaults, 100 trees of 31 leaves", None, _lightgbm),
    Contender(
        "logistic regression",
        "medians for what is unknown, standardised, scikit-learn's defaults",
        None,
        _logistic,
    ),
    Contender(
        "scorecard",
        "weight of evidence in optbinning's monotone bins, then logistic regression",
        "optbinning",
        _scorecard,
    ),
    Contender("EBM", "interpret's defaults, interactions included", "interpret", _ebm),
    Contender("XGBoost", "defaults, 100 rounds", "xgboost", _xgboost),
    Contender("CatBoost", "defaults, 1,000 trees", "catboost", _catboost),
)
# what pip calls those that are imported by another name
PACKAGE: Mapping[str, str] = {"interpret": "interpret-core"}
