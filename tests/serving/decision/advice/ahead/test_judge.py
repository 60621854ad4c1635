"""The compiled judgement of plans and courses, against NumPy and against a loop over lists."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from features.types import Mask
from features.window import HALF_CENT, Months
from serving.decision.advice.ahead import judge
from serving.decision.policy.compiled import outcome
from serving.decision.policy.compiled.numbers import numbers_of
from serving.decision.scoring.score import probability_of
from tests.support.judge_oracle import Case, flags_of, guess_steps
from tests.support.policies import POLICY

MONTHS, PLANS = 12, 6
LIMITS = (4_000.0, 5_000.0, 7_000.0, 10_000.0)


@dataclass(frozen=True)
class Drawn:
    """Months of several plans of one account."""

    case: Case
    log_odds: Months
    balance: Months
    draw: np.random.Generator

    @property
    def probability(self) -> Months:
        return probability_of(self.log_odds)

    @property
    def cases(self) -> np.ndarray:
        """The case as the loops read it, after another one."""
        own = [float(value) for value in dataclasses.astuple(self.case)]
        return np.array([[np.nan] * len(own), own])


@st.composite
def drawn_months(draw: st.DrawFn) -> Drawn:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limit = draw(st.sampled_from(LIMITS[:3]))
    whole = draw(st.sampled_from([amount for amount in LIMITS if amount >= limit]))
    now = draw(st.sampled_from([-50.0, 0.0, 3_999.99, 4_800.0, 12_000.0]))
    fall = np.linspace(0.0, draw(st.floats(-1.0, 4.0)), MONTHS)[:, None]
    log_odds = -1.0 - fall + random.normal(0.0, 0.4, (MONTHS, PLANS))
    # Payments, and amounts at the edge of what a rule allows.
    paid = np.cumsum(random.choice([0.0, 0.004, 0.01, 300.0], (MONTHS, PLANS)), axis=0)
    means = np.ascontiguousarray(probability_of(log_odds).T).mean(axis=1)
    case = Case(
        cut_off_log_odds=-1.5,
        whole=whole,
        limit=limit,
        suspended=draw(st.booleans()),
        before=whole,
        after=limit,
        first=draw(st.integers(0, MONTHS)),
        balance=now,
        risk=float(draw(st.sampled_from(means.tolist()))),
    )
    return Drawn(case, log_odds, now - paid + random.choice([0.0, 0.0, 500.0], PLANS), random)


def test_a_case_has_its_fields_at_the_places_of_the_loops() -> None:
    names = [field.name.upper() for field in dataclasses.fields(Case)]
    assert [getattr(judge, name) for name in names] == list(range(judge.CASE_WIDTH))
    assert judge.HALF_CENT == HALF_CENT


@settings(max_examples=60)
@given(drawn_months())
def test_plans_are_judged_as_by_numpy(drawn: Drawn) -> None:
    limits = np.empty((PLANS, MONTHS))
    suspended = np.empty((PLANS, MONTHS), dtype=np.bool_)
    flags = np.empty((PLANS, judge.FLAGS_WIDTH), dtype=np.bool_)
    numbers = numbers_of(POLICY)
    judge.judge_plans(
        drawn.log_odds,
        drawn.probability,
        drawn.balance,
        np.ones(PLANS, dtype=np.int64),
        drawn.cases,
        numbers.settings,
        numbers.steps,
        limits,
        suspended,
        flags,
    )
    case = drawn.case
    expected, stopped = guess_steps(drawn.log_odds, case, POLICY)
    # What a decision puts in force holds from the next month on.
    np.testing.assert_array_equal(limits[:, 1:], expected[:-1].T)
    np.testing.assert_array_equal(suspended[:, 1:], stopped[:-1].T)
    assert set(limits[:, 0].tolist()) == {case.limit}
    assert set(suspended[:, 0].tolist()) == {case.suspended}
    by_numpy = flags_of(drawn.log_odds, drawn.probability, drawn.balance, case, POLICY)
    np.testing.assert_array_equal(flags, by_numpy)


@settings(max_examples=60)
@given(drawn_months())
def test_a_course_is_judged_by_the_months_that_are_right(drawn: Drawn) -> None:
    """Decisions that are drawn, and months that were rolled with some of what they put in force."""
    case, draw = drawn.case, drawn.draw
    decided = np.zeros((MONTHS, PLANS, outcome.OUT_WIDTH))
    usual = [outcome.KEEP, outcome.RESTORE] * 10
    decided[..., outcome.ACTION] = draw.choice([*usual, outcome.REVIEW], (MONTHS, PLANS))
    decided[..., outcome.NEW_LIMIT] = np.sort(draw.choice(LIMITS, (MONTHS, PLANS)), axis=0)
    decided[..., outcome.SUSPENDED] = -np.sort(-draw.integers(0, 2, (MONTHS, PLANS)), axis=0)
    first = np.full((1, PLANS), case.limit)
    limits = np.concatenate([first, decided[:-1, :, outcome.NEW_LIMIT]])
    stopped = np.concatenate([first * case.suspended, decided[:-1, :, outcome.SUSPENDED]]) > 0
    right = draw.integers(1, MONTHS + 1, PLANS).tolist()
    rolled_with = limits.copy()
    for plan, same in enumerate(right):
        rolled_with[same:, plan] += 100.0
    verdicts = np.empty((PLANS, judge.VERDICT_WIDTH))
    in_force, suspended = rolled_with.copy(), stopped.copy()
    judge.judge_courses(
        decided,
        drawn.probability,
        drawn.balance,
        np.ones(PLANS, dtype=np.int64),
        drawn.cases,
        in_force,
        suspended,
        verdicts,
    )
    np.testing.assert_array_equal(in_force, limits)
    np.testing.assert_array_equal(suspended, stopped)
    for plan, same in enumerate(right):
        found = verdicts[plan].tolist()
        assert found == verdict_of(drawn, decided[:, plan], limits[:, plan], same, plan)


def verdict_of(
    drawn: Drawn, decided: np.ndarray, limits: np.ndarray, same: int, plan: int
) -> list[float]:
    """The verdict on one course, by lists."""
    case, probability = drawn.case, drawn.probability[:, plan]
    rows = decided[:same]
    is_back: Mask = (rows[:, outcome.NEW_LIMIT] >= case.whole) & (rows[:, outcome.SUSPENDED] == 0)
    back = int(np.argmax(is_back)) if is_back.any() else -1
    lowest = np.inf
    if back >= 0 and (back + 1 < same or same == MONTHS):
        lowest = probability[back : back + 2].min()
    good = np.isin(rows[:, outcome.ACTION], [outcome.KEEP, outcome.RESTORE])
    excess = [case.balance - case.limit]
    excess += (drawn.balance[:same, plan] - limits[:same]).tolist()
    pairs = zip(excess[1:], excess[:-1], strict=True)
    sound = all(now <= HALF_CENT or now < before - HALF_CENT for now, before in pairs)
    owes_no_more = drawn.balance[-1, plan] <= max(case.balance, 0.0) + HALF_CENT
    mean = np.ascontiguousarray(probability).mean()
    return [same, back, lowest, not good.all(), sound and owes_no_more, mean]
