"""The traits of accounts, which never change, and their state, which each month changes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.types import Mask, Vector

Whole = NDArray[np.int32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Traits:
    """Properties of accounts that never change: arrays with one entry an account.

    Amounts are in CNY a month; z means standard normal.
    """

    cash_loan: Mask  # product: True = cash_loan, False = pay_later
    opened_month: Whole  # month number; negative = before the first statements
    opened_day: Whole  # day of that month, from 1
    age_band: Whole  # index into population.AGE_BANDS
    gender: Whole  # index into population.GENDERS
    region: Whole  # index into population.REGIONS
    income_level: Vector  # income in an ordinary month
    volatility: Vector  # standard deviation of the logarithm of a month's income
    discipline: Vector  # z: pays in full, on time
    impulsiveness: Vector  # z: spends by mood and festival, borrows for it
    access: Vector  # z: how much other lenders will lend
    cash_habit: Vector  # z: takes cash from the line without need
    living: Vector  # cost of living that the account does not carry, as a share of income_level
    spend_share: Vector  # ordinary use of the account, as a share of income_level
    income_known: Mask  # the lender has an income on file
    debt_known: Mask  # the lender can see debt elsewhere
    secured_debt: Vector  # CNY, elsewhere and harmless: its instalments are part of living
    coverage: Vector  # share of the debt elsewhere that the lender sees
    cap_turn: Vector  # 0 to 1: position in the phase-in of the regulator's cap

    def by_product(
        self,
        *,
        pay_later: float,
        cash_loan: float,
    ) -> Vector:
        """Return for each account the number of its product."""
        return np.where(self.cash_loan, cash_loan, pay_later)


@dataclass(frozen=True, slots=True)
class State:
    """Accounts after ``months_done`` months: arrays with one entry an account.

    The same account may be in a state several times, to simulate several futures of it.
    """

    seed: int  # of the simulation
    months_done: int  # the month number of the next step
    accounts: Numbers  # their numbers in the simulation, from 0
    traits: Traits
    shock: Whole  # one of shocks.NONE, INCOME_LOSS, ILLNESS, RECOVERY
    severity: Vector  # 0 to 1: share of income that the present shock takes
    appetite: Vector  # logarithm of spending wishes relative to ordinary ones
    strain: Vector  # smoothed pressure of the last months, 0 to 2
    savings: Vector  # CNY >= 0
    external_debt: Vector  # CNY >= 0, all of it
    reported_income: Vector  # CNY: income as the lender knows it
    credit_limit: Vector  # CNY
    balance: Vector  # of the last statement
    minimum_due: Vector  # of the last statement
    days_past_due: Whole  # of the last statement
    good_months: Whole  # months in a row without a late payment
    months_since_cut: Whole  # by the incumbent; large = never
    limit_requests: Whole  # in the last month; the lender decides on them in the next
    ended: Mask  # charged off or closed: no further statements

    @property
    def count(self) -> int:
        """The number of accounts."""
        return len(self.balance)

    def take(self, places: Numbers) -> State:
        """Return the accounts by position; repeats are allowed."""
        return replace(
            self,
            traits=replace(self.traits, **_take(self.traits, places)),
            **_take(self, places),
        )


def round_to_cents(amount: Vector) -> Vector:
    """Return amounts in whole cents, as on statements."""
    return np.round(amount, 2)


def _take(record: Traits | State, places: Numbers) -> dict[str, Any]:
    """Return the arrays of a record by field, at these places."""
    taken = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):  # not the seed, the month or the traits
            taken[field.name] = value[places]
    return taken
