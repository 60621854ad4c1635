"""Accounts rolled forward in NumPy, all at once: the oracle of the compiled loops.

:func:`roll_forward` is that of :mod:`serving.decision.advice.rollout`; :func:`windows_ahead` gives
the window of each month to come, which the compiled program only looks at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.ledger import DAYS_A_MONTH, Behaviour, Standing, Terms, next_standing, round_to_cents
from features.schema import LONGEST_WINDOW
from features.types import Mask
from features.window import STORED_COLUMNS, Months, Values, Window
from serving.decision.advice.ahead.habits import HabitMonth, observe_habits
from serving.decision.advice.rollout import Plans, Variation, last_standing, planned_payment

# Columns that a source sends in all statements or in none; unknown ones stay unknown.
_ALL_OR_NONE = ("cash_advance", "minimum_due", "limit_requests", "credit_inquiries")


def roll_forward(
    window: Window,
    plans: Plans,
    limits: Months,
    suspended: Mask,
    terms: Terms,
    variation: Variation | None = None,
) -> dict[str, Months]:
    """The statements to come and those of the window, by column.

    ``limits`` float64 and ``suspended`` bool, (months, trajectories), have the next month first:
    the limit in force, and whether nothing may be drawn.  Returns arrays of (months + history,
    trajectories), the newest month first.  Income stays as last known.
    """
    varied = Variation.none(len(plans)) if variation is None else variation
    habits = observe_habits(window)
    standing = last_standing(window, terms)
    debt, income = window.last_known("external_debt"), window.last_known("income")
    months: list[dict[str, Values]] = []
    for month, (limit, blocked) in enumerate(zip(limits, suspended, strict=True)):
        acts = _act(
            habits.repeat(month, varied.rotation),
            standing,
            plans,
            limit,
            blocked,
        )
        standing = next_standing(standing, acts.behaviour, terms)
        borrowed = varied.borrowed if month == 0 else np.zeros(len(plans))
        debt = np.maximum(debt + acts.debt_change, 0.0) + borrowed
        statement = {
            "credit_limit": limit,
            "balance": standing.balance,
            "spend": acts.behaviour.spend,
            "cash_advance": acts.behaviour.cash_advance,
            "payment": acts.behaviour.payment,
            "minimum_due": standing.minimum_due,
            "days_past_due": standing.days_past_due.astype(np.float64),
            "limit_requests": acts.limit_requests,
            "credit_inquiries": acts.credit_inquiries + (borrowed > 0),
            "external_debt": debt,
            "income": income,
        }
        for name in _ALL_OR_NONE:
            statement[name] = np.where(
                np.isnan(window[name][0]),
                np.nan,
                statement[name],
            )
        months.append(statement)
    months.reverse()
    return {
        name: np.vstack([*(statement[name] for statement in months), window[name]])
        for name in STORED_COLUMNS
    }


def windows_ahead(
    columns: dict[str, Months],
    history: Window,
    months: int,
) -> Window:
    """The windows of the decisions after each of the ``months`` that were rolled forward.

    ``columns`` are those of :func:`roll_forward` for the window ``history``.  The windows are side
    by side: first those of all trajectories after the first month, then those after the second, and
    so on.
    """
    trajectories = len(history.months_observed)
    months_before = len(columns["balance"]) - months
    longest = min(months_before + months, LONGEST_WINDOW)
    shape = (longest, months * trajectories)
    ahead = {name: np.full(shape, np.nan) for name in columns}
    for month in range(1, months + 1):
        rows = min(months_before + month, longest)
        places = slice((month - 1) * trajectories, month * trajectories)
        newest = months - month
        for name, column in columns.items():
            visible = column[newest : newest + rows]
            ahead[name][:rows, places] = visible
    after = np.repeat(np.arange(1, months + 1), trajectories)
    observed = np.tile(history.months_observed, months) + after
    observed = np.minimum(observed, LONGEST_WINDOW)
    products = np.tile(history.products, months)
    return Window(ahead, observed.astype(np.int64), products)


@dataclass(frozen=True, slots=True)
class _Acts:
    """What happens in a month to come, (trajectories,)."""

    behaviour: Behaviour
    limit_requests: Values
    credit_inquiries: Values
    debt_change: Values


def _act(
    habit: HabitMonth,
    now: Standing,
    plans: Plans,
    limit: Values,
    suspended: NDArray[np.bool_],
) -> _Acts:
    """The acts of a month: the habit's where the plan says nothing."""
    on_time = plans.on_time > 0
    payment = _pay(habit, now, plans)
    spend, cash = _draw(
        habit, now, plans, limit - np.maximum(now.balance - payment, 0.0), suspended
    )
    days_late = np.where(on_time, 0, habit.days_late).astype(np.int32)
    no_credit = plans.no_new_credit > 0
    change = np.where(
        no_credit,
        np.minimum(habit.debt_change, 0.0),
        habit.debt_change,
    )
    repaid = np.minimum(change, -plans.repay_elsewhere)
    return _Acts(
        behaviour=Behaviour(spend, cash, payment, days_late),
        limit_requests=np.where(no_credit, 0.0, habit.limit_requests),
        credit_inquiries=np.where(no_credit, 0.0, habit.credit_inquiries),
        debt_change=np.where(plans.repay_elsewhere > 0, repaid, change),
    )


def _pay(
    habit: HabitMonth,
    now: Standing,
    plans: Plans,
) -> Values:
    owed = np.maximum(now.balance, 0.0)
    as_before = np.where(
        np.isnan(habit.paid_share),
        habit.payment,
        habit.paid_share * owed,
    )
    # A promise may not depend on a payment that the plan does not ask for.
    planned = planned_payment(owed, now.minimum_due, plans)
    payment = np.where(plans.on_time > 0, planned, np.minimum(as_before, owed))
    return round_to_cents(payment)


def _draw(
    habit: HabitMonth,
    now: Standing,
    plans: Plans,
    unused: Values,
    suspended: NDArray[np.bool_],
) -> tuple[Values, Values]:
    """Purchases and cash; an account in arrears or suspended draws nothing."""
    blocked = suspended | (now.days_past_due >= DAYS_A_MONTH)
    room = np.maximum(unused, 0.0)
    cash = np.where(
        blocked | (plans.no_cash > 0),
        0.0,
        np.minimum(habit.cash_advance, room),
    )
    wanted = np.minimum(habit.spend, plans.spending)
    spend = np.where(blocked, 0.0, np.minimum(wanted, room - cash))
    return round_to_cents(spend), round_to_cents(cash)
