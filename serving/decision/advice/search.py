"""The search for the plan of least effort that restores the limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from features.types import Rows
from features.window import Values, Window
from serving.decision.advice import rules
from serving.decision.advice.plans import PlanGrid
from serving.decision.advice.projection import (
    Course,
    MeanCourse,
    Projection,
    Trajectories,
    look_at,
    project,
    roll,
)
from serving.decision.advice.rollout import Variation, concatenate_plans
from serving.decision.advice.staircase import (
    CourseMonths,
    Decided,
    LimitCut,
    Schedule,
    as_now,
    decide_months,
    guess_steps,
)
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import logit

# Plans of each account that are evaluated first, together.  Half of all accounts find theirs among
# them, and the others lose little.
FIRST_PLANS = 12
NEXT_PLANS = 24  # evaluated together after them, until one restores
AHEAD = 3  # plans that are settled together with the next one, once one was rejected


@dataclass(frozen=True, slots=True)
class _Tried:
    """A plan that is tried: its position in the grid, its course, whether it seems to restore."""

    position: int
    course: Course
    promises: bool


class PlanSearch:
    """The search over the plans of one account, in order of effort.

    A plan is tried if its months would bring the whole limit back with the cut in force.  It is
    chosen if they do with the limits that the decisions put in force, and if it keeps the rules.

    Attributes:
        account: Position of the account in the window.
        grid: Its plans.
        cut: Its cut.
        evaluated: Number of plans that were evaluated.
        chosen: The plan that is tried or chosen; None if there is none.
        on_time_only: Paying on time only.
        carry_on: The mean of carrying on, once the baselines are evaluated.
        only_harmful: Whether a plan would restore the limit, but breaks a rule, and none is chosen.
        applied: The decisions under the chosen plan after one application elsewhere in its first
            month, with the limits that the plan alone seems to bring back; None if not known.
    """

    def __init__(self, account: int, grid: PlanGrid, cut: LimitCut, balance: float) -> None:
        self.account, self.grid, self.cut = account, grid, cut
        self.evaluated = 0
        self.chosen: Course | None = None
        self.on_time_only: Course
        self.carry_on: MeanCourse
        self.only_harmful = False
        self.applied: Decided | None = None
        self._balance_now = balance
        self._position = -1
        self._promises = False
        self._rejected = 0
        # The next plans to try, which are settled together with the one that is tried.
        self._ahead: list[_Tried] = []
        self._candidates: Iterator[_Tried] = iter(())
        # Log-odds after the last month and position, of the plans that keep the rules.
        self._safe: list[tuple[float, int]] = []
        self._risk_as_before = math.inf

    @property
    def is_open(self) -> bool:
        """Whether no plan is tried and some are not evaluated yet."""
        return self.chosen is None and self.evaluated < len(self.grid.plans)

    @property
    def unsettled(self) -> list[Course]:
        """The courses that have to be projected."""
        courses = [self.on_time_only] if self.chosen is None else [self.on_time_only, self.chosen]
        courses += [tried.course for tried in self._ahead]
        return [course for course in courses if course.settled is None]

    @property
    def prices_application(self) -> bool:
        """Whether the price of an application is to be found now for the plan that is tried.

        That is at once for the first plan, which most accounts keep, and for another one when it is
        chosen.
        """
        is_missing = self._promises and self.applied is None and self.grid.application > 0
        is_settled = self.chosen is not None and self.chosen.settled is not None
        return is_missing and (self._rejected == 0 or is_settled)

    @property
    def effort(self) -> float:
        """The effort of the chosen plan."""
        return float(self.grid.effort[self._position])

    def find_payable(self, most_paid: Values) -> Rows:
        """The next plans that are within reach, of as many as ``most_paid`` has, CNY."""
        following = slice(self.evaluated, self.evaluated + len(most_paid))
        plans = self.grid.plans.take(following)
        return np.flatnonzero(self.grid.is_payable(plans, most_paid))

    def evaluate(
        self,
        evaluated: int,
        positions: Rows,
        trajectories: Rows,
        projection: Projection,
        bundle: Bundle,
    ) -> None:
        """Evaluate the next plans, and try the first that restores.

        ``evaluated`` is their number.  Those within reach have these positions among them, and
        these trajectories in the projection, which has the cut in force.
        """
        places = self.evaluated + positions
        self.evaluated += evaluated
        self._keep_safe(places, trajectories, projection)
        self._candidates = self._find_candidates(places, trajectories, projection, bundle)
        self._try_next(bundle)

    def evaluate_baselines(
        self,
        trajectories: Rows,
        projection: Projection,
        bundle: Bundle,
    ) -> None:
        """Evaluate the baselines: paying on time only, and carrying on in each rotation of habits.

        Carrying on promises nothing: its months are as good as the best habits, which no plan could
        ask for.
        """
        self.carry_on = projection.mean_course(trajectories[1:])
        self._risk_as_before = float(self.carry_on.probability.mean())
        limits, stopped = guess_steps(projection.log_odds[:, trajectories[:1]], self.cut, bundle)
        schedule = self._schedule(limits[:, 0].tolist(), stopped[:, 0].tolist())
        self.on_time_only = Course(self.grid.on_time_only, schedule, self.cut)

    def check(self, bundle: Bundle) -> None:
        """Reject plans whose months are settled, up to one that may be chosen.

        The next plans are settled together then: a projection costs as much for one as for ten.
        """
        while self.chosen is not None and self._is_refused(self.chosen, bundle):
            self._rejected += 1
            self._try_next(bundle)
        if self.chosen is None or self.chosen.settled is not None or self._rejected == 0:
            return
        most = AHEAD if self._rejected == 1 else 2 * AHEAD
        while len(self._ahead) < most and (tried := self._make_next(bundle)) is not None:
            self._ahead.append(tried)

    def _is_refused(self, course: Course, bundle: Bundle) -> bool:
        if course.settled is None:
            return False
        keeps_rules = self.keeps_rules(course.settled)
        restores = self.is_safe(course.settled, bundle)
        self.only_harmful |= restores and not keeps_rules
        return not keeps_rules or (self._promises and not restores)

    def is_safe(self, months: CourseMonths, bundle: Bundle) -> bool:
        """Whether the whole limit comes back, and would in spite of a small surprise.

        In the month in which it comes back, or the next, the log-odds are lower by ``margin`` than
        the last step of the staircase asks for.
        """
        back = months.decided.month_back(self.cut.limit_before)
        if back is None:
            return False
        policy, lowest = bundle.policy, min(months.probability[back : back + 2])
        asked = policy.restore.steps[-1].margin + bundle.advice.search.margin
        return logit(policy.cut_off(self.cut.product)) - logit(lowest) >= asked

    def keeps_rules(self, months: CourseMonths) -> bool:
        """Whether settled months keep all rules."""
        if not rules.is_sound(months.balance, months.decided.schedule.limits, self._balance_now):
            return False
        probability = np.array(months.probability)[:, None]
        return bool(rules.is_no_riskier(probability, self._risk_as_before)[0])

    def _try_next(self, bundle: Bundle) -> None:
        """Try the next plan, if there is one."""
        tried = self._ahead.pop(0) if self._ahead else self._make_next(bundle)
        self.applied = None
        if tried is None:
            self.chosen, self._promises = None, False
        else:
            self.chosen, self._promises = tried.course, tried.promises
            self._position = tried.position

    def _make_next(self, bundle: Bundle) -> _Tried | None:
        """The next plan that seems to restore the limit; without one, the safest one.

        The safest plan is that of lowest risk in the last month which keeps the rules.
        """
        candidate = next(self._candidates, None)
        if candidate is not None:
            return candidate
        if self.evaluated < len(self.grid.plans) or not self._safe:
            return None
        safest = min(self._safe)
        self._safe.remove(safest)
        schedule = as_now(self.cut, bundle.advice.search.months)
        return self._tried(safest[1], schedule, promises=False)

    def _find_candidates(
        self, positions: Rows, trajectories: Rows, projection: Projection, bundle: Bundle
    ) -> Iterator[_Tried]:
        """The plans that seem to restore the limit, without those that are sure to break a rule.

        With the limit back, more is owed at the end, and never less.
        """
        limits, stopped = guess_steps(projection.log_odds[:, trajectories], self.cut, bundle)
        whole = (limits >= self.cut.limit_before) & ~stopped
        balance, in_force = projection.balances[:, trajectories], projection.limits[:, trajectories]
        within = rules.stays_within_limit(balance, in_force, self._balance_now)
        owes_no_more = rules.owes_no_more(balance[-1], self._balance_now)
        # With a step back the limit is another one; until then the months are as projected.
        is_better = (limits > self.cut.limit_after) | (stopped != self.cut.suspended)
        until_step = np.cumsum(is_better, axis=0) <= 1
        sound = owes_no_more & (within | ~until_step).all(axis=0)
        for column in np.flatnonzero(whole.any(axis=0)).tolist():
            if not sound[column]:
                self.only_harmful = True
                continue
            schedule = self._schedule(limits[:, column].tolist(), stopped[:, column].tolist())
            yield self._tried(int(positions[column]), schedule, promises=True)

    def _tried(self, position: int, schedule: Schedule, promises: bool) -> _Tried:
        plan = self.grid.plans.take([position])
        return _Tried(position, Course(plan, schedule, self.cut), promises)

    def _schedule(self, limits: list[float], stopped: list[bool]) -> Schedule:
        """The schedule that these limits and stops after each decision put in force."""
        cut = self.cut
        return Schedule((cut.limit_after, *limits[:-1]), (cut.suspended, *stopped[:-1]))

    def _keep_safe(self, positions: Rows, trajectories: Rows, projection: Projection) -> None:
        keeps = rules.keep_all(
            projection.balances[:, trajectories],
            projection.limits[:, trajectories],
            projection.probabilities[:, trajectories],
            self._balance_now,
            self._risk_as_before,
        )
        last = projection.log_odds[-1, trajectories[keeps]].tolist()
        self._safe += zip(last, positions[keeps].tolist(), strict=True)


def evaluate_plans(
    searches: Sequence[PlanSearch],
    most: int,
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> None:
    """Evaluate up to ``most`` further plans per account.

    The first call also evaluates the baselines.
    """
    plans = []
    for search in searches:
        following = slice(search.evaluated, search.evaluated + most)
        plans.append((search.account, search.grid.plans.take(following)))
    # In the same projection, because one costs as much as a hundred trajectories.
    new = [search for search in searches if search.evaluated == 0]
    baselines = [(search.account, search.grid.baselines) for search in new]
    rotations = [np.zeros(len(own), dtype=np.int64) for _, own in plans]
    rotation = np.concatenate([*rotations, *(search.grid.rotations for search in new)])
    own_plans = plans + baselines
    lengths = [len(own) for _, own in own_plans]
    rolled = roll(
        window,
        Trajectories(
            account=np.repeat([account for account, _ in own_plans], lengths),
            plans=concatenate_plans([own for _, own in own_plans]),
            variation=Variation(rotation, borrowed=np.zeros(len(rotation))),
        ),
        cuts,
        bundle,
    )
    # Half of the plans ask for more than the customer can pay: their months are not looked at.
    most_paid = np.split(rolled.most_paid, np.cumsum(lengths)[:-1])
    positions = [
        search.find_payable(paid)
        for search, paid in zip(searches, most_paid[: len(plans)], strict=True)
    ]
    positions += [np.arange(len(own)) for _, own in baselines]
    firsts = np.cumsum([0, *lengths[:-1]])
    kept = np.concatenate([first + own for first, own in zip(firsts, positions, strict=True)])
    projection = look_at(rolled.take(kept), window, cuts, bundle)
    ends = np.cumsum([len(own) for own in positions])
    trajectories = np.split(np.arange(len(kept)), ends[:-1])
    for search, own in zip(new, trajectories[len(plans) :], strict=True):
        search.evaluate_baselines(own, projection, bundle)
    for place, search in enumerate(searches):
        search.evaluate(
            lengths[place],
            positions[place],
            trajectories[place],
            projection,
            bundle,
        )


def settle_courses(
    searches: Sequence[PlanSearch],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> None:
    """Project the courses that are not settled with their schedules, and decide their months."""
    courses = [(search, course) for search in searches for course in search.unsettled]
    priced = [
        (search, Course(search.chosen.plans, search.chosen.guessed, search.cut))
        for search in searches
        if search.chosen is not None and search.prices_application
    ]
    settled, courses = len(courses), courses + priced
    if not courses:
        return
    borrowed = np.zeros(len(courses))
    borrowed[settled:] = [search.grid.application for search, _ in priced]
    projection = project(
        window,
        Trajectories(
            account=np.array([search.account for search, _ in courses]),
            plans=concatenate_plans([course.plans for _, course in courses]),
            limits=np.array([course.schedule.limits for _, course in courses]).T,
            suspended=np.array([course.schedule.suspended for _, course in courses]).T,
            variation=Variation(np.zeros(len(courses), dtype=np.int64), borrowed),
        ),
        cuts,
        bundle,
    )
    decisions = decide_months(
        [search.cut for search, _ in courses],
        projection.probabilities,
        projection.features,
        bundle,
    )
    for trajectory, ((search, course), decided) in enumerate(zip(courses, decisions, strict=True)):
        if trajectory < settled:
            course.settle(trajectory, projection, decided)
        else:
            search.applied = decided
