"""Platt calibration: raw scores to calibrated log-odds."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression

from features.types import Vector
from serving.decision.scoring.score import Calibration
from training.fit.config import FitError


def calibrate(raw: Vector, label: Vector, weight: Vector | None = None) -> Calibration:
    """Platt's two numbers: a logistic regression of the label on the raw score, on his softened
    targets (Platt 1999).

    ``weight`` is what each row counts; None = once.
    :class:`FitError` where the slope is not above 0: the score would then rank accounts backwards.
    """
    counts = np.ones(len(label)) if weight is None else weight
    ones, zeros = float((counts * label).sum()), float((counts * (1.0 - label)).sum())
    target = np.where(label == 1, (ones + 1.0) / (ones + 2.0), 1.0 / (zeros + 2.0))
    # A target between 0 and 1 is the same row once as 1 and once as 0, weighted.
    regression = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    labels = np.repeat([1, 0], len(raw))
    regression.fit(
        np.tile(raw, 2)[:, None], labels, np.concatenate([counts * target, counts * (1.0 - target)])
    )
    slope, intercept = float(regression.coef_[0, 0]), float(regression.intercept_[0])
    if not slope > 0:
        raise FitError(
            f"calibration: expected a slope above 0, got {slope:.4g}: the score does not rank these accounts"
        )
    return Calibration(slope, intercept)
