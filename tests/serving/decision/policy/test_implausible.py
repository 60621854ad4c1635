"""Which statements say what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from features.statements import read_table
from features.window import STORED_COLUMNS, Window
from serving.decision.policy.rules import find_implausible
from serving.schemas import examples
from serving.schemas.decision import Request, read_requests
from tests.support.each import each

PLAUSIBLE: dict[str, Any] = {}
NOTHING_OWED = {"balance": 0.0, "minimum_due": 0.0}
# What the last statement says, and the one before; whether that is implausible.
CASES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({}, {}, False),
    ({"days_past_due": 3650}, {"days_past_due": 0}, True),
    ({"days_past_due": 63}, {"days_past_due": 0}, True),
    ({"days_past_due": 62}, {"days_past_due": 0}, False),
    ({"days_past_due": 120}, {"days_past_due": 90}, False),
    ({"days_past_due": 90, **NOTHING_OWED}, {"days_past_due": 60, **NOTHING_OWED}, True),
    ({"days_past_due": 90, **NOTHING_OWED}, {"days_past_due": 60}, False),
    ({"days_past_due": 30, **NOTHING_OWED}, NOTHING_OWED, False),
    ({"days_past_due": 0, **NOTHING_OWED}, NOTHING_OWED, False),
    ({"balance": -50.0, "minimum_due": 0.0}, {}, False),
    ({"balance": 11_009.0, "minimum_due": 50_000.0}, {}, True),
    ({"balance": 11_009.0, "minimum_due": 11_009.0}, {}, False),
    ({"balance": -50.0, "minimum_due": 0.01}, {}, True),
]


@pytest.mark.parametrize(("last", "before", "expected"), CASES)
def test_a_statement_is_implausible_where_it_contradicts_itself_or_the_one_before(
    last: dict[str, Any], before: dict[str, Any], expected: bool
) -> None:
    statements = [dict(one) for one in examples.REQUEST["statements"]]
    statements.sort(key=lambda one: str(one["month"]))
    statements[-1] |= last
    statements[-2] |= before
    request = Request.model_validate(examples.REQUEST | {"statements": statements})
    window = read_requests([request]).window
    assert find_implausible(window).tolist() == [expected]


def test_of_a_single_statement_the_one_before_is_unknown() -> None:
    last = max(examples.REQUEST["statements"], key=lambda one: str(one["month"]))
    alone = examples.REQUEST | {"statements": [last | {"days_past_due": 3650}]}
    window = read_requests([Request.model_validate(alone)]).window
    assert find_implausible(window).tolist() == [False]


def test_no_simulated_account_is_implausible(some_windows: pl.DataFrame) -> None:
    found = find_implausible(read_table(some_windows).window)
    assert [bool(one) for one in each(found)] == [False] * len(found)


def by_arrays(window: Window) -> list[bool]:
    """The rule of :func:`find_implausible` in NumPy's words; NaN compares as false."""
    days, owed = window.now("days_past_due"), np.maximum(window.now("balance"), 0.0)
    grew = days > window.ago("days_past_due", 1) + 62
    owed_nothing = (owed == 0.0) & (window.ago("balance", 1) <= 0.0)
    more_due = window.now("minimum_due") > owed + 0.005
    found: list[bool] = (grew | ((days >= 60) & owed_nothing) | more_due).tolist()
    return found


@pytest.mark.parametrize("months", [1, 2, 5])
def test_the_loop_marks_what_the_rule_in_arrays_marks(months: int) -> None:
    drawn = np.random.default_rng(months)
    accounts = 2_000
    shape = (len(STORED_COLUMNS), months, accounts)
    # Few values, so that the bounds are met, and some that are unknown.
    stored = drawn.choice([-1.0, 0.0, 0.005, 0.006, 1.0, 60.0, 62.0, 63.0, 122.0, np.nan], shape)
    window = Window(
        stored,
        np.full(accounts, months),
        np.zeros(accounts, dtype=np.int64),
    )
    expected = by_arrays(window)
    assert find_implausible(window).tolist() == expected
    assert 100 < sum(expected) < accounts - 100  # the control
