"""Statements as arrays: the quick look at one account never takes what a rule refuses."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import statements as module
from features.schema import (
    COLUMNS,
    LONGEST_WINDOW,
    Column,
    StatementError,
    check,
    sift,
    table,
)
from features.statements import Statements, read_rows, read_table
from features.window import lay_out
from tests.support.accounts import quiet_account, window
from tests.support.each import each

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


def contents(read: Statements) -> tuple[object, ...]:
    """All that statements hold, arrays as their bytes."""
    stored, products = read.window.stored, read.window.products
    numbers = (stored.shape, stored.tobytes(), read.window.months_observed.tobytes())
    named = (read.account_ids, read.products, read.as_of, products.tobytes())
    rows = (repr(list(read.rows())), repr(read.table.rows()), read.table.schema)
    return (*numbers, *named, *rows)


def checked_contents(statements: pl.DataFrame) -> tuple[object, ...]:
    """The same by the rules of the schema, without a quick look."""
    checked = check(statements)
    window = lay_out(checked)
    latest = checked.group_by("account_id", maintain_order=True).last()
    columns = [latest[name].to_list() for name in ("account_id", "product", "month")]
    numbers = (window.stored.shape, window.stored.tobytes(), window.months_observed.tobytes())
    rows = (repr(checked.rows()), repr(checked.rows()), checked.schema)
    return (*numbers, *columns, window.products.tobytes(), *rows)


def outcome(read: Callable[[], tuple[object, ...]]) -> tuple[object, ...]:
    try:
        return read()
    except StatementError as error:
        return str(error), error.violations


@settings(max_examples=60)
@given(damaged())
def test_statements_are_read_as_the_rules_of_the_schema_have_them(statements: pl.DataFrame) -> None:
    check_reading(statements)


@pytest.mark.slow
@settings(max_examples=400)
@given(damaged())
def test_many_statements_are_read_as_the_rules_of_the_schema_have_them(
    statements: pl.DataFrame,
) -> None:
    check_reading(statements)


def check_reading(statements: pl.DataFrame) -> None:
    check_table(statements)
    expected = outcome(lambda: checked_contents(statements))
    assert outcome(lambda: contents(read_rows(statements.rows()))) == expected


def check_table(statements: pl.DataFrame) -> None:
    expected = outcome(lambda: checked_contents(statements))
    assert outcome(lambda: contents(read_table(statements))) == expected


@given(st.lists(window(), min_size=1, max_size=4))
def test_a_table_of_any_accounts_is_laid_out_as_it_was_checked(drawn: list[pl.DataFrame]) -> None:
    named = [one.with_columns(account_id=pl.lit(f"a{i}")) for i, one in enumerate(drawn)]
    checked = check(pl.concat(reversed(named)))
    assert contents(read_table(checked)) == checked_contents(checked)


COLUMNS_OF_OTHER_TYPES = {
    "account_id": (pl.Categorical(), pl.Null),
    "product": (pl.String(), pl.Categorical(), pl.Enum(["cash_loan", "pay_later"]), pl.Null),
    "month": (pl.Datetime(), pl.String(), pl.Null),
    "amount": (pl.Float32(), pl.Int64(), pl.String(), pl.Null),
    "whole_number": (pl.Int64(), pl.UInt8(), pl.Float64(), pl.Boolean(), pl.Null),
}


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_columns_of_other_types_are_read_as_the_schema_has_them(column: Column) -> None:
    account = quiet_account(3, changes={"balance": 1 / 3})
    types = COLUMNS_OF_OTHER_TYPES.get(column.name) or COLUMNS_OF_OTHER_TYPES[column.kind]
    for dtype in each(types):
        # The values of a column without a type are all null.
        values = pl.lit(None) if dtype == pl.Null else pl.col(column.name).cast(dtype)
        changed = account.with_columns(values.alias(column.name))
        check_table(changed)


@pytest.mark.parametrize("change", ["turned", "missing", "unknown", "objects"])
def test_other_columns_are_read_as_the_schema_has_them(change: str) -> None:
    account = quiet_account(3)
    objects = pl.Series("balance", [1.0, 2.0, "3"], dtype=pl.Object)
    changed = {
        "turned": account.select(reversed(account.columns)),
        "missing": account.drop("income"),
        "unknown": account.with_columns(more=1.0),
        "objects": account.with_columns(objects),
    }[change]
    check_table(changed)


AMOUNTS = st.one_of(
    st.none(),
    st.integers(-(10**11), 10**11).map(lambda fen: fen / 100),
    st.floats(-1e9, 1e9),
    st.sampled_from([0.0, -0.0, 1e9, -1e9, 0.01, 0.1, 5e-324, 1e-5, 999999.995]),
)
ROWS = st.lists(
    st.tuples(AMOUNTS, st.one_of(st.none(), st.integers(0, 3650))), min_size=1, max_size=24
)


Drawn = list[tuple[float | None, int | None]]


@settings(max_examples=60)
@given(ROWS, st.integers(1, 64))
def test_statements_are_written_as_python_writes_them(drawn: Drawn, length: int) -> None:
    check_writing(drawn, length)


@pytest.mark.slow
@settings(max_examples=300)
@given(ROWS, st.integers(1, 64))
def test_many_statements_are_written_as_python_writes_them(drawn: Drawn, length: int) -> None:
    check_writing(drawn, length)


def check_writing(drawn: Drawn, length: int) -> None:
    """The balance may be any amount; limit requests are known in all statements or in none."""
    known = all(requests is not None for _, requests in drawn)
    account = quiet_account(len(drawn), account_id="a" * length)
    changed = account.with_columns(
        balance=pl.Series([amount or 0.0 for amount, _ in drawn]),
        spend=pl.Series([None if amount is None else abs(amount) for amount, _ in drawn]),
        days_past_due=pl.Series([days or 0 for _, days in drawn], dtype=pl.Int32),
        credit_inquiries=pl.lit(7 if known else None, dtype=pl.Int32),
    )
    read = read_table(changed)
    written = {name: text.decode() for name, text in read.texts()}
    assert written == {"a" * length: "".join(map(repr, check(changed).rows()))}


def test_each_account_of_a_table_is_written_by_itself() -> None:
    tables = [
        quiet_account(months, account_id=name, changes={"balance": balance})
        for name, months, balance in (("c", 2, 10.0), ("b", 3, 1 / 3), ("a", 4, 20.0))
    ]
    written = dict(read_table(pl.concat(tables)).texts())
    rows = {table["account_id"][0]: check(table).rows() for table in tables}
    assert written == {name: "".join(map(repr, own)).encode() for name, own in rows.items()}


def is_sound(statements: pl.DataFrame) -> bool:
    """Whether the quick look takes the rows, so that the rules are not asked."""
    asked = []

    def refuse(table: pl.DataFrame) -> pl.DataFrame:
        asked.append(table)
        raise StatementError("asked")

    with pytest.MonkeyPatch.context() as patch, suppress(StatementError):
        patch.setattr(module, "check", refuse)
        read_rows(statements.rows())
    return not asked


@given(window())
def test_one_account_is_found_sound_whatever_the_order(drawn: pl.DataFrame) -> None:
    assert is_sound(drawn)
    assert is_sound(drawn.reverse())


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
    assert not is_sound(FAULTS[fault]())


def test_what_the_rules_refuse_is_among_the_faults() -> None:
    """The control of the faults: each but that of two sound accounts breaks a rule."""
    for fault, statements in each(FAULTS.items()):
        if fault != "two accounts":
            assert sift(statements(), window=True)[1].height > 0, fault
