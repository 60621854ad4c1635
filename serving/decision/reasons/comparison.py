"""The accounts with which a customer is compared: one product's reference population.

They are accounts of the product that only just keep their limit, not all accounts that keep it.
Every reason says what separates the customer from them, so a reason names a feature in which nearly
all of them are better, as far as a customer can see.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import polars as pl

from features.catalogue import BY_NAME, Unit
from features.types import Vector
from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import Wording
from serving.decision.config.template import InBoth, template_of
from serving.decision.reasons.wording import number

# Numbers that are further apart are never written alike: twice the last digit that is written.
_NEAR: Mapping[Unit, float] = {
    "months": 2.0,
    "days": 2.0,
    "count": 2.0,
    "share": 0.02,
    "times": 0.2,
    "CNY": 2.0,
    "yes_no": math.inf,
}


@quick_init
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
class Comparison:
    """One product's reference population, read-only, made once when the bundle is loaded.

    Attributes:
        product: Whose accounts they are.
        size: How many.
        chosen: How they were chosen, in words.
        medians: By feature of the model, of the known values; NaN where fewer than half are known.
        quartiles: By feature, the first and the third, likewise.
        known: By feature, the known values, ascending.
        written: The sentences about these accounts that were written so far, by their text in
            English and Chinese and the feature: :mod:`serving.decision.reasons.words` writes each
            once.
    """

    product: str
    size: int
    chosen: str
    medians: Mapping[str, float]
    quartiles: Mapping[str, tuple[float, float]]
    known: Mapping[str, Sequence[float]]
    written: dict[tuple[str, str, str], InBoth] = field(
        default_factory=dict,
        compare=False,
        repr=False,
    )

    def share_better(self, name: str, value: float) -> float:
        """The share of these accounts that are strictly better than ``value`` in a feature.

        It is of the accounts whose value is known.  NaN is unknown: the share is of all accounts,
        and all whose value is known are better.  It is 0 where ``value`` prints as the median does,
        with which a sentence compares it: a customer would see no difference.

        Raises:
            KeyError: ``name`` is no feature of the model.
        """
        known = self.known[name]
        if math.isnan(value):
            return len(known) / self.size
        feature = BY_NAME[name]
        if not known or _print_alike(value, self.medians[name], feature.unit):
            return 0.0
        if feature.direction > 0:
            return bisect_left(known, value) / len(known)
        return 1.0 - bisect_right(known, value) / len(known)


def make_comparison(product: str, rows: pl.DataFrame, chosen: str) -> Comparison:
    """The comparison of a product.

    ``rows`` has a float64 column per feature of the model and a row per account, null = unknown.
    """
    medians: dict[str, float] = {}
    quartiles: dict[str, tuple[float, float]] = {}
    known: dict[str, Sequence[float]] = {}
    for name in rows.columns:
        values = np.sort(rows[name].drop_nulls().to_numpy())
        low, medians[name], high = _quartiles(values, rows.height)
        quartiles[name] = low, high
        # An array, not a list: its numbers lie side by side, and a search touches ten of them.
        known[name] = array("d", values)
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
    return _note(
        wording.comparison.en,
        wording.comparison.zh,
        comparison.size,
        comparison.chosen,
        policy,
        bundle,
    )


@lru_cache(maxsize=64)  # a bundle has one for each product
def _note(  # the fields of the note
    english: str,
    chinese: str,
    size: int,
    chosen: str,
    policy: str,
    bundle: str,
) -> ComparisonNote:
    words = {"size": f"{size:,}"}
    en = template_of(english).fill(words)
    zh = template_of(chinese).fill(words)
    return ComparisonNote(en, zh, size, chosen, policy, bundle)


def _quartiles(values: Vector, accounts: int) -> tuple[float, float, float]:
    """The first quartile, the median and the third of the known values of so many accounts."""
    if len(values) * 2 < accounts or not len(values):
        return math.nan, math.nan, math.nan
    low, high = np.quantile(values, (0.25, 0.75)).tolist()
    return low, float(np.median(values)), high


def _print_alike(one: float, other: float, unit: Unit) -> bool:
    """Whether a customer reads the same number; NaN is like no number."""
    # Few values are so near to the median that they have to be written to see it.
    if not abs(one - other) <= _NEAR[unit]:
        return False
    return _print(one, unit) == _print(other, unit)


def _print(value: float, unit: Unit) -> str:
    # A whole number has no digit after the point and others have one: "1" and "1.0" are the same.
    return number(value, unit, "en").removesuffix(".0")
