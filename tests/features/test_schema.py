from __future__ import annotations

import datetime
import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import COLUMNS, LONGEST_WINDOW, NAMES, StatementError, check, sift, table
from tests.support.accounts import window


def account(
    months: int = 3, account_id: str = "a", changes: dict[str, object] | None = None
) -> pl.DataFrame:
    """A quiet account; ``changes`` go into its last row."""
    rows: list[dict[str, object]] = [
        {
            "account_id": account_id,
            "month": datetime.date(2024 + m // 12, m % 12 + 1, 1),
            "product": "pay_later",
            "credit_limit": 1000.0,
            "balance": 100.0,
            "spend": 100.0,
            "cash_advance": 0.0,
            "payment": 100.0,
            "minimum_due": 10.0,
            "days_past_due": 0,
            "limit_requests": 0,
            "credit_inquiries": 0,
            "external_debt": None,
            "income": 5000.0,
        }
        for m in range(months)
    ]
    rows[-1] |= changes or {}
    return table(rows)


@given(window())
def test_check_accepts_and_keeps_what_the_schema_allows(drawn: pl.DataFrame) -> None:
    assert check(drawn).equals(drawn.sort("month"))


@given(window(), st.randoms(use_true_random=False))
def test_check_does_not_mind_the_order_of_rows_and_columns(
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
]


@pytest.mark.parametrize(
    ("changes", "rule"), BREACHES, ids=[rule + str(changes) for changes, rule in BREACHES]
)
def test_check_names_the_rule_the_account_and_the_month(
    changes: dict[str, object], rule: str
) -> None:
    with pytest.raises(StatementError) as caught:
        check(pl.concat([account(account_id="good"), account(changes=changes)]))
    violation = next(v for v in caught.value.violations if v.rule == rule)
    month = changes.get("month", datetime.date(2024, 3, 1))
    assert violation.first == (("a", f"{month:%Y-%m}"),)
    assert violation.count == 1


def test_rows_that_name_no_account_are_refused_and_never_good() -> None:
    nameless = pl.concat(
        [
            account(account_id="good"),
            account().with_columns(account_id=pl.lit(None, dtype=pl.String)),
        ]
    )
    with pytest.raises(StatementError, match=r"account_id is known: 3 row\(s\)"):
        check(nameless)
    assert sift(nameless)[0].equals(account(account_id="good"))


def test_check_refuses_a_window_that_is_too_long_and_takes_a_table_that_is() -> None:
    long = account(LONGEST_WINDOW + 1)
    with pytest.raises(StatementError, match="at most 24 statements an account"):
        check(long)
    assert check(long, window=False).height == LONGEST_WINDOW + 1


def test_check_names_missing_unknown_and_wrongly_typed_columns() -> None:
    with pytest.raises(StatementError, match=r"missing \['income'\]"):
        check(account().drop("income"))
    with pytest.raises(StatementError, match=r"unknown columns \['age'\]"):
        check(account().with_columns(age=1))
    with pytest.raises(StatementError, match="balance: expected Float64, got String"):
        check(account().with_columns(balance=pl.lit("100")))
    with pytest.raises(StatementError, match="at least one row"):
        check(account().clear())
    with pytest.raises(StatementError, match="does not fit"):
        check(account().with_columns(product=pl.lit("mortgage")))


def test_check_takes_other_number_types_without_changing_values() -> None:
    narrow = account().with_columns(
        pl.col("days_past_due").cast(pl.Int64), pl.col("balance").cast(pl.Int64)
    )
    assert check(narrow).equals(check(account()))


@given(st.lists(st.sampled_from([None, *BREACHES]), min_size=1, max_size=6))
def test_sift_splits_what_check_would_refuse(
    faults: list[tuple[dict[str, object], str] | None],
) -> None:
    accounts = [
        account(account_id=f"a{i}")
        if fault is None
        else account(account_id=f"a{i}", changes=fault[0])
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
    for column in COLUMNS:
        assert column.meaning
        assert column.null in ("never", "any", "whole")
        if column.kind == "amount":
            assert column.unit == "CNY"
            assert (column.low is None) != (column.above is None)
