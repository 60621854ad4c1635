"""The levels of behaviour in the reference population, to which an account's year is changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Rows
from features.window import Values

MONTHS_REPLAYED = 12  # the levels of counts are for as many months


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels of the reference population, float64 (accounts,).

    NaN = unknown; the behaviour is then left as it was.
    """

    paid_share: Values  # of the balance, a month
    spend: Values  # a month, in monthly incomes
    debt: Values  # elsewhere, as the lender sees it, in monthly incomes
    cash: Values  # a month, as a share of the limit
    used: Values  # share of the limit
    limit_requests: Values  # a year
    inquiries: Values  # a year

    def take(self, accounts: Rows) -> Levels:
        """The levels of the accounts at these positions, in this order."""
        return Levels(
            paid_share=self.paid_share[accounts],
            spend=self.spend[accounts],
            debt=self.debt[accounts],
            cash=self.cash[accounts],
            used=self.used[accounts],
            limit_requests=self.limit_requests[accounts],
            inquiries=self.inquiries[accounts],
        )


def year_amount(level: Values, month: int) -> Values:
    """The part of a year's count that falls into a month, 0 to 11; inf for an unknown level.

    >>> [float(year_amount(np.array([5.0]), month)[0]) for month in range(6)]
    [0.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    """
    until = np.floor(level * (month + 1) / MONTHS_REPLAYED)
    counts: Values = until - np.floor(level * month / MONTHS_REPLAYED)
    return np.where(np.isnan(counts), np.inf, counts)
