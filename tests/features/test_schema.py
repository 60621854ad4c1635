from __future__ import annotations

import datetime
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.limits import round_amount
from features.schema import (
    COLUMNS,
    LONGEST_WINDOW,
    NAMES,
    StatementError,
    check,
    round_amounts,
    sift,
)
from tests.support.accounts import quiet_account, window
from tests.support.each import each


@given(window())
def test_check_accepts_and_keeps_what_the_schema_allows(drawn: pl.DataFrame) -> None:
    assert check(drawn).equals(drawn.sort("month"))


@given(window(), st.randoms(use_true_random=False))
def test_check_does_not_depend_on_the_order_of_rows_and_columns(
    drawn: pl.DataFrame, random: object
) -> None:
    rows = list(range(drawn.height))
    columns = list(drawn.columns)
    random.shuffle(rows)  # type: ignore[attr-defined]
    random.shuffle(columns)  # type: ignore[attr-defined]
    shuffled = drawn[rows].select(columns)
    before = shuffled.clone()
    assert check(shuffled).equals(check(drawn))
    assert shuffled.equals(before)
    assert shuffled.columns == columns


BREACHES: list[tuple[dict[str, object], str]] = [
    ({"credit_limit": -1.0}, "0 <= credit_limit <= 1e+09"),
    ({"credit_limit": None}, "credit_limit is known"),
    ({"balance": math.nan}, "-1e+09 <= balance <= 1e+09"),
    ({"balance": math.inf}, "-1e+09 <= balance <= 1e+09"),
    ({"balance": -math.inf}, "-1e+09 <= balance <= 1e+09"),
    ({"payment": 1e12}, "0 <= payment <= 1e+09"),
    ({"income": 0.0}, "0 < income <= 1e+09"),
    ({"days_past_due": -1}, "0 <= days_past_due <= 3650"),
    ({"cash_advance": None}, "cash_advance is known in all statements or in none"),
    ({"month": datetime.date(2024, 3, 2)}, "month is the first of a month"),
    ({"month": datetime.date(2024, 2, 1)}, "one statement a month"),
    ({"month": datetime.date(2024, 5, 1)}, "no month is missing"),
    ({"product": "cash_loan"}, "one product an account"),
    ({"month": datetime.date(1899, 12, 1)}, "month is from 1900-01 to 2099-12"),
    ({"month": datetime.date(26, 3, 1)}, "month is from 1900-01 to 2099-12"),
    ({"month": datetime.date(2569, 3, 1)}, "month is from 1900-01 to 2099-12"),
]


@pytest.mark.parametrize(
    ("changes", "rule"), BREACHES, ids=[rule + str(changes) for changes, rule in BREACHES]
)
def test_check_names_the_rule_the_account_and_the_month(
    changes: dict[str, object], rule: str
) -> None:
    with pytest.raises(StatementError) as caught:
        check(pl.concat([quiet_account(account_id="good"), quiet_account(changes=changes)]))
    violation = next(v for v in caught.value.violations if v.rule == rule)
    month = changes.get("month", datetime.date(2024, 3, 1))
    assert violation.first == (("a", str(month)[:7]),)
    assert violation.count == 1


def test_rows_without_an_account_name_are_rejected_and_never_good() -> None:
    nameless = pl.concat(
        [
            quiet_account(account_id="good"),
            quiet_account().with_columns(account_id=pl.lit(None, dtype=pl.String)),
        ]
    )
    with pytest.raises(StatementError, match=r"account_id is known: 3 row\(s\)"):
        check(nameless)
    assert sift(nameless)[0].equals(quiet_account(account_id="good"))


def test_check_rejects_a_window_that_is_too_long_unless_it_is_a_raw_table() -> None:
    long = quiet_account(LONGEST_WINDOW + 1)
    with pytest.raises(StatementError, match="at most 24 statements an account"):
        check(long)
    assert check(long, window=False).height == LONGEST_WINDOW + 1


def test_check_names_missing_unknown_and_wrongly_typed_columns() -> None:
    with pytest.raises(StatementError, match=r"missing \['income'\]"):
        check(quiet_account().drop("income"))
    with pytest.raises(StatementError, match=r"unknown columns \['age'\]"):
        check(quiet_account().with_columns(age=1))
    with pytest.raises(StatementError, match="balance: expected Float64, got String"):
        check(quiet_account().with_columns(balance=pl.lit("100")))
    with pytest.raises(StatementError, match="at least one row"):
        check(quiet_account().clear())
    with pytest.raises(StatementError, match="does not fit"):
        check(quiet_account().with_columns(product=pl.lit("mortgage")))


def test_check_takes_other_number_types_without_changing_values() -> None:
    narrow = quiet_account().with_columns(
        pl.col("days_past_due").cast(pl.Int64), pl.col("balance").cast(pl.Int64)
    )
    assert check(narrow).equals(check(quiet_account()))


@pytest.mark.parametrize("name", ["违约", "a/1", "a 1", "", "-a", "x" * 65, "a\n"])
def test_an_account_id_that_the_api_refuses_breaks_the_schema(name: str) -> None:
    mixed = pl.concat([quiet_account(account_id="x" * 64), quiet_account(account_id=name)])
    with pytest.raises(StatementError, match="account_id has 1 to 64 of the characters") as caught:
        check(mixed)
    (violation,) = caught.value.violations
    assert (violation.count, violation.first[0][0]) == (3, name)
    good, failed = sift(mixed)
    assert good.equals(quiet_account(account_id="x" * 64))
    assert failed["account_id"].to_list() == [name] * 3


@given(st.lists(st.one_of(st.none(), st.floats(-1e9, 1e9)), min_size=1))
def test_amounts_are_rounded_to_whole_fen(amounts: list[float | None]) -> None:
    drawn = pl.DataFrame({"balance": pl.Series(amounts, dtype=pl.Float64)})
    rounded = round_amounts(drawn)
    for before, after in each(zip(amounts, rounded["balance"], strict=True)):
        if before is None:
            assert after is None
            continue
        # The float nearest to a number of whole fen, which is what a text such as "0.29" reads as.
        assert after == float(f"{after:.2f}")
        assert abs(before - after) <= 0.005 + 1e-7
        assert (after, str(after)) == (round_amount(before), str(round_amount(before)))
    assert round_amounts(rounded).equals(rounded)


@given(st.lists(st.sampled_from([None, *BREACHES]), min_size=1, max_size=6))
def test_sift_excludes_the_accounts_that_check_rejects(
    faults: list[tuple[dict[str, object], str] | None],
) -> None:
    accounts = [
        quiet_account(account_id=f"a{i}")
        if fault is None
        else quiet_account(account_id=f"a{i}", changes=fault[0])
        for i, fault in enumerate(faults)
    ]
    good, failed = sift(pl.concat(accounts))
    whole = {f"a{i}" for i, fault in enumerate(faults) if fault is None}
    assert set(good["account_id"]) == whole
    assert set(failed["rule"]) >= {fault[1] for fault in faults if fault is not None}
    if not good.is_empty():
        assert check(good).equals(good)


def test_every_column_is_declared_with_unit_range_and_meaning_of_null() -> None:
    assert len(set(NAMES)) == len(COLUMNS)
    for column in each(COLUMNS):
        assert column.meaning
        assert column.null in ("never", "any", "whole")
        if column.kind == "amount":
            assert column.unit == "CNY"
            assert (column.low is None) != (column.above is None)
