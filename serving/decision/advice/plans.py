"""The plans that are tried for an account: every combination of its levers, the least effort first.

advice.toml states what is tried of each lever.  Effort is money a month, paid or not spent, in
monthly incomes (in limits, where no income is known), and a little for going without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from features.types import Matrix
from features.window import Values, Window
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.rollout import Plans, least_paid_share
from serving.decision.config.advice import LEVERS, AdviceRules, LeverName
from serving.decision.policy.limit import grid_down, grid_up

_RECENT = 6  # months whose means are the present spending and payment
# Carrying on: every lever as before.
_AS_BEFORE: Mapping[LeverName, float] = {
    "on_time": 0.0,
    "extra": 0.0,
    "spending": math.inf,
    "no_cash": 0.0,
    "no_new_credit": 0.0,
    "repay_elsewhere": 0.0,
}


@dataclass(frozen=True, slots=True)
class Finances:
    """What plans of an account are measured by, CNY; NaN = unknown."""

    balance: float  # at least 0
    debt: float  # elsewhere, as last known
    income: float  # a month, as last known
    spent: float  # a month, mean of the last months
    paid: float  # a month, mean of the last months
    least_share: float  # of a balance, paid in each of the last months


@dataclass(frozen=True, slots=True)
class PlanGrid:
    """The plans of one account in order of effort.

    ``baselines`` are the two plans that are shown for comparison: paying on time only, and carrying
    on.
    """

    plans: Plans
    effort: Values  # (plans,)
    baselines: Plans
    income: float  # a month, as last known; NaN = unknown
    payable: float  # most that can be paid a month; inf = unknown


def finances_of(window: Window) -> list[Finances]:
    """The finances of each of a window's accounts."""
    columns = (
        np.maximum(window.now("balance"), 0.0),
        window.last_known("external_debt"),
        window.last_known("income"),
        window.mean("spend", _RECENT),
        window.mean("payment", _RECENT),
        least_paid_share(window),
    )
    return [Finances(*row) for row in np.column_stack(columns).tolist()]


def make_plan_grid(
    finances: Finances,
    limit: float,
    rules: AdviceRules,
    constraints: Constraints,
    minimum_share: float,
) -> PlanGrid:
    """The grid of an account whose limit before the cut was ``limit``, CNY.

    ``minimum_share`` is the share of a balance that the lender asks for each month.  An amount that
    would change nothing (nothing was spent, or no debt elsewhere is known) is not tried and so
    never advised.
    """
    tried = _amounts(finances, rules) | constraints.fixed_by_customer()
    # Shares of a small amount may round to the same one.
    distinct = [dict.fromkeys(tried[name]) for name in LEVERS]
    combinations = np.array(list(product(*distinct)))
    # A share that the minimum due covers anyway is not worth a step.
    share = finances.least_share if finances.least_share > minimum_share else 0.0
    plans = _as_plans(combinations, np.full(len(combinations), share))
    unit = finances.income if finances.income > 0 else max(limit, 1.0)
    effort = _effort(plans, _known(finances.spent), unit, rules)
    # Stable, so that plans of the same effort stay in the order of the levers.
    order = np.argsort(effort, kind="stable")
    return PlanGrid(
        plans=plans.take(order),
        effort=effort[order],
        baselines=_baselines(share),
        income=finances.income,
        payable=_payable(finances, rules, constraints),
    )


def _amounts(finances: Finances, rules: AdviceRules) -> dict[LeverName, list[float]]:
    """What is tried of each lever."""
    levers, step = rules.levers, rules.search.rounding
    balance, debt = finances.balance, _known(finances.debt)
    spent = _known(finances.spent)
    spending = [math.inf]
    if spent > 0:
        shares = levers["spending"].grid
        # The whole of the present spending is no limit on it.
        spending = [math.inf if s == 1 else grid_down(s * spent, step) for s in shares]
    return {
        "on_time": [1.0],
        "extra": [grid_up(share * balance, step) for share in levers["extra"].grid],
        "spending": spending,
        "no_cash": list(levers["no_cash"].grid),
        "no_new_credit": list(levers["no_new_credit"].grid),
        "repay_elsewhere": [
            grid_up(share * debt, step) for share in levers["repay_elsewhere"].grid
        ],
    }


def _as_plans(combinations: Matrix, paid_share: Values) -> Plans:
    """Plans of (plans, levers), whose columns are in the order of LEVERS."""
    columns = dict(zip(LEVERS, combinations.T, strict=True))
    return Plans(**columns, paid_share=paid_share)


def _baselines(share: float) -> Plans:
    on_time = {**_AS_BEFORE, "on_time": 1.0}
    levers = [[plan[name] for name in LEVERS] for plan in (on_time, _AS_BEFORE)]
    return _as_plans(np.array(levers), np.array([share, 0.0]))


def _effort(
    plans: Plans,
    spent: float,
    unit: float,
    rules: AdviceRules,
) -> Values:
    weight = {name: lever.weight for name, lever in rules.levers.items()}
    here = weight["extra"] * plans.extra
    elsewhere = weight["repay_elsewhere"] * plans.repay_elsewhere
    not_spent = np.maximum(spent - plans.spending, 0.0)
    money = here + elsewhere + weight["spending"] * not_spent
    without: Values = (
        weight["no_cash"] * plans.no_cash + weight["no_new_credit"] * plans.no_new_credit
    )
    return money / unit + without


def _payable(
    finances: Finances,
    rules: AdviceRules,
    constraints: Constraints,
) -> float:
    """The most that can be paid a month.

    It is the customer's own figure; else what living and instalments leave of a known income, or
    the mean payment of late if that is more.
    """
    if constraints.monthly_payment is not None:
        return constraints.monthly_payment
    if math.isnan(finances.income):
        return math.inf
    search = rules.search
    instalments = search.instalment_share * _known(finances.debt)
    left = finances.income * (1.0 - search.living_share) - instalments
    return max(left, _known(finances.paid))


def _known(amount: float) -> float:
    return 0.0 if math.isnan(amount) else amount
