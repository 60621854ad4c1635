"""Does the advice come true?  Each plan is followed in the simulator, with the account's own shocks
and its own luck.

*Kept*: in the promised month or the one after it, the served decision has nothing against the limit
from before the cut. *Fell*: the true probability of default in the six months after the promised
month, left to one's own ways, is lower than had the account carried on as before; who has defaulted
by then counts as certain.  Told twice: with the reduced limit in force in both (what the plan
does), and with the limit back after the plan (what plan and limit do together).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.build import build
from features.schema import LONGEST_WINDOW, check
from features.types import Mask, Vector
from serving.decision.advice.projection import outcome_after, restores_limit
from serving.decision.advice.rollout import Plans
from serving.decision.scoring.score import log_odds_of, probability_of
from training.data.simulate.output import as_table
from training.data.simulate.shocks import ILLNESS, INCOME_LOSS
from training.data.simulate.state import Numbers, State
from training.data.simulate.step import Columns, step
from training.examine.truth.cut_accounts import CutAccounts, plans_of
from training.examine.truth.futures import DEFAULT_DAYS, HORIZON, untreated
from training.examine.truth.interventions import following

FOLLOWED = 4  # futures in which the served decision is asked: 0 is the history's own
_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class FollowedPlans:
    """What came of the plans; ``promised`` int64 (accounts,), 0 = nothing promised, the others bool
    (futures, accounts).

    ``kept``: False where nothing is promised; ``shocked``: an income loss or illness struck between
    the decision and the month after the promised one.
    """

    promised: NDArray[np.int64]
    kept: Mask
    shocked: Mask


@dataclass(frozen=True, slots=True)
class Risk:
    """True probabilities of default, float64 (accounts,), in the six months after the promised
    month (twelve, where none is).

    ``plan``: after following it, the limit still reduced; ``limit_back``: the same with the limit
    back; ``carry_on``: after carrying on, who has defaulted by then counts as 1; ``on_the_way``: of
    defaulting by then when carrying on; ``during``: of defaulting while the plan is followed.
    """

    plan: Vector
    limit_back: Vector
    carry_on: Vector
    on_the_way: Vector
    during: Vector


def follow_plans(cohort: CutAccounts, exactly: bool = False, margin: float = 0.0) -> FollowedPlans:
    """Follow every plan and ask for the limit back in the promised month and the one after.

    ``exactly``: nobody pays more than is told.  ``margin``: log-odds by which the decision has to
    be clear; 0 = as served.
    """
    promised = cohort.promised
    until = np.where(promised > 0, promised + 1, 0)
    months, count = int(until.max()), len(cohort)
    futures = np.repeat(np.arange(FOLLOWED), count)
    free = np.zeros((months, FOLLOWED, count), dtype=np.bool_)
    struck = np.zeros((FOLLOWED, count), dtype=np.bool_)
    columns: list[tuple[int, Columns]] = [
        (number, _taken(month, cohort, FOLLOWED)) for number, month in cohort.world.lived
    ]
    state = cohort.world.now.take(np.tile(cohort.places, FOLLOWED))
    for month, (after, statement) in enumerate(
        _lived(cohort, state, futures, until, until + 1, months, exactly)
    ):
        struck |= _newly_struck(state, after).reshape(FOLLOWED, count) & (month < until)
        columns = [*columns, (after.months_done - 1, statement)][-LONGEST_WINDOW:]
        asked = (promised > 0) & ((month + 1 == promised) | (month == promised))
        free[month] = _free(cohort, after, columns, month, np.tile(asked, FOLLOWED), margin)
        state = after
    kept: Mask = np.any(free, axis=0)
    return FollowedPlans(promised, kept, struck)


def risk(cohort: CutAccounts, futures: int) -> Risk:
    """The true probabilities, by ``futures`` futures of each account."""
    promised = np.where(cohort.promised > 0, cohort.promised, cohort.bundle.advice.search.months)
    never = np.full_like(promised, 1000)
    sums = np.zeros((5, len(cohort)))
    step_ = max(_ROWS // len(cohort), 1)
    for start in range(1, futures + 1, step_):
        numbers = np.arange(start, min(start + step_, futures + 1))
        during, after = _defaults(cohort, numbers, promised, promised, never)
        _, with_limit = _defaults(cohort, numbers, promised, promised, promised)
        on_the_way, later = _defaults(cohort, numbers, promised, np.zeros_like(promised), never)
        arms = (during | after, during | with_limit, on_the_way | later, on_the_way, during)
        sums += np.array([arm.sum(axis=0) for arm in arms])
    return Risk(*(sums / futures))


def _defaults(
    cohort: CutAccounts,
    numbers: Numbers,
    promised: NDArray[np.int64],
    plan_for: NDArray[np.int64],
    restored: NDArray[np.int64],
) -> tuple[Mask, Mask]:
    """(default up to the promised month, default in the six months after it), bool (futures,
    accounts).
    """
    count = len(cohort)
    found = np.zeros((2, len(numbers), count), dtype=np.bool_)
    state = cohort.world.now.take(np.tile(cohort.places, len(numbers)))
    months = int(promised.max()) + HORIZON
    lived = _lived(cohort, state, np.repeat(numbers, count), plan_for, restored, months)
    for month, (_, statement) in enumerate(lived):
        worst = np.where(statement["open"], statement["days_past_due"], 0).reshape(
            len(numbers), count
        )
        found[0] |= (worst >= DEFAULT_DAYS) & (month < promised)
        found[1] |= (worst >= DEFAULT_DAYS) & (month >= promised) & (month < promised + HORIZON)
    return found[0], found[1]


def _lived(
    cohort: CutAccounts,
    state: State,
    futures: Numbers,
    plan_for: NDArray[np.int64],
    restored: NDArray[np.int64],
    months: int,
    exactly: bool = False,
) -> Iterator[tuple[State, Columns]]:
    """Months of the cut accounts, each under its plan for its first ``plan_for`` months, and its
    own ways after them.

    The reduced limit is in force for ``restored`` months, and the one from before the cut from then
    on; nobody else cuts it.
    """
    repeats = state.count // len(cohort)
    plans = plans_of(cohort.plans)
    before, after = (
        np.array([getattr(cut, name) for cut in cohort.cuts])
        for name in ("limit_before", "limit_after")
    )
    suspended = np.array([cut.suspended for cut in cohort.cuts])
    config = untreated(cohort.world.config)
    for month in range(months):
        reduced = month < restored
        now = _under_way(plans, month < plan_for, suspended & reduced)
        change = following(
            Plans(*(np.tile(getattr(now, name), repeats) for name in Plans.__dataclass_fields__)),
            exactly,
        )
        # a limit of 0 has no utilization
        limit = np.tile(np.where(reduced, np.maximum(after, 1.0), before), repeats)
        state, statement = step(state, state.months_done, config, futures, change, limit)
        yield state, statement


def _under_way(plans: Plans, followed: Mask, suspended: Mask) -> Plans:
    """The plans of those who follow them now; who is suspended draws nothing in any case."""
    return Plans(
        on_time=np.where(followed, plans.on_time, 0.0),
        extra=np.where(followed, plans.extra, 0.0),
        spending=np.where(suspended, 0.0, np.where(followed, plans.spending, np.inf)),
        no_cash=np.where(suspended, 1.0, np.where(followed, plans.no_cash, 0.0)),
        no_new_credit=np.where(followed, plans.no_new_credit, 0.0),
        repay_elsewhere=np.where(followed, plans.repay_elsewhere, 0.0),
        paid_share=np.where(followed, plans.paid_share, 0.0),
    )


def _taken(columns: Columns, cohort: CutAccounts, times: int) -> Columns:
    """The cut accounts' part of a month, as often as there are futures."""
    places = np.tile(cohort.places, times)
    return {name: values[places] for name, values in columns.items()}


def _newly_struck(before: State, after: State) -> Mask:
    struck: Mask = np.isin(after.shock, (INCOME_LOSS, ILLNESS)) & (after.shock != before.shock)
    return struck


def _free(
    cohort: CutAccounts,
    state: State,
    columns: list[tuple[int, Columns]],
    month: int,
    asked: Mask,
    margin: float,
) -> Mask:
    """Whose limit from before the cut the served decision leaves alone, bool (futures, accounts);
    who has closed has none.
    """
    rows = np.flatnonzero(asked & columns[-1][1]["open"].astype(np.bool_))
    free, cuts = np.zeros(state.count, dtype=np.bool_), cohort.cuts
    if len(rows):
        seen = [
            (number, {name: values[rows] for name, values in lived.items()})
            for number, lived in columns
        ]
        names = pl.Series(rows).cast(pl.String).str.zfill(9)
        features = build(
            check(as_table(names, state.traits.cash_loan[rows], seen, cohort.world.config))
        )
        probability = probability_of(
            log_odds_of(features.matrix(cohort.bundle.features), cohort.bundle.scorer) + margin
        )
        free[rows] = [
            restores_limit(outcome_after(month, cuts[row % len(cuts)], risk, values, cohort.bundle))
            for row, risk, values in zip(
                rows.tolist(), probability.tolist(), features.values, strict=True
            )
        ]
    return free.reshape(-1, len(cohort))
