"""Out of arrears: what has to be paid, until which statement, and what that statement then shows.

The ledger decides (:mod:`features.ledger`): a payment covers the oldest instalments first, and the
next statement shows 30 days past due for each one that is not covered.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np

from features.ledger import DAYS_A_MONTH, Behaviour, Standing, Terms, next_standing
from features.months import add_months, last_day
from features.window import Values, Window
from serving.decision.advice.result import ArrearsStep
from serving.decision.advice.rollout import last_standing
from serving.decision.config.advice import ARREARS, ArrearsRules
from serving.decision.config.reasons import Text
from serving.decision.reasons.wording import (
    amount_due_in_both,
    day_in_both,
    fill_in_both,
    month_in_both,
)


def ways_out_of_arrears(
    window: Window,
    as_of: Sequence[datetime.date],
    terms: Terms,
    rules: ArrearsRules,
) -> list[tuple[ArrearsStep, ...]]:
    """Of each account the payments that bring it under 60 and under 30 days past due.

    The larger payment comes last.  Each is for the next statement, until the last day of its month,
    with nothing bought until then: an account in arrears draws nothing.  A step that an account
    does not need is left out; an account that is less than 30 days past due has none.
    """
    steps: list[tuple[ArrearsStep, ...]] = [()] * len(as_of)
    days_now = window.now("days_past_due")
    for name, days in ARREARS.items():
        late = np.flatnonzero(days_now >= days)
        if not len(late):
            continue
        standing = last_standing(window.take(late), terms)
        paid = _least_payments(standing, days // DAYS_A_MONTH - 1)
        then = _after(standing, paid, terms)
        numbers = zip(
            late.tolist(),
            paid.tolist(),
            then.days_past_due.tolist(),
            then.minimum_due.tolist(),
            strict=True,
        )
        for account, amount, days_past_due, due in numbers:
            month = add_months(as_of[account], 1)
            step = ArrearsStep(
                under=days,
                amount=amount,
                month=month,
                days_past_due=days_past_due,
                minimum_due=due,
                text=_fill(rules.texts[name], amount, month, due),
            )
            steps[account] = (*steps[account], step)
    return steps


def _least_payments(standing: Standing, uncovered: int) -> Values:
    """The least whole amounts that leave at most that many instalments uncovered, CNY.

    Texts show no cents, so the amounts are rounded up.
    """
    instalments = standing.days_past_due // DAYS_A_MONTH + 1
    share = standing.minimum_due * (instalments - uncovered) / instalments
    payments: Values = np.ceil(share - 1e-9)
    return payments


def _after(standing: Standing, payment: Values, terms: Terms) -> Standing:
    """The next statements after these payments alone."""
    nothing = np.zeros(len(payment))
    acts = Behaviour(
        spend=nothing,
        cash_advance=nothing,
        payment=payment,
        days_late=np.zeros(len(payment), dtype=np.int32),
    )
    return next_standing(standing, acts, terms)


def _fill(text: Text, amount: float, month: datetime.date, due: float) -> Text:
    words = {
        "amount": amount_due_in_both(amount),
        "month": month_in_both(month),
        "day": day_in_both(last_day(month)),
        "due": amount_due_in_both(due),
    }
    return fill_in_both(text, words)
