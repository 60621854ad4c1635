"""What the months to come bring to accounts under plans: features and log-odds month by month.

The features and the model are those of a decision.  The trajectories of many accounts are projected
together, and all their months too: one call builds the features of all, because a call costs as
much as a hundred trajectories.

:mod:`serving.decision.advice.rollout` defines a trajectory and the layout of the arrays.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.build import matrix_of
from features.catalogue import CATALOGUE
from features.months import add_months
from features.program.evaluate import evaluate_ahead
from features.types import Mask, Matrix, Rows, Vector
from features.window import STORED_COLUMNS, Months, Stored, Values, Window
from serving.decision.advice.rollout import InForce, Plans, Variation, roll_accounts
from serving.decision.advice.staircase import CourseMonths, Decided, LimitCut, Schedule
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.scoring.score import log_odds_by_tables, probability_of

_NAMES = tuple(feature.name for feature in CATALOGUE)
_PAYMENT = STORED_COLUMNS.index("payment")
_LIMIT, _BALANCE = _NAMES.index("limit_now"), _NAMES.index("balance_now")


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Accounts under plans, to be projected.

    ``limits``, CNY, and ``suspended`` are (months, trajectories), the next month first: what is in
    force in each month.  None = the cut stays in force.
    """

    account: Rows  # (trajectories,), positions in the window and in the cuts
    plans: Plans
    limits: Months | None = None
    suspended: Mask | None = None
    variation: Variation | None = None  # None = there is none


@dataclass(frozen=True, slots=True)
class MeanCourse:
    """The mean month by month of several trajectories of one account.  Amounts in CNY.

    The probability is smoothed over neighbouring months too, which leaves its mean as it is.  A
    feature that is unknown in one of the trajectories is unknown in the mean.
    """

    paid: Values  # (months,)
    probability: Values  # (months,)
    features: Matrix  # (months, features), those of the catalogue

    @property
    def balance(self) -> Values:
        """What is owed after each month, (months,)."""
        owed: Values = self.features[:, _BALANCE]
        return owed


@dataclass(frozen=True, slots=True)
class Projection:
    """Trajectories month by month; month 0 is the next."""

    account: Rows  # (trajectories,), positions in ``cuts``
    cuts: Sequence[LimitCut]
    # (months, trajectories, features), all features of the catalogue
    features: NDArray[np.float64]
    log_odds: Months  # (months, trajectories)
    probabilities: Months  # (months, trajectories)
    limits: Months  # (months, trajectories), in force in the month, CNY
    paid: Months  # (months, trajectories), on the account, CNY

    @property
    def balances(self) -> Months:
        """What is owed after each month, (months, trajectories), CNY."""
        owed: Months = self.features[..., _BALANCE]
        return owed

    def mean_course(self, trajectories: Rows) -> MeanCourse:
        """The mean of these trajectories, which are of one account."""
        return MeanCourse(
            paid=self.paid[:, trajectories].mean(axis=1),
            probability=_smooth(self.probabilities[:, trajectories].mean(axis=1)),
            features=self.features[:, trajectories].mean(axis=1),
        )


class Course:
    """A plan with the limits that the decisions of its own months put in force.

    Attributes:
        plans: The plan, one.
        guessed: The schedule that it was made with.
        schedule: In force in each month, as far as is known.
        settled: The months, once the decisions are that schedule; None until then.
    """

    def __init__(self, plans: Plans, schedule: Schedule, cut: LimitCut) -> None:
        self.plans, self.guessed, self.schedule = plans, schedule, schedule
        self.settled: CourseMonths | None = None

    def settle(self, trajectory: int, projection: Projection, decided: Decided) -> None:
        """Take the decisions on the trajectory that was projected with the schedule."""
        if decided.schedule != self.schedule:
            self.schedule = decided.schedule
            return
        self.settled = CourseMonths(
            paid=projection.paid[:, trajectory].tolist(),
            balance=projection.balances[:, trajectory].tolist(),
            probability=projection.probabilities[:, trajectory].tolist(),
            decided=decided,
        )


def outcome_after(
    month: int,
    cut: LimitCut,
    probability: float,
    values: Vector,
    bundle: Bundle,
) -> Outcome:
    """What is decided on the limit from before a cut, after that month (0 = the next).

    ``values`` are all features of the catalogue after that month.
    """
    as_of, decided_at = _decision_after(cut.as_of, month)
    features = dict(zip(_NAMES, values.tolist(), strict=True))
    features["limit_now"] = cut.limit_before
    account = Account(cut.product, as_of, probability, features)
    return apply(account, bundle.policy, decided_at)


def _smooth(values: Values) -> Values:
    """Each month's value, with a quarter of each neighbour's; the mean stays as it is.

    The first and the last month count for the neighbour that they lack.
    """
    padded = np.concatenate([values[:1], values, values[-1:]])
    smoothed: Values = (padded[:-2] + 2.0 * padded[1:-1] + padded[2:]) / 4.0
    return smoothed


@lru_cache(maxsize=1024)
def _decision_after(as_of: datetime.date, month: int) -> tuple[datetime.date, datetime.datetime]:
    """The month of the statement that is decided on, and a time soon after it."""
    statement = add_months(as_of, month + 1)
    decided_at = datetime.datetime(
        statement.year,
        statement.month,
        28,
        12,
        tzinfo=datetime.UTC,
    )
    return statement, decided_at


@dataclass(frozen=True, slots=True)
class Rolled:
    """Trajectories of which the statements to come are known, and not yet features and log-odds.

    Attributes:
        account: int64 (trajectories,), positions in the window.
        stored: float64 (stored columns, months + history, trajectories), the newest month first.
        limits: float64 (months, trajectories): in force in the month, the next one first, CNY.
        elsewhere: float64 (trajectories,): paid off debt elsewhere each month, CNY.
    """

    account: Rows
    stored: Stored
    limits: Months
    elsewhere: Values

    @property
    def paid(self) -> Months:
        """What is paid on the account in each month, the next one first, CNY."""
        column = self.stored[_PAYMENT, : len(self.limits)]
        return column[::-1]

    @property
    def most_paid(self) -> Values:
        """The most that is paid in any month, here and elsewhere together, CNY."""
        most: Values = self.paid.max(axis=0) + self.elsewhere
        return most

    def take(self, trajectories: Rows) -> Rolled:
        """The trajectories at these positions, in this order."""
        return Rolled(
            self.account[trajectories],
            np.take(self.stored, trajectories, axis=2),
            np.take(self.limits, trajectories, axis=1),
            self.elsewhere[trajectories],
        )


def roll(
    window: Window,
    trajectories: Trajectories,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> Rolled:
    """The statements to come; ``cuts`` has one cut per account of the window."""
    limits, suspended = _in_force(trajectories, cuts, bundle.advice.search.months)
    stored = roll_accounts(
        window,
        trajectories.account,
        trajectories.plans,
        InForce(limits, suspended),
        bundle.policy.terms,
        trajectories.variation,
    )
    return Rolled(trajectories.account, stored, limits, trajectories.plans.repay_elsewhere)


def look_at(
    rolled: Rolled,
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> Projection:
    """The features and log-odds after each month of trajectories that are rolled forward."""
    months, trajectories = rolled.limits.shape
    features = evaluate_ahead(
        rolled.stored,
        window.months_observed[rolled.account],
        window.products[rolled.account],
        months,
        CATALOGUE,
    )
    values = features.reshape(months * trajectories, features.shape[2])
    by_row = log_odds_by_tables(matrix_of(values, bundle.features), bundle.scorer)
    log_odds = by_row.reshape(months, trajectories)
    return Projection(
        account=rolled.account,
        cuts=cuts,
        features=features,
        log_odds=log_odds,
        probabilities=probability_of(log_odds),
        limits=rolled.limits,
        paid=rolled.paid,
    )


def project(
    window: Window,
    trajectories: Trajectories,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> Projection:
    """The trajectories in the months to come; ``cuts`` has one cut per account of the window."""
    return look_at(roll(window, trajectories, cuts, bundle), window, cuts, bundle)


def _in_force(
    trajectories: Trajectories, cuts: Sequence[LimitCut], months: int
) -> tuple[Months, Mask]:
    """The limits in force, and whether nothing may be drawn, (months, trajectories)."""
    account, limits, suspended = (
        trajectories.account,
        trajectories.limits,
        trajectories.suspended,
    )
    if limits is None:
        after = np.array([cut.limit_after for cut in cuts])[account]
        limits = np.tile(after, (months, 1))
    if suspended is None:
        stopped = np.array([cut.suspended for cut in cuts])[account]
        suspended = np.tile(stopped, (months, 1))
    return limits, suspended
