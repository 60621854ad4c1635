"""Interventional Shapley values by their definition: slow, and independent of the tables.

The players of a row's game are the features.  The payoff of a set of features is the model's mean
over the reference, with the values of the set replaced by the row's.  LightGBM itself predicts, so
the routing has an independent oracle too.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial

import lightgbm as lgb
import numpy as np


def shapley_values(row: np.ndarray, reference: np.ndarray, model: lgb.Booster) -> np.ndarray:
    """The values of one row, float64 (features,)."""
    features = len(row)
    coalitions: list[frozenset[int]] = []
    for size in range(features + 1):
        coalitions += map(frozenset, combinations(range(features), size))
    rows = np.repeat(reference[None], len(coalitions), axis=0)
    for place, coalition in enumerate(coalitions):
        for feature in coalition:
            rows[place, :, feature] = row[feature]
    raw = np.asarray(model.predict(rows.reshape(-1, features), raw_score=True, num_threads=1))
    means = raw.reshape(len(coalitions), -1).mean(axis=1)
    payoff = dict(zip(coalitions, means, strict=True))
    values = np.zeros(features)
    for coalition in coalitions:
        size = len(coalition)
        orders = factorial(size) * factorial(features - size - 1) if size < features else 0
        for feature in set(range(features)) - coalition:
            gain = payoff[coalition | {feature}] - payoff[coalition]
            values[feature] += orders / factorial(features) * gain
    return values
