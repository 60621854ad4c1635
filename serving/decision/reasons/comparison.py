"""The accounts with which a customer is compared: one product's reference population.

They are accounts of the product that only just keep their limit, not all accounts that keep it.
Every reason says what separates the customer from them, so a reason names a feature in which nearly
all of them are better, as far as a customer can see.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.catalogue import BY_NAME, Unit
from features.types import Vector
from serving.decision.config.reasons import Wording
from serving.decision.reasons.wording import number


@dataclass(frozen=True, slots=True)
class ComparisonNote:
    """Whom a customer is compared with, as an answer states it.

    ``chosen`` says how the accounts were chosen, in words; ``policy`` is the version of the policy
    that keeps their limit, and ``bundle`` the digest of the bundle that holds them.
    """

    en: str
    zh: str
    size: int  # accounts
    chosen: str
    policy: str
    bundle: str


@dataclass(frozen=True, slots=True)
class _Known:
    """The known values of a feature, ascending, with their printed form."""

    values: Sequence[float]
    printed: Sequence[str]
    # Of the values that are printed alike: the place of the first, and the place after the last.
    first: Sequence[int]
    end: Sequence[int]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One product's reference population, read-only, made once when the bundle is loaded.

    Attributes:
        product: Whose accounts they are.
        size: How many.
        chosen: How they were chosen, in words.
        medians: By feature of the model, of the known values; NaN where fewer than half are known.
        quartiles: By feature, the first and the third, likewise.
    """

    product: str
    size: int
    chosen: str
    medians: Mapping[str, float]
    quartiles: Mapping[str, tuple[float, float]]
    known: Mapping[str, _Known]

    def share_better(self, name: str, value: float) -> float:
        """The share of these accounts that are visibly better than ``value`` in a feature.

        Visibly: their value, as it is printed for a customer, is another one.  An unknown value of
        theirs is not better.  NaN is unknown: all whose value is known are better.

        Raises:
            KeyError: ``name`` is no feature of the model.
        """
        known = self.known[name]
        count = len(known.values)
        if math.isnan(value):
            return count / self.size
        feature = BY_NAME[name]
        printed = _print(value, feature.unit)
        if feature.direction > 0:
            better = bisect_left(known.values, value)
            if better and known.printed[better - 1] == printed:
                better = known.first[better - 1]
            return better / self.size
        worse = bisect_right(known.values, value)
        if worse < count and known.printed[worse] == printed:
            worse = known.end[worse]
        return (count - worse) / self.size


def make_comparison(product: str, rows: pl.DataFrame, chosen: str) -> Comparison:
    """The comparison of a product.

    ``rows`` has a float64 column per feature of the model and a row per account, null = unknown.
    """
    medians: dict[str, float] = {}
    quartiles: dict[str, tuple[float, float]] = {}
    known: dict[str, _Known] = {}
    for name in rows.columns:
        values = np.sort(rows[name].drop_nulls().to_numpy())
        low, medians[name], high = _quartiles(values, rows.height)
        quartiles[name] = low, high
        known[name] = _sorted_and_printed(values, BY_NAME[name].unit)
    return Comparison(product, rows.height, chosen, medians, quartiles, known)


def describe(
    comparison: Comparison,
    wording: Wording,
    policy: str,
    bundle: str,
) -> ComparisonNote:
    """What an answer says of a comparison.

    ``policy`` is the policy's version and ``bundle`` the bundle's digest.
    """
    size = f"{comparison.size:,}"
    return ComparisonNote(
        en=wording.comparison.en.format(size=size),
        zh=wording.comparison.zh.format(size=size),
        size=comparison.size,
        chosen=comparison.chosen,
        policy=policy,
        bundle=bundle,
    )


def _quartiles(values: Vector, accounts: int) -> tuple[float, float, float]:
    """The first quartile, the median and the third of the known values of so many accounts."""
    if len(values) * 2 < accounts or not len(values):
        return math.nan, math.nan, math.nan
    low, high = np.quantile(values, (0.25, 0.75)).tolist()
    return low, float(np.median(values)), high


def _sorted_and_printed(values: Vector, unit: Unit) -> _Known:
    ascending = values.tolist()
    printed = [_print(value, unit) for value in ascending]
    count = len(ascending)
    first = list(range(count))
    end = list(range(1, count + 1))
    for place in range(1, count):
        if printed[place] == printed[place - 1]:
            first[place] = first[place - 1]
    for place in reversed(range(count - 1)):
        if printed[place] == printed[place + 1]:
            end[place] = end[place + 1]
    return _Known(ascending, printed, first, end)


def _print(value: float, unit: Unit) -> str:
    # A whole number has no digit after the point and others have one: "1" and "1.0" are the same.
    return number(value, unit, "en").removesuffix(".0")
