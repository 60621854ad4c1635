"""The rules that every plan keeps, and whether its months bring the limit back.

A way back must not do harm on the way:

1. No month ends over the limit that is in force in it.  An account that begins over its limit, as
   after a cap by a rule, has to come closer to it each month until it is within it, and to stay
   there.
2. The last month ends with no more owed than at the beginning.
3. The probability, on average over the months, is no higher than that of carrying on.
4. No month's payment is lower than what the customer pays now.

The fourth holds by how plans are made (:func:`serving.decision.advice.rollout.planned_payment`);
the loops here check the others.  ``tests/support/judge_oracle.py`` has the same in NumPy.

Conventions
-----------
Arrays of months are (months, trajectories), the next month first; amounts are in CNY.  ``cases`` is
float64 (accounts, 9), what the trajectories of an account are judged by, with the places below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled_with
from serving.decision.policy.compiled import limits as policy_limits

# Places in a case.  ``LIMIT`` and ``SUSPENDED`` are in force while the cut is; ``WHOLE`` is the
# limit from before it; ``BEFORE`` and ``AFTER`` are those of the prior, between which a limit comes
# back; ``FIRST`` is the first month, 0 = the next, in which anything may be given back; ``RISK`` is
# the mean probability of carrying on.
CUT_OFF_LOG_ODDS = 0
WHOLE = 1
LIMIT = 2
SUSPENDED = 3
BEFORE = 4
AFTER = 5
FIRST = 6
BALANCE = 7
RISK = 8
CASE_WIDTH = 9
# Places in the verdict on a plan.
RESTORES = 0
IS_SOUND = 1
KEEPS_RULES = 2
FLAGS_WIDTH = 3
# Places in the verdict on a course.
SAME = 0
BACK = 1
LOWEST = 2
FAILS = 3
SOUND = 4
MEAN = 5
VERDICT_WIDTH = 6
HALF_CENT = 0.005
# As serving.decision.policy.compiled.outcome has them.
_ACTION = 0
_NEW_LIMIT = 1
_STOPPED = 2
_KEEP = 0.0
_RESTORE = 3.0
_ACCUMULATORS = 8

_limit_back = policy_limits.limit_back


@compiled_with(policy_limits)
def mean_of_months(values: Any, trajectory: int) -> Any:
    """The mean of a trajectory's months, with the bits of ``np.mean`` over up to 128 numbers."""
    months = values.shape[0]
    total = 0.0
    whole = months - months % _ACCUMULATORS
    if whole > 0:
        sums = np.zeros(_ACCUMULATORS)
        for month in range(whole):
            sums[month % _ACCUMULATORS] += values[month, trajectory]
        first = (sums[0] + sums[1]) + (sums[2] + sums[3])
        total = first + ((sums[4] + sums[5]) + (sums[6] + sums[7]))
    for month in range(whole, months):
        total += values[month, trajectory]
    return total / months


@compiled_with(policy_limits)
def is_within(
    excess: float,
    before: float,
) -> bool:
    """Whether a month ends within its limit, or closer to it than the month before."""
    return excess <= HALF_CENT or excess < before - HALF_CENT


@compiled_with(policy_limits)
def judge_plans(  # noqa: PLR0913  # numba takes plain arrays, not an object that holds them
    log_odds: Any,
    probability: Any,
    balance: Any,
    account: Any,
    cases: Any,
    settings: Any,
    steps: Any,
    limits: Any,
    suspended: Any,
    verdicts: Any,
) -> None:
    """Judge plans by their months with the cut in force in all of them.

    Args:
        log_odds, probability, balance: float64 (months, trajectories).
        account: int64 (trajectories,), positions in ``cases``.
        cases: As above.
        settings, steps: Of :class:`serving.decision.policy.compiled.numbers.PolicyNumbers`.
        limits: float64 (trajectories, months), written: the limit that the staircase puts in force
            in each month, without a look at the policy's rules.
        suspended: bool, as ``limits``: whether nothing may be drawn.
        verdicts: bool (trajectories, 3), written: whether the whole limit comes back by them;
            whether the plan is sound up to the first step back, and owes no more at the end: with
            the limit back, more is owed, and never less; whether it keeps all rules.
    """
    months = log_odds.shape[0]
    for trajectory in range(log_odds.shape[1]):
        case = cases[account[trajectory]]
        in_force = case[LIMIT]
        limit, stopped = in_force, case[SUSPENDED] > 0
        restores, within, sound = False, True, True
        steps_taken = 0
        before = case[BALANCE] - in_force
        for month in range(months):
            limits[trajectory, month] = limit
            suspended[trajectory, month] = stopped
            below = case[CUT_OFF_LOG_ODDS] - log_odds[month, trajectory]
            if month >= case[FIRST] and below >= steps[0, 0]:
                stopped = False
            if month >= case[FIRST] and not stopped:
                back = _limit_back(below, case[BEFORE], case[AFTER], settings, steps)
                limit = max(limit, back)
            restores = restores or (limit >= case[WHOLE] and not stopped)
            steps_taken += limit > in_force or stopped != (case[SUSPENDED] > 0)
            excess = balance[month, trajectory] - in_force
            holds = is_within(excess, before)
            within = within and holds
            # With a step back the limit is another one; until then the months are as they are here.
            sound = sound and (holds or steps_taken > 1)
            before = excess
        owes_no_more = balance[months - 1, trajectory] <= max(case[BALANCE], 0.0) + HALF_CENT
        is_no_riskier = mean_of_months(probability, trajectory) <= case[RISK]
        verdicts[trajectory, RESTORES] = restores
        verdicts[trajectory, IS_SOUND] = sound and owes_no_more
        verdicts[trajectory, KEEPS_RULES] = within and owes_no_more and is_no_riskier


@compiled_with(policy_limits)
def months_as_decided(
    decided: Any,
    limits: Any,
    suspended: Any,
    trajectory: int,
    case: Any,
) -> Any:
    """In how many of the first months the decisions put in force what a course was rolled with.

    ``limits`` and ``suspended`` become what the decisions put in force.
    """
    months = decided.shape[0]
    same = months
    limit, stopped = case[LIMIT], case[SUSPENDED] > 0
    for month in range(months):
        differs = limits[month, trajectory] != limit or suspended[month, trajectory] != stopped
        if differs and same == months:
            same = month
        limits[month, trajectory] = limit
        suspended[month, trajectory] = stopped
        limit = decided[month, trajectory, _NEW_LIMIT]
        stopped = decided[month, trajectory, _STOPPED] > 0
    return same


@compiled_with(policy_limits)
def judge_courses(  # noqa: PLR0913
    decided: Any,
    probability: Any,
    balance: Any,
    account: Any,
    cases: Any,
    limits: Any,
    suspended: Any,
    verdicts: Any,
) -> None:
    """Judge courses by the decisions on their months, as far as these are known.

    Months and decisions are right up to the first month for which the decisions put another limit
    in force than the course was rolled with.

    Args:
        decided: float64 (months, trajectories, 6), see
            :mod:`serving.decision.policy.compiled.outcome`.
        probability, balance, account, cases: As for :func:`judge_plans`.
        limits, suspended: (months, trajectories), what the courses were rolled with; overwritten by
            what the decisions put in force.
        verdicts: float64 (trajectories, 6), written: the number of months that are right, and of
            these: the first after which the whole limit is back (-1 = none), the lower probability
            of it and the next (inf = not both are known), whether anything is cut, suspended or put
            before a person, whether they are sound; and the mean probability of all months.
    """
    months = decided.shape[0]
    for trajectory in range(decided.shape[1]):
        case = cases[account[trajectory]]
        same = months_as_decided(
            decided,
            limits,
            suspended,
            trajectory,
            case,
        )
        back, lowest = -1, np.inf
        fails, sound = False, True
        before = case[BALANCE] - case[LIMIT]
        for month in range(same):
            action = decided[month, trajectory, _ACTION]
            fails = fails or (action != _KEEP and action != _RESTORE)
            is_whole = decided[month, trajectory, _NEW_LIMIT] >= case[WHOLE]
            if back < 0 and is_whole and decided[month, trajectory, _STOPPED] == 0.0:
                back = month
            excess = balance[month, trajectory] - limits[month, trajectory]
            sound = sound and is_within(excess, before)
            before = excess
        if back >= 0 and (back + 1 < same or same == months):
            lowest = probability[back, trajectory]
            if back + 1 < months:
                lowest = min(lowest, probability[back + 1, trajectory])
        owes_no_more = balance[months - 1, trajectory] <= max(case[BALANCE], 0.0) + HALF_CENT
        verdicts[trajectory, SAME] = same
        verdicts[trajectory, BACK] = back
        verdicts[trajectory, LOWEST] = lowest
        verdicts[trajectory, FAILS] = fails
        verdicts[trajectory, SOUND] = sound and owes_no_more
        verdicts[trajectory, MEAN] = mean_of_months(probability, trajectory)
