"""The plans that are tried for an account: every combination of its levers, the least effort first.

advice.toml states what is tried of each lever.  Every plan starts from what the customer pays now.
Effort is money a month beyond that, paid or not spent, in monthly incomes (in limits, where no
income is known), and a little for going without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np

from features.program.evaluate import plain_array
from features.types import Mask, Matrix, Rows
from features.window import Values, Window
from serving.decision.advice.ahead.habits import HABIT_MONTHS
from serving.decision.advice.ahead.roll import write_finances
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.rollout import Plans
from serving.decision.config.advice import LEVERS, AdviceRules, LeverName
from serving.decision.policy.limit import grid_down, grid_up, round_down, round_up

# Carrying on: every lever as before.
_AS_BEFORE: Mapping[LeverName, float] = {
    "on_time": 0.0,
    "extra": 0.0,
    "spending": math.inf,
    "no_cash": 0.0,
    "no_new_credit": 0.0,
    "repay_elsewhere": 0.0,
}
# As a row of a grid: with it nothing is paid at least.
_CARRYING_ON = np.array([*(_AS_BEFORE[name] for name in LEVERS), 0.0, 0.0])

_ON_TIME, _EXTRA, _ELSEWHERE = map(LEVERS.index, ("on_time", "extra", "repay_elsewhere"))


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

    The baselines are shown for comparison: first paying on time only, which starts from what is
    paid now, too; then carrying on, once for each month of habits that can come first
    (``rotations``, int64 (baselines,), 0 for the first).
    """

    rows: Matrix  # (plans, 8), as Plans.rows has them
    effort: Values  # (plans,)
    baseline_rows: Matrix  # (baselines, 8)
    rotations: Rows
    # Whether a plan asks for no more than what is asked for whatever the customer can pay: the
    # minimum due and the amounts that the customer has fixed.  Only another has to be payable.
    asks_least: Mask  # (plans,)
    income: float  # a month, as last known; NaN = unknown
    # Months that the payment of every plan is the mean of; 0 = it is less than that, as the
    # customer can pay less.
    paid_months: int
    payable: float  # most that can be paid a month; inf = unknown
    # CNY that an application elsewhere is priced with: a month's income, or the limit
    # before the cut where the income is unknown; 0 = the lender does not know of applications.
    application: float

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def plans(self) -> Plans:
        """The plans by column."""
        return Plans.from_rows(self.rows)

    @property
    def baselines(self) -> Plans:
        """The baselines by column."""
        return Plans.from_rows(self.baseline_rows)


def finances_of(window: Window) -> list[Finances]:
    """The finances of each of a window's accounts."""
    numbers = np.empty((len(window.products), 6))
    write_finances(plain_array(window.stored), numbers)
    rows = numbers.tolist()
    lengths = np.minimum(window.months_observed, HABIT_MONTHS).astype(np.int64).tolist()
    finances = []
    known = np.isfinite(window.now("credit_inquiries")).tolist()
    for row, habit_months, knows in zip(
        rows,
        lengths,
        known,
        strict=True,
    ):
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
    distinct = [[*dict.fromkeys(tried[name])] for name in LEVERS]
    places = _combinations(tuple(map(len, distinct)))
    rows = np.empty((len(places), len(LEVERS) + 2))
    rows[:, : len(LEVERS)] = np.array([*chain.from_iterable(distinct)])[places]
    # A share that the minimum due covers anyway is not worth a step.
    share = finances.least_share if finances.least_share > minimum_share else 0.0
    paid_now = _paid_now(
        finances,
        share,
        rules,
        constraints,
    )
    is_mean = paid_now == grid_down(_known(finances.paid), rules.search.rounding)
    rows[:, len(LEVERS) :] = share, paid_now
    unit = finances.income if finances.income > 0 else max(limit, 1.0)
    effort = _effort(
        rows,
        _known(finances.spent),
        unit,
        rules,
    )
    # Stable, so that plans of the same effort stay in the order of the levers.
    order = np.argsort(effort, kind="stable")
    rows = rows[order]
    extra, elsewhere = rows[:, _EXTRA], rows[:, _ELSEWHERE]
    return PlanGrid(
        rows=rows,
        effort=effort[order],
        baseline_rows=_baselines(share, paid_now, finances.habit_months),
        rotations=_rotations(finances.habit_months),
        asks_least=(extra == min(tried["extra"])) & (elsewhere == min(tried["repay_elsewhere"])),
        income=finances.income,
        paid_months=finances.habit_months if is_mean else 0,
        payable=_payable(finances, rules, constraints),
        application=grid_up(unit, rules.search.rounding) if finances.knows_applications else 0.0,
    )


@lru_cache(maxsize=256)
def _combinations(lengths: tuple[int, ...]) -> Rows:
    """Every combination of a place in each of so many lists, int64 (combinations, lists).

    The lists follow each other, and places are counted from the first on.  The last place changes
    first.
    """
    starts = np.cumsum((0, *lengths[:-1]))
    places: Rows = np.indices(lengths).reshape(len(lengths), -1).T + starts
    return places


@lru_cache(maxsize=HABIT_MONTHS + 1)
def _rotations(habit_months: int) -> Rows:
    rotations: Rows = np.concatenate([[0], np.arange(habit_months)])
    return rotations


def _amounts(finances: Finances, rules: AdviceRules) -> dict[LeverName, list[float]]:
    """What is tried of each lever."""
    levers, step = rules.levers, rules.search.rounding
    spent = _known(finances.spent)
    spending = [math.inf]
    if spent > 0:
        shares = levers["spending"].grid
        amounts = round_down(np.array(shares) * spent, step).tolist()
        # The whole of the present spending is no limit on it.
        spending = [
            math.inf if share == 1 else amount
            for share, amount in zip(shares, amounts, strict=True)
        ]
    extra = np.array(levers["extra"].grid) * finances.balance
    elsewhere = np.array(levers["repay_elsewhere"].grid) * _known(finances.debt)
    return {
        "on_time": [1.0],
        "extra": round_up(extra, step).tolist(),
        "spending": spending,
        "no_cash": list(levers["no_cash"].grid),
        "no_new_credit": list(levers["no_new_credit"].grid),
        "repay_elsewhere": round_up(elsewhere, step).tolist(),
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


def _baselines(
    share: float,
    paid_now: float,
    rotations: int,
) -> Matrix:
    """Paying on time only, from what is paid now on, and carrying on as often as it is relived."""
    rows = np.empty((1 + rotations, len(_CARRYING_ON)))
    rows[:] = _CARRYING_ON
    rows[0, _ON_TIME] = 1.0
    rows[0, len(LEVERS) :] = share, paid_now
    return rows


def _effort(
    rows: Matrix,
    spent: float,
    unit: float,
    rules: AdviceRules,
) -> Values:
    weight = {name: lever.weight for name, lever in rules.levers.items()}
    _, extra, spending, no_cash, no_new_credit, elsewhere, _, _ = rows.T
    not_spent = np.maximum(spent - spending, 0.0)
    paid = weight["extra"] * extra + weight["repay_elsewhere"] * elsewhere
    money = paid + weight["spending"] * not_spent
    without = weight["no_cash"] * no_cash + weight["no_new_credit"] * no_new_credit
    effort: Values = money / unit + without
    return effort


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
