"""Interventional Shapley values by their definition: slow, and independent of the tables.

The players of a row's game are the features.  The payoff of a set of features is the model's mean
over the reference, with the values of the set replaced by the row's.  LightGBM itself predicts, so
the routing has an independent oracle too.
"""

from __future__ import annotations

from math import factorial

import lightgbm as lgb
import numpy as np


def shapley_values(row: np.ndarray, reference: np.ndarray, model: lgb.Booster) -> np.ndarray:
    """The values of one row, float64 (features,)."""
    features = len(row)
    # A coalition is a number: its bits are its members.
    coalitions = np.arange(2**features)
    bits = 1 << np.arange(features)
    members = coalitions[:, None] & bits > 0
    rows = np.where(members[:, None, :], row, reference[None])
    raw = np.asarray(model.predict(rows.reshape(-1, features), raw_score=True, num_threads=1))
    payoff = raw.reshape(len(coalitions), -1).mean(axis=1)
    sizes = members.sum(axis=1)
    orders = [factorial(size) * factorial(features - size - 1) for size in range(features)]
    weight = np.array(orders) / factorial(features)
    values = np.zeros(features)
    for feature in range(features):
        without = coalitions[~members[:, feature]]
        gain = payoff[without | bits[feature]] - payoff[without]
        values[feature] = (weight[sizes[without]] * gain).sum()
    return values
