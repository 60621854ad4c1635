"""What the months to come bring to accounts under plans: features, log-odds and decision a month.

Each month is decided as it would be then: by the same features, the same model and the same policy,
on the limit from before the cut.  The trajectories of many accounts are projected together, and all
their months too: one call builds the features of all, because a call costs as much as a hundred
trajectories.

:mod:`serving.decision.advice.rollout` defines a trajectory and the layout of the arrays.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from features.build import values_of
from features.catalogue import CATALOGUE
from features.months import add_months
from features.types import Mask, Matrix, Rows, Vector
from features.window import Months, Values, Window
from serving.decision.advice.rollout import Plans, Variation, roll_forward, windows_ahead
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import (
    USUAL_SPEND,
    Account,
    certainly_cut,
    lines_of,
    next_balance_of,
)
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.scoring.score import log_odds_of, probability_of

_NAMES = tuple(feature.name for feature in CATALOGUE)
_LIMIT, _BALANCE = _NAMES.index("limit_now"), _NAMES.index("balance_now")
_SPEND = _NAMES.index(USUAL_SPEND)


@dataclass(frozen=True, slots=True)
class LimitCut:
    """A cut that was decided or proposed for an account."""

    product: str
    as_of: datetime.date
    limit_before: float  # CNY
    limit_after: float  # CNY
    suspended: bool  # nothing may be drawn while the cut is in force


@dataclass(frozen=True, slots=True)
class Restored:
    """A trajectory that restores the limit."""

    trajectory: int
    month: int  # after which the limit is back; 0 = the next
    limit: float  # that is back, CNY; a rule may cap it


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Accounts under plans, to be projected.

    In the months in which the cut is not in force, the limit is ``restored_limit``, or the limit
    from before the cut if that is None.
    """

    account: Rows  # (trajectories,), positions in the window and in the cuts
    plans: Plans
    cut_in_force: Mask  # (months, trajectories), the next month first
    restored_limit: Values | None = None  # (trajectories,), CNY
    variation: Variation | None = None  # None = there is none


@dataclass(frozen=True, slots=True)
class MeanCourse:
    """The mean month by month of several trajectories of one account.  Amounts in CNY.

    The probability is smoothed over neighbouring months too, which leaves its mean as it is.
    """

    paid: Values  # (months,)
    probability: Values  # (months,)
    features: Matrix  # (months, features), those of the catalogue
    outcomes: tuple[Outcome, ...]  # decided on these means

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
    # (months, trajectories, features), with the limit from before the cut as ``limit_now``
    features: NDArray[np.float64]
    log_odds: Months  # (months, trajectories)
    limits: Months  # (months, trajectories), in force in the month, CNY
    paid: Months  # (months, trajectories), on the account, CNY
    most_paid: Values  # (trajectories,), in any month, here and elsewhere together, CNY

    @property
    def balances(self) -> Months:
        """What is owed after each month, (months, trajectories), CNY."""
        owed: Months = self.features[..., _BALANCE]
        return owed

    @property
    def probabilities(self) -> Months:
        """The probability after each month, (months, trajectories)."""
        return probability_of(self.log_odds)

    def mean_course(self, trajectories: Rows, bundle: Bundle) -> MeanCourse:
        """The mean of these trajectories, which are of one account, and what is decided on it.

        A feature that is unknown in one of them is unknown in the mean.
        """
        cut = self.cuts[self.account[trajectories[0]]]
        probability = _smooth(probability_of(self.log_odds[:, trajectories]).mean(axis=1))
        features = self.features[:, trajectories].mean(axis=1)
        outcomes = [
            outcome_after(month, cut, one, features[month], bundle)
            for month, one in enumerate(probability.tolist())
        ]
        return MeanCourse(
            paid=self.paid[:, trajectories].mean(axis=1),
            probability=probability,
            features=features,
            outcomes=tuple(outcomes),
        )

    def outcome(
        self,
        trajectory: int,
        month: int,
        probability: float,
        bundle: Bundle,
    ) -> Outcome:
        """What is decided after that month at that probability."""
        cut = self.cuts[self.account[trajectory]]
        return outcome_after(
            month,
            cut,
            probability,
            self.features[month, trajectory],
            bundle,
        )

    def restorations(
        self,
        trajectories: Rows,
        margin: float,
        bundle: Bundle,
    ) -> Iterator[Restored]:
        """The months in which these trajectories restore the limit.

        They come in order of the trajectories, and for each in order of the months.  A month
        restores the limit if

        - :func:`restores_limit` holds in it with ``margin`` added to the log-odds, and in all later
          months without the margin, and
        - more limit than the cut left comes back, or drawings are allowed again.

        The projection has the cut in force in all months.  Project again with the limit restored
        and call :meth:`stays_restored` to check the months after it.
        """
        log_odds = self.log_odds[:, trajectories]
        with_margin = probability_of(log_odds + margin)
        cut = self._certainly_cut(trajectories, probability_of(log_odds), bundle)
        cuts_from_here = np.cumsum(cut[::-1], axis=0)[::-1]
        candidate = ~self._certainly_cut(trajectories, with_margin, bundle)
        candidate[:-1] &= cuts_from_here[1:] == 0
        for column in np.flatnonzero(candidate.any(axis=0)).tolist():
            trajectory = int(trajectories[column])
            for month in np.flatnonzero(candidate[:, column]).tolist():
                probability = float(with_margin[month, column])
                restored = self._restored(trajectory, month, probability, bundle)
                if restored is not None and self.stays_restored(trajectory, month, bundle):
                    yield restored

    def stays_restored(
        self,
        trajectory: int,
        month: int,
        bundle: Bundle,
    ) -> bool:
        """Whether :func:`restores_limit` holds in all months after that one."""
        log_odds = self.log_odds[month + 1 :, trajectory]
        later = probability_of(log_odds).tolist()
        return all(
            restores_limit(self.outcome(trajectory, later_month, probability, bundle))
            for later_month, probability in enumerate(later, start=month + 1)
        )

    def _restored(
        self,
        trajectory: int,
        month: int,
        probability: float,
        bundle: Bundle,
    ) -> Restored | None:
        """What that month restores, None if nothing."""
        cut = self.cuts[self.account[trajectory]]
        outcome = self.outcome(trajectory, month, probability, bundle)
        limit = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
        gains = cut.suspended or limit > cut.limit_after
        return Restored(trajectory, month, limit) if restores_limit(outcome) and gains else None

    def _certainly_cut(
        self,
        trajectories: Rows,
        probability: Months,
        bundle: Bundle,
    ) -> Mask:
        """Months in which the model cuts, (months, trajectories), without false positives.

        It is cheaper than :meth:`outcome`, which decides the months that it leaves.
        """
        features = self.features[:, trajectories]
        products = [self.cuts[account].product for account in self.account[trajectories].tolist()]
        limit, balance = features[..., _LIMIT], features[..., _BALANCE]
        next_balance = next_balance_of(balance, features[..., _SPEND], bundle.policy)
        lines = lines_of(products, limit, balance, next_balance, bundle.policy)
        return certainly_cut(probability, lines, bundle.policy)


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


def restores_limit(outcome: Outcome) -> bool:
    """Whether the model does not cut and drawings are allowed; a rule may cap the limit."""
    return not outcome.model_cuts and not outcome.suspends


def project(
    window: Window,
    trajectories: Trajectories,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> Projection:
    """The trajectories in the months to come; ``cuts`` has one cut per account of the window."""
    account, plans = trajectories.account, trajectories.plans
    months = len(trajectories.cut_in_force)
    before = np.array([cut.limit_before for cut in cuts])[account]
    after = np.array([cut.limit_after for cut in cuts])[account]
    suspended = np.array([cut.suspended for cut in cuts])[account]
    restored = before if trajectories.restored_limit is None else trajectories.restored_limit
    history = window.take(account)
    limits = np.where(trajectories.cut_in_force, after, restored)
    columns = roll_forward(
        history,
        plans,
        limits=limits,
        suspended=trajectories.cut_in_force & suspended,
        terms=bundle.policy.terms,
        variation=trajectories.variation,
    )
    features = values_of(windows_ahead(columns, history, months))
    log_odds = log_odds_of(
        _model_rows(features, bundle),
        bundle.scorer,
        threads=1,
    )
    features = features.reshape(months, len(account), -1)
    features[..., _LIMIT] = before
    paid = columns["payment"][:months][::-1]
    return Projection(
        account=account,
        cuts=cuts,
        features=features,
        log_odds=log_odds.reshape(months, -1),
        limits=limits,
        paid=paid,
        most_paid=paid.max(axis=0) + plans.repay_elsewhere,
    )


def _model_rows(features: Matrix, bundle: Bundle) -> Matrix:
    places = [_NAMES.index(name) for name in bundle.features]
    return np.ascontiguousarray(features[:, places])
