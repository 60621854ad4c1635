"""The declaration of one feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from features.schema import PRODUCTS
from features.window import Values, Window

Unit = Literal["months", "days", "count", "share", "times", "CNY", "yes_no"]
Direction = Literal[-1, 0, 1]
# What a model feature is rounded to, by its unit; the other units are whole numbers.  Without it,
# trees split between values that differ by a fen, where many accounts have the same value but for
# the fen.  Each step is a whole number or 1 divided by one.
STEPS: Mapping[Unit, float] = {"share": 0.01, "times": 0.01, "CNY": 10.0}

# A constant: a contribution compares accounts of one product, so it is exactly 0, and no reason can
# name the feature.  It is not NaN, which would mean "not known": an account with a feature that was
# known for all accounts in training is decided by a person if it is unknown.
OF_ANOTHER_PRODUCT = 0.0


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
        products: The products that have it; None = all.  In every account of another product it is
            ``OF_ANOTHER_PRODUCT``.
        expression: The values for a window, float64 (accounts,).  NaN means unknown, never zero.
            They are rounded to ``step`` by :func:`features.build.values_of`.
        own_step: The step, where it is not that of the unit; 0 = not rounded.
    """

    name: str
    unit: Unit
    direction: Direction
    group: str
    en: str
    zh: str
    expression: Callable[[Window], Values]
    products: tuple[str, ...] | None = None
    own_step: float | None = None

    def __post_init__(self) -> None:
        unknown = sorted({*(self.products or ())} - {*PRODUCTS})
        if unknown or self.products == ():
            raise ValueError(
                f"feature {self.name!r}: expected some of the products {PRODUCTS}, "
                f"got {self.products}"
            )

    @property
    def step(self) -> float:
        """What values are rounded to; 0 = they are not.  A fact is exact: policy rules use it."""
        if self.own_step is not None:
            return self.own_step
        return STEPS.get(self.unit, 0.0) if self.direction else 0.0
