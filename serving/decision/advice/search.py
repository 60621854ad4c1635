"""The search for the plan of least effort that restores the limit, of one account.

:mod:`serving.decision.advice.rounds` evaluates the plans and settles the courses of many accounts
together.  Which of them are evaluated or settled together does not change what is chosen.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.types import Mask, Vector
from serving.decision.advice.plans import PlanGrid
from serving.decision.advice.projection import Projection
from serving.decision.advice.staircase import CourseMonths, Decided, LimitCut, decided_on
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import logit

ON_TIME_ONLY = -1  # its position: it is not one of the plans


@dataclass(frozen=True, slots=True)
class Round:
    """Courses that were rolled forward together, with the decisions on their months."""

    projection: Projection
    decided: NDArray[np.float64]  # (months, trajectories, 6)


@dataclass(frozen=True, slots=True)
class PlanVerdicts:
    """What the months of plans say with the cut in force in all of them.

    Attributes:
        position: Of each plan in the grid of its account.
        flags: Whether the limit comes back, the plan is sound, and it keeps the rules; see
            :func:`serving.decision.advice.ahead.judge.judge_plans`.
        last_log_odds: After the last month.
        limits: float64 (plans, months): what the staircase puts in force in each month.
        suspended: bool, as ``limits``.
    """

    position: Sequence[int]
    flags: Sequence[Sequence[bool]]
    last_log_odds: Sequence[float]
    limits: NDArray[np.float64]
    suspended: NDArray[np.bool_]


class Course:
    """A plan with the limits that the decisions of its own months put in force.

    Attributes:
        position: Of the plan in the grid, or ON_TIME_ONLY.
        plan: float64 (8,), as :meth:`serving.decision.advice.rollout.Plans.rows` has it.
        promises: Whether it is to bring the limit back.
        limits: In force in each month, CNY, as far as is known, (months,).
        suspended: Whether nothing may be drawn, likewise.
        guessed: Both as they were at first.
        is_settled: Whether they are what the decisions put in force, so that all months are right.
        keeps_rules: Whether the settled months keep all rules.
        restores: Whether they bring the limit back, and would in spite of a small surprise.
        is_refused: Whether it is certain that it is not chosen.
    """

    def __init__(
        self,
        position: int,
        plan: Vector,
        promises: bool,
        in_force: tuple[Vector, Mask],
    ) -> None:
        self.position, self.plan, self.promises = position, plan, promises
        self.guessed = in_force
        self.limits, self.suspended = in_force
        self.is_settled = False
        self.keeps_rules = False
        self.restores = False
        self.is_refused = False
        self._found: tuple[Round, int] | None = None

    def keep_months(
        self,
        found: Round,
        trajectory: int,
    ) -> None:
        """Take the months of that trajectory: the course is settled."""
        self.is_settled = True
        self._found = found, trajectory

    def months(self) -> CourseMonths:
        """The settled months.

        Raises:
            ValueError: The course is not settled.
        """
        if self._found is None:
            raise ValueError(f"advice: expected a settled plan, got plan {self.position}")
        found, trajectory = self._found
        projection = found.projection
        return CourseMonths(
            paid=projection.paid[:, trajectory].tolist(),
            balance=projection.balances[:, trajectory].tolist(),
            probability=projection.probabilities[:, trajectory].tolist(),
            decided=decided_on(found.decided, trajectory),
        )


class PlanSearch:
    """The search over the plans of one account, in order of effort.

    A plan is tried if its months would bring the whole limit back with the cut in force.  It is
    chosen if they do with the limits that the decisions put in force, and if it keeps the rules.

    Attributes:
        place: Of the account in its block.
        grid: Its plans.
        cut: Its cut.
        risk: The mean probability of carrying on, once it is known.
        evaluated: Number of plans that were evaluated.
        courses: The plans that are settled together; the first is the one that is tried.
        chosen: The plan that is chosen; None if there is none, or none yet.
        on_time_only: Paying on time only.
        only_harmful: Whether a plan would restore the limit, but breaks a rule.
        unsound: Positions of plans that were left out because more is owed at their end.  Whether
            they would restore the limit matters only if no plan does.
        rejected: How many plans were tried and not chosen.
        applied: The decisions under the plan that is tried or chosen after one application
            elsewhere in its first month, with the limits that the plan alone seems to bring back;
            None if not known.
    """

    def __init__(
        self,
        place: int,
        grid: PlanGrid,
        cut: LimitCut,
        bundle: Bundle,
    ) -> None:
        self.place, self.grid, self.cut = place, grid, cut
        self.risk = math.inf
        self.evaluated = 0
        self.rejected = 0
        self.courses: list[Course] = []
        self.chosen: Course | None = None
        self.on_time_only: Course
        self.only_harmful = False
        self.unsound: list[int] = []
        self.applied: Decided | None = None
        self._candidates: deque[Course] = deque()
        # Log-odds after the last month and position, of the plans that keep the rules.
        self._safe: list[tuple[float, int]] = []
        self._tried: dict[int, Course] = {}
        policy, settings = bundle.policy, bundle.advice.search
        self._cut_off = logit(policy.cut_off(cut.product))
        self._asked = policy.restore.steps[-1].margin + settings.margin
        self._months = settings.months

    @property
    def is_open(self) -> bool:
        """Whether no plan is tried and some are not evaluated yet."""
        return self.chosen is None and not self.courses and self.evaluated < len(self.grid)

    @property
    def unsettled(self) -> list[Course]:
        """The courses that have to be projected."""
        own = [self.on_time_only, *self.courses]
        return [course for course in own if not course.is_settled]

    @property
    def to_price(self) -> Course | None:
        """The plan that is tried or chosen, if the price of an application is to be found for it.

        Only a plan that promises has one, and only where the lender knows of applications.
        """
        tried = self.courses[0] if self.courses else None
        course = tried if self.chosen is None else self.chosen
        if course is None or self.applied is not None:
            return None
        return course if course.promises and self.grid.application > 0 else None

    @property
    def is_pending(self) -> bool:
        """Whether the search goes on."""
        is_tried = bool(self.courses) or self.is_open
        return is_tried or not self.on_time_only.is_settled or self.to_price is not None

    @property
    def brings_back(self) -> bool:
        """Whether a plan is chosen that brings the limit back."""
        return self.chosen is not None and self.chosen.restores

    def take_evaluated(
        self,
        verdicts: PlanVerdicts,
        first: int,
        last: int,
    ) -> None:
        """Take the verdicts from ``first`` up to ``last``: those on its next plans, in order."""
        for at in range(first, last):
            restores, is_sound, keeps_rules = verdicts.flags[at]
            position = verdicts.position[at]
            if keeps_rules:
                self._safe.append((verdicts.last_log_odds[at], position))
            if restores and is_sound:
                candidate = Course(
                    position,
                    self.grid.rows[position],
                    promises=True,
                    in_force=(verdicts.limits[at], verdicts.suspended[at]),
                )
                self._candidates.append(candidate)
            self.only_harmful |= restores and not is_sound
        if self.evaluated == len(self.grid):
            self._safe.sort(reverse=True)
        self._try_next(1)

    def take_verdict(
        self,
        course: Course,
        verdict: Sequence[float],
        found: Round,
        trajectory: int,
    ) -> None:
        """Take the verdict on a course, see :mod:`serving.decision.advice.ahead.judge`.

        A plan that promises is refused once it is certain that the limit does not come back, even
        if not all of its months are right.
        """
        same, back, lowest, fails, is_sound, mean = verdict
        is_known = lowest < math.inf
        is_safe = is_known and self._cut_off - logit(lowest) >= self._asked
        if same < self._months:
            course.is_refused = course.promises and (fails > 0 or (is_known and not is_safe))
            return
        course.keep_months(found, trajectory)
        course.restores = back >= 0 and is_safe and fails == 0
        course.keeps_rules = is_sound > 0 and mean <= self.risk
        if course.position != ON_TIME_ONLY:
            course.is_refused = self._refuses(course)

    def choose(
        self,
        together: int,
        most: int,
    ) -> None:
        """Reject what is refused, up to a plan that is chosen or not settled.

        Once one was rejected, ``together`` plans are settled together, and more the more were
        rejected, up to ``most``.
        """
        while self.courses:
            tried = self.courses[0]
            if not tried.is_refused:
                break
            self._tried[tried.position] = self.courses.pop(0)
            self.rejected, self.applied = self.rejected + 1, None
            self._try_next(min(max(self.rejected, together), most))
        if self.courses and self.courses[0].is_settled:
            self.chosen, self.courses = self.courses[0], []

    def _refuses(self, course: Course) -> bool:
        self.only_harmful |= course.restores and not course.keeps_rules
        return not course.keeps_rules or (course.promises and not course.restores)

    def _try_next(self, together: int) -> None:
        """Try the next plans, until there are so many."""
        while len(self.courses) < together and (tried := self._make_next()) is not None:
            self.courses.append(tried)

    def _make_next(self) -> Course | None:
        """The next plan that seems to restore the limit; without one, the safest one.

        The safest plan is that of lowest risk in the last month which keeps the rules.
        """
        if self._candidates:
            return self._candidates.popleft()
        if self.evaluated < len(self.grid) or not self._safe:
            return None
        _, position = self._safe.pop()
        tried = self._tried.get(position)
        if tried is None:
            limits = np.full(self._months, self.cut.limit_after)
            suspended = np.full(self._months, self.cut.suspended)
            return Course(
                position,
                self.grid.rows[position],
                promises=False,
                in_force=(limits, suspended),
            )
        tried.promises = False
        tried.is_refused = tried.is_settled and self._refuses(tried)
        return tried
