from __future__ import annotations

import datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.months import add_months
from features.types import Vector
from serving.decision.config.policy import Restore, Step
from serving.decision.policy.restore import (
    lifts_suspension,
    limit_back,
    may_step_back,
    share_back,
)
from tests.support.policies import POLICY

STAIRS = POLICY.restore
margins = st.floats(-5.0, 5.0)
# A limit before and after a cut; the first need not be a multiple of the rounding.
limits = st.tuples(st.floats(0.0, 1e6), st.floats(0.0, 1.0))


def back(below: float, before: float, after: float) -> float:
    return float(limit_back(np.array(below), np.array(before), np.array(after), POLICY))


@given(margins, margins, limits)
def test_the_staircase_is_monotone(one: float, other: float, limit: tuple[float, float]) -> None:
    """At lower log-odds never less is given back."""
    nearer, further = sorted([one, other])
    before, after = limit[0], limit[0] * limit[1]
    assert back(nearer, before, after) <= back(further, before, after)
    assert share_back(np.array(nearer), STAIRS) <= share_back(np.array(further), STAIRS)
    assert lifts_suspension(np.array(nearer), STAIRS) <= lifts_suspension(np.array(further), STAIRS)


@given(margins, limits)
def test_a_limit_comes_back_between_after_and_before(
    below: float, limit: tuple[float, float]
) -> None:
    before, after = limit[0], limit[0] * limit[1]
    given_back = back(below, before, after)
    assert after <= given_back <= before
    if below < STAIRS.first_margin:
        assert given_back == after
    if below >= STAIRS.steps[-1].margin:
        assert given_back == before


def test_half_comes_back_at_the_first_step_rounded_down() -> None:
    assert [back(below, 20_000.0, 5_950.0) for below in (0.29, 0.3, 0.99, 1.0)] == [
        5_950.0,
        12_900.0,
        12_900.0,
        20_000.0,
    ]
    # Less than the rounding: nothing is taken away by it.
    assert back(0.5, 5_970.0, 5_950.0) == 5_950.0


def test_an_array_gets_what_each_gets_alone() -> None:
    random = np.random.default_rng(3)
    below, before = random.normal(0.5, 1.0, 500), random.uniform(0, 1e5, 500)
    after = before * random.uniform(0, 1, 500)
    together: Vector = limit_back(below, before, after, POLICY)
    assert together.tolist() == [back(*case) for case in zip(below, before, after, strict=True)]


@given(st.dates(datetime.date(2000, 1, 1), datetime.date(2060, 1, 1)), st.integers(-2, 2))
def test_nothing_comes_back_before_the_months_are_over(cut_on: datetime.date, days: int) -> None:
    first = add_months(cut_on, STAIRS.after_months)
    today = first + datetime.timedelta(days=days)
    assert may_step_back(cut_on, today, STAIRS) == (days >= 0)


def test_other_stairs_give_other_shares() -> None:
    stairs = Restore(0, (Step(0.2, 0.1), Step(0.4, 0.2), Step(0.8, 1.0)))
    shares = share_back(np.array([0.1, 0.2, 0.4, 0.8]), stairs)
    assert shares.tolist() == [0.0, 0.1, 0.2, 1.0]
