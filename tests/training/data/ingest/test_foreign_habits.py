"""Habits of other programs, each from a public report: taken for what they mean, or refused."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import polars as pl
import pytest

from tests.support.each import each
from training.data.ingest.ingest import Summary, ingest
from training.data.ingest.mapping import IngestError

HEADER = "id,month,limit,owed,paid,late"
MAPPING = """
source = {{ name = "a book", format = "long", separator = "{separator}" }}
account = {{ column = "id" }}
product = {{ constant = "cash_loan" }}
currency = {{ code = "CNY", rate = {rate}, source = "none" }}
months = {{ column = "month", format = "{date}" }}
{more}
[columns]
credit_limit = {{ column = '{limit}' }}
balance = {{ column = "owed" }}
payment = {{ column = "paid" }}
days_past_due = {{ column = "late" }}
"""


def write(
    home: Path, content: str | bytes, more: str = "", **changes: str
) -> tuple[Path, Path, Path]:
    """A CSV, its mapping and the folder to make."""
    fields = {"separator": ",", "rate": "1", "date": "%Y-%m", "limit": "limit"} | changes
    data = content if isinstance(content, bytes) else content.encode()
    (home / "book.csv").write_bytes(data)
    (home / "book.toml").write_text(MAPPING.format(more=more, **fields), "utf-8")
    return home / "book.csv", home / "book.toml", home / "out"


def take(home: Path, content: str | bytes, more: str = "", **changes: str) -> Summary:
    return ingest(*write(home, content, more, **changes))


def refuse(home: Path, content: str | bytes, more: str = "", **changes: str) -> str:
    """The message of the refusal, which leaves nothing behind."""
    files = write(home, content, more, **changes)
    with pytest.raises(IngestError) as caught:
        ingest(*files)
    assert sorted(path.name for path in home.iterdir()) == ["book.csv", "book.toml"]
    return str(caught.value)


def column(home: Path, name: str) -> list[object]:
    return pl.read_parquet(home / "out" / "statements" / "part-00000.parquet")[name].to_list()


# Quotes and lines


def test_inch_marks_in_a_column_that_is_not_mapped_swallow_nothing(tmp_path: Path) -> None:
    notes = {("a", "09"): 'bought a tv 55"', ("d", "08"): 'bike 26"'}
    lines = [HEADER + ",note"]
    for account in "abcde":
        for month in ("08", "09"):
            late = 60 if (account, month) == ("c", "09") else 0
            note = notes.get((account, month), "ok")
            lines.append(f"{account},2026-{month},700,20,10,{late},{note}")
    summary = take(tmp_path, "\n".join(lines))
    assert (summary.rows, summary.accounts, summary.statements) == (10, 5, 10)
    assert max(column(tmp_path, "days_past_due")) == 60  # type: ignore[type-var]


@pytest.mark.parametrize("place", [0, 3, 6])
def test_lone_quotes_at_the_beginning_of_cells_are_refused(tmp_path: Path, place: int) -> None:
    """As CSV the rows between them are one cell, and the counts of cells are right."""
    header = HEADER.split(",")
    header.insert(place, "note")
    rows = [f"a{number},2026-08,700,20,10,0".split(",") for number in range(5)]
    for number, row in enumerate(rows):
        row.insert(place, {1: '"55 inch', 3: 'tv"'}.get(number, "ok"))
    content = "\n".join(",".join(line) for line in [header, *rows])
    message = refuse(tmp_path, content)
    assert "book.csv: line 3: expected one row, got a quoted cell that goes on to line 5" in message


def test_a_quoted_cell_may_hold_lines_quotes_and_separators(tmp_path: Path) -> None:
    notes = ['"two\nlines"', '"a, b"', '"55"""', '"x\r\n\r\ny, z"']
    for place, note in each(enumerate(notes)):
        home = tmp_path / str(place)
        home.mkdir()
        rows = f"{note},a,2026-08,700,20,10,0\n{note},a,2026-09,700,20,10,30"
        assert take(home, f"note,{HEADER}\n{rows}").statements == 2
        assert column(home, "days_past_due") == [0, 30]


def test_a_quote_that_is_not_closed_is_refused_where_it_opens(tmp_path: Path) -> None:
    content = f'note,{HEADER}\nok,a,2026-08,700,20,10,0\n"ok,a,2026-09,700,20,10,0\n'
    assert "book.csv: line 3: expected quotes in pairs" in refuse(tmp_path, content)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system_are_read(tmp_path: Path, end: str) -> None:
    lines = [HEADER, '"a",2026-08,900,50,0,0', '"a",2026-09,900,50,0,0', ""]
    assert take(tmp_path, end.join(lines)).statements == 2


def test_a_header_with_quotes_is_read(tmp_path: Path) -> None:
    content = 'id,month,"limit ""CNY""",owed,paid,late\na,2026-08,900,50,0,0\n'
    take(tmp_path, content, limit='limit "CNY"')
    assert column(tmp_path, "credit_limit") == [900.0]


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "utf-16"])
def test_another_encoding_is_refused_with_what_to_do(tmp_path: Path, encoding: str) -> None:
    name = "张ï"[encoding == "latin-1"]
    message = refuse(tmp_path, f"{HEADER}\n{name},2026-08,900,50,0,0\n".encode(encoding))
    assert str(tmp_path / "book.csv") in message
    assert "CSV UTF-8" in message


# Dates


YEARS = {
    "two digits": ("31/07/26", "%d/%m/%Y", "%Y reads years of four digits, %y of two"),
    "Minguo": ("115/07/31", "%Y/%m/%d", "115 may be a year of the Minguo calendar"),
    "Buddhist": ("2569-07", "%Y-%m", "2569 may be a year of the Buddhist calendar"),
    "too early": ("1899-12", "%Y-%m", "expected a month from 1900-01 to 2099-12"),
    "padded": ("0026-07", "%Y-%m", "expected a month from 1900-01 to 2099-12"),
    "ambiguous": ("2026111", "%Y%m%d", "expected a date written as %Y%m%d"),
}


@pytest.mark.parametrize("case", YEARS)
def test_an_implausible_month_is_refused_with_its_line_and_a_hint(
    tmp_path: Path, case: str
) -> None:
    cell, form, hint = YEARS[case]
    good = datetime.date(2026, 8, 17).strftime(form)
    content = f"{HEADER}\na,{good},900,50,0,0\nb,{cell},900,50,0,0\n"
    message = refuse(tmp_path, content, date=form)
    assert "column 'month': expected a" in message
    assert f"got {cell!r} (line 3, account b)" in message
    assert hint in message


@pytest.mark.parametrize("form", ["%m-%d", "%Y", "%y", "%d", "%Y-%Q", "month", "%H:%M"])
def test_a_format_without_year_and_month_is_refused_with_the_mapping(
    tmp_path: Path, form: str
) -> None:
    message = refuse(tmp_path, f"{HEADER}\na,07-31,900,50,0,0\n", date=form)
    assert "book.toml: [months] format: expected a format with a year and a month" in message


WRITTEN = {
    "2026年8月": "%Y年%m月",
    "2026-8": "%Y-%m",
    "17AUG2026": "%d%b%Y",
    "202608": "%Y%m",
    "17/08/26": "%d/%m/%y",
    "2026-08-17": "%F",
    "17.8.2026": "%-d.%-m.%Y",
    "2026-08-17T23:59:59": "%Y-%m-%dT%H:%M:%S",
}


@pytest.mark.parametrize("cell", WRITTEN)
def test_dates_of_many_forms_are_read(tmp_path: Path, cell: str) -> None:
    take(tmp_path, f"{HEADER}\na,{cell},900,50,0,0\n", date=WRITTEN[cell])
    assert column(tmp_path, "month") == [datetime.date(2026, 8, 1)]


# Account numbers


MANGLED = ["6.22202E+18", "6.22202e18", "1e+16", '="0012345"', "12345.0", "12-Jan", "#REF!", "####"]


@pytest.mark.parametrize("name", MANGLED)
def test_account_numbers_that_a_spreadsheet_changed_are_refused(tmp_path: Path, name: str) -> None:
    content = f"{HEADER}\n12345,2026-08,900,50,0,0\n{name},2026-08,900,50,0,0\n"
    message = refuse(tmp_path, content)
    assert "column 'id': expected account numbers as text" in message
    assert f"got {name!r} (line 3" in message


def test_account_numbers_that_differ_in_zeros_on_the_left_are_refused(tmp_path: Path) -> None:
    rows = "0012345,2026-08,900,50,0,0\n12345,2026-09,900,50,0,0\n"
    message = refuse(tmp_path, f"{HEADER}\n{rows}")
    assert "got '0012345' (line 2, account 0012345), '12345' (line 3, account 12345)" in message
    files = write(tmp_path, f"{HEADER}\n{rows}")
    text = files[1].read_text("utf-8").replace('{ column = "id" }', '{ column = "id", width = 7 }')
    files[1].write_text(text, "utf-8")
    assert ingest(*files).accounts == 1
    assert column(tmp_path, "account_id") == ["0012345"] * 2


PLAIN = [
    "4e5a7f",
    "12E-5",
    "12e5",
    "1E5-7",
    "A-12.0",
    "k.12",
    "0012345",
    "6222020000000001234",
    "2-January",
]


@pytest.mark.parametrize("name", PLAIN)
def test_plain_account_numbers_are_taken(tmp_path: Path, name: str) -> None:
    take(tmp_path, f"{HEADER}\n{name},2026-08,900,50,0,0\n")
    assert column(tmp_path, "account_id") == [name]


def test_account_numbers_of_zeros_from_the_sixteenth_digit_on_are_counted(tmp_path: Path) -> None:
    rows = [f"622202123456{number}0000,2026-08,900,50,0,0" for number in (789, 791)]
    summary = take(tmp_path, "\n".join([HEADER, *rows]))
    assert (summary.accounts, summary.rounded_names) == (2, 2)
    assert "2 account numbers end in zeros" in str(summary)
    summary = take(tmp_path, "\n".join([HEADER, *rows, "6222021234567890123,2026-08,9,5,0,0"]))
    assert summary.rounded_names == 0


def test_account_ids_that_the_service_refuses_are_rejected(tmp_path: Path) -> None:
    wrong = ["违约1", "a/1", "a 1", "x" * 65]
    rows = [f"{name},2026-08,900,50,0,0" for name in ["x" * 64, *wrong]]
    summary = take(tmp_path, "\n".join([HEADER, *rows]))
    assert column(tmp_path, "account_id") == ["x" * 64]
    assert summary.rejected_accounts == 4
    [rule] = summary.rejected
    assert rule.startswith("account_id has 1 to 64 of the characters")


# Numbers


def test_points_that_may_separate_thousands_are_refused_until_the_mapping_says(
    tmp_path: Path,
) -> None:
    content = "id;month;limit;owed;paid;late\na;2026-08;1.900;50;0;0\na;2026-09;12.500;50;0;0\n"
    message = refuse(tmp_path, content, separator=";")
    assert "column 'limit': expected numbers whose point has one meaning" in message
    assert "'1.900' (line 2, account a), '12.500' (line 3, account a)" in message
    for more, expected in each(
        [
            ('numbers = { thousands = "." }', [1900.0, 12500.0]),
            ('numbers = { decimal = "." }', [1.9, 12.5]),
        ]
    ):
        take(tmp_path, content, more, separator=";")
        assert column(tmp_path, "credit_limit") == expected


def test_one_number_that_shows_its_decimal_point_is_enough(tmp_path: Path) -> None:
    take(tmp_path, f"{HEADER}\na,2026-08,1.900,50,0,0\na,2026-09,1234.567,50,0,0\n")
    assert column(tmp_path, "credit_limit") == [1.9, 1234.57]


NUMBERS = {
    "1.900,50": 'numbers = { decimal = ",", thousands = "." }',
    "1900,50": 'numbers = { decimal = "," }',
    "1'900.50": """numbers = { thousands = "'" }""",
    "1 900.50": 'numbers = { thousands = " " }',
    "¥1900.50": 'numbers = { currency_sign = "¥" }',
    "1.900,50 元": 'numbers = { decimal = ",", thousands = ".", currency_sign = "元" }',
    "+1900.5": "",
    "1.9005e3": "",
}


@pytest.mark.parametrize("cell", NUMBERS)
def test_numbers_are_read_as_the_mapping_says(tmp_path: Path, cell: str) -> None:
    content = f"id;month;limit;owed;paid;late\na;2026-08;{cell};50;0;0\n"
    take(tmp_path, content, NUMBERS[cell], separator=";")
    assert column(tmp_path, "credit_limit") == [1900.5]
    if NUMBERS[cell]:
        message = refuse_again(tmp_path, content)
        assert f"column 'limit': expected a number, got {cell!r} (line 2, account a)" in message
        assert "[numbers] in the mapping says decimal, thousands and currency_sign" in message


def refuse_again(home: Path, content: str) -> str:
    other = home / "other"
    other.mkdir()
    return refuse(other, content, separator=";")


WRONG_NUMBERS = ["1.9", "19.00", "1.9000", "0.900", ",5.000", "1.900.50", "¥¥1.900", "1.900-"]


@pytest.mark.parametrize("cell", WRONG_NUMBERS)
def test_numbers_in_other_groups_are_refused(tmp_path: Path, cell: str) -> None:
    more = 'numbers = { thousands = ".", currency_sign = "¥" }'
    content = f"id;month;limit;owed;paid;late\na;2026-08;{cell};50;0;0\n"
    message = refuse(tmp_path, content, more, separator=";")
    assert "expected a number with the decimal mark ',' and thousands separated by '.'" in message


BAD_NUMBERS = {
    'numbers = { decimal = ";" }': "[numbers] decimal: expected '.' or ','",
    'numbers = { decimal = ".", thousands = "." }': "[numbers] thousands: expected one character",
    'numbers = { thousands = "ab" }': "[numbers] thousands: expected one character",
    'numbers = { thousands = "0" }': "[numbers] thousands: expected one character",
    'numbers = { currency_sign = "1" }': "[numbers] currency_sign: expected a text without digits",
    'numbers = { decimals = "." }': "[numbers]: unknown key 'decimals', did you mean 'decimal'?",
}


@pytest.mark.parametrize("more", BAD_NUMBERS)
def test_a_number_format_that_cannot_be_is_refused(tmp_path: Path, more: str) -> None:
    assert BAD_NUMBERS[more] in refuse(tmp_path, f"{HEADER}\na,2026-08,9,5,0,0\n", more)


# Amounts


def test_remainders_of_floating_point_are_zero(tmp_path: Path) -> None:
    content = f"{HEADER}\na,2026-08,900,5.684341886080802E-14,-2.8e-14,0\n"
    summary = take(tmp_path, content)
    assert column(tmp_path, "balance") == [0.0]
    assert str(column(tmp_path, "payment")) == "[0.0]"
    assert summary.fractions == {}


def test_real_fractions_of_a_cent_are_rounded_and_counted(tmp_path: Path) -> None:
    content = f"{HEADER}\na,2026-08,900,1234.5678,0.1,0\na,2026-09,900,0.004,0.3,0\n"
    summary = take(tmp_path, content)
    assert column(tmp_path, "balance") == [1234.57, 0.0]
    assert summary.fractions == {"balance": 2}
    assert "amounts with fractions of a cent, rounded to 0.01: balance 2" in str(summary)
    report = json.loads((tmp_path / "out" / "ingest.json").read_text("utf-8"))
    assert report["fractions_rounded"] == {"balance": 2}


def test_amounts_of_another_currency_are_rounded_and_not_counted(tmp_path: Path) -> None:
    summary = take(tmp_path, f"{HEADER}\na,2026-08,900,3913,0,0\n", rate="0.245")
    assert column(tmp_path, "balance") == [958.68]  # half a fen, to the even one
    assert summary.fractions == {}
