"""What the served policy decides on a trajectory, month after month, with the prior of the cut.

Each month is decided as it would be if the lender were asked then, and its answer put into force:
steps back, further cuts, the end of a suspension.  What a decision puts in force holds from the
next month on.

A trajectory needs the limits in force before it can be projected, and the decisions need the
trajectory.  So a schedule of limits is guessed, and the trajectory projected with it and decided;
if the decisions are another schedule, that one is tried next.  Up to the first month that differs,
both the months and the decisions are right, so this ends after at most as many rounds as months,
and each round decides only on the months from there on.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.catalogue import CATALOGUE
from features.months import add_months, months_between
from features.types import Mask
from features.window import Months
from serving.decision.bundle import Bundle
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply_many, change_of
from serving.decision.policy.prior import Prior, after
from serving.decision.policy.restore import lifts_suspension, limit_back, may_step_back
from serving.decision.scoring.score import logit

_NAMES = tuple(feature.name for feature in CATALOGUE)
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
        outcomes: The decisions, (months,).
        limits: In force after each of them, CNY, (months,).
        suspended: Whether nothing may be drawn after each of them, (months,).
        schedule: What they put in force, month by month.
    """

    outcomes: tuple[Outcome, ...]
    limits: tuple[float, ...]
    suspended: tuple[bool, ...]
    schedule: Schedule

    def month_back(self, limit_before: float) -> int | None:
        """The month after which the whole limit is back, 0 = the next; None if it is not.

        It stays back, and nothing is cut, suspended or put before a person in any month.
        """
        if any(outcome.action not in _PROMISED for outcome in self.outcomes):
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
    asked: Sequence[Asked] | None = None,
) -> list[Decided]:
    """The decisions after each month of trajectories, asked monthly and put into force.

    ``cuts`` has one cut per trajectory, ``probability`` is (months, trajectories) and ``features``
    (months, trajectories, features of the catalogue).  The limit of a statement is what the
    decision before it put in force.  ``asked``, one per trajectory, have the first decisions
    already, and get the others; None = none is decided yet.
    """
    asked = [Asked(cut) for cut in cuts] if asked is None else asked
    for month in range(len(features)):
        chances = probability[month].tolist()
        by_day: dict[datetime.datetime, list[int]] = {}
        accounts: dict[int, Account] = {}
        for place, one in enumerate(asked):
            if one.decided_months > month:
                continue
            as_of, decided_at = decision_after(one.cut, month, bundle.policy)
            by_day.setdefault(decided_at, []).append(place)
            values = dict(zip(_NAMES, features[month, place].tolist(), strict=True))
            values["limit_now"] = one.in_force
            accounts[place] = Account(
                one.cut.product,
                as_of,
                chances[place],
                values,
                one.prior,
            )
        # One call for all: the policy's arrays cost as much for one account as for a hundred.
        for decided_at, places in by_day.items():
            due = [accounts[place] for place in places]
            for place, outcome in zip(
                places, apply_many(due, bundle.policy, decided_at), strict=True
            ):
                asked[place].put_in_force(outcome, accounts[place], decided_at.date())
    return [one.decided() for one in asked]


class Asked:
    """The decisions on one trajectory so far, and what they leave in force."""

    def __init__(self, cut: LimitCut) -> None:
        self.cut = cut
        self._priors: list[Prior | None] = [_left_by(cut)]
        self._outcomes: list[Outcome] = []

    @property
    def decided_months(self) -> int:
        """How many months are decided."""
        return len(self._outcomes)

    @property
    def prior(self) -> Prior | None:
        """What the decisions leave in force for the next one."""
        return self._priors[-1]

    @property
    def in_force(self) -> float:
        """The limit in force, CNY."""
        return self._outcomes[-1].new_limit if self._outcomes else self.cut.limit_after

    def put_in_force(self, outcome: Outcome, account: Account, today: datetime.date) -> None:
        """Take the decision on the next month."""
        self._priors.append(after(self.prior, change_of(outcome, account, "", today)))
        self._outcomes.append(outcome)

    def forget_after(self, months: int) -> None:
        """Forget the decisions on all but the first ``months``."""
        del self._outcomes[months:], self._priors[months + 1 :]

    def decided(self) -> Decided:
        """The decisions, once all months are decided."""
        limits = [outcome.new_limit for outcome in self._outcomes]
        suspended = [outcome.suspended for outcome in self._outcomes]
        schedule = Schedule(
            limits=(self.cut.limit_after, *limits[:-1]),
            suspended=(self.cut.suspended, *suspended[:-1]),
        )
        return Decided(tuple(self._outcomes), tuple(limits), tuple(suspended), schedule)


def guess_steps(log_odds: Months, cut: LimitCut, bundle: Bundle) -> tuple[Months, Mask]:
    """The limit, and whether drawings are stopped, after each decision, without looking at rules.

    ``log_odds`` are (months, trajectories) of one account with the cut in force in all months; so
    is what comes back.
    """
    policy, prior = bundle.policy, _left_by(cut)
    if prior.last_cut_on is None:
        raise ValueError(f"advice: expected a cut in force, got {prior}")
    days = [decision_after(cut, month, policy)[1].date() for month in range(len(log_odds))]
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


def decision_after(
    cut: LimitCut, month: int, policy: Policy
) -> tuple[datetime.date, datetime.datetime]:
    """The month of the statement after that month, and the time of the decision on it.

    Decisions follow each other by a month, from the day of the cut on.  Of statements that were too
    old to decide on, they follow the statements.
    """
    if cut.decided_on is None:
        raise ValueError(f"advice: expected the day of the decision, got none for {cut}")
    months_old = months_between(cut.as_of, cut.decided_on)
    is_fresh = months_old <= policy.review.stale_months
    first = cut.decided_on if is_fresh else cut.as_of.replace(day=28)
    return _decision_after(cut.as_of, first, month, policy.dates.utc_offset_hours)


@lru_cache(maxsize=4096)
def _decision_after(
    as_of: datetime.date, first: datetime.date, month: int, utc_offset_hours: float
) -> tuple[datetime.date, datetime.datetime]:
    clock = datetime.timezone(datetime.timedelta(hours=utc_offset_hours))
    day = add_months(first, month + 1)
    return add_months(as_of, month + 1), datetime.datetime(
        day.year, day.month, day.day, 12, tzinfo=clock
    )


def _left_by(cut: LimitCut) -> Prior:
    if cut.prior is None:
        raise ValueError(f"advice: expected what the decision leaves in force, got none for {cut}")
    return cut.prior
