"""What a default loses and what a limit earns, by product.

Margin and credit conversion are learnt with the model, or stated in ``[economics]`` of policy.toml
for all products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.types import Vector

FIFTHS = 5  # of utilization: a credit conversion for each


class EconomicsError(ValueError):
    """A product whose margin or credit conversion is neither learnt nor stated."""


@dataclass(frozen=True, slots=True)
class ProductEconomics:
    """The economics of a product's accounts, as shares."""

    margin: float  # of the limit of a good account, earned in six months
    credit_conversion: float  # of the unused limit, drawn by the time of default; of all accounts
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
        conversions = learnt.conversions
        if conversion is None:
            conversion = learnt.credit_conversion
        else:
            conversions = (conversion,) * FIFTHS
        return ProductEconomics(
            learnt.margin if margin is None else margin, conversion, conversions
        )

    def _missing(self, product: str) -> EconomicsError:
        stated = {"margin": self.margin, "credit_conversion": self.credit_conversion}
        missing = [name for name, number in stated.items() if number is None]
        return EconomicsError(
            f"economics: expected {' and '.join(missing)} of {product!r}, learnt with the model or "
            f"stated in [economics] of policy.toml; learnt are those of {sorted(self.learnt or {})}"
        )


def utilization_fifth(limit: Vector, balance: Vector) -> NDArray[np.int64]:
    """The fifth of utilization of each account, 0 to 4.

    An overpaid account is in the first, an account over its limit or without a limit in the last.
    """
    owed = np.maximum(balance, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        utilization = np.where(limit > 0.0, owed / limit, 1.0)
    fifth: NDArray[np.int64] = np.minimum(utilization, 1.0) * FIFTHS
    return np.minimum(fifth.astype(np.int64), FIFTHS - 1)
