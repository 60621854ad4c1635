"""Platt calibration: raw scores to calibrated log-odds."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from features.types import Vector
from serving.decision.scoring.score import Calibration
from training.fit.config import FitError


def calibrate(raw: Vector, label: Vector, weight: Vector | None = None) -> Calibration:
    """Fit slope and intercept: a logistic regression of the label on the raw score.

    The targets are the softened ones of Platt (1999).  ``raw`` and ``label`` (0 or 1) have one
    entry a row; ``weight`` is the weight of each row in the fit, None = 1.

    Raises :class:`FitError` if the slope is not above 0: the score would rank accounts backwards.
    """
    weights = np.ones(len(label)) if weight is None else weight
    ones = float((weights * label).sum())
    zeros = float((weights * (1.0 - label)).sum())
    # Never 0 or 1: the posterior means of the label under a uniform prior.
    target_of_ones = (ones + 1.0) / (ones + 2.0)
    target_of_zeros = 1.0 / (zeros + 2.0)
    target = np.where(label == 1, target_of_ones, target_of_zeros)
    # scikit-learn takes no fractional labels: each row enters twice, as a 1 with the weight of its
    # target and as a 0 with the rest.
    scores = np.tile(raw, 2)[:, None]
    labels = np.repeat([1, 0], len(raw))
    row_weights = np.concatenate(
        [
            weights * target,
            weights * (1.0 - target),
        ]
    )
    regression = LogisticRegression(
        C=np.inf,  # no penalty: it would shrink the slope
        solver="newton-cholesky",
        tol=1e-10,
        max_iter=200,
    )
    regression.fit(scores, labels, row_weights)
    slope = float(regression.coef_[0, 0])
    if not slope > 0:
        raise FitError(
            f"calibration: expected a slope above 0, got {slope:.4g}: "
            "the score does not rank these accounts"
        )
    return Calibration(slope, float(regression.intercept_[0]))
