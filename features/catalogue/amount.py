"""How the amounts of sentences are declared: features without a label, and their verbs.

A verb returns float64 (accounts,).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from features.catalogue.feature import Feature, Unit
from features.types import Mask
from features.window import Values, Window


def make_fact(name: str, unit: Unit, expression: Callable[[Window], Values]) -> Feature:
    """A value without a label: only sentences state it, in their own words."""
    return Feature(
        name=name,
        unit=unit,
        direction=0,
        group="",
        en="",
        zh="",
        expression=expression,
    )


def make_amount(name: str, expression: Callable[[Window], Values]) -> Feature:
    """A value in CNY."""
    return make_fact(name, "CNY", expression)


def make_month(name: str, expression: Callable[[Window], Values]) -> Feature:
    """A number of months, or a month as the number of months back from ``as_of``."""
    return make_fact(name, "months", expression)


def latest(w: Window, name: str) -> Values:
    """Months since a column was last above 0; NaN if it never was."""
    return first_month(w[name] > 0)


def of_peak(w: Window, name: str, months: int) -> Values:
    """Months since the largest value of the last months, the latest one of several."""
    return first_month(w[name][:months] == w.max(name, months))


def of_least(w: Window, name: str, months: int) -> Values:
    """Months since the smallest value of the last months, the latest one of several."""
    return first_month(w[name][:months] == w.min(name, months))


def months_with(w: Window, name: str, months: int) -> Values:
    """In how many of the last months a column is above 0."""
    counted: Values = (w[name][:months] > 0).sum(axis=0).astype(np.float64)
    return counted


def first_month(is_set: Mask) -> Values:
    """The first row of (months, accounts) that is true; NaN where none is."""
    first = is_set.argmax(axis=0).astype(np.float64)
    values: Values = np.where(is_set.any(axis=0), first, np.nan)
    return values
