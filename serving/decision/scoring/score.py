"""Features to log-odds, probability and contributions.

Conventions
-----------
``raw`` is the model's own log-odds, before calibration.

``log_odds`` is calibrated: ``slope * raw + intercept``.  ``probability`` is
``1 / (1 + exp(-log_odds))``.

``contributions`` is float64 (accounts, features) in log-odds, against the reference population of
the account's product.  ``base_log_odds`` is the mean ``log_odds`` of that population, and
``base_log_odds + contributions.sum(axis=1) == log_odds``.

Calibration is affine in log-odds, so contributions stay exact: each is ``slope`` times the
contribution to ``raw``.

The log-odds come from LightGBM's own prediction and the contributions from our tables, so the check
that they add up, made for every account, tests each against the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.types import Matrix, Rows, Vector
from serving.decision.scoring import kernels
from serving.decision.scoring.leaf_values import LeafValues
from serving.decision.scoring.lightgbm_import import lgb
from serving.decision.scoring.shapley import Explainer, explain_many, split_changes
from serving.decision.scoring.single_row import SingleRow

ADDITIVITY_TOLERANCE = 1e-9
_ROWS_WORTH_THREADS = 256  # with fewer rows, the threads cost more than the prediction


class AdditivityError(ArithmeticError):
    """Contributions that do not add up to the log-odds.

    The explanation would be false, so there is no decision.
    """


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt calibration in log-odds (Platt 1999).

    ``slope`` is above 0, so that order and signs are kept.
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
    """Scores of several accounts, float64 (accounts,); contributions (accounts, features)."""

    log_odds: Vector
    probability: Vector
    base_log_odds: Vector
    contributions: Matrix


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model with its calibration and, by product, the explainer for the reference population.

    ``single_row`` predicts what ``model`` does, for one row in less time, and ``leaf_values`` for
    many; None = they are not there.
    """

    model: lgb.Booster
    calibration: Calibration
    explainers: Mapping[str, Explainer]
    single_row: SingleRow | None = None
    leaf_values: LeafValues | None = None


def score(matrix: Matrix, products: Sequence[str], scorer: Scorer) -> Scores:
    """Scores of each row, the same to the last bit whichever other rows are in ``matrix``.

    Args:
        matrix: float64 (rows, features): the model's features in order, NaN = unknown.
        products: The product of each row.
        scorer: The model, its calibration and its explainers.

    Raises:
        AdditivityError: Base and contributions miss the log-odds by more than 1e-9.
        ValueError: The matrix has another width, the number of products is not the number of rows,
            or a product has no reference population.
    """
    model, calibration = scorer.model, scorer.calibration
    width = model.num_feature() if scorer.single_row is None else scorer.single_row.features
    if matrix.ndim != 2 or matrix.shape != (len(products), width):
        expected = f"({len(products)}, {width})"
        raise ValueError(f"score: expected {expected}, got {matrix.shape}")
    if len(matrix) == 1 and scorer.single_row is not None and products[0] in scorer.explainers:
        return _score_one(
            matrix,
            scorer.explainers[products[0]],
            scorer.single_row,
            calibration,
        )
    threads = 1 if len(matrix) < _ROWS_WORTH_THREADS else 0
    raw_base, raw_contributions = _explain(matrix, products, scorer.explainers)
    contributions = calibration.slope * raw_contributions
    base = calibration.slope * raw_base + calibration.intercept
    log_odds = log_odds_of(matrix, scorer, threads)
    _check_additive(base, contributions, log_odds)
    return Scores(log_odds, probability_of(log_odds), base, contributions)


def _score_one(
    matrix: Matrix,
    explainer: Explainer,
    single_row: SingleRow,
    calibration: Calibration,
) -> Scores:
    """:func:`score` of one row: the same bits in plain numbers, a few instead of many arrays."""
    slope, intercept = calibration.slope, calibration.intercept
    contributions = explain_many(matrix, explainer)
    contributions *= slope
    log_odds = slope * single_row.predict(matrix[0]) + intercept
    scores = Scores(
        np.array([log_odds]),
        np.array([probability_of_one(log_odds)]),
        np.array([slope * explainer.base + intercept]),
        contributions,
    )
    _check_additive(scores.base_log_odds, contributions, scores.log_odds)
    return scores


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed between pairs of rows under one model.

    ``earlier_log_odds`` is float64 (pairs,); ``contributions`` float64 (pairs, features), which add
    up to the log-odds of today's row minus those of the earlier one.
    """

    earlier_log_odds: Vector
    contributions: Matrix


def compare_rows(now: Matrix, earlier: Matrix, scorer: Scorer) -> Changes:
    """The exact split of the change of the log-odds from each row of ``earlier`` to its row of now.

    Both matrices are as for :func:`score`; no reference population plays a part.

    Raises:
        AdditivityError: Contributions miss the change by more than 1e-9.
        ValueError: The matrices have another width, or not the same number of rows.
    """
    layout = next(iter(scorer.explainers.values())).layout
    contributions = scorer.calibration.slope * split_changes(now, earlier, layout)
    threads = 1 if len(now) < _ROWS_WORTH_THREADS else 0
    earlier_log_odds = log_odds_of(earlier, scorer, threads)
    _check_additive(earlier_log_odds, contributions, log_odds_of(now, scorer, threads))
    return Changes(earlier_log_odds, contributions)


def log_odds_of(matrix: Matrix, scorer: Scorer, threads: int = 0) -> Vector:
    """Calibrated log-odds alone, float64 (rows,); ``threads`` 0 = all cores."""
    if len(matrix) == 1 and scorer.single_row is not None:
        raw = np.array([scorer.single_row.predict(matrix[0])])
    else:
        raw = np.asarray(scorer.model.predict(matrix, raw_score=True, num_threads=threads))
    log_odds: Vector = scorer.calibration.slope * raw + scorer.calibration.intercept
    return log_odds


def log_odds_by_tables(matrix: Matrix, scorer: Scorer, places: Rows | None = None) -> Vector:
    """:func:`log_odds_of` by our own tables: the same bits, a tenth of the time for many rows.

    ``places`` are the columns of ``matrix`` that have the model's features, int64 (features,);
    None = it has them alone, in order.
    """
    if scorer.leaf_values is None:
        own = matrix if places is None else np.take(matrix, places, axis=1)
        return log_odds_of(own, scorer, threads=1)
    raw = scorer.leaf_values.predict(matrix, places)
    log_odds: Vector = scorer.calibration.slope * raw + scorer.calibration.intercept
    return log_odds


def check_tables(matrix: Matrix, scores: Scores, scorer: Scorer) -> None:
    """Raise :class:`AdditivityError` if :func:`log_odds_by_tables` has not the bits of the scores.

    ``scores`` are those of the rows of ``matrix``.
    """
    differing = np.count_nonzero(log_odds_by_tables(matrix, scorer) != scores.log_odds)
    if differing:
        raise AdditivityError(
            "expected the log-odds of LightGBM from the leaf values, "
            f"got others for {differing} of {len(matrix)} rows"
        )


def logit(probability: float) -> float:
    """log(p / (1 - p)) of a probability; infinite at 0 and 1."""
    if probability in (0.0, 1.0):
        return math.inf if probability else -math.inf
    return math.log(probability) - math.log1p(-probability)


def probability_of(log_odds: Vector) -> Vector:
    """The logistic function, without overflow at either end."""
    small = np.exp(-np.abs(log_odds))
    return np.where(log_odds >= 0, 1.0, small) / (1.0 + small)


def probability_of_one(log_odds: float) -> float:
    """:func:`probability_of` of one number."""
    small = float(np.exp(-abs(log_odds)))  # not math.exp, which differs in the last bit
    return (1.0 if log_odds >= 0 else small) / (1.0 + small)


def _explain(
    matrix: Matrix, products: Sequence[str], explainers: Mapping[str, Explainer]
) -> tuple[Vector, Matrix]:
    """Base and contributions to the raw log-odds, each row against its product's reference."""
    base, contributions = np.empty(len(matrix)), np.empty(matrix.shape)
    rows_of: dict[str, list[int]] = {}
    for row, product in enumerate(products):
        rows_of.setdefault(product, []).append(row)
    for product, rows in rows_of.items():
        if product not in explainers:
            raise ValueError(
                f"score: expected a product of {sorted(explainers)}, "
                f"got {product!r} in row {rows[0]}"
            )
        base[rows] = explainers[product].base
        contributions[rows] = explain_many(matrix[rows], explainers[product])
    return base, contributions


def _check_additive(base: Vector, contributions: Matrix, log_odds: Vector) -> None:
    if kernels.add_up(base, contributions, log_odds, ADDITIVITY_TOLERANCE):
        return
    gap = np.abs(base + contributions.sum(axis=1) - log_odds)
    worst = int(np.argmax(gap))
    raise AdditivityError(
        f"contributions miss the log-odds by {gap[worst]:.3g} in row {worst}; "
        f"at most {ADDITIVITY_TOLERANCE:g} is allowed"
    )
