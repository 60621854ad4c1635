"""Interventional Shapley values by their definition: slow, obvious, and independent of the tables.

The game of a row: its players are the features, and a set of them is worth the model's mean over
the reference with the set's values replaced by the row's.  LightGBM itself predicts, so that its
routing is the oracle too.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial

import lightgbm as lgb
import numpy as np


def shapley_values(row: np.ndarray, reference: np.ndarray, model: lgb.Booster) -> np.ndarray:
    features = len(row)
    coalitions = [
        frozenset(c) for size in range(features + 1) for c in combinations(range(features), size)
    ]
    rows = np.repeat(reference[None], len(coalitions), axis=0)
    for place, coalition in enumerate(coalitions):
        for feature in coalition:
            rows[place, :, feature] = row[feature]
    raw = np.asarray(model.predict(rows.reshape(-1, features), raw_score=True, num_threads=1))
    worth = dict(zip(coalitions, raw.reshape(len(coalitions), -1).mean(axis=1), strict=True))
    values = np.zeros(features)
    for coalition in coalitions:
        for feature in set(range(features)) - coalition:
            weight = (
                factorial(len(coalition))
                * factorial(features - len(coalition) - 1)
                / factorial(features)
            )
            values[feature] += weight * (worth[coalition | {feature}] - worth[coalition])
    return values
