"""A month of an account under a plan: its acts, and the statement that the ledger makes of them.

This is the arithmetic of :mod:`features.ledger` and :mod:`serving.decision.advice.ahead.habits` for
one trajectory after the other, with the same bits.  ``tests/support/rollout_oracle.py`` has
the same in NumPy, for all trajectories at once.

Conventions
-----------
``rolled`` is float64 (stored columns, months + history, trajectories), the newest month first: the
months to come are filled in from the last one on, and of the history the latest statements are
there.  ``habit`` is a row of HABIT_MONTHS months of one
account, the oldest first; its columns are listed at :func:`write_habits`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled

# Positions in features.window.STORED_COLUMNS; a test holds them to it.
LIMIT = 0
BALANCE = 1
SPEND = 2
CASH = 3
PAYMENT = 4
DUE = 5
DAYS = 6
REQUESTS = 7
INQUIRIES = 8
DEBT = 9
INCOME = 10
# Columns of a plan, in the order of serving.decision.advice.rollout.Plans.
ON_TIME = 0
EXTRA = 1
SPENDING = 2
NO_CASH = 3
NO_CREDIT = 4
ELSEWHERE = 5
SHARE = 6
PAID_NOW = 7
# Positions in the fields of features.ledger.Terms.
RATE = 0
CASH_FEE = 1
LATE_FEE = 2
LEAST_SHARE = 3
LEAST_AMOUNT = 4
HALF_CENT = 0.005
DAYS_A_MONTH = 30
HABIT_MONTHS = 6


@compiled
def larger(
    one: float,
    other: float,
) -> float:
    """The larger of two, or NaN if one is; as np.maximum."""
    return one if one >= other or one != one else other


@compiled
def smaller(
    one: float,
    other: float,
) -> float:
    """The smaller of two, or NaN if one is; as np.minimum."""
    return one if one <= other or one != one else other


@compiled
def cents(amount: float) -> Any:
    """An amount in whole cents; as np.round, whose product and quotient these are."""
    return np.rint(amount * 100.0) / 100.0


@compiled
def known(amount: float) -> float:
    """An amount, or 0 where it is unknown."""
    return 0.0 if amount != amount else amount


@compiled
def write_habits(
    stored: Any,
    account: int,
    months: int,
    habits: Any,
) -> None:
    """Write the last ``months`` of an account into ``habits``, (months, 8), the oldest first.

    The columns: purchases, cash, payment, the share of the balance paid, days late, requests for a
    higher limit, applications elsewhere, the change of the debt elsewhere.
    """
    rows = stored.shape[1]
    for month in range(months):
        at = months - 1 - month
        now = stored[:, at, account]
        owed, debt_before = np.nan, np.nan
        if at + 1 < rows:
            before = stored[:, at + 1, account]
            owed = larger(before[BALANCE], 0.0)
            debt_before = before[DEBT]
        payment = known(now[PAYMENT])
        days = known(now[DAYS])
        habit = habits[month]
        habit[0] = known(now[SPEND])
        habit[1] = known(now[CASH])
        habit[2] = payment
        habit[3] = np.nan
        if owed > 0:
            habit[3] = smaller(payment / owed, 1.0)
        # A month past due is a payment left out, which the ledger counts; fewer days are a habit.
        habit[4] = days if days < DAYS_A_MONTH else 0.0
        habit[5] = known(now[REQUESTS])
        habit[6] = known(now[INQUIRIES])
        habit[7] = known(now[DEBT] - debt_before)


@compiled
def last_known(
    stored: Any,
    column: int,
    account: int,
) -> Any:
    """The latest known value of a column; NaN if there is none."""
    for row in range(stored.shape[1]):
        value = stored[column, row, account]
        if value == value:
            return value
    return np.nan


@compiled
def mean_of(
    stored: Any,
    column: int,
    months: int,
    account: int,
) -> Any:
    """The mean of the known values of the last months, as :meth:`features.window.Window.mean`."""
    total, count = 0.0, 0
    for row in range(min(months, stored.shape[1])):
        value = stored[column, row, account]
        if not np.isnan(value):
            total += value
            count += 1
    return total / count if count > 0 else np.nan


@compiled
def write_finances(stored: Any, finances: Any) -> None:
    """Write what plans are measured by into ``finances``, float64 (accounts, 6).

    The columns: the balance, at least 0; debt elsewhere and income, as last known; the mean of
    purchases and of payments; the smallest share of a balance that was paid, in whole hundredths.
    """
    months = min(HABIT_MONTHS, stored.shape[1])
    habits = np.empty((months, 8))
    for account in range(finances.shape[0]):
        write_habits(stored, account, months, habits)
        smallest = np.inf
        for month in range(months):
            # False of an unknown share.
            if habits[month, 3] < smallest:
                smallest = habits[month, 3]
        share = smallest if smallest < np.inf else 0.0
        own = finances[account]
        own[0] = larger(stored[BALANCE, 0, account], 0.0)
        own[1] = last_known(stored, DEBT, account)
        own[2] = last_known(stored, INCOME, account)
        own[3] = mean_of(stored, SPEND, HABIT_MONTHS, account)
        own[4] = mean_of(stored, PAYMENT, HABIT_MONTHS, account)
        own[5] = np.floor(share * 100.0 + 1e-9) / 100.0


@compiled
def due_of(
    balance: float,
    uncovered: int,
    terms: Any,
) -> Any:
    """As :func:`features.ledger.minimum_due_of`."""
    owed = larger(balance, 0.0)
    share = smaller(terms[LEAST_SHARE] * (1 + uncovered), 1.0)
    instalments = smaller(owed * share, owed)
    if owed <= terms[LEAST_AMOUNT]:
        return cents(owed)
    return cents(larger(instalments, terms[LEAST_AMOUNT]))


@compiled
def uncovered_of(
    due: float,
    days: int,
    payment: float,
) -> int:
    """As :func:`features.ledger.uncovered_instalments`."""
    instalments = days // DAYS_A_MONTH + 1
    paid = payment + HALF_CENT if payment > 0.0 else 0.0
    share = paid / due if due > HALF_CENT else 1.0
    return int(instalments - np.floor(instalments * smaller(share, 1.0)))


@compiled
def planned_payment(
    owed: float,
    due: float,
    plan: Any,
) -> Any:
    """As :func:`serving.decision.advice.rollout.planned_payment`."""
    start = larger(larger(due, plan[PAID_NOW]), plan[SHARE] * owed)
    return smaller(start + plan[EXTRA], larger(owed, due))


@compiled
def payment_of(
    habit: Any,
    balance: float,
    due: float,
    plan: Any,
) -> Any:
    """What is paid in a month."""
    owed = larger(balance, 0.0)
    if plan[ON_TIME] > 0:
        return cents(planned_payment(owed, due, plan))
    as_before = habit[2] if habit[3] != habit[3] else habit[3] * owed
    return cents(smaller(as_before, owed))


@compiled
def debt_change_of(
    habit: Any,
    plan: Any,
) -> Any:
    """The change of the debt elsewhere in a month."""
    change = smaller(habit[7], 0.0) if plan[NO_CREDIT] > 0 else habit[7]
    if plan[ELSEWHERE] > 0:
        return smaller(change, -plan[ELSEWHERE])
    return change


@compiled
def write_history(
    stored: Any,
    account: Any,
    rolled: Any,
    months: int,
) -> None:
    """Write the latest statements of each trajectory's account, as many as ``rolled`` has room for.

    ``months`` are those to come, which lie before them.
    """
    for column in range(stored.shape[0]):
        for row in range(rolled.shape[1] - months):
            statements = stored[column, row]
            own = rolled[column, months + row]
            for trajectory in range(len(account)):
                own[trajectory] = statements[account[trajectory]]


@compiled
def start(
    stored: Any,
    account: int,
    terms: Any,
    state: Any,
) -> None:
    """Write into ``state``, float64 (3,), what the next month needs of an account.

    That is the minimum due, the debt elsewhere and the income, each as far as it is known; a
    minimum due that a source does not send is what the terms ask for.
    """
    uncovered = int(stored[DAYS, 0, account]) // DAYS_A_MONTH
    state[0] = stored[DUE, 0, account]
    if np.isnan(state[0]):
        state[0] = due_of(stored[BALANCE, 0, account], uncovered, terms)
    state[1] = last_known(stored, DEBT, account)
    state[2] = last_known(stored, INCOME, account)


@compiled
def roll_month(  # noqa: PLR0913  # numba takes plain arrays, not an object that holds them
    rolled: Any,
    newest: int,
    trajectory: int,
    state: Any,
    habit: Any,
    plan: Any,
    limit: float,
    suspended: bool,
    borrowed: float,
    terms: Any,
) -> None:
    """Write a trajectory's statement into row ``newest`` of ``rolled``, and go on with ``state``.

    ``habit`` is the month of :func:`write_habits` that is repeated; ``borrowed`` is what one
    application elsewhere brings in this month.
    """
    now = rolled[:, newest, trajectory]
    before = rolled[:, newest + 1, trajectory]
    due = state[0]
    balance = before[BALANCE]
    days = int(before[DAYS])
    payment = payment_of(habit, balance, due, plan)
    # An account in arrears or suspended draws nothing.
    blocked = suspended or days >= DAYS_A_MONTH
    unpaid = larger(balance - payment, 0.0)
    room = larger(limit - unpaid, 0.0)
    wanted_cash = 0.0 if blocked or plan[NO_CASH] > 0 else smaller(habit[1], room)
    wanted = smaller(habit[0], plan[SPENDING])
    spend = cents(0.0 if blocked else smaller(wanted, room - wanted_cash))
    cash = cents(wanted_cash)

    interest = terms[RATE] * unpaid
    late_fee = terms[LATE_FEE] * larger(due - payment, 0.0)
    charged = interest + late_fee + terms[CASH_FEE] * cash
    uncovered = uncovered_of(due, days, payment)
    late = 0.0 if plan[ON_TIME] > 0 or due <= HALF_CENT else np.trunc(habit[4])
    balance = cents(balance - payment + spend + cash + charged)
    state[0] = due_of(balance, uncovered, terms)
    state[1] = larger(state[1] + debt_change_of(habit, plan), 0.0) + borrowed
    asks = 0.0 if plan[NO_CREDIT] > 0 else 1.0

    now[LIMIT] = limit
    now[BALANCE] = balance
    now[SPEND] = spend
    now[CASH] = cash
    now[PAYMENT] = payment
    now[DUE] = state[0]
    now[DAYS] = uncovered * DAYS_A_MONTH if uncovered > 0 else late
    now[REQUESTS] = asks * habit[5]
    now[INQUIRIES] = asks * habit[6] + (borrowed > 0)
    now[DEBT] = state[1]
    now[INCOME] = state[2]
    for column in (CASH, DUE, REQUESTS, INQUIRIES):
        # A source sends these columns in all statements or in none.
        if np.isnan(before[column]):
            now[column] = np.nan


@compiled
def roll_all(  # noqa: PLR0913
    stored: Any,
    observed: Any,
    account: Any,
    plans: Any,
    rotation: Any,
    borrowed: Any,
    limits: Any,
    suspended: Any,
    terms: Any,
    rolled: Any,
) -> None:
    """Write trajectories into ``rolled``: the history of their accounts, and the months to come.

    Of the history, as many statements as ``rolled`` has room for: the latest at least.

    Args:
        stored: float64 (stored columns, history, accounts), see :class:`features.window.Window`.
        observed: float64 (accounts,): the statements of each account.
        account: int64 (trajectories,): the account of each.
        plans: float64 (trajectories, 8), see :class:`serving.decision.advice.rollout.Plans`.
        rotation: int64 (trajectories,): the month of the habits that comes first.
        borrowed: float64 (trajectories,): CNY that an application brings in the first month.
        limits: float64 (months, trajectories): in force in each month, CNY, the next month first.
        suspended: bool, as ``limits``: whether nothing may be drawn.
        terms: float64 (5,), see :class:`features.ledger.Terms`.
        rolled: As above.
    """
    months = limits.shape[0]
    most = min(HABIT_MONTHS, stored.shape[1])
    habits, first, state = np.empty((most, 8)), np.empty(3), np.empty(3)
    write_history(stored, account, rolled, months)
    for trajectory in range(len(account)):
        own = account[trajectory]
        if trajectory == 0 or own != account[trajectory - 1]:
            write_habits(stored, own, most, habits)
            start(stored, own, terms, first)
        for place in range(len(first)):
            state[place] = first[place]
        length = min(int(observed[own]), most)
        for month in range(months):
            habit = habits[most - length + (month + rotation[trajectory]) % length]
            roll_month(
                rolled,
                months - 1 - month,
                trajectory,
                state,
                habit,
                plans[trajectory],
                limits[month, trajectory],
                suspended[month, trajectory],
                borrowed[trajectory] if month == 0 else 0.0,
                terms,
            )
