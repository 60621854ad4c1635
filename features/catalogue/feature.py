"""The declaration of one feature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from features.window import Values, Window

Unit = Literal["months", "days", "count", "share", "times", "CNY", "yes_no"]
Direction = Literal[-1, 0, 1]


@dataclass(frozen=True, slots=True)
class Feature:
    """One declared feature: its name, its computation and what it is called to a customer.

    Attributes:
        name: The column in :class:`features.build.Features` and in a bundle.
        unit: How a value is formatted.
        direction: +1 = a larger value never lowers the log-odds, -1 = it never raises them.  The
            model is fitted under these constraints, so a good value is never a reason.  0 = a
            fact, which policy rules may use and the model never sees.
        group: The reason group, which reasons.toml puts into words; "" for a fact.
        en, zh: The feature's name for a customer.
        expression: The values for a window, float64 (accounts,).  NaN means unknown, never zero.
    """

    name: str
    unit: Unit
    direction: Direction
    group: str
    en: str
    zh: str
    expression: Callable[[Window], Values]
