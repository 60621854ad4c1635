"""What a window shows of its account's habits: the months that carrying on repeats.

Arrays are float64 (trajectories,), or (months, trajectories), the oldest month first.  Amounts are
CNY a month.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.ledger import DAYS_A_MONTH
from features.types import Rows
from features.window import Months, Values, Window

HABIT_MONTHS = 6  # months that are repeated


@dataclass(frozen=True, slots=True)
class HabitMonth:
    """One month of habits, float64 (trajectories,).

    ``paid_share`` of the balance owed is NaN where nothing was owed or the balance is unknown;
    ``payment`` counts there.
    """

    spend: Values
    cash_advance: Values
    payment: Values
    paid_share: Values
    days_late: Values
    limit_requests: Values
    credit_inquiries: Values
    debt_change: Values


@dataclass(frozen=True, slots=True)
class Habits:
    """The last months, (HABIT_MONTHS or fewer, trajectories), the oldest first.

    A trajectory's habits are its last ``length`` rows, int64 (trajectories,).  The columns are
    those of :class:`HabitMonth`.
    """

    length: Rows
    spend: Months
    cash_advance: Months
    payment: Months
    paid_share: Months
    days_late: Months
    limit_requests: Months
    credit_inquiries: Months
    debt_change: Months

    def repeat(self, month: int, rotation: Rows) -> HabitMonth:
        """The month of habits that is repeated in a month to come; 0 = the next.

        ``rotation``, int64 (trajectories,), is the month of habits that comes first; 0 = the
        oldest.
        """
        first = len(self.spend) - self.length
        row = first + (month + rotation) % self.length
        at = (row, np.arange(len(row)))
        return HabitMonth(
            spend=self.spend[at],
            cash_advance=self.cash_advance[at],
            payment=self.payment[at],
            paid_share=self.paid_share[at],
            days_late=self.days_late[at],
            limit_requests=self.limit_requests[at],
            credit_inquiries=self.credit_inquiries[at],
            debt_change=self.debt_change[at],
        )


def observe_habits(window: Window) -> Habits:
    """The habits that a window shows; unknown purchases count as 0."""
    months = min(HABIT_MONTHS, len(window["balance"]))

    def last(column: Months) -> Months:
        return np.nan_to_num(column[:months][::-1], nan=0.0)

    owed = window["owed_before"][:months][::-1]
    payment = last(window["payment"])
    paid_share = np.divide(
        payment,
        owed,
        out=np.full_like(payment, np.nan),
        where=owed > 0,
    )
    days = last(window["days_past_due"])
    debt = window["external_debt"]
    # The month before the first one is unknown.
    debt_before = np.full_like(debt, np.nan)
    debt_before[:-1] = debt[1:]
    return Habits(
        length=np.minimum(window.months_observed, months).astype(np.int64),
        spend=last(window["spend"]),
        cash_advance=last(window["cash_advance"]),
        payment=payment,
        paid_share=np.minimum(paid_share, 1.0),
        # A month past due is a payment left out, which the ledger counts; fewer days are a habit.
        days_late=np.where(days < DAYS_A_MONTH, days, 0.0),
        limit_requests=last(window["limit_requests"]),
        credit_inquiries=last(window["credit_inquiries"]),
        debt_change=last(debt - debt_before),
    )


def least_paid_share(window: Window) -> Values:
    """The smallest share of a balance that was paid in the months of habit, float64 (accounts,).

    It is rounded down to whole hundredths, and 0 if no share is known.
    """
    shares = observe_habits(window).paid_share
    known_shares = np.where(np.isnan(shares), np.inf, shares)
    smallest = np.min(known_shares, axis=0)
    known = np.where(np.isinf(smallest), 0.0, smallest)
    hundredths: Values = np.floor(known * 100.0 + 1e-9)
    return hundredths / 100.0
