"""What a default loses and what a limit earns, by product.

    economics.json   margin and credit conversion as a fit learnt them: :class:`LearntEconomics`
    policy.toml      loss given default and harm, and numbers in place of learnt ones
    both             :class:`Economics`, what the policy computes with

Conventions
-----------
All numbers are shares.  The *margin* is what a good account's limit earns in the months that the
probability looks ahead, of the limit.  The *credit conversion* is the part of the unused limit that
is drawn by the time of a default.  Margin and conversion of a product set its cut-off, so they are
those of its accounts near the cut-off.  The conversion depends on utilization, so that of the
exposure is learnt for each fifth of utilization, from all accounts of the product.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from features.types import Vector
from serving.decision.config.strict_toml import NOT_NEGATIVE, SHARE, ConfigError, Section

FIFTHS = 5  # of utilization: a credit conversion for each
FILE = "economics.json"


class EconomicsError(ValueError):
    """A product whose margin or credit conversion is neither learnt nor stated."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share that a fit learnt, with its 95 % interval.

    ``low`` and ``high`` are None where the accounts are too few for an interval.
    """

    value: float
    low: float | None
    high: float | None
    rows: int  # accounts at an as_of, from which it was learnt
    accounts: int  # of these rows: an account may be in several


@dataclass(frozen=True, slots=True)
class LearntProduct:
    """The economics of a product as a fit learnt them from its training rows."""

    margin: Estimate  # from good accounts, at the cut-off
    credit_conversion: Estimate  # from accounts that defaulted, of all utilizations, at the cut-off
    conversions: tuple[Estimate, ...]  # (FIFTHS,), by fifth of utilization, the lowest first
    cut_before: int  # rows that defaulted after the lender had cut their limit: left out
    fully_drawn: int  # rows that defaulted, without an unused limit at as_of: left out


LearntEconomics = Mapping[str, LearntProduct]  # by product


@dataclass(frozen=True, slots=True)
class ProductEconomics:
    """The economics that the policy computes with for a product, as shares."""

    margin: float  # at the cut-off
    credit_conversion: float  # of all utilizations, at the cut-off
    conversions: tuple[float, ...]  # (FIFTHS,), by fifth of utilization, the lowest first


@dataclass(frozen=True, slots=True)
class Economics:
    """The economics of all products, as shares."""

    loss_given_default: float  # of the exposure
    harm: float  # of the limit of a good account, lost by cutting it
    margin: float | None = None  # for all products; None = as learnt
    credit_conversion: float | None = None  # for all products and utilizations; None = as learnt
    learnt: Mapping[str, ProductEconomics] | None = None  # by product

    def of(self, product: str) -> ProductEconomics:
        """The product's economics: the numbers that are stated, else those learnt.

        Raises:
            EconomicsError: One of them is neither.
        """
        learnt = (self.learnt or {}).get(product)
        margin, conversion = self.margin, self.credit_conversion
        if learnt is None:
            if margin is None or conversion is None:
                raise self._missing(product)
            return ProductEconomics(margin, conversion, (conversion,) * FIFTHS)
        if margin is None:
            margin = learnt.margin
        if conversion is None:
            return ProductEconomics(margin, learnt.credit_conversion, learnt.conversions)
        return ProductEconomics(margin, conversion, (conversion,) * FIFTHS)

    def _missing(self, product: str) -> EconomicsError:
        stated = {"margin": self.margin, "credit_conversion": self.credit_conversion}
        missing = [name for name, number in stated.items() if number is None]
        return EconomicsError(
            f"[economics]: expected {' and '.join(missing)} of {product!r}, learnt by the fit or "
            f"stated in policy.toml; learnt are those of {sorted(self.learnt or {})}"
        )


def numbers_of(learnt: LearntEconomics) -> dict[str, ProductEconomics]:
    """The values of the estimates, by product."""
    return {
        product: ProductEconomics(
            margin=one.margin.value,
            credit_conversion=one.credit_conversion.value,
            conversions=tuple(estimate.value for estimate in one.conversions),
        )
        for product, one in learnt.items()
    }


def utilization_fifth(limit: Vector, balance: Vector) -> NDArray[np.int64]:
    """The fifth of utilization of each account, 0 to 4.

    An overpaid account is in the first, an account over its limit or without a limit in the last.
    """
    owed = np.maximum(balance, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        utilization = np.where(limit > 0.0, owed / limit, 1.0)
    fifth = np.floor(utilization * FIFTHS)
    within: NDArray[np.int64] = np.minimum(fifth, FIFTHS - 1).astype(np.int64)
    return within


def write_economics(learnt: LearntEconomics) -> str:
    """The text of economics.json."""
    products = {product: _without_nulls(asdict(one)) for product, one in learnt.items()}
    content = {"products": products}
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _without_nulls(value: object) -> object:
    """The value without the keys of nulls, at every depth: an absent end is no number."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_without_nulls(item) for item in value]
    return value


def read_economics(text: str) -> LearntEconomics:
    """The economics that the text of an economics.json states.

    Raises :class:`~serving.decision.config.strict_toml.ConfigError` naming the key that is missing,
    unknown or out of range.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{FILE}: expected JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{FILE}: expected an object, got {type(content).__name__}")
    with Section(content, file=FILE) as top:
        products = top.section("products").sections()
        return {product: _product(section) for product, section in products.items()}


def _product(section: Section) -> LearntProduct:
    conversions = tuple(_estimate(table) for table in section.tables("conversions"))
    if len(conversions) != FIFTHS:
        expected = f"{FIFTHS} estimates, one for each fifth of utilization"
        raise section.error("conversions", expected, len(conversions))
    return LearntProduct(
        margin=_estimate(section.section("margin")),
        credit_conversion=_estimate(section.section("credit_conversion")),
        conversions=conversions,
        cut_before=section.whole("cut_before", NOT_NEGATIVE),
        fully_drawn=section.whole("fully_drawn", NOT_NEGATIVE),
    )


def _estimate(section: Section) -> Estimate:
    return Estimate(
        value=section.number("value", SHARE),
        low=section.optional_number("low"),
        high=section.optional_number("high"),
        rows=section.whole("rows", NOT_NEGATIVE),
        accounts=section.whole("accounts", NOT_NEGATIVE),
    )
