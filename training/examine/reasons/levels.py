"""The levels of behaviour in the reference population, to which an account's year is changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Rows
from features.window import Months, Values

MONTHS_REPLAYED = 12  # the levels of counts are for as many months
_ROUNDING = 1e-9


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


def year_total(amounts: Months) -> Values:
    """The sum over the months, float64 (accounts,); 0 without months."""
    if not len(amounts):
        return np.zeros(amounts.shape[1])
    # Month by month: a sum would depend on how many accounts there are, in the last bit.
    total: Values = np.cumsum(amounts, axis=0)[-1]
    return total


def kept_share(total: Values, allowed: Values) -> Values:
    """The share of a year's total that a level allows; 1 where it allows all, or is unknown.

    >>> kept_share(np.array([200.0, 50.0, 50.0]), np.array([100.0, 100.0, np.nan])).tolist()
    [0.5, 1.0, 1.0]
    """
    share = np.ones_like(total)
    np.divide(allowed, total, out=share, where=total > 0)
    # fmin ignores NaN: an unknown level changes nothing.
    return np.fmin(share, 1.0)


def kept_counts(counts: Months, allowed: Values) -> Months:
    """The counts of a year, the oldest month first, of which a level allows so many in all.

    They keep their months as far as possible: of twice as many as are allowed, every second stays.

    >>> counts = np.array([[1.0], [0.0], [4.0], [1.0]])
    >>> kept_counts(counts, np.array([3.0])).ravel().tolist()
    [0.0, 0.0, 2.0, 1.0]
    """
    so_far = np.cumsum(counts, axis=0)
    share = kept_share(year_total(counts), np.floor(allowed))
    # A share such as 3/7 of 7 is a rounding error below 3.
    kept = np.floor(so_far * share + _ROUNDING)
    each_month: Months = np.diff(kept, axis=0, prepend=0.0)
    return each_month
