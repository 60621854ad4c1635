"""Accounts rolled forward: their own habits repeated under a plan, through the lender's ledger.

*Carrying on* repeats the last HABIT_MONTHS months, or as many as there are, in their order: the
same purchases and cash, the same share of the balance paid, the same applications and the same
change of debt elsewhere.  A plan changes some of that.  Interest, fees, minimum due and days past
due follow from the ledger.

Under a plan the customer pays what the plan asks for and no more: a promise may not depend on a
good month that the plan does not ask for.  A plan starts from what the customer pays now, and never
asks for less.  Nothing here is random; the search adds a margin.

Conventions
-----------
A *trajectory* is one account under one plan.  Arrays are float64 (trajectories,), or (months,
trajectories) with the newest month first, as in :mod:`features.window`.  Amounts are CNY a month.
The loops are compiled (:mod:`serving.decision.advice.ahead.roll`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache

import numpy as np

from features.ledger import DAYS_A_MONTH, Standing, Terms, minimum_due_of
from features.program.evaluate import plain_array
from features.types import Mask, Matrix, Rows, Vector
from features.window import STORED_COLUMNS, Months, Stored, Values, Window
from serving.decision.advice.ahead.roll import roll_all


@dataclass(frozen=True, slots=True)
class Plans:
    """What plans change, float64 (plans,)."""

    on_time: Values  # 1 = at least the minimum due is paid each month, by its date
    extra: Values  # paid on top of the payment that the plan starts from
    spending: Values  # most that is bought in a month; inf = as before
    no_cash: Values  # 1 = no cash is drawn
    no_new_credit: Values  # 1 = no applications and no new debt elsewhere
    repay_elsewhere: Values  # paid off debt elsewhere
    # Share of the balance that is paid at least, in a plan that is on time: the least that the
    # customer has paid of late.  The step of the lever states it.
    paid_share: Values
    # CNY that is paid at least in a plan that is on time: the mean payment of late.
    paid_now: Values

    def __len__(self) -> int:
        return len(self.extra)

    @classmethod
    def from_rows(cls, rows: Matrix) -> Plans:
        """The inverse of :meth:`rows`."""
        return cls(*rows.T)

    def rows(self) -> Matrix:
        """The plans as rows, float64 (plans, 8), with the fields in their order as columns."""
        columns = (
            self.on_time,
            self.extra,
            self.spending,
            self.no_cash,
            self.no_new_credit,
            self.repay_elsewhere,
            self.paid_share,
            self.paid_now,
        )
        return np.stack(columns, axis=1)

    def take(self, rows: Rows | slice | list[int]) -> Plans:
        """The plans at these positions, in this order."""
        return Plans(
            on_time=self.on_time[rows],
            extra=self.extra[rows],
            spending=self.spending[rows],
            no_cash=self.no_cash[rows],
            no_new_credit=self.no_new_credit[rows],
            repay_elsewhere=self.repay_elsewhere[rows],
            paid_share=self.paid_share[rows],
            paid_now=self.paid_now[rows],
        )


def concatenate_plans(parts: Sequence[Plans]) -> Plans:
    """The plans of all parts in order; ValueError for no part."""
    return Plans(
        on_time=np.concatenate([part.on_time for part in parts]),
        extra=np.concatenate([part.extra for part in parts]),
        spending=np.concatenate([part.spending for part in parts]),
        no_cash=np.concatenate([part.no_cash for part in parts]),
        no_new_credit=np.concatenate([part.no_new_credit for part in parts]),
        repay_elsewhere=np.concatenate([part.repay_elsewhere for part in parts]),
        paid_share=np.concatenate([part.paid_share for part in parts]),
        paid_now=np.concatenate([part.paid_now for part in parts]),
    )


def planned_payment(
    owed: Values,
    due: Values,
    plans: Plans,
) -> Values:
    """The payment that plans ask for in a month, CNY (plans,); they must be plans on time.

    ``owed`` at least 0, and ``due``, are those of the last statement.  It is the minimum due, what
    is paid now, or the share of the balance, whichever is more, and the plan's extra amount.  A
    lender's minimum due may be more than its balance; no other part is.
    """
    start = np.maximum(np.maximum(due, plans.paid_now), plans.paid_share * owed)
    most = np.maximum(owed, due)
    payment: Values = np.minimum(start + plans.extra, most)
    return payment


@dataclass(frozen=True, slots=True)
class Variation:
    """How trajectories depart from their accounts' own course, beside their plans.

    Attributes:
        rotation: The month of the habits that is repeated first, int64 (trajectories,); 0 = the
            oldest, so that the habits come in their order.
        borrowed: CNY that one application elsewhere brings in the first month, float64
            (trajectories,); 0 = there is none.
    """

    rotation: Rows
    borrowed: Values

    @classmethod
    def none(cls, trajectories: int) -> Variation:
        """No departure."""
        return cls(np.zeros(trajectories, dtype=np.int64), np.zeros(trajectories))


def roll_forward(
    window: Window,
    plans: Plans,
    limits: Months,
    suspended: Mask,
    terms: Terms,
    variation: Variation | None = None,
) -> dict[str, Months]:
    """The statements to come and those of the window, by column; a trajectory an account.

    ``limits`` float64 and ``suspended`` bool, (months, trajectories), have the next month first:
    the limit in force, and whether nothing may be drawn.  Returns arrays of (months + history,
    trajectories), the newest month first.  Income stays as last known.
    """
    varied = Variation.none(len(plans)) if variation is None else variation
    courses = Courses(
        np.arange(len(plans)),
        plans.rows(),
        limits,
        suspended,
        varied,
    )
    rolled = roll_courses(
        window,
        courses,
        terms,
        window.stored.shape[1],
    )
    return dict(zip(STORED_COLUMNS, rolled, strict=True))


@dataclass(frozen=True, slots=True)
class Courses:
    """Accounts under plans, and what is in force in each month, to be rolled forward.

    Attributes:
        account: int64 (trajectories,), positions in the window.
        plans: float64 (trajectories, 8), as :meth:`Plans.rows` has them.
        limits: float64 (months, trajectories): in force in each month, the next one first, CNY.
        suspended: bool, as ``limits``: whether nothing may be drawn.
        variation: How they depart from their accounts' own course.
    """

    account: Rows
    plans: Matrix
    limits: Months
    suspended: Mask
    variation: Variation


def roll_courses(
    window: Window,
    courses: Courses,
    terms: Terms,
    history: int,
) -> Stored:
    """The statements to come, and the latest ``history`` statements of the window, at least 1.

    Returns float64 (stored columns, months + history, trajectories), the newest month first.
    """
    months, trajectories = courses.limits.shape
    rolled = np.empty((len(STORED_COLUMNS), months + history, trajectories))
    roll_all(
        plain_array(window.stored),
        plain_array(window.months_observed),
        plain_array(courses.account),
        plain_array(courses.plans),
        plain_array(courses.variation.rotation),
        plain_array(courses.variation.borrowed),
        plain_array(courses.limits),
        plain_array(courses.suspended),
        _numbers_of(terms),
        rolled,
    )
    return rolled


@lru_cache(maxsize=8)
def _numbers_of(terms: Terms) -> Vector:
    return np.array(astuple(terms))


def last_standing(window: Window, terms: Terms) -> Standing:
    """The standing of the last statement; an unknown minimum due is what the terms ask for.

    Arrears are part of it: an instalment for each month past due.
    """
    balance, due = window.now("balance"), window.now("minimum_due")
    days = window.now("days_past_due").astype(np.int32)
    by_terms = minimum_due_of(balance, days // DAYS_A_MONTH, terms)
    return Standing(
        balance=balance,
        minimum_due=np.where(np.isnan(due), by_terms, due),
        days_past_due=days,
    )
