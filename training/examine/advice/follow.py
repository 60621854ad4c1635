"""Does the advice come true?  Each plan is simulated with the account's own shocks and draws.

*Kept*: in the promised month or the next, the served decision no longer objects to the limit from
before the cut.  *Fell*: the true probability of default in the six months after the promised month
is lower than after carrying on; the plan ends with the promised month, and accounts that have
defaulted by then count as certain.  Measured twice: with the reduced limit in force in both arms
(the effect of the plan), and with the limit restored after the plan (the effect of plan and limit).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.build import build
from features.schema import LONGEST_WINDOW, check
from features.types import Mask, Rows, Vector
from serving.decision.advice.projection import outcome_after, restores_limit
from serving.decision.advice.rollout import Plans
from serving.decision.scoring.score import log_odds_of, probability_of
from training.data.simulate.output import as_table
from training.data.simulate.shocks import ILLNESS, INCOME_LOSS
from training.data.simulate.state import Numbers, State
from training.data.simulate.step import Columns, step
from training.examine.truth.cut_accounts import CutAccounts, plans_from_paths
from training.examine.truth.futures import DEFAULT_DAYS, HORIZON, ROWS, untreated
from training.examine.truth.interventions import follow
from training.examine.truth.population import take_rows

FOLLOWED = 4  # futures in which the served decision is made: 0 is the history's own
NEVER = 1000  # months; beyond every simulation


@dataclass(frozen=True, slots=True)
class FollowedPlans:
    """The results of following the plans.

    - ``promised``: int64 (accounts,), months to the promised month; 0 = no promise
    - ``kept``: bool (futures, accounts); False without a promise
    - ``shocked``: bool (futures, accounts), whether an income loss or illness struck between the
      decision and the month after the promised one
    """

    promised: Rows
    kept: Mask
    shocked: Mask


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


def follow_plans(
    cohort: CutAccounts,
    exactly: bool = False,
    margin: float = 0.0,
) -> FollowedPlans:
    """Follow every plan, and decide again in the promised month and the next.

    With ``exactly`` no customer pays more than the plan states.  ``margin`` is by how many log-odds
    the decision has to clear the cut-off; 0 = as served.
    """
    promised = cohort.promised
    # One month more: the decision of the next month counts too.
    until = np.where(promised > 0, promised + 1, 0)
    months = int(until.max())
    accounts = len(cohort)
    shape = (FOLLOWED, accounts)
    futures = np.repeat(np.arange(FOLLOWED), accounts)
    restored = np.zeros((months, *shape), dtype=np.bool_)
    shocked = np.zeros(shape, dtype=np.bool_)
    places = np.tile(cohort.places, FOLLOWED)
    window = take_rows(cohort.population.months, places)
    state = cohort.population.state.take(places)
    schedule = Schedule(plan_ends=until, limit_restored=until + 1)
    simulated = simulate_plans(cohort, state, futures, schedule, months, exactly)
    for month, (after, statement) in enumerate(simulated):
        newly_shocked = _newly_shocked(state, after).reshape(shape)
        shocked |= newly_shocked & (month < until)
        window.append((after.months_done - 1, statement))
        window = window[-LONGEST_WINDOW:]
        in_promised_month = month + 1 == promised
        in_next_month = month == promised
        decide = (promised > 0) & (in_promised_month | in_next_month)
        is_open = statement["open"].astype(np.bool_)
        # Decisions cost far more than simulated months: only those that a promise needs are made.
        rows = np.flatnonzero(np.tile(decide, FOLLOWED) & is_open)
        restores = _restores_limit(cohort, after, window, rows, month, margin)
        restored[month] = restores.reshape(shape)
        state = after
    kept: Mask = np.any(restored, axis=0)
    return FollowedPlans(promised, kept, shocked)


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
    exactly: bool = False,
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
        current = _current_plans(plans, followed, suspended & reduced)
        intervention = follow(current.take(tiled), exactly)
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


def _current_plans(plans: Plans, followed: Mask, suspended: Mask) -> Plans:
    """The plans in force this month; suspended accounts cannot draw in any case."""
    spending = np.where(followed, plans.spending, np.inf)
    no_cash = np.where(followed, plans.no_cash, 0.0)
    return Plans(
        on_time=np.where(followed, plans.on_time, 0.0),
        extra=np.where(followed, plans.extra, 0.0),
        spending=np.where(suspended, 0.0, spending),
        no_cash=np.where(suspended, 1.0, no_cash),
        no_new_credit=np.where(followed, plans.no_new_credit, 0.0),
        repay_elsewhere=np.where(followed, plans.repay_elsewhere, 0.0),
        paid_share=np.where(followed, plans.paid_share, 0.0),
        paid_now=np.where(followed, plans.paid_now, 0.0),
    )


def _newly_shocked(before: State, after: State) -> Mask:
    in_shock = np.isin(after.shock, (INCOME_LOSS, ILLNESS))
    changed = after.shock != before.shock
    newly_shocked: Mask = in_shock & changed
    return newly_shocked


def _restores_limit(
    cohort: CutAccounts,
    state: State,
    window: list[tuple[int, Columns]],
    rows: Rows,
    month: int,
    margin: float,
) -> Mask:
    """Whether the served decision on each of ``rows`` allows the limit from before the cut.

    bool (futures x accounts,); False for all other rows.
    """
    restores = np.zeros(state.count, dtype=np.bool_)
    if len(rows) == 0:
        return restores
    own_window = take_rows(window, rows)
    # Ids of equal length keep the order of the rows, which the features are sorted by.
    numbers = pl.Series(rows).cast(pl.String)
    ids = numbers.str.zfill(9)
    cash_loan = state.traits.cash_loan[rows]
    statements = as_table(ids, cash_loan, own_window, cohort.population.config)
    features = build(check(statements))
    bundle = cohort.bundle
    log_odds = log_odds_of(features.matrix(bundle.features), bundle.scorer)
    probability = probability_of(log_odds + margin).tolist()
    cuts = cohort.cuts
    inputs = zip(rows.tolist(), probability, features.values, strict=True)
    for row, risk, values in inputs:
        # Rows are tiled by future, so the account repeats every len(cuts).
        cut = cuts[row % len(cuts)]
        outcome = outcome_after(month, cut, risk, values, bundle)
        restores[row] = restores_limit(outcome)
    return restores
