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
from features.types import Mask, Vector
from features.window import Months
from serving.decision.bundle import Bundle
from serving.decision.config.policy import Policy
from serving.decision.policy.compiled import memory, outcome
from serving.decision.policy.compiled.months import decide_months as decide_all
from serving.decision.policy.compiled.numbers import day_number, numbers_of, write_prior
from serving.decision.policy.outcome import Action
from serving.decision.policy.prior import Prior
from serving.decision.policy.restore import lifts_suspension, limit_back, may_step_back
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
class Schedule:
    """The limit in force in each month to come, CNY, and whether nothing may be drawn in it."""

    limits: tuple[float, ...]
    suspended: tuple[bool, ...]

    def months_like(self, other: Schedule) -> int:
        """In how many of the first months two schedules of one length are the same."""
        mine = zip(self.limits, self.suspended, strict=True)
        others = zip(other.limits, other.suspended, strict=True)
        for month, (own, another) in enumerate(zip(mine, others, strict=True)):
            if own != another:
                return month
        return len(self.limits)


@dataclass(frozen=True, slots=True)
class Decided:
    """The decisions after each month of a trajectory.

    Attributes:
        actions: The decisions, (months,).
        limits: In force after each of them, CNY, (months,).
        suspended: Whether nothing may be drawn after each of them, (months,).
        schedule: What they put in force, month by month.
    """

    actions: tuple[Action, ...]
    limits: tuple[float, ...]
    suspended: tuple[bool, ...]
    schedule: Schedule

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


def as_now(cut: LimitCut, months: int) -> Schedule:
    """The schedule in which the cut stays in force."""
    return Schedule((cut.limit_after,) * months, (cut.suspended,) * months)


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
    months, policy = len(features), bundle.policy
    numbers = numbers_of(policy)
    days = [_day_numbers(*_first_days(cut, policy), months) for cut in cuts]
    priors = np.array([_prior_row(_left_by(cut)) for cut in cuts])
    decided = np.empty((months, len(cuts), outcome.OUT_WIDTH))
    decide_all(
        plain_array(probability),
        plain_array(features),
        np.array([as_of for as_of, _ in days]).T.copy(),
        np.array([today for _, today in days]).T.copy(),
        np.array([cut.limit_after for cut in cuts]),
        np.array([PRODUCTS.index(cut.product) for cut in cuts]),
        numbers.arrays,
        priors,
        decided,
    )
    by_trajectory = decided.transpose(1, 2, 0).tolist()
    return [_decided(cut, rows) for cut, rows in zip(cuts, by_trajectory, strict=True)]


@lru_cache(maxsize=1024)  # each round of an account decides with the same one
def _prior_row(prior: Prior) -> Vector:
    row = np.empty(memory.PRIOR_WIDTH)
    write_prior(prior, row)
    return row


def _decided(cut: LimitCut, rows: Sequence[Sequence[float]]) -> Decided:
    """The decisions of one trajectory, one row for each place of the compiled outcome."""
    limits = tuple(rows[outcome.NEW_LIMIT])
    suspended = tuple(map(bool, rows[outcome.SUSPENDED]))
    schedule = Schedule(
        limits=(cut.limit_after, *limits[:-1]),
        suspended=(cut.suspended, *suspended[:-1]),
    )
    return Decided(
        actions=tuple(_ACTIONS[int(action)] for action in rows[outcome.ACTION]),
        limits=limits,
        suspended=suspended,
        schedule=schedule,
    )


def guess_steps(log_odds: Months, cut: LimitCut, bundle: Bundle) -> tuple[Months, Mask]:
    """The limit, and whether drawings are stopped, after each decision, without looking at rules.

    ``log_odds`` are (months, trajectories) of one account with the cut in force in all months; so
    is what comes back.
    """
    policy, prior = bundle.policy, _left_by(cut)
    if prior.last_cut_on is None:
        raise ValueError(f"advice: expected a cut in force, got {prior}")
    _, first = _first_days(cut, policy)
    days = [add_months(first, month + 1) for month in range(len(log_odds))]
    is_time = np.array([may_step_back(prior.last_cut_on, day, policy.restore) for day in days])
    below = logit(policy.cut_off(cut.product)) - log_odds
    lifts = lifts_suspension(below, policy.restore) & is_time[:, None]
    stopped = np.logical_not(np.logical_or.accumulate(lifts, axis=0)) & cut.suspended
    back = limit_back(
        below,
        np.array(prior.limit_before),
        np.array(prior.limit_after),
        policy,
    )
    given = np.where(is_time[:, None] & ~stopped, back, cut.limit_after)
    limits: Months = np.maximum.accumulate(np.maximum(given, cut.limit_after), axis=0)
    return limits, stopped


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
