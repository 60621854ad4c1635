"""Account arithmetic: the next statement from this one and a month's behaviour.

The same function serves the simulator (accounts by the million) and advice (one account, month by
month).  All arguments are float64 or int arrays of one shape, or scalars; amounts in CNY; what
comes back has that shape.

A month runs: the statement of the month before shows a balance and a minimum due; payments come in;
interest is charged on what was not paid, and a fee on the unpaid part of the minimum; purchases and
cash are added; the next statement closes.

Arrears are counted in instalments: a statement that is ``b`` whole months past due shows ``b + 1``
instalments in its minimum due.  A payment covers them oldest first; each one left uncovered is 30
days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.window import HALF_CENT

Amounts = NDArray[np.float64]
Days = NDArray[np.int32]
DAYS_A_MONTH = 30


@dataclass(frozen=True, slots=True)
class Terms:
    """What the lender charges and asks for."""

    monthly_rate: float = 0.015  # on the unpaid part of the last balance, a month (0.05 % a day)
    cash_fee: float = 0.01  # of cash drawn, once
    late_fee: float = 0.05  # of the unpaid part of the minimum due, once a month
    minimum_share: float = 0.10  # of the balance that is asked for each month
    minimum_amount: float = 10.0  # CNY; a smaller balance is due whole

    def __post_init__(self) -> None:
        for name, low, high in (
            ("monthly_rate", 0.0, 1.0),
            ("cash_fee", 0.0, 1.0),
            ("late_fee", 0.0, 1.0),
            ("minimum_share", 0.0, 1.0),
            ("minimum_amount", 0.0, 1e9),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"Terms.{name}: expected {low} to {high}, got {value}")


@dataclass(frozen=True, slots=True)
class Standing:
    """What a statement says of the account and the next one builds on: balance, minimum_due (CNY)
    and days_past_due.
    """

    balance: Amounts
    minimum_due: Amounts
    days_past_due: Days


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A month's acts: amounts in CNY >= 0, and by how many days (0 to 29) a sufficient payment came
    after its due date.
    """

    spend: Amounts
    cash_advance: Amounts
    payment: Amounts
    days_late: Days


def next_standing(standing: Standing, behaviour: Behaviour, terms: Terms) -> Standing:
    """The standing that the next statement shows.

    ``balance`` may become negative (overpaid); ``minimum_due`` is 0 then.  ``days_past_due`` is 30
    for each instalment left uncovered, or ``days_late`` where all were covered and something was
    due.

    >>> import numpy as np
    >>> now = Standing(np.array([1000.0]), np.array([100.0]), np.array([0], dtype=np.int32))
    >>> missed = Behaviour(np.array([0.0]), np.array([0.0]), np.array([0.0]), np.array([0], dtype=np.int32))
    >>> after = next_standing(now, missed, Terms())
    >>> float(after.balance[0]), int(after.days_past_due[0])
    (1020.0, 30)
    """
    unpaid = np.maximum(standing.balance - behaviour.payment, 0.0)
    shortfall = np.maximum(standing.minimum_due - behaviour.payment, 0.0)
    charges = (
        terms.monthly_rate * unpaid
        + terms.late_fee * shortfall
        + terms.cash_fee * behaviour.cash_advance
    )
    balance = (
        standing.balance - behaviour.payment + behaviour.spend + behaviour.cash_advance + charges
    )
    balance = np.round(balance, 2)
    left = uncovered_instalments(standing, behaviour.payment)
    on_time_or_cured = np.where(standing.minimum_due > HALF_CENT, behaviour.days_late, 0)
    days = np.where(left > 0, left * DAYS_A_MONTH, on_time_or_cured).astype(np.int32)
    return Standing(balance, minimum_due_of(balance, left, terms), days)


def uncovered_instalments(standing: Standing, payment: Amounts) -> Days:
    """How many of the instalments in ``minimum_due`` a payment leaves uncovered, oldest first;
    int32, 0 = none.
    """
    owed = standing.days_past_due // DAYS_A_MONTH + 1
    due = standing.minimum_due
    # Half a cent is forgiven to who pays, not to who pays nothing: it may be a whole instalment of
    # a debt of a few cents.
    paid = np.where(payment > 0.0, payment + HALF_CENT, 0.0)
    covered_share = np.divide(paid, due, out=np.ones_like(due), where=due > HALF_CENT)
    covered = np.floor(owed * np.minimum(covered_share, 1.0))
    return np.asarray(owed - covered, dtype=np.int32)


def minimum_due_of(balance: Amounts, uncovered: Days, terms: Terms) -> Amounts:
    """One instalment of ``balance`` and those left ``uncovered``; never more than is owed, never a
    trifle.
    """
    owed = np.maximum(balance, 0.0)
    asked = np.minimum(owed * np.minimum(terms.minimum_share * (1 + uncovered), 1.0), owed)
    due: Amounts = np.where(
        owed <= terms.minimum_amount, owed, np.maximum(asked, terms.minimum_amount)
    )
    return np.round(due, 2)


def round_to_cents(amount: Amounts) -> Amounts:
    """Amounts in CNY, rounded to whole cents."""
    rounded: Amounts = np.round(amount, 2)
    return rounded
