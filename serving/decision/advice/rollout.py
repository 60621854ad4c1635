"""Months to come: an account's own habits relived under a plan, through the ledger, into the
windows that a decision would see.

*Carrying on* means that the last months (``habits``, six where there are as many) happen again, in
their order: the same purchases and cash, the same share of the balance paid, the same applications
and the same change of debt elsewhere.  A plan changes some of that.  What follows from the acts
(interest, fees, minimum due, days past due) is the ledger's.

Who follows a plan pays what it asks and no more: a promise may not rest on a good month that nobody
asked for.  Nothing here is random: :mod:`serving.decision.advice.advise` adds a margin.

Conventions ----------- A *course* is one account under one plan.  Arrays are float64 (courses,), or
(months, courses) with the newest month first, as in :mod:`features.window`.  Amounts in CNY a
month.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from features.ledger import DAYS_A_MONTH, Behaviour, Standing, Terms, minimum_due_of, next_standing
from features.schema import LONGEST_WINDOW
from features.window import Months, Values, Window

HABITS = 6  # months that are relived
_NUMBERS = (
    "credit_limit", "balance", "spend", "cash_advance", "payment", "minimum_due", "days_past_due", "limit_requests",
    "credit_inquiries", "external_debt", "income",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plans:
    """What each course changes; all of one length.

    ``on_time`` 1 = at least the minimum is paid each month, and in time.  ``extra`` is paid above
    the minimum.  ``spending`` is the most that is bought in a month (inf = as before).  ``no_cash``
    and ``no_new_credit`` 1 = none.  ``repay_elsewhere`` is paid off debt elsewhere.  ``paid_share``
    of the balance is paid at least, where the plan is on time: what the customer has kept up of
    late, told and relied on.
    """

    on_time: Values
    extra: Values
    spending: Values
    no_cash: Values
    no_new_credit: Values
    repay_elsewhere: Values
    paid_share: Values

    def __len__(self) -> int:
        return len(self.extra)

    def __getitem__(self, courses: object) -> Plans:
        return Plans(*(getattr(self, field.name)[courses] for field in fields(Plans)))


def joined(parts: Sequence[Plans]) -> Plans:
    """All of them in order."""
    return Plans(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Plans))
    )


@dataclass(frozen=True, slots=True)
class Habits:
    """What the last months were like, (HABITS, courses), the oldest first; ``length`` int64
    (courses,): how many there are.

    ``paid_share`` of the balance that was to be paid; NaN where there was none or it is not known,
    and then ``payment`` counts.
    """

    length: NDArray[np.int64]
    spend: Months
    cash_advance: Months
    payment: Months
    paid_share: Months
    days_late: Months
    limit_requests: Months
    credit_inquiries: Months
    debt_change: Months


def habits_of(window: Window) -> Habits:
    """The habits that a window shows.

    Purchases that are not known are 0, and so is what a source never tells.
    """
    months = min(HABITS, len(window["balance"]))
    length = np.minimum(window.months_observed, months).astype(np.int64)

    def last(column: Months) -> Months:
        return np.nan_to_num(column[:months][::-1], nan=0.0)

    owed = window["owed_before"][:months][::-1]
    payment = last(window["payment"])
    paid_share = np.divide(payment, owed, out=np.full_like(payment, np.nan), where=owed > 0)
    days = last(window["days_past_due"])
    debt = window["external_debt"]
    before = np.vstack([debt[1:], np.full((1, debt.shape[1]), np.nan)])
    return Habits(
        length,
        last(window["spend"]),
        last(window["cash_advance"]),
        payment,
        np.minimum(paid_share, 1.0),
        np.where(days < DAYS_A_MONTH, days, 0.0),
        last(window["limit_requests"]),
        last(window["credit_inquiries"]),
        last(debt - before),
    )


def least_share_of(window: Window) -> Values:
    """The smallest share of a balance that was paid in the months of habit, in whole hundredths; 0
    where none is known.
    """
    shares = habits_of(window).paid_share
    smallest = np.min(np.where(np.isnan(shares), np.inf, shares), axis=0)
    whole: Values = np.floor(np.where(np.isinf(smallest), 0.0, smallest) * 100.0 + 1e-9) / 100.0
    return whole


def roll_forward(
    window: Window, plans: Plans, limits: Months, suspended: NDArray[np.bool_], terms: Terms
) -> dict[str, Months]:
    """The statements of months to come, newest first, then the window's: column -> (months +
    history, courses).

    ``limits`` float64 and ``suspended`` bool, both (months, courses), the next month first: the
    limit in force, and whether nothing may be drawn.  Income stays as last known; what the window
    never knows stays unknown.
    """
    habits = habits_of(window)
    standing = _standing(window, terms)
    debt, income = window.last_known("external_debt"), window.last_known("income")
    written: dict[str, list[Values]] = {name: [] for name in _NUMBERS}
    for month, (limit, blocked) in enumerate(zip(limits, suspended, strict=True)):
        place = (month - habits.length) % habits.length + len(habits.spend) - habits.length
        acts = _acts(_Relived(habits, place), standing, plans, limit, blocked)
        standing = next_standing(standing, acts.behaviour, terms)
        debt = np.maximum(debt + acts.debt_change, 0.0)
        row = {
            "credit_limit": limit,
            "balance": standing.balance,
            "spend": acts.behaviour.spend,
            "cash_advance": acts.behaviour.cash_advance,
            "payment": acts.behaviour.payment,
            "minimum_due": standing.minimum_due,
            "days_past_due": standing.days_past_due.astype(np.float64),
            "limit_requests": acts.limit_requests,
            "credit_inquiries": acts.credit_inquiries,
            "external_debt": debt,
            "income": income,
        }
        for name, values in row.items():
            unknown = np.isnan(window[name][0]) & (name in _WHOLE)
            written[name].append(np.where(unknown, np.nan, values))
    return {name: np.vstack([*written[name][::-1], window[name]]) for name in _NUMBERS}


# known in all statements or in none
_WHOLE = ("cash_advance", "minimum_due", "limit_requests", "credit_inquiries")


def windows_ahead(lived: dict[str, Months], months_observed: Values, months: int) -> Window:
    """The windows that decisions see after each of the ``months`` lived, side by side: all courses
    after the first first.
    """
    courses = len(months_observed)
    history = len(lived["balance"]) - months
    longest = min(history + months, LONGEST_WINDOW)
    columns = {name: np.full((longest, months * courses), np.nan) for name in lived}
    for month in range(1, months + 1):
        rows = min(history + month, longest)
        places = slice((month - 1) * courses, month * courses)
        for name, column in lived.items():
            columns[name][:rows, places] = column[months - month : months - month + rows]
    after = np.repeat(np.arange(1, months + 1), courses)
    observed = np.minimum(np.tile(months_observed, months) + after, LONGEST_WINDOW)
    return Window(columns, observed.astype(np.int64))


@dataclass(frozen=True, slots=True)
class _Acts:
    behaviour: Behaviour
    limit_requests: Values
    credit_inquiries: Values
    debt_change: Values


class _Relived:
    """One month of the habits: a value a course, by name."""

    def __init__(self, habits: Habits, place: NDArray[np.int64]) -> None:
        self._habits, self._place, self._courses = habits, place, np.arange(len(place))

    def __getattr__(self, name: str) -> Values:
        values: Values = getattr(self._habits, name)[self._place, self._courses]
        return values


def _acts(
    habit: _Relived, now: Standing, plans: Plans, limit: Values, suspended: NDArray[np.bool_]
) -> _Acts:
    """The month's acts, as habit has them where the plan says nothing.

    Who is in arrears draws nothing.
    """
    owed, due = np.maximum(now.balance, 0.0), now.minimum_due
    relived = np.where(np.isnan(habit.paid_share), habit.payment, habit.paid_share * owed)
    on_time = plans.on_time > 0
    # A promise may not rest on a payment that the plan does not ask for.
    relied_on = np.where(on_time, plans.paid_share * owed, relived)
    least = np.where(on_time, due + plans.extra, 0.0)
    # a lender's minimum may ask for more than its balance shows
    most = np.where(on_time, np.maximum(owed, due), owed)
    payment = _cents(np.minimum(np.maximum(relied_on, least), most))
    blocked = suspended | (now.days_past_due >= DAYS_A_MONTH)
    room = np.maximum(limit - np.maximum(now.balance - payment, 0.0), 0.0)
    cash = np.where(blocked | (plans.no_cash > 0), 0.0, np.minimum(habit.cash_advance, room))
    spend = np.where(blocked, 0.0, np.minimum(np.minimum(habit.spend, plans.spending), room - cash))
    credit = plans.no_new_credit > 0
    change = np.where(credit, np.minimum(habit.debt_change, 0.0), habit.debt_change)
    days_late = np.where(on_time, 0, habit.days_late).astype(np.int32)
    return _Acts(
        Behaviour(_cents(spend), _cents(cash), payment, days_late),
        np.where(credit, 0.0, habit.limit_requests),
        np.where(credit, 0.0, habit.credit_inquiries),
        np.where(plans.repay_elsewhere > 0, np.minimum(change, -plans.repay_elsewhere), change),
    )


def _cents(amount: Values) -> Values:
    rounded: Values = np.round(amount, 2)
    return rounded


def _standing(window: Window, terms: Terms) -> Standing:
    """Where the last statement leaves the account; a minimum due that a source does not tell is
    what the terms ask for.
    """
    balance, due = window.now("balance"), window.now("minimum_due")
    asked = minimum_due_of(balance, np.zeros(len(balance), dtype=np.int32), terms)
    return Standing(
        balance, np.where(np.isnan(due), asked, due), window.now("days_past_due").astype(np.int32)
    )
