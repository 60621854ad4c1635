"""Rounds of the search for many accounts: plans are evaluated, and courses are settled.

The loops over trajectories and months are compiled (:mod:`serving.decision.advice.ahead`,
:mod:`features.program`, :mod:`serving.decision.policy.compiled`) and take all accounts together,
because a call costs as much as a hundred trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.program.evaluate import plain_array
from features.types import Mask, Matrix, Rows, Vector
from features.window import HALF_CENT, Window
from serving.decision.advice.ahead import judge
from serving.decision.advice.projection import MeanCourses, Projection, Rolled, look_at, roll
from serving.decision.advice.rollout import Courses, Variation
from serving.decision.advice.search import ON_TIME_ONLY, Course, PlanSearch, PlanVerdicts, Round
from serving.decision.advice.staircase import (
    CutNumbers,
    LimitCut,
    decide_as_numbers,
    decided_on,
    make_cases,
    numbers_of_cuts,
)
from serving.decision.bundle import Bundle
from serving.decision.policy.compiled.numbers import numbers_of

# Plans of each account that are evaluated first, together.  Half of all accounts find theirs among
# them, and the others lose little.
FIRST_PLANS = 12
NEXT_PLANS = 24  # evaluated together after them, until one restores


@dataclass(frozen=True, slots=True)
class Block:
    """Accounts that are searched for together; an account's place is its position here.

    Attributes:
        window: Their statements, among others.
        accounts: int64 (accounts,), positions in the window.
        numbers: Their cuts for the compiled policy.
        cases: float64 (accounts, 9), what trajectories are judged by, see
            :mod:`serving.decision.advice.ahead.judge`.
        bundle: The model, the policy and the rules of advice.
    """

    window: Window
    accounts: Rows
    numbers: CutNumbers
    cases: Matrix
    bundle: Bundle


def make_block(
    window: Window,
    accounts: Rows,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> Block:
    """The block of the accounts at these positions of the window; ``cuts`` are their own."""
    months, policy = bundle.advice.search.months, bundle.policy
    balances = window.now("balance")[accounts].tolist()
    return Block(
        window=window,
        accounts=accounts,
        numbers=numbers_of_cuts(cuts, months, policy),
        cases=make_cases(
            cuts,
            balances,
            months,
            policy,
        ),
        bundle=bundle,
    )


def evaluate_baselines(searches: Sequence[PlanSearch], block: Block) -> MeanCourses:
    """Evaluate paying on time only, and carrying on in each rotation of habits; return its means.

    Carrying on promises nothing: its months are as good as the best habits, which no plan could ask
    for.
    """
    rows = [search.grid.baseline_rows for search in searches]
    counts = np.array([len(own) for own in rows])
    place = np.repeat(np.arange(len(searches)), counts)
    rotation = np.concatenate([search.grid.rotations for search in searches])
    rolled = _roll_with_cut(
        block,
        place,
        np.concatenate(rows),
        rotation,
        history=None,
    )
    projection = look_at(rolled, block.window, block.bundle)
    firsts = np.cumsum(counts) - counts
    means = projection.mean_courses(firsts + 1, counts - 1)
    # Of contiguous rows, as np.mean adds the numbers of one account.
    risks = np.ascontiguousarray(means.probability.T).mean(axis=1)
    block.cases[:, judge.RISK] = risks
    limits, suspended, _ = _judge_plans(block, place, projection)
    for search, first, risk in zip(
        searches,
        firsts.tolist(),
        risks.tolist(),
        strict=True,
    ):
        search.risk = risk
        search.on_time_only = Course(
            ON_TIME_ONLY,
            search.grid.baseline_rows[0],
            promises=False,
            in_force=(limits[first], suspended[first]),
        )
    return means


def evaluate_plans(
    searches: Sequence[PlanSearch],
    most: int,
    block: Block,
) -> None:
    """Evaluate up to ``most`` further plans of each account, and try the first that restores.

    Left out are plans that ask for more than the customer can pay, half of all, and those at whose
    end more is owed: their months are not looked at.
    """
    counts = [min(most, len(search.grid) - search.evaluated) for search in searches]
    which = np.repeat(np.arange(len(searches)), counts)
    place = np.array([search.place for search in searches])[which]
    plans, position, payable = _next_plans(searches, counts)
    no_rotation = np.zeros_like(place)
    rolled = _roll_with_cut(
        block,
        place,
        plans,
        no_rotation,
        history=1,
    )
    is_payable = rolled.most_paid <= payable
    owes_no_more = _owes_no_more(rolled, place, block)
    for at in np.flatnonzero(is_payable & ~owes_no_more).tolist():
        search = searches[which[at]]
        search.unsound.append(int(position[at]))

    kept = np.flatnonzero(is_payable & owes_no_more)
    verdicts = _evaluate(
        rolled.take(kept, block.window),
        place[kept],
        position[kept],
        block,
    )
    every = np.arange(len(searches))
    ends = np.searchsorted(which[kept], every, side="right")
    first = 0
    for search, count, last in zip(
        searches,
        counts,
        ends.tolist(),
        strict=True,
    ):
        search.evaluated += count
        search.take_evaluated(verdicts, first, last)
        first = last


def _next_plans(
    searches: Sequence[PlanSearch],
    counts: Sequence[int],
) -> tuple[Matrix, Rows, Vector]:
    """So many plans of each account: their rows, their positions, and the most that they may ask.

    That is inf for a plan that asks for no more than what is asked for whatever can be paid.
    """
    plans, asks_least = [], []
    for search, count in zip(searches, counts, strict=True):
        following = slice(search.evaluated, search.evaluated + count)
        plans.append(search.grid.rows[following])
        asks_least.append(search.grid.asks_least[following])
    evaluated = np.array([search.evaluated for search in searches])
    payable = np.array([search.grid.payable for search in searches]) + HALF_CENT
    before = np.cumsum(counts) - counts  # plans of the accounts before
    return (
        np.concatenate(plans),
        np.arange(sum(counts)) + np.repeat(evaluated - before, counts),
        np.where(np.concatenate(asks_least), np.inf, np.repeat(payable, counts)),
    )


def look_for_harmful(searches: Sequence[PlanSearch], block: Block) -> None:
    """Find out of accounts without a plan whether one would restore the limit, but is unsound."""
    asked = [search for search in searches if search.unsound and not search.only_harmful]
    if not asked:
        return
    counts = [len(search.unsound) for search in asked]
    which = np.repeat(np.arange(len(asked)), counts)
    place = np.array([search.place for search in asked])[which]
    plans = [search.grid.rows[search.unsound] for search in asked]
    rolled = _roll_with_cut(
        block,
        place,
        np.concatenate(plans),
        np.zeros_like(place),
        history=None,
    )
    projection = look_at(rolled, block.window, block.bundle)
    _, _, flags = _judge_plans(block, place, projection)
    for at in np.flatnonzero(flags[:, judge.RESTORES]).tolist():
        search = asked[which[at]]
        search.only_harmful = True


def settle_courses(
    searches: Sequence[PlanSearch],
    block: Block,
    price_at_once: bool,
) -> None:
    """Project the courses that are not settled with their limits, and decide their months.

    With them the price of an application is found for plans that are chosen; ``price_at_once``:
    also for the first that is tried, which half of all accounts keep.
    """
    courses = [(search, course) for search in searches for course in search.unsettled]
    priced = []
    for search in searches:
        course = search.to_price
        is_kept = search.chosen is not None or (price_at_once and search.rejected == 0)
        if course is not None and is_kept:
            priced.append((search, course))
    asked = courses + priced
    if not asked:
        return
    in_force = [(course.limits, course.suspended) for _, course in courses]
    in_force += [course.guessed for _, course in priced]
    borrowed = np.zeros(len(asked))
    borrowed[len(courses) :] = [search.grid.application for search, _ in priced]
    place = np.array([search.place for search, _ in asked])
    # (months, trajectories), in arrays of their own, which the loops need and overwrite.
    limits = np.array([own for own, _ in in_force]).T.copy()
    suspended = np.array([own for _, own in in_force]).T.copy()
    rolled_with = Courses(
        account=block.accounts[place],
        plans=np.array([course.plan for _, course in asked]),
        limits=limits,
        suspended=suspended,
        variation=Variation(np.zeros_like(place), borrowed),
    )
    found = _decide(block, place, rolled_with)
    verdicts = _judge_courses(
        block,
        place,
        found,
        limits,
        suspended,
    )
    for trajectory, (search, course) in enumerate(courses):
        course.limits = limits[:, trajectory]
        course.suspended = suspended[:, trajectory]
        search.take_verdict(
            course,
            verdicts[trajectory],
            found,
            trajectory,
        )
    for trajectory, (search, _) in enumerate(priced, start=len(courses)):
        search.applied = decided_on(found.decided, trajectory)


def _roll_with_cut(
    block: Block,
    place: Rows,
    plans: Matrix,
    rotation: Rows,
    history: int | None,
) -> Rolled:
    """Plans rolled forward with the cut in force in all months; ``history`` as for ``roll``."""
    shape = block.bundle.advice.search.months, len(place)
    own = block.cases[place]
    limits = np.empty(shape)
    limits[:] = own[:, judge.LIMIT]
    suspended = np.empty(shape, dtype=np.bool_)
    suspended[:] = own[:, judge.SUSPENDED] > 0
    courses = Courses(
        account=block.accounts[place],
        plans=plans,
        limits=limits,
        suspended=suspended,
        variation=Variation(rotation, np.zeros(len(place))),
    )
    return roll(
        block.window,
        courses,
        block.bundle,
        history,
    )


def _owes_no_more(
    rolled: Rolled,
    place: Rows,
    block: Block,
) -> Mask:
    """Whether no more is owed after the last month than now, (trajectories,)."""
    owed = np.maximum(block.cases[place, judge.BALANCE], 0.0)
    no_more: Mask = rolled.last_balance <= owed + HALF_CENT
    return no_more


def _evaluate(
    rolled: Rolled,
    place: Rows,
    position: Rows,
    block: Block,
) -> PlanVerdicts:
    """The verdicts on plans of these accounts and positions."""
    projection = look_at(rolled, block.window, block.bundle)
    limits, suspended, flags = _judge_plans(block, place, projection)
    return PlanVerdicts(
        position=position.tolist(),
        flags=flags.tolist(),
        last_log_odds=projection.log_odds[-1].tolist(),
        limits=limits,
        suspended=suspended,
    )


def _judge_plans(
    block: Block,
    place: Rows,
    projection: Projection,
) -> tuple[Matrix, Mask, Mask]:
    """Limits and stops by month, (trajectories, months), and the flags, (trajectories, 3)."""
    months, trajectories = projection.log_odds.shape
    limits = np.empty((trajectories, months))
    suspended = np.empty((trajectories, months), dtype=np.bool_)
    flags = np.empty((trajectories, judge.FLAGS_WIDTH), dtype=np.bool_)
    policy = numbers_of(block.bundle.policy)
    judge.judge_plans(
        plain_array(projection.log_odds),
        plain_array(projection.probabilities),
        plain_array(projection.balances),
        place,
        block.cases,
        policy.settings,
        policy.steps,
        limits,
        suspended,
        flags,
    )
    return limits, suspended, flags


def _decide(
    block: Block,
    place: Rows,
    courses: Courses,
) -> Round:
    """Courses rolled forward, with the decisions on their months."""
    rolled = roll(block.window, courses, block.bundle)
    projection = look_at(rolled, block.window, block.bundle)
    decided = decide_as_numbers(
        block.numbers,
        place,
        projection.probabilities,
        projection.features,
        block.bundle.policy,
    )
    return Round(projection, decided)


def _judge_courses(
    block: Block,
    place: Rows,
    found: Round,
    limits: Matrix,
    suspended: Mask,
) -> list[list[float]]:
    """The verdict on each course; ``limits`` and ``suspended`` become what was decided."""
    verdicts = np.empty((len(place), judge.VERDICT_WIDTH))
    judge.judge_courses(
        found.decided,
        plain_array(found.projection.probabilities),
        plain_array(found.projection.balances),
        place,
        block.cases,
        limits,
        suspended,
        verdicts,
    )
    rows: list[list[float]] = verdicts.tolist()
    return rows
