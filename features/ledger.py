"""Account arithmetic: the next statement from this one and a month's behaviour.

The same function serves the simulator (millions of accounts) and the advice (one account, month by
month).  All arguments are float64 or int arrays of one shape, or scalars; the result has that
shape.  Amounts are in CNY.

A month runs as follows.  The statement of the month before shows a balance and a minimum due.
Payments come in.  Interest is charged on the unpaid balance, and a fee on the unpaid part of the
minimum.  Purchases and cash are added.  The next statement closes.

Arrears are counted in instalments: a statement that is ``b`` whole months past due has ``b + 1``
instalments in its minimum due.  For example, at 60 days past due three instalments are due: those
of the two months before, and this month's.  A payment covers the oldest instalments first.  The
next statement shows 30 days past due for each instalment that is not covered.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from features.limits import LARGEST_AMOUNT
from features.window import HALF_CENT

Amounts = NDArray[np.float64]
Days = NDArray[np.int32]
DAYS_A_MONTH = 30


@dataclass(frozen=True, slots=True)
class Terms:
    """The lender's rate, fees and minimum payment.

    Raises:
        ValueError: A term is out of range.
    """

    monthly_rate: float = 0.015  # of the unpaid part of the last balance, a month (0.05 % a day)
    cash_fee: float = 0.01  # of drawn cash, once
    late_fee: float = 0.05  # of the unpaid part of the minimum due, once a month
    minimum_share: float = 0.10  # of the balance, due each month
    minimum_amount: float = 10.0  # CNY; a smaller balance is due in full

    def __post_init__(self) -> None:
        for field in fields(self):
            value, highest = getattr(self, field.name), 1.0
            if field.name == "minimum_amount":
                highest = LARGEST_AMOUNT
            if not 0.0 <= value <= highest:
                raise ValueError(f"Terms.{field.name}: expected 0.0 to {highest}, got {value}")


@dataclass(frozen=True, slots=True)
class Standing:
    """The part of a statement on which the next one builds; amounts in CNY."""

    balance: Amounts
    minimum_due: Amounts
    days_past_due: Days


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The customer's acts in a month; amounts in CNY, at least 0."""

    spend: Amounts
    cash_advance: Amounts
    payment: Amounts
    days_late: Days  # 0 to 29: days from the due date to a sufficient payment


def next_standing(standing: Standing, behaviour: Behaviour, terms: Terms) -> Standing:
    """The standing that the next statement shows.

    ``balance`` may become negative (overpaid); ``minimum_due`` is 0 then.  ``days_past_due`` is 30
    for each uncovered instalment, or ``days_late`` if all are covered and something was due.

    >>> import numpy as np
    >>> zero, none = np.array([0.0]), np.array([0], dtype=np.int32)
    >>> now = Standing(np.array([1000.0]), np.array([100.0]), none)
    >>> missed = Behaviour(spend=zero, cash_advance=zero, payment=zero, days_late=none)
    >>> after = next_standing(now, missed, Terms())
    >>> float(after.balance[0]), int(after.days_past_due[0])
    (1020.0, 30)
    """
    payment = behaviour.payment
    unpaid = np.maximum(standing.balance - payment, 0.0)
    shortfall = np.maximum(standing.minimum_due - payment, 0.0)
    charged = charges(unpaid, shortfall, behaviour.cash_advance, terms)
    balance = standing.balance - payment + behaviour.spend + behaviour.cash_advance + charged
    balance = np.round(balance, 2)
    uncovered = uncovered_instalments(standing, payment)
    days_late = np.where(standing.minimum_due > HALF_CENT, behaviour.days_late, 0)
    days = np.where(uncovered > 0, uncovered * DAYS_A_MONTH, days_late).astype(np.int32)
    return Standing(balance, minimum_due_of(balance, uncovered, terms), days)


def charges(unpaid: Amounts, shortfall: Amounts, cash_advance: Amounts, terms: Terms) -> Amounts:
    """A month's interest and fees, CNY.

    ``unpaid`` is the part of the last balance that was not paid, ``shortfall`` that of the minimum
    due.  Sums over months give the sum of their charges.
    """
    return terms.monthly_rate * unpaid + terms.late_fee * shortfall + terms.cash_fee * cash_advance


def uncovered_instalments(standing: Standing, payment: Amounts) -> Days:
    """The instalments in ``minimum_due`` that a payment leaves uncovered, int32."""
    instalments = standing.days_past_due // DAYS_A_MONTH + 1
    due = standing.minimum_due
    # Half a cent is forgiven if something is paid.  Without a payment it is not, because half a
    # cent may be a whole instalment of a debt of a few cents.
    paid = np.where(payment > 0.0, payment + HALF_CENT, 0.0)
    covered_share = np.divide(paid, due, out=np.ones_like(due), where=due > HALF_CENT)
    covered = np.floor(instalments * np.minimum(covered_share, 1.0))
    return np.asarray(instalments - covered, dtype=np.int32)


def minimum_due_of(balance: Amounts, uncovered: Days, terms: Terms) -> Amounts:
    """One instalment of ``balance`` and the ``uncovered`` ones, CNY.

    It is never more than the balance, and at least ``terms.minimum_amount`` of a larger balance.
    """
    owed = np.maximum(balance, 0.0)
    share = np.minimum(terms.minimum_share * (1 + uncovered), 1.0)
    instalments = np.minimum(owed * share, owed)
    is_small = owed <= terms.minimum_amount
    due: Amounts = np.where(is_small, owed, np.maximum(instalments, terms.minimum_amount))
    return np.round(due, 2)


def round_to_cents(amount: Amounts) -> Amounts:
    """Amounts in CNY, rounded to whole cents."""
    rounded: Amounts = np.round(amount, 2)
    return rounded
