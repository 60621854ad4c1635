"""Features to log-odds, probability and contributions.

Conventions
-----------
``raw``            the model's own log-odds, before calibration
``log_odds``       calibrated: ``slope * raw + intercept``; ``probability = 1 / (1 + exp(-log_odds))``
``contributions``  float64 (accounts, features) in log-odds, against the reference population of the account's product;
                   ``base_log_odds + contributions.sum(axis=1) == log_odds``
``base_log_odds``  the mean log_odds of that reference population
Calibration is affine in log-odds, so contributions stay exact: each is ``slope`` times that of the raw model.

The log-odds are LightGBM's own prediction and the contributions come from our tables: that they add
up, which is checked for every account, is a check of the one by the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from features.types import Vector
from serving.decision.scoring.shapley import Explainer, explain_many


def logit(probability: float) -> float:
    """log(p / (1 - p)) of a probability inside (0, 1)."""
    return math.log(probability) - math.log1p(-probability)


ADDITIVITY_TOLERANCE = 1e-9
_ROWS_WORTH_THREADS = 256  # below, handing rows to threads costs more than scoring them


class AdditivityError(ArithmeticError):
    """Contributions that do not add up to the log-odds: the explanation would be false, so there is
    no decision.
    """


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt calibration in log-odds; ``slope`` is above 0, so that order and signs are kept (Platt
    1999).
    """

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (0 < self.slope < np.inf and np.isfinite(self.intercept)):
            raise ValueError(
                f"calibration: expected a finite slope above 0 and a finite intercept, got {self}"
            )


@dataclass(frozen=True, slots=True)
class Scores:
    """For some accounts: float64 (accounts,), and contributions (accounts, features)."""

    log_odds: Vector
    probability: Vector
    base_log_odds: Vector
    contributions: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with its calibration and, for each product, what explains it against that product's
    reference population.
    """

    model: lgb.Booster
    calibration: Calibration
    explainers: Mapping[str, Explainer]


def score(matrix: NDArray[np.float64], products: Sequence[str], scorer: Scorer) -> Scores:
    """Scores of the rows of ``matrix``, whose columns are the model's features in order; NaN =
    unknown.

    ``products`` names each row's product.  A row's scores are the same to the last bit whatever
    rows stand beside it.  Raises :class:`AdditivityError` where base + contributions misses the
    log-odds by more than 1e-9, ValueError for a matrix of another width, another number of
    products, or a product without a reference population.
    """
    model, calibration = scorer.model, scorer.calibration
    if matrix.ndim != 2 or matrix.shape != (len(products), model.num_feature()):
        raise ValueError(
            f"score: expected ({len(products)}, {model.num_feature()}), got {matrix.shape}"
        )
    threads = 1 if len(matrix) < _ROWS_WORTH_THREADS else 0
    raw_base, raw_contributions = _explained(matrix, products, scorer.explainers)
    contributions = calibration.slope * raw_contributions
    base = calibration.slope * raw_base + calibration.intercept
    log_odds = log_odds_of(matrix, scorer, threads)
    _check_additive(base, contributions, log_odds)
    return Scores(log_odds, probability_of(log_odds), base, contributions)


def log_odds_of(matrix: NDArray[np.float64], scorer: Scorer, threads: int = 0) -> Vector:
    """Calibrated log-odds alone, float64 (rows,), of rows of model features; ``threads`` 0 = all
    cores.
    """
    raw = np.asarray(scorer.model.predict(matrix, raw_score=True, num_threads=threads))
    calibrated: Vector = scorer.calibration.slope * raw + scorer.calibration.intercept
    return calibrated


def _explained(
    matrix: NDArray[np.float64], products: Sequence[str], explainers: Mapping[str, Explainer]
) -> tuple[Vector, NDArray[np.float64]]:
    """Base and contributions to the raw log-odds, each row against its product's reference."""
    base, contributions = np.empty(len(matrix)), np.empty(matrix.shape)
    rows_of: dict[str, list[int]] = {}
    for row, product in enumerate(products):
        rows_of.setdefault(product, []).append(row)
    for product, rows in rows_of.items():
        if product not in explainers:
            raise ValueError(
                f"score: expected a product of {sorted(explainers)}, got {product!r} in row {rows[0]}"
            )
        base[rows] = explainers[product].base
        contributions[rows] = explain_many(matrix[rows], explainers[product])
    return base, contributions


def probability_of(log_odds: Vector) -> Vector:
    """The logistic function, without overflow at either end."""
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def _check_additive(base: Vector, contributions: NDArray[np.float64], log_odds: Vector) -> None:
    gap = np.abs(base + contributions.sum(axis=1) - log_odds)
    # Written so that NaN fails too.
    if not (gap <= ADDITIVITY_TOLERANCE).all():
        worst = int(np.argmax(gap))
        raise AdditivityError(
            f"contributions miss the log-odds by {gap[worst]:.3g} in row {worst}; at most 1e-9 is allowed"
        )
