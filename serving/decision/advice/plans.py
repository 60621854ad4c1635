"""The plans that are tried for an account: every combination of what its levers can do
(advice.toml), the least effort first.

Effort is money a month, paid or not spent, in monthly incomes (in limits, where no income is
known), and a little for what is gone without.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from features.window import Values, Window
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.rollout import Plans, least_share_of
from serving.decision.config.advice import LEVERS, AdviceRules, LeverName
from serving.decision.policy.limit import grid_down, grid_up

_RECENT = 6  # months that tell what is spent and paid now


@dataclass(frozen=True, slots=True)
class Habits:
    """What an account has to do with, CNY; NaN = not known.

    ``debt`` elsewhere and ``income`` as last known; ``spent`` and ``paid`` a month of late, on
    average; ``least_share`` of a balance that was paid of late.
    """

    balance: float
    debt: float
    income: float
    spent: float
    paid: float
    least_share: float


@dataclass(frozen=True, slots=True)
class PlanGrid:
    """The plans by effort, and ``baselines`` them two that are told for comparison: only paying on
    time, and carrying on.

    ``income`` a month as last known, NaN = not; ``payable``: the most that may be paid a month (inf
    where neither the customer nor an income tells).
    """

    plans: Plans
    effort: Values
    baselines: Plans
    income: float
    payable: float


def habits_of(window: Window) -> list[Habits]:
    """The means of each of a window's accounts."""
    columns = (
        np.maximum(window.now("balance"), 0.0),
        window.last_known("external_debt"),
        window.last_known("income"),
        window.mean("spend", _RECENT),
        window.mean("payment", _RECENT),
        least_share_of(window),
    )
    return [Habits(*row) for row in np.column_stack(columns).tolist()]


def make_plan_grid(
    means: Habits, limit: float, rules: AdviceRules, choices: Constraints, minimum_share: float
) -> PlanGrid:
    """The grid of one account, whose limit before the cut was ``limit``; the lender asks for
    ``minimum_share`` of a balance.

    An amount that would change nothing (nothing was spent, no debt elsewhere is known) is not
    tried, and so never advised.
    """
    tried = _tried(means, rules) | choices.fixed()
    combinations = np.array(list(product(*(dict.fromkeys(tried[name]) for name in LEVERS))))
    # What the minimum asks for anyway need not be told.
    share = means.least_share if means.least_share > minimum_share else 0.0
    plans = Plans(*np.column_stack([combinations, np.full(len(combinations), share)]).T)
    unit = means.income if means.income > 0 else max(limit, 1.0)
    effort = _effort(plans, _known(means.spent), unit, rules)
    order = np.argsort(effort, kind="stable")
    as_before = [math.inf if name == "spending" else 0.0 for name in LEVERS]
    on_time = [
        1.0 if name == "on_time" else value for name, value in zip(LEVERS, as_before, strict=True)
    ]
    beside = Plans(*np.array([[*on_time, share], [*as_before, 0.0]]).T)
    return PlanGrid(
        plans[order], effort[order], beside, means.income, _payable(means, rules, choices)
    )


def _tried(means: Habits, rules: AdviceRules) -> dict[LeverName, list[float]]:
    levers, step = rules.levers, rules.search.rounding
    spent, debt = _known(means.spent), _known(means.debt)
    spending = [
        math.inf if share == 1 else grid_down(share * spent, step)
        for share in levers["spending"].grid
    ]
    return {
        "on_time": [1.0],
        "extra": [grid_up(share * means.balance, step) for share in levers["extra"].grid],
        "spending": spending if spent > 0 else [math.inf],
        "no_cash": list(levers["no_cash"].grid),
        "no_new_credit": list(levers["no_new_credit"].grid),
        "repay_elsewhere": [
            grid_up(share * debt, step) for share in levers["repay_elsewhere"].grid
        ],
    }


def _effort(plans: Plans, spent: float, unit: float, rules: AdviceRules) -> Values:
    levers = rules.levers
    money = (
        levers["extra"].weight * plans.extra
        + levers["repay_elsewhere"].weight * plans.repay_elsewhere
    )
    money = money + levers["spending"].weight * np.maximum(spent - plans.spending, 0.0)
    without: Values = (
        levers["no_cash"].weight * plans.no_cash
        + levers["no_new_credit"].weight * plans.no_new_credit
    )
    return money / unit + without


def _payable(means: Habits, rules: AdviceRules, choices: Constraints) -> float:
    """What the customer says; else what a known income leaves, or was paid of late on average where
    that is more.
    """
    if choices.monthly_payment is not None:
        return choices.monthly_payment
    if math.isnan(means.income):
        return math.inf
    left = means.income * (
        1.0 - rules.search.living_share
    ) - rules.search.instalment_share * _known(means.debt)
    return max(left, _known(means.paid))


def _known(amount: float) -> float:
    return 0.0 if math.isnan(amount) else amount
