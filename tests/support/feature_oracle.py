"""The features by the verbs of the window in NumPy: the oracle of the compiled ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.catalogue import OF_ANOTHER_PRODUCT, Feature
from features.types import Matrix
from features.window import Values, Window


def values_by_verbs(window: Window, features: Sequence[Feature]) -> Matrix:
    """As :func:`features.build.values_of`: each expression called with the arrays themselves."""
    with np.errstate(all="ignore"):  # comparisons with NaN are intended
        values = np.column_stack([_evaluate(feature, window) for feature in features])
        _round_to_steps(values, features)
    return values + 0.0


def _evaluate(feature: Feature, window: Window) -> Values:
    values = feature.expression(window)
    if feature.products is None:
        return values
    return np.where(window.is_product(feature.products), values, OF_ANOTHER_PRODUCT)


def _round_to_steps(values: Matrix, features: Sequence[Feature]) -> None:
    steps = np.array([feature.step for feature in features])
    rounded = np.flatnonzero(steps)
    whole = np.maximum(steps[rounded], 1.0)
    parts = np.rint(whole / steps[rounded])
    multiples = np.rint(values[:, rounded] * parts / whole)
    values[:, rounded] = multiples * whole / parts
