"""What the served policy decides on a trajectory, month after month, with the prior of the cut.

Each month is decided as it would be if the lender were asked then, and its answer put into force:
steps back, further cuts, the end of a suspension.  What a decision puts in force holds from the
next month on.

A trajectory needs the limits in force before it can be projected, and the decisions need the
trajectory.  So a schedule of limits is guessed, and the trajectory projected with it and decided;
if the decisions are another schedule, that one is tried next.  Up to the first month that differs,
both the months and the decisions are right, so this ends after at most as many rounds as months.

The decisions are those of :mod:`serving.decision.policy.outcome`, made by its compiled form
(:mod:`serving.decision.policy.compiled`).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from features.months import add_months, month_index, months_between
from features.program.evaluate import plain_array
from features.schema import PRODUCTS
from features.types import Matrix, Rows, Vector
from features.window import Months
from serving.decision.advice.ahead import judge
from serving.decision.bundle import Bundle
from serving.decision.config.policy import Policy
from serving.decision.policy.compiled import memory, outcome
from serving.decision.policy.compiled.months import decide_months as decide_all
from serving.decision.policy.compiled.numbers import day_number, numbers_of, write_prior
from serving.decision.policy.outcome import Action
from serving.decision.policy.prior import Prior
from serving.decision.policy.restore import may_step_back
from serving.decision.scoring.score import logit

_ACTIONS: tuple[Action, ...] = get_args(Action)
_PROMISED = ("keep", "restore")  # actions on a way back


@dataclass(frozen=True, slots=True)
class LimitCut:
    """A cut that was decided, is proposed, or is still in force.  Amounts in CNY.

    Attributes:
        product: Of the account.
        as_of: The month of its last statement.
        limit_before: From before the first cut that is in force.
        limit_after: In force now, or as proposed.
        suspended: Whether nothing may be drawn while the cut is in force.
        prior: What the decision leaves in force; None where no month is decided with it.
        decided_on: The day of the decision on the lender's clock; None likewise.
    """

    product: str
    as_of: datetime.date
    limit_before: float
    limit_after: float
    suspended: bool
    prior: Prior | None = None
    decided_on: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """The decisions after each month of a trajectory.

    Attributes:
        actions: The decisions, (months,).
        limits: In force after each of them, CNY, (months,).
        suspended: Whether nothing may be drawn after each of them, (months,).
    """

    actions: tuple[Action, ...]
    limits: tuple[float, ...]
    suspended: tuple[bool, ...]

    def month_back(self, limit_before: float) -> int | None:
        """The month after which the whole limit is back, 0 = the next; None if it is not.

        It stays back, and nothing is cut, suspended or put before a person in any month.
        """
        if any(action not in _PROMISED for action in self.actions):
            return None
        for month, (limit, suspended) in enumerate(zip(self.limits, self.suspended, strict=True)):
            if limit >= limit_before and not suspended:
                return month
        return None


@dataclass(frozen=True, slots=True)
class CourseMonths:
    """The months of a plan with what is decided after each.  Amounts in CNY."""

    paid: list[float]
    balance: list[float]
    probability: list[float]
    decided: Decided


@dataclass(frozen=True, slots=True)
class CutNumbers:
    """Cuts as the compiled loops read them; an account each.

    Attributes:
        as_of: float64 (months, accounts): the month index of each statement to come.
        today: As ``as_of``: the day of the decision on it.
        limit: float64 (accounts,): in force now, CNY.
        product: int64 (accounts,), positions in :data:`features.schema.PRODUCTS`.
        priors: float64 (accounts, 12), see :mod:`serving.decision.policy.compiled.memory`.
    """

    as_of: Months
    today: Months
    limit: Vector
    product: Rows
    priors: Matrix


def numbers_of_cuts(
    cuts: Sequence[LimitCut],
    months: int,
    policy: Policy,
) -> CutNumbers:
    """Cuts that a prior and a day are known of, for so many months to come."""
    days = [_day_numbers(*_first_days(cut, policy), months) for cut in cuts]
    priors = np.empty((len(cuts), memory.PRIOR_WIDTH))
    for cut, row in zip(cuts, priors, strict=True):
        write_prior(_left_by(cut), row)
    return CutNumbers(
        as_of=np.array([as_of for as_of, _ in days]).T.copy(),
        today=np.array([today for _, today in days]).T.copy(),
        limit=np.array([cut.limit_after for cut in cuts]),
        product=np.array([PRODUCTS.index(cut.product) for cut in cuts]),
        priors=priors,
    )


def make_cases(
    cuts: Sequence[LimitCut], balances: Sequence[float], months: int, policy: Policy
) -> Matrix:
    """What the trajectories of accounts are judged by, float64 (accounts, 9).

    See :mod:`serving.decision.advice.ahead.judge`; the mean probability of carrying on is left
    open, NaN.  ``balances`` are owed now, CNY.
    """
    cases = np.full((len(cuts), judge.CASE_WIDTH), np.nan)
    for cut, balance, case in zip(
        cuts,
        balances,
        cases,
        strict=True,
    ):
        prior = _left_by(cut)
        case[judge.CUT_OFF_LOG_ODDS] = logit(policy.cut_off(cut.product))
        case[judge.WHOLE] = cut.limit_before
        case[judge.LIMIT] = cut.limit_after
        case[judge.SUSPENDED] = cut.suspended
        case[judge.BEFORE] = prior.limit_before
        case[judge.AFTER] = prior.limit_after
        case[judge.FIRST] = _first_month_back(
            cut,
            prior,
            months,
            policy,
        )
        case[judge.BALANCE] = balance
    return cases


def _first_month_back(
    cut: LimitCut,
    prior: Prior,
    months: int,
    policy: Policy,
) -> int:
    """The first month in which anything may be given back, 0 = the next; ``months`` = none."""
    if prior.last_cut_on is None:
        raise ValueError(f"advice: expected a cut in force, got {prior}")
    _, first = _first_days(cut, policy)
    for month in range(months):
        if may_step_back(prior.last_cut_on, add_months(first, month + 1), policy.restore):
            return month
    return months


def decide_months(
    cuts: Sequence[LimitCut],
    probability: Months,
    features: NDArray[np.float64],
    bundle: Bundle,
) -> list[Decided]:
    """The decisions after each month of trajectories, asked monthly and put into force.

    ``cuts`` has one cut per trajectory, ``probability`` is (months, trajectories) and ``features``
    (months, trajectories, features of the catalogue).  The limit of a statement is what the
    decision before it put in force.
    """
    numbers = numbers_of_cuts(cuts, len(features), bundle.policy)
    decided = decide_as_numbers(
        numbers,
        np.arange(len(cuts)),
        probability,
        features,
        bundle.policy,
    )
    by_trajectory = decided.transpose(1, 2, 0).tolist()
    return [_decided(rows) for rows in by_trajectory]


def decide_as_numbers(
    numbers: CutNumbers,
    account: Rows,
    probability: Months,
    features: NDArray[np.float64],
    policy: Policy,
) -> NDArray[np.float64]:
    """:func:`decide_months` of trajectories of these accounts, int64 (trajectories,).

    Returns float64 (months, trajectories, 6), see
    :mod:`serving.decision.policy.compiled.outcome`.
    """
    decided = np.empty((*probability.shape, outcome.OUT_WIDTH))
    decide_all(
        plain_array(probability),
        plain_array(features),
        numbers.as_of.take(account, axis=1),
        numbers.today.take(account, axis=1),
        numbers.limit[account],
        numbers.product[account],
        numbers_of(policy).arrays,
        numbers.priors[account],
        decided,
    )
    return decided


def decided_on(decided: NDArray[np.float64], trajectory: int) -> Decided:
    """The decisions on one of the trajectories of :func:`decide_as_numbers`."""
    return _decided(decided[:, trajectory].T.tolist())


def _decided(rows: Sequence[Sequence[float]]) -> Decided:
    """The decisions of one trajectory, one row for each place of the compiled outcome."""
    return Decided(
        actions=tuple(_ACTIONS[int(action)] for action in rows[outcome.ACTION]),
        limits=tuple(rows[outcome.NEW_LIMIT]),
        suspended=tuple(map(bool, rows[outcome.SUSPENDED])),
    )


def _first_days(cut: LimitCut, policy: Policy) -> tuple[datetime.date, datetime.date]:
    """The month of the statement before, and the day that the decisions follow month by month.

    Decisions follow each other by a month, from the day of the cut on.  Of statements that were too
    old to decide on, they follow the statements.
    """
    if cut.decided_on is None:
        raise ValueError(f"advice: expected the day of the decision, got none for {cut}")
    months_old = months_between(cut.as_of, cut.decided_on)
    is_fresh = months_old <= policy.review.stale_months
    return cut.as_of, cut.decided_on if is_fresh else cut.as_of.replace(day=28)


@lru_cache(maxsize=1024)
def _day_numbers(
    as_of: datetime.date, first: datetime.date, months: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The month index of each statement to come, and the day of the decision on it, as numbers."""
    later = range(1, months + 1)
    statements = tuple(float(month_index(as_of) + month) for month in later)
    return statements, tuple(day_number(add_months(first, month)) for month in later)


def _left_by(cut: LimitCut) -> Prior:
    if cut.prior is None:
        raise ValueError(f"advice: expected what the decision leaves in force, got none for {cut}")
    return cut.prior
