"""The learners that are compared, behind one interface; each library is imported when it is used.

All learners get the same rows and features, float64 (n, features) with NaN = unknown, and nothing
else.  A peer has its library's defaults, except where its ``setting`` says otherwise.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

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
from training.tracking.lightgbm_import import lgb
from training.tune.folds import count_leaves


class Model(Protocol):
    """A fitted contender."""

    def probability(self, matrix: Matrix) -> Vector:
        """Return the probability of label 1, float64 (n,) inside [0, 1]."""

    @property
    def leaves(self) -> float | None:
        """The leaves of all trees; null where the model has no trees, or they are not counted."""

    def explain(self, matrix: Matrix) -> Matrix | None:
        """Return the contributions to the score by the learner's own method, (n, terms).

        Null where it has no such method.
        """


@dataclass(frozen=True, slots=True)
class Contender:
    """A learner: its name and setting on the page, the package it needs, and its fit.

    ``package`` is null where the learner is always installed.
    """

    name: str
    setting: str
    package: str | None
    fit: Callable[[Labelled, FitConfig], Model]

    @property
    def installed(self) -> bool:
        """Whether its package can be imported."""
        return self.package is None or importlib.util.find_spec(self.package) is not None

    @property
    def install_command(self) -> str:
        """The command that installs its package."""
        package = self.package or ""
        return f"pip install {DISTRIBUTIONS.get(package, package)}"


@dataclass(frozen=True, slots=True)
class _Model:
    """A model made of two functions."""

    score: Callable[[Matrix], Any]
    contributions: Callable[[Matrix], Any] | None = None
    leaves: float | None = None

    def probability(self, matrix: Matrix) -> Vector:
        return np.asarray(self.score(matrix), dtype=np.float64)

    def explain(self, matrix: Matrix) -> Matrix | None:
        if self.contributions is None:
            return None
        return np.asarray(self.contributions(matrix), dtype=np.float64)


def _training_rows(data: Labelled, config: FitConfig) -> tuple[Matrix, Vector]:
    """Features and labels; the features that the config excludes are unknown throughout."""
    # Unknown and not dropped: every learner then takes the same columns when it scores.
    matrix = data.features.matrix(MODEL_FEATURES)
    excluded = np.isin(MODEL_FEATURES, list(config.excluded_features))
    matrix[:, excluded] = np.nan
    return matrix, data.label


def _logistic(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _training_rows(data, config)
    scaled = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    regression = LogisticRegression(max_iter=1000).fit(scaled.fit_transform(matrix), label)
    return _Model(
        lambda rows: regression.predict_proba(scaled.transform(rows))[:, 1],
        lambda rows: scaled.transform(rows) * regression.coef_[0],
    )


def _scorecard(data: Labelled, config: FitConfig) -> Model:
    from optbinning import BinningProcess

    matrix, label = _training_rows(data, config)
    # optbinning bins no column that is unknown throughout.
    known = np.flatnonzero(~np.isnan(matrix).all(axis=0))
    names = [MODEL_FEATURES[place] for place in known]
    # Each feature is monotone in a direction found from the data, which makes scorecards readable.
    trends = {name: {"monotonic_trend": "auto_asc_desc"} for name in names}
    process = BinningProcess(names, binning_fit_params=trends)

    def weights_of_evidence(rows: Matrix) -> Matrix:
        # "empirical": unknown values have the weight of their own bin, not 0.
        binned = process.transform(rows[:, known], metric="woe", metric_missing="empirical")
        return np.asarray(binned, dtype=np.float64)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of the libraries that optbinning uses
        process.fit(matrix[:, known], label)
        regression = LogisticRegression(max_iter=1000).fit(weights_of_evidence(matrix), label)
    return _Model(
        lambda rows: regression.predict_proba(weights_of_evidence(rows))[:, 1],
        lambda rows: weights_of_evidence(rows) * regression.coef_[0],
    )


def _ebm(data: Labelled, config: FitConfig) -> Model:
    from interpret.glassbox import ExplainableBoostingClassifier

    matrix, label = _training_rows(data, config)
    model = ExplainableBoostingClassifier(random_state=config.seed, n_jobs=config.threads or -1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(matrix, label.astype(np.int64))
    return _Model(lambda rows: model.predict_proba(rows)[:, 1], model.eval_terms)


def _xgboost(data: Labelled, config: FitConfig) -> Model:
    import xgboost

    matrix, label = _training_rows(data, config)
    parameters: dict[str, object] = {"objective": "binary:logistic", "seed": config.seed}
    if config.threads:
        parameters["nthread"] = config.threads
    booster = xgboost.train(parameters, xgboost.DMatrix(matrix, label), 100)
    return _Model(
        booster.inplace_predict,
        lambda rows: booster.predict(xgboost.DMatrix(rows), pred_contribs=True),
    )


def _catboost(data: Labelled, config: FitConfig) -> Model:
    import catboost

    matrix, label = _training_rows(data, config)
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
    def threads(rows: Matrix) -> int:
        return 1 if len(rows) == 1 else 0  # starting threads costs more than scoring one row

    return _Model(
        lambda rows: booster.predict(rows, num_threads=threads(rows)),
        lambda rows: booster.predict(rows, pred_contrib=True, num_threads=threads(rows)),
        count_leaves(booster.model_to_string()),
    )


def _lightgbm(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _training_rows(data, config)
    parameters = {
        "objective": "binary",
        "seed": config.seed,
        "verbose": -1,
        "num_threads": config.threads,
    }
    rows = lgb.Dataset(matrix, label, params=parameters)
    return _of_booster(lgb.train(parameters, rows, 100))


def _unconstrained(data: Labelled, config: FitConfig) -> Model:
    matrix, label = _training_rows(data, config)
    unconstrained = replace(config, monotone=False)
    parameters = lightgbm_parameters(unconstrained)
    rows = lgb.Dataset(matrix, label, params=parameters)
    return _of_booster(lgb.train(parameters, rows, unconstrained.trees))


def fit_ours(data: Labelled, config: FitConfig) -> Model:
    """Fit our trees as a fit in folds does, explained as decisions are: by exact Shapley values.

    The reference is 1,000 of the rows fitted on.
    """
    matrix, label = _training_rows(data, config)
    booster = train_booster(matrix, label, config, weight=data.weight)
    random = np.random.default_rng(config.seed)
    reference = random.permutation(matrix)[:REFERENCE]
    tables = flatten_trees(read_trees(booster))
    explainer = make_explainer(tables, reference)
    # LightGBM's own contributions are path-dependent, and so not those that decisions state.
    return replace(
        _of_booster(booster),
        contributions=lambda rows: explain_many(rows, explainer),
    )


OURS = "Clearline"
REFERENCE = 1000
CONTENDERS: tuple[Contender, ...] = (
    Contender(
        OURS,
        "the config asked for, every feature held to its direction",
        None,
        fit_ours,
    ),
    Contender(
        "LightGBM, our config unconstrained",
        "the same without directions",
        None,
        _unconstrained,
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
# Package -> the distribution that pip installs, where the names differ.
DISTRIBUTIONS: Mapping[str, str] = {"interpret": "interpret-core"}
