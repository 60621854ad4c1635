"""The search for the plan of least effort that restores the limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from features.window import HALF_CENT, Window
from serving.decision.advice.plans import PlanGrid
from serving.decision.advice.projection import LimitCut, Projection, Restored, project
from serving.decision.advice.result import PlanPath
from serving.decision.advice.rollout import Plans, joined
from serving.decision.advice.wording import plan_path
from serving.decision.bundle import Bundle

# plans an account; half of all find theirs among them, and the others lose little
_TRIED_FIRST = 12


class PlanSearch:
    """An account's search: its plans are judged in order of effort, until one restores the limit.

    ``place`` of the plan and what it has ``restored``; before one is found, and where none is, the
    place of the feasible plan with the least risk in the end, and None.  ``baselines``: what the
    two beside have restored.  What is offered is found with the cut in force; whether it holds with
    the limit back is told by :meth:`settle`.
    """

    def __init__(self, account: int, grid: PlanGrid) -> None:
        self.account, self.grid = account, grid
        self.place = self.judged = 0
        self.restored: Restored | None = None
        self.baselines: tuple[Restored | None, ...] = ()
        self._offers: Iterator[tuple[int, Restored]] = iter(())
        self._offers_beside: tuple[Iterator[Restored], ...] = ()
        self._least, self._least_at = math.inf, 0

    def judge(self, courses: NDArray[np.int64], outlook: Projection, bundle: Bundle) -> None:
        """The next plans, which lie in these courses."""
        first, self.judged = self.judged, self.judged + len(courses)
        plans = self.grid.plans[first : self.judged]
        tried = self.grid.plans
        asks_least = (plans.extra == tried.extra.min()) & (
            plans.repay_elsewhere == tried.repay_elsewhere.min()
        )
        # The minimum due is asked for whatever a customer can pay, and so is what they settled;
        # only more must be within reach.
        feasible = courses[
            asks_least | (outlook.most_paid[courses] <= self.grid.payable + HALF_CENT)
        ]
        if len(feasible) and outlook.log_odds[-1, feasible].min() < self._least:
            best = feasible[np.argmin(outlook.log_odds[-1, feasible])]
            self._least_at, self._least = (
                first + int(best - courses[0]),
                float(outlook.log_odds[-1, best]),
            )
        found = outlook.restorations(feasible, bundle.advice.search.margin, bundle)
        self._offers = ((first + one.course - int(courses[0]), one) for one in found)
        self._next()

    def compare(self, courses: NDArray[np.int64], outlook: Projection, bundle: Bundle) -> None:
        """The two plans beside, which lie in these courses.

        Nothing is promised to who carries on: their months are as good as their best ones, for
        which no plan could ask.
        """
        margin, on_time = bundle.advice.search.margin, self.grid.baselines.on_time > 0
        self._offers_beside = tuple(
            outlook.restorations(courses[[k]] if promises else courses[:0], margin, bundle)
            for k, promises in enumerate(on_time)
        )
        self.baselines = tuple(next(offers, None) for offers in self._offers_beside)

    def settle(self, courses: NDArray[np.int64], outlook: Projection, bundle: Bundle) -> bool:
        """Whether what is told stays with the limit back, as these courses live it; the next offer
        stands where it does not.
        """
        told = (self.restored, *self.baselines)
        stays = [
            one is None or outlook.stays(int(k), one.month, bundle)
            for one, k in zip(told, courses, strict=True)
        ]
        if not stays[0]:
            self._next()
        self.baselines = tuple(
            one if holds else next(offers, None)
            for one, holds, offers in zip(
                self.baselines, stays[1:], self._offers_beside, strict=True
            )
        )
        return all(stays)

    @property
    def unsure(self) -> bool:
        """Whether nothing is found yet and plans are left to judge."""
        return self.restored is None and self.judged < len(self.grid.plans)

    def _next(self) -> None:
        self.place, self.restored = next(self._offers, (self._least_at, None))


def explore_plans(
    searches: Sequence[PlanSearch], window: Window, cuts: Sequence[LimitCut], bundle: Bundle
) -> dict[int, list[PlanPath]]:
    """Of each account the plan and the two beside month by month, with the limit back in force when
    it is restored.

    The first few plans of all accounts look ahead together, then the others of who needs them.
    """
    _evaluate_plans(searches, _TRIED_FIRST, window, cuts, bundle)
    found: dict[int, list[PlanPath]] = {}
    pending = list(searches)
    while pending:
        _evaluate_plans([search for search in pending if search.unsure], None, window, cuts, bundle)
        plans = [
            (search, joined([search.grid.plans[[search.place]], search.grid.baselines]))
            for search in pending
        ]
        back = [restored for search in pending for restored in (search.restored, *search.baselines)]
        outlook, courses = _look_ahead(plans, window, cuts, bundle, back)
        unsettled = []
        for (search, own_plans), own in zip(plans, courses, strict=True):
            efforts, restored = (
                (float(search.grid.effort[search.place]), 0.0, 0.0),
                (search.restored, *search.baselines),
            )
            if search.settle(own, outlook, bundle):
                found[search.account] = [
                    plan_path(
                        own_plans[[k]],
                        effort,
                        search.grid.income,
                        int(course),
                        one,
                        outlook,
                        bundle,
                    )
                    for k, (course, effort, one) in enumerate(
                        zip(own, efforts, restored, strict=True)
                    )
                ]
            else:
                unsettled.append(search)
        pending = unsettled
    return found


def _evaluate_plans(
    searches: Sequence[PlanSearch],
    most: int | None,
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> None:
    """Judge the next plans of these accounts, ``most`` each (None = all), and with the first of
    them those beside.
    """
    if not searches:
        return
    wanted = [
        (search, search.grid.plans[search.judged : None if most is None else search.judged + most])
        for search in searches
    ]
    # Those beside look ahead with the first, for a look ahead costs what a hundred courses cost.
    beside = [(search, search.grid.baselines) for search in searches if search.judged == 0]
    outlook, courses = _look_ahead(wanted + beside, window, cuts, bundle)
    for (search, _), own in zip(beside, courses[len(wanted) :], strict=True):
        search.compare(own, outlook, bundle)
    for (search, _), own in zip(wanted, courses, strict=False):
        search.judge(own, outlook, bundle)


def _look_ahead(
    wanted: Sequence[tuple[PlanSearch, Plans]],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
    back: Sequence[Restored | None] | None = None,
) -> tuple[Projection, list[NDArray[np.int64]]]:
    """The outlook of some accounts' plans, and where each one's courses lie in it.

    ``back`` has, for every course, from when on which limit is in force again; the cut stays in
    force without it.
    """
    months = bundle.advice.search.months
    lengths = [len(plans) for _, plans in wanted]
    ends = np.cumsum(lengths)
    owner = np.repeat([search.account for search, _ in wanted], lengths)
    restored = back or [None] * len(owner)
    until = np.array([months if one is None else one.month + 1 for one in restored])
    limits = np.array(
        [
            cuts[k].limit_before if one is None else one.limit
            for k, one in zip(owner, restored, strict=True)
        ]
    )
    reduced = np.arange(months)[:, None] < until
    outlook = project(
        window, owner, joined([plans for _, plans in wanted]), cuts, reduced, bundle, limits
    )
    return outlook, [
        np.arange(end - length, end) for end, length in zip(ends, lengths, strict=True)
    ]
