"""The quick look at one account: it never takes what a rule of the schema refuses."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import schema
from features.schema import COLUMNS, LONGEST_WINDOW, StatementError, check, sift, table
from features.soundness import is_sound, number_rules
from tests.support.accounts import quiet_account, window
from tests.support.each import each

RULES = number_rules(COLUMNS)
VALUES: dict[str, list[Any]] = {
    "account_id": [None, "", "a/1", "other", "x" * 65],
    "product": [None, "pay_later", "cash_loan"],
    "month": [
        None,
        datetime.date(1899, 12, 1),
        datetime.date(2100, 1, 1),
        datetime.date(2025, 3, 2),
        datetime.date(2025, 3, 1),
    ],
    "amount": [None, math.nan, math.inf, -math.inf, -0.01, -0.0, 0.0, 5e-324, 1e9, -1e9, 1.1e9],
    "whole_number": [None, -1, 0, 1000, 1001, 3650, 3651],
}


@st.composite
def damaged(draw: st.DrawFn) -> pl.DataFrame:
    """An account's statements with up to two values that may break a rule, rows in any order."""
    rows = draw(window(months=draw(st.integers(1, 26)))).to_dicts()
    for _ in range(draw(st.integers(0, 2))):
        column = draw(st.sampled_from(COLUMNS))
        values = VALUES.get(column.name, VALUES.get(column.kind, []))
        draw(st.sampled_from(rows))[column.name] = draw(st.sampled_from(values))
    if draw(st.booleans()) and len(rows) > 1:
        rows.append(rows.pop(0))
    if draw(st.booleans()):
        rows.pop(draw(st.integers(0, len(rows) - 1)))
    return table(rows or [quiet_account(1).row(0, named=True)])


def outcome(statements: pl.DataFrame, is_window: bool) -> str:
    try:
        return str(check(statements, window=is_window).to_dicts())
    except StatementError as error:
        return f"{error} {error.violations}"


@settings(max_examples=400)
@given(damaged(), st.booleans())
def test_check_answers_as_it_does_without_the_quick_look(
    statements: pl.DataFrame, is_window: bool
) -> None:
    quick = outcome(statements, is_window)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "is_sound", lambda *_: False)
        assert quick == outcome(statements, is_window)


@given(window())
def test_one_account_in_order_is_found_sound(drawn: pl.DataFrame) -> None:
    assert is_sound(drawn, RULES, LONGEST_WINDOW)


def change(column: str, value: object) -> Callable[[], pl.DataFrame]:
    return lambda: quiet_account(3, changes={column: value})


FAULTS: dict[str, Callable[[], pl.DataFrame]] = {
    **{f"{c.name} unknown": change(c.name, None) for c in COLUMNS if c.null != "any"},
    **{
        f"{c.name} too large": change(c.name, c.high + 1 if c.kind != "amount" else 1.1e9)
        for c in COLUMNS
        if c.high is not None
    },
    **{
        f"{c.name} too small": change(c.name, -1 if c.kind != "amount" else -1.1e9)
        for c in COLUMNS
        if c.high is not None
    },
    "no income at all": change("income", 0.0),
    "not a number": change("spend", math.nan),
    "two accounts": change("account_id", "b"),
    "two products": change("product", "cash_loan"),
    "a gap": change("month", datetime.date(2024, 4, 1)),
    "a month twice": change("month", datetime.date(2024, 2, 1)),
    "a day": change("month", datetime.date(2024, 3, 2)),
    "a year too late": change("month", datetime.date(2100, 3, 1)),
    "a name": lambda: quiet_account(3, account_id="a/b"),
    "too many": lambda: quiet_account(LONGEST_WINDOW + 1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_not_found_sound(fault: str) -> None:
    assert not is_sound(FAULTS[fault](), RULES, LONGEST_WINDOW)


def test_what_the_rules_refuse_is_among_the_faults() -> None:
    """The control of the faults: each but that of two sound accounts breaks a rule."""
    for fault, statements in each(FAULTS.items()):
        if fault != "two accounts":
            assert sift(statements(), window=True)[1].height > 0, fault
