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

from features.build import places_of
from features.catalogue import CATALOGUE
from features.months import add_months
from features.program.evaluate import evaluate_ahead
from features.types import Mask, Rows, Vector
from features.window import STORED_COLUMNS, Months, Stored, Values, Window
from serving.decision.advice.ahead.roll import ELSEWHERE
from serving.decision.advice.rollout import Courses, Plans, Variation, roll_courses
from serving.decision.advice.staircase import LimitCut
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.scoring.score import log_odds_by_tables, probability_of

_NAMES = tuple(feature.name for feature in CATALOGUE)
_PAYMENT = STORED_COLUMNS.index("payment")
_BALANCE_COLUMN = STORED_COLUMNS.index("balance")
_BALANCE = _NAMES.index("balance_now")


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
class MeanCourses:
    """The mean month by month of several trajectories of each account.  Amounts in CNY.

    The probability is smoothed over neighbouring months too, which leaves its mean as it is.  A
    feature that is unknown in one of the trajectories is unknown in the mean.
    """

    paid: Months  # (months, accounts)
    balance: Months  # (months, accounts), what is owed after each month
    probability: Months  # (months, accounts)
    features: NDArray[np.float64]  # (months, accounts, features), those of the catalogue


@dataclass(frozen=True, slots=True)
class Projection:
    """Trajectories month by month; month 0 is the next."""

    account: Rows  # (trajectories,), positions in the window
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

    def mean_courses(
        self,
        starts: Rows,
        counts: Rows,
    ) -> MeanCourses:
        """The means of trajectories that follow each other, so many from each start on."""
        following = _following(starts, counts)

        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            # One after the other: NumPy adds neighbours in another order, with other last bits.
            sums = values.take(starts, axis=1)
            for accounts, trajectories in following:
                sums[:, accounts] += values.take(trajectories, axis=1)
            divisors = counts if values.ndim == 2 else counts[:, np.newaxis]
            means: NDArray[np.float64] = sums / divisors
            return means

        features = mean(self.features)
        return MeanCourses(
            paid=mean(self.paid),
            balance=features[..., _BALANCE],
            probability=_smooth(mean(self.probabilities)),
            features=features,
        )


def _following(starts: Rows, counts: Rows) -> list[tuple[Rows | slice, Rows]]:
    """The accounts that have a second trajectory, with its place; those that have a third; ..."""
    least, most = int(counts.min()), int(counts.max())
    following: list[tuple[Rows | slice, Rows]] = []
    for later in range(1, most):
        if later < least:  # all have one
            following.append((slice(None), starts + later))
            continue
        has_more = np.flatnonzero(counts > later)
        following.append((has_more, starts[has_more] + later))
    return following


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
    account = Account(
        cut.product,
        as_of,
        probability,
        features,
    )
    return apply(account, bundle.policy, decided_at)


def _smooth(values: Months) -> Months:
    """Each month's value, with a quarter of each neighbour's; the mean stays as it is.

    The first and the last month count for the neighbour that they lack.
    """
    padded = np.concatenate([values[:1], values, values[-1:]])
    smoothed: Months = (padded[:-2] + 2.0 * padded[1:-1] + padded[2:]) / 4.0
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
        stored: float64 (stored columns, months + history, trajectories), the newest month first; of
            the history, the latest statements.
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

    @property
    def last_balance(self) -> Values:
        """What is owed after the last month, (trajectories,), CNY."""
        owed: Values = self.stored[_BALANCE_COLUMN, 0]
        return owed

    def take(
        self,
        trajectories: Rows,
        window: Window,
    ) -> Rolled:
        """The trajectories at these positions, in this order, with the whole history."""
        account, months = self.account[trajectories], len(self.limits)
        history = window.stored.shape[1]
        stored = np.empty((len(STORED_COLUMNS), months + history, len(trajectories)))
        stored[:, :months] = self.stored[:, :months].take(trajectories, axis=2)
        stored[:, months:] = window.stored.take(account, axis=2)
        return Rolled(
            account,
            stored,
            self.limits.take(trajectories, axis=1),
            self.elsewhere[trajectories],
        )


def roll(
    window: Window,
    courses: Courses,
    bundle: Bundle,
    history: int | None = None,
) -> Rolled:
    """The statements to come, and the latest ``history`` of those before; None = all."""
    before = window.stored.shape[1] if history is None else history
    stored = roll_courses(
        window,
        courses,
        bundle.policy.terms,
        before,
    )
    return Rolled(
        courses.account,
        stored,
        courses.limits,
        courses.plans[:, ELSEWHERE],
    )


def look_at(
    rolled: Rolled,
    window: Window,
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
    # The last month lies first, so that these rows are no copy.
    values = features[::-1].reshape(months * trajectories, features.shape[2])
    by_row = log_odds_by_tables(values, bundle.scorer, places_of(bundle.features))
    # In an array of its own: of a reversed one, np.exp gives other last bits.
    log_odds = np.ascontiguousarray(by_row.reshape(months, trajectories)[::-1])
    return Projection(
        account=rolled.account,
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
    limits, suspended = _in_force(trajectories, cuts, bundle.advice.search.months)
    varied = trajectories.variation
    if varied is None:
        varied = Variation.none(len(trajectories.plans))
    courses = Courses(
        account=trajectories.account,
        plans=trajectories.plans.rows(),
        limits=limits,
        suspended=suspended,
        variation=varied,
    )
    rolled = roll(window, courses, bundle)
    return look_at(rolled, window, bundle)


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
