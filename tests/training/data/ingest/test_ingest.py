"""Foreign CSVs to data folders: what is written, what is rejected, and what is refused and leaves
nothing behind.
"""

from __future__ import annotations

import datetime
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.schema import NAMES, check
from tests.support.each import each
from tests.support.paths import ROOT
from training.data.ingest import mapping
from training.data.ingest.ingest import Summary, ingest
from training.data.ingest.mapping import IngestError

DOCS = ROOT / "docs" / "modelling" / "ingest.md"
WIDE_MAPPING = """
[source]
name = "a wide book"
format = "wide"
unknown = ["NA"]
[account]
column = "id"
prefix = "w-"
width = 3
[product]
column = "kind"
values = { P = "pay_later", C = "cash_loan" }
[currency]
code = "TWD"
rate = 0.25
source = "made up"
[months]
first = "2026-07"
last = "2026-09"
[columns.credit_limit]
column = "limit"
[columns.balance]
columns = ["owed7", "owed8", "owed9"]
[columns.payment]
columns = ["paid7", "paid8", "paid9"]
[columns.days_past_due]
columns = ["late7", "late8", "late9"]
scale = 30
low = 0
[derived]
spend = "balance_and_payment"
[label]
column = "bad"
definition = "went bad"
as_of = "2026-09"
[accounts.gender]
column = "sex"
values = { F = "female", M = "male" }
[accounts.age_band]
column = "age"
bands = [18, 30, 60]
"""
WIDE_HEADER = "id,kind,limit,owed7,owed8,owed9,paid7,paid8,paid9,late7,late8,late9,bad,sex,age"
WIDE_ROWS = (
    "1,P,4000,100,300,200,0,50,400,-1,0,2,1,F,29",
    "2,C,8000,0,0,1e3,0,0,0,0,0,0,0,M,60",
    "3,P,100,NA,,5,,,5,,,0,,M,",
)
LONG_MAPPING = """
source = { name = "a long book", format = "long", separator = ";" }
account = { column = "id" }
product = { constant = "cash_loan" }
currency = { code = "CNY", rate = 1, source = "none needed" }
months = { column = "closed", format = "%d.%m.%Y" }
derived = { spend = "balance_and_payment" }
label = { column = "bad", definition = "went bad" }
[columns]
credit_limit = { column = "limit" }
balance = { column = "owed" }
payment = { column = "paid" }
days_past_due = { column = "late" }
income = { column = "income" }
[accounts.opened]
column = "opened"
[accounts.region]
column = "region"
"""
LONG_HEADER = "id;closed;limit;owed;paid;late;income;bad;opened;region"
LONG_ROWS = (
    "a;17.08.2026;900;50;0;0;;;2020-02-03;",
    "b;17.09.2026;700;10;0;0;4000;0;;",
    "a;17.09.2026;900;80;50;31;5000;1;2020-02-03;county",
)


@dataclass(frozen=True, slots=True)
class Desk:
    """A folder with a CSV and a mapping beside which ``out`` is made."""

    home: Path

    @property
    def out(self) -> Path:
        return self.home / "out"

    def ingest(self, lines: tuple[str, ...] | bytes, mapping: str) -> Summary:
        content = lines if isinstance(lines, bytes) else ("\n".join(lines) + "\n").encode()
        (self.home / "book.csv").write_bytes(content)
        (self.home / "book.toml").write_text(mapping, encoding="utf-8")
        return ingest(self.home / "book.csv", self.home / "book.toml", self.out)

    def statements(self) -> pl.DataFrame:
        return pl.read_parquet(self.out / "statements")

    def rejects(self) -> list[tuple[str | None, str | None, str]]:
        return pl.read_csv(self.out / "rejects.csv", infer_schema=False).rows()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def wide(*rows: str) -> tuple[str, ...]:
    return (WIDE_HEADER, *rows)


def long(*rows: str) -> tuple[str, ...]:
    return (LONG_HEADER, *rows)


def test_wide_becomes_statements_in_cny(desk: Desk) -> None:
    summary = desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    statements = desk.statements()
    assert_frame_equal(statements, check(statements, window=False))
    assert (summary.rows, summary.accounts, summary.statements, summary.rejected) == (3, 3, 7, {})
    assert summary.products == {"cash_loan": 1, "pay_later": 2}
    first = statements.filter(pl.col("account_id") == "w-001")
    assert first["month"].to_list() == [datetime.date(2026, month, 1) for month in (7, 8, 9)]
    assert first["credit_limit"].to_list() == [1000.0] * 3
    assert first["balance"].to_list() == [25.0, 75.0, 50.0]
    assert first["payment"].to_list() == [0.0, 12.5, 100.0]
    assert first["days_past_due"].to_list() == [0, 0, 60]
    assert first["spend"].to_list() == [None, 62.5, 75.0]


def test_wide_months_without_any_cell_are_a_shorter_history(desk: Desk) -> None:
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    third = desk.statements().filter(pl.col("account_id") == "w-003")
    assert third["month"].to_list() == [datetime.date(2026, 9, 1)]
    assert third["spend"].to_list() == [None]


def test_wide_labels_and_accounts(desk: Desk) -> None:
    summary = desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    labels = pl.read_parquet(desk.out / "labels.parquet")
    assert labels.schema == {"account_id": pl.String(), "as_of": pl.Date(), "label": pl.Int8()}
    assert labels.rows() == [
        ("w-001", datetime.date(2026, 9, 1), 1),
        ("w-002", datetime.date(2026, 9, 1), 0),
    ]
    assert (summary.labels, summary.label_rate) == (2, 0.5)
    accounts = pl.read_parquet(desk.out / "accounts")
    assert accounts.columns == ["account_id", "gender", "age_band"]
    assert accounts.rows() == [
        ("w-001", "female", "18-29"),
        ("w-002", "male", "60+"),
        ("w-003", "male", None),
    ]


def test_long_becomes_statements(desk: Desk) -> None:
    summary = desk.ingest(long(*LONG_ROWS), LONG_MAPPING)
    statements = desk.statements()
    assert_frame_equal(statements, check(statements, window=False))
    assert statements.select("account_id", "month", "spend", "days_past_due", "income").rows() == [
        ("a", datetime.date(2026, 8, 1), None, 0, None),
        ("a", datetime.date(2026, 9, 1), 80.0, 31, 5000.0),
        ("b", datetime.date(2026, 9, 1), None, 0, 4000.0),
    ]
    labels = pl.read_parquet(desk.out / "labels.parquet")
    assert labels.rows() == [
        ("a", datetime.date(2026, 9, 1), 1),
        ("b", datetime.date(2026, 9, 1), 0),
    ]
    accounts = pl.read_parquet(desk.out / "accounts")
    assert accounts.rows() == [("a", datetime.date(2020, 2, 3), "county"), ("b", None, None)]
    assert (summary.rows, summary.accounts, summary.statements) == (3, 2, 3)


def test_long_label_at_one_month_takes_that_month_only(desk: Desk) -> None:
    mapping = LONG_MAPPING.replace(
        'definition = "went bad"', 'definition = "went bad", as_of = "2026-08"'
    )
    desk.ingest(long(*LONG_ROWS, "b;17.08.2026;700;10;0;0;4000;1;;"), mapping)
    assert pl.read_parquet(desk.out / "labels.parquet").rows() == [
        ("b", datetime.date(2026, 8, 1), 1)
    ]


def test_absent_columns_are_null_and_named(desk: Desk) -> None:
    summary = desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    expected = (
        "cash_advance",
        "minimum_due",
        "limit_requests",
        "credit_inquiries",
        "external_debt",
        "income",
    )
    assert summary.absent == expected
    assert desk.statements().select(expected).null_count().row(0) == (7,) * 6


def test_source_without_label_or_attributes_writes_no_such_tables(desk: Desk) -> None:
    mapping = WIDE_MAPPING[: WIDE_MAPPING.index("[label]")]
    summary = desk.ingest(wide(*WIDE_ROWS), mapping)
    assert (summary.labels, summary.label_rate) == (0, None)
    assert sorted(path.name for path in desk.out.iterdir()) == [
        "ingest.json",
        "rejects.csv",
        "statements",
    ]
    assert json.loads((desk.out / "ingest.json").read_text(encoding="utf-8"))["label"] is None


def test_report_says_what_was_made_from_what(desk: Desk) -> None:
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    report = json.loads((desk.out / "ingest.json").read_text(encoding="utf-8"))
    assert report["source"]["name"] == "a wide book"
    assert report["currency"] == {"code": "TWD", "rate": 0.25, "source": "made up"}
    assert report["counts"] == {"rows": 3, "accounts": 3, "statements": 7, "rejected_accounts": 0}
    assert report["label"] == {
        "definition": "went bad",
        "as_of": "2026-09",
        "count": 2,
        "rate": 0.5,
    }
    assert str(desk.home) not in (desk.out / "ingest.json").read_text(encoding="utf-8")


def test_same_input_gives_the_same_bytes(desk: Desk) -> None:
    def contents() -> dict[str, bytes]:
        return {
            str(path.relative_to(desk.out)): path.read_bytes()
            for path in desk.out.rglob("*")
            if path.is_file()
        }

    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    first = contents()
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    assert contents() == first
    assert sorted(path.name for path in desk.home.iterdir()) == ["book.csv", "book.toml", "out"]


def test_rejects_take_the_whole_account_and_are_counted(desk: Desk) -> None:
    bad = (
        "4,P,-1,1,1,1,1,1,1,0,0,0,1,F,29",
        "5,P,10,1,,1,1,,1,0,,0,1,F,29",
        "6,P,10,1,,1,1,1,1,0,0,0,1,F,29",
    )
    empty = "7,P,10,,,,,,,,,,1,F,29"
    nameless = ",P,10,1,,,1,,,0,,,1,F,29"
    summary = desk.ingest(wide(*WIDE_ROWS, *bad, empty, nameless, nameless), WIDE_MAPPING)
    limit = "0 <= credit_limit <= 1e+09"
    assert desk.rejects() == [
        (None, "2026-07-01", "account_id is known"),
        (None, "2026-07-01", "account_id is known"),
        ("w-004", "2026-07-01", limit),
        ("w-004", "2026-08-01", limit),
        ("w-004", "2026-09-01", limit),
        ("w-005", "2026-09-01", "no month is missing"),
        ("w-006", "2026-08-01", "balance is known"),
        ("w-007", None, "at least one statement"),
    ]
    assert summary.rejected == {
        limit: 3,
        "account_id is known": 2,
        "at least one statement": 1,
        "balance is known": 1,
        "no month is missing": 1,
    }
    assert (summary.accounts, summary.rejected_accounts, summary.labels) == (3, 5, 2)
    for table in ("statements", "accounts"):
        assert set(pl.read_parquet(desk.out / table)["account_id"]) == {"w-001", "w-002", "w-003"}


def test_long_rejects_repeated_unknown_and_missing_months(desk: Desk) -> None:
    rows = (
        "c;17.08.2026;900;50;0;0;;;;",
        "c;18.08.2026;900;50;0;0;;;;",
        "d;;900;50;0;0;;;;",
        "e;17.06.2026;900;50;0;0;;;;",
        "e;17.08.2026;900;50;0;0;;;;",
    )
    summary = desk.ingest(long(*LONG_ROWS, *rows), LONG_MAPPING)
    assert summary.rejected["one statement a month"] == 1
    assert summary.rejected["month is known"] == 1
    assert summary.rejected["no month is missing"] == 1
    assert summary.accounts == 2


# account -> a month each: balance, payment in cents; months late
Book = dict[int, list[tuple[int, int, int]]]
CENTS = st.integers(0, 10**8)
MONTH = st.tuples(st.integers(-(10**6), 10**8), CENTS, st.integers(0, 9))
BOOKS: st.SearchStrategy[Book] = st.dictionaries(
    st.integers(0, 999), st.lists(MONTH, min_size=3, max_size=3), min_size=1, max_size=8
)


def as_wide(book: Book) -> tuple[str, ...]:
    rows = []
    for account, months in book.items():
        owed, paid, late = zip(*months, strict=True)
        cells = [
            f"{account},P,{account + 1}",
            *(f"{x / 100}" for x in (*owed, *paid)),
            *map(str, late),
            "1,F,29",
        ]
        rows.append(",".join(cells))
    return wide(*rows)


def as_long(book: Book) -> tuple[str, ...]:
    rows = []
    for account, months in book.items():
        for place, (owed, paid, late) in enumerate(months):
            day = f"{17 + account % 3}.{7 + place:02}.2026"
            amounts = f"{owed / 100};{paid / 100};{30 * late}"
            rows.append((place, f"{account:03};{day};{account + 1};{amounts};;1;;"))
    return long(*(row for _, row in sorted(rows, reverse=True)))


@pytest.mark.integration
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(book=BOOKS)
def test_wide_and_long_of_one_book_give_the_same_statements(desk: Desk, book: Book) -> None:
    plain = (
        WIDE_MAPPING.replace("rate = 0.25", "rate = 1")
        .replace('prefix = "w-"', "")
        .replace('P = "pay_later"', 'P = "cash_loan"')
    )
    desk.ingest(as_wide(book), plain)
    from_wide, wide_labels = desk.statements(), pl.read_parquet(desk.out / "labels.parquet")
    desk.ingest(
        as_long(book), LONG_MAPPING.replace('"went bad" }', '"went bad", as_of = "2026-09" }')
    )
    assert_frame_equal(from_wide, desk.statements(), check_exact=True)
    assert_frame_equal(wide_labels, pl.read_parquet(desk.out / "labels.parquet"))
    for account, months in each(book.items()):
        mine = from_wide.filter(pl.col("account_id") == f"{account:03}")
        assert mine["balance"].to_list() == [owed / 100 for owed, _, _ in months]
        assert mine["days_past_due"].to_list() == [30 * late for _, _, late in months]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(book=BOOKS)
def test_derived_spend_closes_the_account_to_the_cent(desk: Desk, book: Book) -> None:
    desk.ingest(as_wide(book), WIDE_MAPPING.replace("rate = 0.25", "rate = 1"))
    for account, months in each(book.items()):
        spend = (
            desk.statements().filter(pl.col("account_id") == f"w-{account:03}")["spend"].to_list()
        )
        assert spend[0] is None
        for place in (1, 2):
            (earlier, _, _), (owed, paid, _) = months[place - 1 : place + 1]
            # In whole cents, which are exact: what the ledger cannot explain by the payment was
            # bought.
            assert spend[place] == max(owed - earlier + paid, 0) / 100


Edit = Callable[[str], str]


def replaced(old: str, new: str) -> Edit:
    def edit(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return edit


BAD_MAPPINGS: dict[str, tuple[Edit, str]] = {
    "no toml": (replaced("[source]", "[source"), "book.toml: expected TOML"),
    "missing section": (
        replaced("[currency]", "[label2]"),
        "book.toml: missing key 'currency'",
    ),
    "missing key": (
        replaced('column = "id"', ""),
        "[account]: missing key 'column'",
    ),
    "blank text": (replaced('"a wide book"', '" "'), "[source] name: expected a text, got ' '"),
    "missing definition": (
        replaced('definition = "went bad"', ""),
        "[label]: missing key 'definition'",
    ),
    "unknown key": (
        replaced("low = 0", "floor = 0"),
        "[columns.days_past_due]: unknown key 'floor', expected [",
    ),
    "unknown section": (
        replaced("[derived]", "[derive]"),
        "book.toml: unknown key 'derive', did you mean 'derived'?",
    ),
    "unknown column": (
        replaced("columns.payment", "columns.repayment"),
        "[columns]: unknown key 'repayment', did you mean 'payment'?",
    ),
    "unknown attribute": (
        replaced("accounts.gender", "accounts.religion"),
        "[accounts]: unknown key 'religion', did you mean 'region'?",
    ),
    "personal column": (
        replaced("columns.payment", "columns.gender"),
        "[columns]: unknown key 'gender', expected [",
    ),
    "needed column": (
        replaced('[columns.payment]\ncolumns = ["paid7", "paid8", "paid9"]\n', ""),
        "[columns]: expected ['credit_limit', 'balance', 'payment', 'days_past_due'] at least, "
        "missing ['payment']",
    ),
    "absent source column": (
        replaced('"owed8"', '"owed88"'),
        "book.toml: [columns.balance] names 'owed88'; the CSV has",
    ),
    "months": (
        replaced('["paid7", "paid8", "paid9"]', '["paid7"]'),
        "[columns.payment] columns: expected 3 columns, one a month",
    ),
    "month order": (
        replaced('last = "2026-09"', 'last = "2026-06"'),
        "[months] last: expected 1 to 1200 months from 2026-07",
    ),
    "month text": (
        replaced('last = "2026-09"', 'last = "2026-13"'),
        "[months] last: expected a month such as '2005-09'",
    ),
    "format": (
        replaced('format = "wide"', 'format = "tall"'),
        "[source] format: expected one of ['wide', 'long'], got 'tall'",
    ),
    "separator": (
        replaced('format = "wide"', 'format = "wide"\nseparator = ";;"'),
        "[source] separator: expected one ASCII",
    ),
    "width": (
        replaced("width = 3", "width = -3"),
        "[account] width: expected a whole number from 0 to 100, got -3",
    ),
    "product": (
        replaced('"cash_loan"', '"mortgage"'),
        "[product] values.C: expected one of ['pay_later', 'cash_loan']",
    ),
    "rate": (
        replaced("rate = 0.25", "rate = 0"),
        "[currency] rate: expected a number above 0, got 0",
    ),
    "rate text": (
        replaced("rate = 0.25", 'rate = "0.25"'),
        "[currency] rate: expected a number above 0, got '0.25'",
    ),
    "rate boolean": (
        replaced("rate = 0.25", "rate = true"),
        "[currency] rate: expected a number above 0, got True",
    ),
    "clip": (
        replaced("low = 0", "low = 0\nhigh = -1"),
        "[columns.days_past_due] low: expected at most high, -1, got 0.0",
    ),
    "recipe": (
        replaced('"balance_and_payment"', '"magic"'),
        "[derived] spend: expected one of ['balance_and_payment']",
    ),
    "derived twice": (
        replaced("[derived]", '[columns.spend]\ncolumn = "limit"\n[derived]'),
        "[derived]: ['spend'] are in",
    ),
    "as_of": (
        replaced('as_of = "2026-09"', 'as_of = "2026-10"'),
        "[label] as_of: expected a month from 2026-07 to 2026-09",
    ),
    "bands": (
        replaced("[18, 30, 60]", "[30, 18]"),
        "[accounts.age_band] bands: expected whole numbers in rising order",
    ),
    "bands text": (
        replaced("[18, 30, 60]", '["18"]'),
        "[accounts.age_band] bands: expected a list of whole numbers",
    ),
    "not a table": (
        replaced('values = { F = "female", M = "male" }', "values = 3"),
        "[accounts.gender] values: expected a table",
    ),
}


@pytest.mark.parametrize("case", BAD_MAPPINGS)
def test_bad_mapping_is_refused_with_its_place(desk: Desk, case: str) -> None:
    edit, message = BAD_MAPPINGS[case]
    refused(desk, wide(*WIDE_ROWS), edit(WIDE_MAPPING), message)


FIRST = WIDE_ROWS[0]
BAD_CSVS: dict[str, tuple[tuple[str, ...] | bytes, str]] = {
    "empty": (b"", "book.csv: expected a CSV file, got an empty one"),
    "blank": (b"\n\n", "book.csv: expected a CSV file, got an empty one"),
    "header only": (wide(), "book.csv: expected at least one row below the header, got none"),
    "no text": (b"PAR1\x00\x15\x04", "book.csv: expected a CSV file, got zero bytes"),
    "latin": (b"id,\xe9\n1,2\n", "book.csv: line 1: expected UTF-8, got the byte 0xe9"),
    "cut off": (wide(FIRST, "2,C,8000,0"), "book.csv: line 3: expected 15 cells, got 4"),
    "too long": (wide(FIRST + ",9"), "book.csv: line 2: expected 15 cells, got 16"),
    "blank line": (
        wide("", FIRST),
        "book.csv: line 2: expected no blank line between rows, got one",
    ),
    "quote": (wide(FIRST, '"2,C'), "book.csv: line 3: expected quotes in pairs"),
    "repeated column": (
        (WIDE_HEADER + ",id", FIRST + ",1"),
        "book.csv: expected each column once, got ['id'] more than once",
    ),
    "text as amount": (
        wide(FIRST, *(f"{k},P,10,1,x{k},1,1,1,1,0,0,0,1,F,29" for k in range(2, 7))),
        "book.csv: column 'owed8': expected a number, got 'x2' (line 3, account w-002), "
        "'x3' (line 4, account w-003), 'x4' (line 5, account w-004) and 2 more row(s)",
    ),
    "infinity": (
        wide(FIRST, "2,P,1e999,1,1,1,1,1,1,0,0,0,1,F,29"),
        "column 'limit': expected a number, got '1e999' (line 3, account w-002)",
    ),
    "nan": (
        wide("2,P,nan,1,1,1,1,1,1,0,0,0,1,F,29"),
        "column 'limit': expected a number, got 'nan' (line 2, account w-002)",
    ),
    "fraction of a day": (
        wide("2,P,9,1,1,1,1,1,1,0,0.55,0,1,F,29"),
        "column 'late8': expected a whole number of 32 bits after scaling, "
        "got '0.55' (line 2, account w-002)",
    ),
    "beyond 32 bits": (
        wide("2,P,9,1,1,1,1,1,1,0,1e8,0,1,F,29"),
        "column 'late8': expected a whole number of 32 bits",
    ),
    "repeated account": (
        wide(FIRST, "001" + FIRST[1:]),
        "column 'id': expected each account in one row, "
        "got '1' (line 2, account w-001), '001' (line 3, account w-001)",
    ),
    "label": (
        wide(FIRST, "2,P,9,1,1,1,1,1,1,0,0,0,2,F,29"),
        "column 'bad': expected a label of 0 or 1, got '2' (line 3, account w-002)",
    ),
    "no label": (
        wide("2,P,9,1,1,1,1,1,1,0,0,0,,F,29"),
        "column 'bad': expected a label for at least one good account at 2026-09",
    ),
    "product": (
        wide("2,X,9,1,1,1,1,1,1,0,0,0,1,F,29"),
        "column 'kind': expected one of ['P', 'C'], got 'X' (line 2, account w-002)",
    ),
    "attribute": (
        wide("2,P,9,1,1,1,1,1,1,0,0,0,1,Z,29"),
        "column 'sex': expected one of ['F', 'M'], got 'Z' (line 2, account w-002)",
    ),
    "below bands": (
        wide("2,P,9,1,1,1,1,1,1,0,0,0,1,F,17"),
        "column 'age': expected at least 18, where the first band begins",
    ),
    "all rejected": (
        wide("2,P,-9,1,1,1,1,1,1,0,0,0,1,F,29"),
        "expected at least one account that keeps the schema, got none; rows by rule broken: "
        "[('0 <= credit_limit <= 1e+09', 3)]",
    ),
    "nothing billed": (
        wide("2,P,9,,,,,,,,,,1,F,29"),
        "book.csv: statements: expected at least one row, got none",
    ),
}


@pytest.mark.parametrize("case", BAD_CSVS)
def test_bad_csv_is_refused_with_its_place(desk: Desk, case: str) -> None:
    content, message = BAD_CSVS[case]
    refused(desk, content, WIDE_MAPPING, message)


BAD_LONG: dict[str, tuple[str, str]] = {
    "date": (
        "c;2026-08-17;900;50;0;0;;;;",
        "column 'closed': expected a date written as %d.%m.%Y, "
        "got '2026-08-17' (line 5, account c)",
    ),
    "value map": (
        "c;17.08.2026;900;50;0;0;x;;;",
        "column 'income': expected a number, got 'x' (line 5, account c)",
    ),
    "attribute changes": (
        "a;17.10.2026;900;80;50;31;5000;1;2020-02-04;",
        "column 'opened': expected one value an account, got '2020-02-03' (line 2, account a)",
    ),
}


@pytest.mark.parametrize("case", BAD_LONG)
def test_bad_long_csv_is_refused_with_its_place(desk: Desk, case: str) -> None:
    row, message = BAD_LONG[case]
    refused(desk, long(*LONG_ROWS, row), LONG_MAPPING, message)


def test_long_mapping_with_a_column_a_month_is_refused(desk: Desk) -> None:
    mapping = LONG_MAPPING.replace('{ column = "owed" }', '{ columns = ["owed"] }')
    refused(
        desk,
        long(*LONG_ROWS),
        mapping,
        "[columns.balance] columns: expected 'column' (the format is long)",
    )


def test_cell_beyond_the_value_map_is_refused(desk: Desk) -> None:
    mapping = WIDE_MAPPING.replace(
        "scale = 30\nlow = 0", 'values = { "-1" = 0, "0" = 0, "2" = 60 }'
    )
    desk.ingest(wide(*WIDE_ROWS), mapping)
    assert desk.statements()["days_past_due"].to_list() == [0, 0, 60, 0, 0, 0, 0]
    refused(
        Desk(subfolder(desk, "other")),
        wide(*WIDE_ROWS, "4,P,9,1,1,1,1,1,1,0,7,0,1,F,29"),
        mapping,
        "column 'late8': expected one of ['-1', '0', '2'], got '7' (line 5, account w-004)",
    )


@pytest.mark.parametrize("name", ["book.csv", "book.toml"])
def test_missing_file_is_refused(desk: Desk, name: str) -> None:
    (desk.home / "book.csv").write_text("\n".join(wide(*WIDE_ROWS)), encoding="utf-8")
    (desk.home / "book.toml").write_text(WIDE_MAPPING, encoding="utf-8")
    (desk.home / name).unlink()
    with pytest.raises(
        IngestError, match=rf"{name}: expected a .* file: No such file or directory"
    ):
        ingest(desk.home / "book.csv", desk.home / "book.toml", desk.out)
    assert not desk.out.exists()


def test_bad_input_keeps_the_folder_of_an_earlier_ingest(desk: Desk) -> None:
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    before = desk.statements()
    with pytest.raises(IngestError):
        desk.ingest(wide(FIRST, "2,C"), WIDE_MAPPING)
    assert_frame_equal(desk.statements(), before)


def test_later_ingest_replaces_an_earlier_one_whole(desk: Desk) -> None:
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    desk.ingest(wide(WIDE_ROWS[1]), WIDE_MAPPING[: WIDE_MAPPING.index("[label]")])
    assert desk.statements()["account_id"].unique().to_list() == ["w-002"]
    assert not (desk.out / "labels.parquet").exists()


def test_folder_with_anything_else_is_left_alone(desk: Desk) -> None:
    desk.out.mkdir()
    (desk.out / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(
        IngestError, match=r"expected a new folder or one that ingest wrote, found \['thesis.txt'\]"
    ):
        desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    assert [path.name for path in desk.out.iterdir()] == ["thesis.txt"]


def test_folder_that_cannot_be_written_is_refused(desk: Desk) -> None:
    (desk.home / "file").write_text("in the way", encoding="utf-8")
    (desk.home / "book.csv").write_text("\n".join(wide(*WIDE_ROWS)), encoding="utf-8")
    (desk.home / "book.toml").write_text(WIDE_MAPPING, encoding="utf-8")
    with pytest.raises(IngestError, match="expected a folder that can be written"):
        ingest(desk.home / "book.csv", desk.home / "book.toml", desk.home / "file" / "out")


def test_failed_rename_puts_the_earlier_folder_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    before = desk.statements()
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name == "whole":
            raise OSError("disk on fire")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(IngestError, match="expected a folder that can be written: disk on fire"):
        desk.ingest(wide(WIDE_ROWS[1]), WIDE_MAPPING.replace("rate = 0.25", "rate = 2"))
    assert_frame_equal(desk.statements(), before)
    assert sorted(path.name for path in desk.home.iterdir()) == ["book.csv", "book.toml", "out"]


def test_byte_order_mark_line_ends_and_trailing_lines_do_not_matter(desk: Desk) -> None:
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    expected = desk.statements()
    summary = desk.ingest(
        b"\xef\xbb\xbf" + "\r\n".join((*wide(*WIDE_ROWS), "", "", "")).encode(), WIDE_MAPPING
    )
    assert (summary.rows, summary.rejected) == (3, {})
    assert_frame_equal(desk.statements(), expected)


def test_order_of_rows_and_columns_does_not_matter(desk: Desk) -> None:
    desk.ingest(wide(*WIDE_ROWS), WIDE_MAPPING)
    expected = desk.statements()
    turned = tuple(
        ",".join(reversed(line.split(","))) for line in (WIDE_HEADER, *reversed(WIDE_ROWS))
    )
    desk.ingest(turned, WIDE_MAPPING)
    assert_frame_equal(desk.statements(), expected)
    assert expected.columns == list(NAMES)


def test_docs_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = dict(
        re.findall(
            r"^```(\w+)\n(.*?)^```",
            DOCS.read_text(encoding="utf-8"),
            flags=re.DOTALL | re.MULTILINE,
        )
    )
    monkeypatch.chdir(tmp_path)
    Path("book.csv").write_text(blocks["csv"], encoding="utf-8")
    Path("book.toml").write_text(blocks["toml"], encoding="utf-8")
    names: dict[str, object] = {}
    exec(compile(blocks["python"], str(DOCS), "exec"), names)
    assert isinstance(summary := names["summary"], Summary)
    assert (summary.accounts, summary.statements, summary.rejected) == (1, 2, {})
    command = [sys.executable, *shlex.split(blocks["sh"])[1:]]
    done = subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(DOCS.parents[1])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(summary)), done.stderr


def test_summary_tells_a_person_what_was_made(desk: Desk) -> None:
    summary = desk.ingest(wide(*WIDE_ROWS, "4,P,-1,1,1,1,1,1,1,0,0,0,1,F,29"), WIDE_MAPPING)
    assert str(summary).splitlines() == [
        f"ingested 3 accounts, 7 statements from 4 rows: {desk.out}",
        "  labels 2, rate 50.00%",
        "  the source lacks cash_advance, minimum_due, limit_requests, credit_inquiries, "
        "external_debt, income",
        f"  rejected 1 accounts: {desk.out / 'rejects.csv'}",
        "    0 <= credit_limit <= 1e+09: 3 row(s)",
    ]


def test_docs_name_every_key_of_the_mapping() -> None:
    """The reader's own words: every key that a mapping asks its sections for."""
    asked = set(
        re.findall(r'section\w*\.\w+\("(\w+)"|"(\w+)" in section', inspect.getsource(mapping))
    )
    keys = {key for pair in asked for key in pair if key} - {"balance_and_payment"}
    assert {"values", "bands", "as_of", "constant"} <= keys
    page = DOCS.read_text(encoding="utf-8")
    assert [key for key in sorted(keys) if not re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`", page)] == []


def subfolder(desk: Desk, name: str) -> Path:
    home = desk.home / name
    home.mkdir()
    return home


def refused(desk: Desk, content: tuple[str, ...] | bytes, mapping: str, message: str) -> None:
    """The error says ``message``, and nothing but the input is there afterwards."""
    with pytest.raises(IngestError) as raised:
        desk.ingest(content, mapping)
    assert message in str(raised.value)
    assert str(raised.value).startswith(str(desk.home))
    assert sorted(path.name for path in desk.home.iterdir()) == ["book.csv", "book.toml"]
