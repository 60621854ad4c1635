"""The true risk of accounts that follow their plan, and of the same accounts that do not.

*Fell*: the true probability of default in the six months after the promised month is lower than
after carrying on; the plan ends with the promised month, and accounts that have defaulted by then
count as certain.  Measured twice: with the reduced limit in force in both arms (the effect of the
plan), and with the limit restored after the plan (the effect of plan and limit).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from features.types import Mask, Rows, Vector
from training.data.simulate.state import Numbers, State
from training.data.simulate.step import Columns, step
from training.examine.truth.cut_accounts import CutAccounts, plans_from_paths
from training.examine.truth.futures import DEFAULT_DAYS, HORIZON, ROWS, untreated
from training.examine.truth.interventions import follow, while_followed, without_drawings

NEVER = 1000  # months; beyond every simulation


@dataclass(frozen=True, slots=True)
class PlanRisk:
    """True probabilities of default, float64 (accounts,).

    In the six months after the promised month, or after twelve months without a promise:

    - ``plan``: after the plan, with the limit still reduced
    - ``limit_back``: after the plan, with the limit restored
    - ``carry_on``: after carrying on; accounts that have defaulted by then count as 1

    Up to the promised month:

    - ``on_the_way``: when carrying on
    - ``during``: when following the plan
    """

    plan: Vector
    limit_back: Vector
    carry_on: Vector
    on_the_way: Vector
    during: Vector


@dataclass(frozen=True, slots=True)
class Schedule:
    """Until which month an account follows its plan, and until which its limit is reduced.

    Both int64 (accounts,), in months from the decision; NEVER = the limit stays reduced.
    """

    plan_ends: Rows
    limit_restored: Rows


def simulate_risk(cohort: CutAccounts, futures: int) -> PlanRisk:
    """Estimate the true probabilities from ``futures`` futures of each account."""
    search_months = cohort.bundle.advice.search.months
    promised = np.where(cohort.promised > 0, cohort.promised, search_months)
    # Three simulations for four arms: the months up to the promise are the same whether or not the
    # limit is restored after it.
    never = np.full_like(promised, NEVER)
    at_once = np.zeros_like(promised)
    plan_only = Schedule(plan_ends=promised, limit_restored=never)
    plan_and_limit = Schedule(plan_ends=promised, limit_restored=promised)
    carrying_on = Schedule(plan_ends=at_once, limit_restored=never)
    defaults = np.zeros((5, len(cohort)))
    futures_a_block = max(ROWS // len(cohort), 1)
    for start in range(1, futures + 1, futures_a_block):
        stop = min(start + futures_a_block, futures + 1)
        numbers = np.arange(start, stop)
        during, after_plan = _defaults(cohort, numbers, plan_only, promised)
        _, after_limit = _defaults(cohort, numbers, plan_and_limit, promised)
        on_the_way, later = _defaults(cohort, numbers, carrying_on, promised)
        # In the order of the fields of PlanRisk.
        arms = (
            during | after_plan,
            during | after_limit,
            on_the_way | later,
            on_the_way,
            during,
        )
        defaults += np.array([arm.sum(axis=0) for arm in arms])
    probabilities = defaults / futures
    return PlanRisk(*probabilities)


def _defaults(
    cohort: CutAccounts,
    numbers: Numbers,
    schedule: Schedule,
    promised: Rows,
) -> tuple[Mask, Mask]:
    """Default up to the promised month, and in the six months after it.

    Both bool (futures, accounts).
    """
    shape = (len(numbers), len(cohort))
    before = np.zeros(shape, dtype=np.bool_)
    after = np.zeros(shape, dtype=np.bool_)
    places = np.tile(cohort.places, len(numbers))
    state = cohort.population.state.take(places)
    futures = np.repeat(numbers, len(cohort))
    months = int(promised.max()) + HORIZON
    simulated = simulate_plans(cohort, state, futures, schedule, months)
    for month, (_, statement) in enumerate(simulated):
        # A closed account has no statement, and cannot default.
        days = np.where(statement["open"], statement["days_past_due"], 0)
        default = (days >= DEFAULT_DAYS).reshape(shape)
        on_the_way = month < promised
        in_horizon = (month >= promised) & (month < promised + HORIZON)
        before |= default & on_the_way
        after |= default & in_horizon
    return before, after


def simulate_plans(
    cohort: CutAccounts,
    state: State,
    futures: Numbers,
    schedule: Schedule,
    months: int,
) -> Iterator[tuple[State, Columns]]:
    """Yield the state and the statements of each month, the accounts under their plans.

    ``state`` has every account of the cohort once for each future, ``futures`` its future.  After
    its plan ends, an account behaves as it would have.  The reduced limit is in force until it is
    restored to that from before the cut; the simulated lender cuts no limit.
    """
    accounts = len(cohort)
    repeats = state.count // accounts
    tiled = np.tile(np.arange(accounts), repeats)
    plans = plans_from_paths(cohort.plans)
    cuts = cohort.cuts
    limit_before = np.array([cut.limit_before for cut in cuts])
    # A limit of 0 has no utilization.
    limit_after = np.maximum([cut.limit_after for cut in cuts], 1.0)
    suspended = np.array([cut.suspended for cut in cuts])
    config = untreated(cohort.population.config)
    for month in range(months):
        followed = month < schedule.plan_ends
        reduced = month < schedule.limit_restored
        current = without_drawings(while_followed(plans, followed), suspended & reduced)
        intervention = follow(current.take(tiled))
        limit = np.where(reduced, limit_after, limit_before)[tiled]
        state, statement = step(
            state,
            state.months_done,
            config,
            futures,
            intervention,
            limit,
        )
        yield state, statement
