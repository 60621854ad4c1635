"""Out of arrears: what has to be paid, until which statement, and what that statement then shows.

The ledger decides (:mod:`features.ledger`): a payment covers the oldest instalments first, and the
next statement shows 30 days past due for each one that is not covered.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

import numpy as np

from features.ledger import DAYS_A_MONTH, Behaviour, Standing, Terms, next_standing
from features.months import add_months, last_day
from features.window import Window
from serving.decision.advice.result import ArrearsStep
from serving.decision.advice.rollout import last_standing
from serving.decision.config.advice import ARREARS, ArrearsRules
from serving.decision.config.reasons import Text
from serving.decision.reasons.wording import amount_due, day, month_name


def ways_out_of_arrears(
    window: Window,
    account: int,
    as_of: datetime.date,
    terms: Terms,
    rules: ArrearsRules,
) -> tuple[ArrearsStep, ...]:
    """The payments that bring an account under 60 and under 30 days past due, the larger one last.

    Each is for the next statement, until the last day of its month, with nothing bought until then:
    an account in arrears draws nothing.  A step that the account does not need is left out; an
    account that is less than 30 days past due has none.
    """
    days_now = int(window.now("days_past_due")[account])
    if days_now < min(ARREARS.values()):
        return ()
    standing = last_standing(window.take(np.array([account])), terms)
    month = add_months(as_of, 1)
    steps = []
    for name, days in ARREARS.items():
        if days_now < days:
            continue
        paid = _least_payment(standing, days // DAYS_A_MONTH - 1)
        then = _after(standing, paid, terms)
        steps.append(
            ArrearsStep(
                under=days,
                amount=paid,
                month=month,
                days_past_due=then.days_past_due,
                minimum_due=then.minimum_due,
                text=_fill(rules.texts[name], paid, month, then.minimum_due),
            )
        )
    return tuple(steps)


def _least_payment(standing: Standing, uncovered: int) -> float:
    """The least whole amount that leaves at most that many instalments uncovered, CNY.

    Texts show no cents, so the amount is rounded up.
    """
    instalments = int(standing.days_past_due[0]) // DAYS_A_MONTH + 1
    due = float(standing.minimum_due[0])
    return float(math.ceil(due * (instalments - uncovered) / instalments - 1e-9))


@dataclass(frozen=True, slots=True)
class _Statement:
    days_past_due: int
    minimum_due: float  # CNY


def _after(standing: Standing, payment: float, terms: Terms) -> _Statement:
    """The next statement after this payment alone."""
    nothing = np.zeros(1)
    acts = Behaviour(
        spend=nothing,
        cash_advance=nothing,
        payment=np.array([payment]),
        days_late=np.zeros(1, dtype=np.int32),
    )
    after = next_standing(standing, acts, terms)
    return _Statement(int(after.days_past_due[0]), float(after.minimum_due[0]))


def _fill(text: Text, amount: float, month: datetime.date, due: float) -> Text:
    filled = []
    for template, language in text.by_language():
        filled.append(
            template.format(
                amount=amount_due(amount, language),
                month=month_name(month, language),
                day=day(last_day(month), language),
                due=amount_due(due, language),
            )
        )
    return Text(*filled)
