"""What months to come bring to accounts under plans: the features, the log-odds and the verdict of
each month.

Each month is judged as a decision would be made then: by the same features, the same model and the
same policy, as if the limit from before the cut were asked for again.  Courses of many accounts lie
side by side, and all their months too: one call builds the features of all, for a call costs what a
hundred courses cost.
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
from features.window import Months, Values, Window
from serving.decision.advice.rollout import Plans, roll_forward, windows_ahead
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import Account, certainly_cut
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.scoring.score import log_odds_of, probability_of

_NAMES = tuple(feature.name for feature in CATALOGUE)
_LIMIT, _BALANCE = _NAMES.index("limit_now"), _NAMES.index("balance_now")


@dataclass(frozen=True, slots=True)
class LimitCut:
    """What was decided about an account: the limit before, the one after, and whether nothing may
    be drawn meanwhile.
    """

    product: str
    as_of: datetime.date
    limit_before: float
    limit_after: float
    suspended: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """Which course brings the limit back, after which month (0 = the next), and how much of it: a
    rule may cap it, CNY.
    """

    course: int
    month: int
    limit: float


@dataclass(frozen=True, slots=True)
class Projection:
    """Some courses, month by month; month 0 is the next.

    ``owner`` int64 (courses,): whose course it is, a place in ``cuts``.  ``features`` float64
    (months, courses, features) with the limit from before the cut; ``log_odds`` (months, courses);
    ``paid`` (months, courses): on the account, CNY; ``most_paid`` (courses,): the most in a month,
    here and elsewhere together.
    """

    owner: NDArray[np.int64]
    cuts: Sequence[LimitCut]
    features: NDArray[np.float64]
    log_odds: Months
    paid: Months
    most_paid: Values

    def balance(self, course: int, month: int) -> float:
        """What is owed after that month, CNY."""
        return float(self.features[month, course, _BALANCE])

    def outcome(self, course: int, month: int, probability: float, bundle: Bundle) -> Outcome:
        """What is decided after that month at that probability."""
        return outcome_after(
            month, self.cuts[self.owner[course]], probability, self.features[month, course], bundle
        )

    def restorations(
        self, courses: NDArray[np.int64], margin: float, bundle: Bundle
    ) -> Iterator[Restored]:
        """When these courses bring the limit back, the courses in their order, the months of each
        in theirs.

        A month does which is free (see :func:`restores_limit`) even with the margin, while the
        months after it are free as well, and in which something comes back: more limit than the cut
        left, or the use of it.  Told with the cut in force in all months; whether the limit stays
        back once it is, is for who lives on with it (:meth:`stays`).
        """
        wanted, then = (probability_of(self.log_odds[:, courses] + more) for more in (margin, 0.0))
        cut_later = np.cumsum(self._hopeless(courses, then, bundle)[::-1], axis=0)[::-1] > 0
        open_to = ~self._hopeless(courses, wanted, bundle)
        open_to[:-1] &= ~cut_later[1:]
        for k in np.flatnonzero(open_to.any(axis=0)).tolist():
            course = int(courses[k])
            cut = self.cuts[self.owner[course]]
            for month in np.flatnonzero(open_to[:, k]).tolist():
                outcome = self.outcome(course, month, float(wanted[month, k]), bundle)
                limit = (
                    outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
                )
                if (
                    restores_limit(outcome)
                    and (cut.suspended or limit > cut.limit_after)
                    and self.stays(course, month, bundle)
                ):
                    yield Restored(course, month, limit)

    def stays(self, course: int, month: int, bundle: Bundle) -> bool:
        """Whether all months of a course after that one are free."""
        later = probability_of(self.log_odds[month + 1 :, course]).tolist()
        return all(
            restores_limit(self.outcome(course, k, p, bundle))
            for k, p in enumerate(later, start=month + 1)
        )

    def _hopeless(
        self, courses: NDArray[np.int64], probability: Months, bundle: Bundle
    ) -> NDArray[np.bool_]:
        """Months in which the model cuts, (months, courses), told without asking the policy in
        full; none by mistake.
        """
        features = self.features[:, courses]
        return certainly_cut(
            probability, features[..., _LIMIT], features[..., _BALANCE], bundle.policy
        )


def outcome_after(
    month: int, cut: LimitCut, probability: float, values: NDArray[np.float64], bundle: Bundle
) -> Outcome:
    """What is decided on the limit from before a cut, after that month (0 = the next); ``values``
    are all features then.
    """
    as_of, soon = _decided(cut.as_of, month)
    features = dict(zip(_NAMES, values.tolist(), strict=True)) | {"limit_now": cut.limit_before}
    return apply(Account(cut.product, as_of, probability, features), bundle.policy, soon)


@lru_cache(maxsize=1024)
def _decided(as_of: datetime.date, month: int) -> tuple[datetime.date, datetime.datetime]:
    """The month of the statement that is decided on, and a time soon after it."""
    later = add_months(as_of, month + 1)
    return later, datetime.datetime(later.year, later.month, 28, 12, tzinfo=datetime.UTC)


def restores_limit(outcome: Outcome) -> bool:
    """Whether the model has nothing against the limit, and drawing is allowed: it is kept, or only
    a rule's cap stands.
    """
    return not outcome.model_cuts and not outcome.suspends


def project(
    window: Window,
    owner: NDArray[np.int64],
    plans: Plans,
    cuts: Sequence[LimitCut],
    reduced: NDArray[np.bool_],
    bundle: Bundle,
    back: Values | None = None,
) -> Projection:
    """Courses of a window's accounts through the months to come.

    ``owner`` and ``plans`` have one entry a course, ``cuts`` one an account; ``reduced`` bool
    (months, courses): in which months the cut is in force.  In the others it is ``back``, CNY
    (courses,), or the limit from before the cut.
    """
    months = len(reduced)
    before, after, suspended = (
        np.array([getattr(cut, name) for cut in cuts])[owner]
        for name in ("limit_before", "limit_after", "suspended")
    )
    many = window.take(owner)
    lived = roll_forward(
        many,
        plans,
        np.where(reduced, after, before if back is None else back),
        reduced & suspended,
        bundle.policy.terms,
    )
    features = values_of(windows_ahead(lived, many.months_observed, months))
    log_odds = log_odds_of(_model_rows(features, bundle), bundle.scorer, threads=1).reshape(
        months, -1
    )
    features = features.reshape(months, len(owner), -1)
    features[..., _LIMIT] = before
    paid = lived["payment"][:months][::-1]
    return Projection(
        owner, cuts, features, log_odds, paid, paid.max(axis=0) + plans.repay_elsewhere
    )


def _model_rows(features: NDArray[np.float64], bundle: Bundle) -> NDArray[np.float64]:
    return np.ascontiguousarray(features[:, [_NAMES.index(name) for name in bundle.features]])
