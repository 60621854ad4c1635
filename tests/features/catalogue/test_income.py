"""Shares of income and its fall, against a slow computation in plain Python, month by month."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.build import build
from features.catalogue import BY_NAME
from features.schema import check
from tests.support.accounts import quiet_account, window
from tests.support.each import each

Statement = dict[str, Any]


def incomes_on_file(statements: list[Statement]) -> list[float | None]:
    """The latest income known by each month; the statements are in order of month."""
    on_file: list[float | None] = []
    latest = None
    for statement in statements:
        if statement["income"] is not None:
            latest = statement["income"]
        on_file.append(latest)
    return on_file


def share_of_income(statements: list[Statement], column: str, months: int) -> float:
    """What went out over the income, over the months in which both are known."""
    pairs = list(zip(statements, incomes_on_file(statements), strict=True))
    known = [
        (statement[column], income)
        for statement, income in pairs[-months:]
        if statement[column] is not None and income is not None
    ]
    if not known:
        return math.nan
    amounts = math.fsum(amount for amount, _ in known)
    incomes = math.fsum(income for _, income in known)
    return amounts / incomes


def change_of_income(statements: list[Statement]) -> float:
    """The income on file over the highest on file in the last twelve months."""
    on_file = incomes_on_file(statements)
    known = [income for income in on_file[-12:] if income is not None]
    if not known:
        return math.nan
    latest = known[-1]
    return latest / max(known)


def rounded(value: float, name: str) -> object:
    """Equal up to the rounding of the feature."""
    half_step = 0.5 * BY_NAME[name].step
    return pytest.approx(value, abs=half_step + 1e-9, nan_ok=True)


@pytest.mark.integration
@settings(max_examples=200)
@given(window())
def test_shares_of_income_are_those_of_a_slow_computation(drawn: pl.DataFrame) -> None:
    statements = check(drawn.with_columns(product=pl.lit("pay_later")))
    rows = statements.rows(named=True)
    expected = {
        "spend_to_income_3": share_of_income(rows, "spend", 3),
        "spend_to_income_12": share_of_income(rows, "spend", 12),
        "cash_to_income_6": share_of_income(rows, "cash_advance", 6),
        "income_change_12": change_of_income(rows),
    }
    features = build(statements)
    for name, value in each(expected.items()):
        found = float(features.column(name)[0])
        assert found == rounded(value, name), name


@settings(max_examples=100)
@given(window(months=24), st.lists(st.booleans(), min_size=24, max_size=24))
def test_the_change_of_income_is_a_share(drawn: pl.DataFrame, known: list[bool]) -> None:
    is_known = pl.Series(known)
    statements = drawn.with_columns(income=pl.when(is_known).then("income"))
    found = build(check(statements)).column("income_change_12")
    assert np.isnan(found[0]) or 0 < found[0] <= 1


def monthly(incomes: Sequence[float | None], spend: Sequence[float | None]) -> pl.DataFrame:
    columns = {
        "income": pl.Series(incomes, dtype=pl.Float64),
        "spend": pl.Series(spend, dtype=pl.Float64),
    }
    return quiet_account(len(incomes)).with_columns(**columns)


def value(statements: pl.DataFrame, name: str) -> float:
    return float(build(check(statements)).column(name)[0])


def test_a_year_of_spending_is_not_divided_by_the_income_of_its_last_month() -> None:
    """The income fell from 5,000 to 1,100 in the last month; by it, 1,200 a month is 109 %."""
    fallen = monthly([5000.0] * 11 + [1100.0], [1200.0] * 12)
    found = value(fallen, "spend_to_income_12")
    expected = 12 * 1200.0 / (11 * 5000.0 + 1100.0)
    assert found == rounded(expected, "spend_to_income_12")
    assert value(fallen, "income_change_12") == pytest.approx(0.22)


def test_months_before_the_first_known_income_are_left_out() -> None:
    late = monthly([None, None, 4000.0, None], [9000.0, 9000.0, 1000.0, 3000.0])
    assert value(late, "spend_to_income_3") == rounded(4000.0 / 8000.0, "spend_to_income_3")
    assert value(late, "income_change_12") == 1.0


def test_without_an_income_the_shares_are_unknown() -> None:
    nothing = monthly([None] * 3, [100.0] * 3)
    for name in each(("spend_to_income_3", "spend_to_income_12", "income_change_12")):
        assert math.isnan(value(nothing, name)), name


def test_an_income_that_recovered_long_ago_has_not_fallen() -> None:
    """The highest income is thirteen months back, outside of the twelve."""
    incomes = [9000.0] + [3000.0] * 12
    assert value(monthly([*incomes], [0.0] * 13), "income_change_12") == 1.0
    year = monthly(incomes[:12], [0.0] * 12)
    assert value(year, "income_change_12") == rounded(1 / 3, "income_change_12")
