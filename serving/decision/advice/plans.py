"""The plans that are tried for an account: every combination of its levers, the least effort first.

advice.toml states what is tried of each lever.  Every plan starts from what the customer pays now.
Effort is money a month beyond that, paid or not spent, in monthly incomes (in limits, where no
income is known), and a little for going without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from features.program.evaluate import plain_array
from features.types import Mask, Matrix, Rows
from features.window import HALF_CENT, Values, Window
from serving.decision.advice.ahead.habits import HABIT_MONTHS
from serving.decision.advice.ahead.roll import write_finances
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.rollout import Plans
from serving.decision.config.advice import LEVERS, AdviceRules, LeverName
from serving.decision.policy.limit import grid_down, grid_up

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
    habit_months: int  # that carrying on repeats
    knows_applications: bool  # whether statements count applications elsewhere


@dataclass(frozen=True, slots=True)
class PlanGrid:
    """The plans of one account in order of effort.

    ``baselines`` are shown for comparison: first paying on time only, which starts from what is
    paid now, too; then carrying on, once for each month of habits that can come first
    (``rotations``, int64 (baselines,), 0 for the first).
    """

    plans: Plans
    effort: Values  # (plans,)
    baselines: Plans
    rotations: Rows
    income: float  # a month, as last known; NaN = unknown
    # Months that the payment of every plan is the mean of; 0 = it is less than that, as the
    # customer can pay less.
    paid_months: int
    payable: float  # most that can be paid a month; inf = unknown
    # CNY that an application elsewhere is priced with: a month's income, or the limit
    # before the cut where the income is unknown; 0 = the lender does not know of applications.
    application: float

    def is_payable(self, plans: Plans, most_paid: Values) -> Mask:
        """Whether these plans are within reach, (plans,); ``most_paid`` is that of any month, CNY.

        The minimum due and the amounts that the customer has fixed are asked for whatever the
        customer can pay.  Only a plan that asks for more has to be payable.
        """
        every = self.plans
        asks_least = (plans.extra == every.extra.min()) & (
            plans.repay_elsewhere == every.repay_elsewhere.min()
        )
        payable: Mask = asks_least | (most_paid <= self.payable + HALF_CENT)
        return payable

    @property
    def on_time_only(self) -> Plans:
        """Paying on time only."""
        return self.baselines.take([0])


def finances_of(window: Window) -> list[Finances]:
    """The finances of each of a window's accounts."""
    numbers = np.empty((len(window.products), 6))
    write_finances(plain_array(window.stored), numbers)
    rows = numbers.tolist()
    lengths = np.minimum(window.months_observed, HABIT_MONTHS).astype(np.int64).tolist()
    finances = []
    known = np.isfinite(window.now("credit_inquiries")).tolist()
    for row, habit_months, knows in zip(rows, lengths, known, strict=True):
        balance, debt, income, spent, paid, least_share = row
        own = Finances(
            balance,
            debt,
            income,
            spent,
            paid,
            least_share,
            habit_months,
            knows,
        )
        finances.append(own)
    return finances


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
    paid_now = _paid_now(finances, share, rules, constraints)
    is_mean = paid_now == grid_down(_known(finances.paid), rules.search.rounding)
    start = np.array([share, paid_now])
    plans = _as_plans(combinations, np.tile(start, (len(combinations), 1)))
    unit = finances.income if finances.income > 0 else max(limit, 1.0)
    effort = _effort(plans, _known(finances.spent), unit, rules)
    # Stable, so that plans of the same effort stay in the order of the levers.
    order = np.argsort(effort, kind="stable")
    return PlanGrid(
        plans=plans.take(order),
        effort=effort[order],
        baselines=_baselines(start, finances.habit_months),
        rotations=np.concatenate([[0], np.arange(finances.habit_months)]),
        income=finances.income,
        paid_months=finances.habit_months if is_mean else 0,
        payable=_payable(finances, rules, constraints),
        application=grid_up(unit, rules.search.rounding) if finances.knows_applications else 0.0,
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


def _paid_now(
    finances: Finances,
    least_share: float,
    rules: AdviceRules,
    constraints: Constraints,
) -> float:
    """What every plan asks for at least, CNY a month: the mean payment of late, rounded down.

    It is 0 if the plan relies on the whole balance being paid anyway.  A customer who says what can
    be paid is not asked for more, together with the amounts that the customer has fixed.
    """
    if least_share >= 1.0:
        return 0.0
    paid = _known(finances.paid)
    if constraints.monthly_payment is not None:
        fixed = (constraints.extra or 0.0) + (constraints.repay_elsewhere or 0.0)
        paid = min(paid, max(constraints.monthly_payment - fixed, 0.0))
    return grid_down(paid, rules.search.rounding)


def _as_plans(combinations: Matrix, start: Matrix) -> Plans:
    """Plans of (plans, levers), whose columns are in the order of LEVERS.

    The columns of ``start``, (plans, 2), are the share of the balance and the amount that are paid
    at least.
    """
    columns = dict(zip(LEVERS, combinations.T, strict=True))
    return Plans(**columns, paid_share=start[:, 0], paid_now=start[:, 1])


def _baselines(start: Values, rotations: int) -> Plans:
    on_time = {**_AS_BEFORE, "on_time": 1.0}
    levers = [[plan[name] for name in LEVERS] for plan in (on_time, *[_AS_BEFORE] * rotations)]
    return _as_plans(np.array(levers), np.array([start, *[np.zeros(2)] * rotations]))


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
