"""A slow reader of long CSV files that shares no code with ``training.data.ingest``.

One character after the other (RFC 4180), amounts by ``decimal``, dates by regular expression.  It
knows no schema: it returns every row, or refuses a file that is no CSV.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

AMOUNTS = ("limit", "owed", "paid")
DAYS = "late"
Row = tuple[str | None, datetime.date | None, float | None, float | None, float | None, int | None]


class SlowRefusal(ValueError):
    """The file cannot be read."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a file is written; ``date`` is a regular expression with the groups y, m and d."""

    separator: str
    decimal: str
    thousands: str
    sign: str
    date: str
    century: int  # added to the year


def read_slowly(content: bytes, form: Form) -> list[Row]:
    """The rows of the columns id, month, limit, owed, paid and late, in the file's order."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SlowRefusal("not UTF-8") from error
    records = list(split_records(text.removeprefix("\ufeff"), form.separator))
    while records and records[-1] == [""]:
        records.pop()
    header, *rows = records
    if any(len(row) != len(header) for row in rows):
        raise SlowRefusal("rows of unequal length")
    tables = [dict(zip(header, row, strict=True)) for row in rows]
    return [read_row(row, form) for row in tables]


def split_records(text: str, separator: str) -> Iterator[list[str]]:
    """The records of a CSV text.  A quote opens a cell only where the cell begins."""
    cells, cell, place = [], "", 0
    while place < len(text):
        character = text[place]
        if (
            character == '"'
            and cell == ""
            and (place == 0 or text[place - 1] in separator + "\r\n")
        ):
            cell, place = read_quoted(text, place + 1)
            if place < len(text) and text[place] not in separator + "\r\n":
                raise SlowRefusal("text behind a closing quote")
            continue
        if character == separator:
            cells.append(cell)
            cell = ""
        elif character in "\r\n":
            yield [*cells, cell]
            cells, cell = [], ""
            if text[place : place + 2] == "\r\n":
                place += 1
        else:
            cell += character
        place += 1
    if cells or cell:
        yield [*cells, cell]


def read_quoted(text: str, place: int) -> tuple[str, int]:
    """The cell whose text begins at ``place``, and the place behind its closing quote."""
    cell = ""
    while place < len(text):
        if text[place] != '"':
            cell += text[place]
            place += 1
        elif text[place + 1 : place + 2] == '"':
            cell += '"'
            place += 2
        else:
            return cell, place + 1
    raise SlowRefusal("a quote that is not closed")


def read_row(row: dict[str, str], form: Form) -> Row:
    limit, owed, paid = (to_fen(row[name], form) for name in AMOUNTS)
    days = to_fen(row[DAYS], form)
    if days is not None and days != int(days):
        raise SlowRefusal("days that are not whole")
    late = None if days is None else int(days)
    return row["id"].strip() or None, to_month(row["month"], form), limit, owed, paid, late


def to_fen(cell: str, form: Form) -> float | None:
    """A number in whole fen: the float nearest to the decimal number; None for a blank cell."""
    text = cell.strip()
    if not text:
        return None
    if form.sign:
        text = text.replace(form.sign, "", 1).strip()
    if form.thousands:
        text = text.replace(form.thousands, "")
    text = text.replace(form.decimal, ".")
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?", text):
        raise SlowRefusal(f"no number: {cell!r}")
    return float(Decimal(text).quantize(Decimal("0.01"))) + 0.0


def to_month(cell: str, form: Form) -> datetime.date | None:
    if not cell.strip():
        return None
    found = re.fullmatch(form.date, cell.strip())
    if found is None:
        raise SlowRefusal(f"no date: {cell!r}")
    try:
        month = datetime.date(int(found["y"]) + form.century, int(found["m"]), 1)
        datetime.date(month.year, month.month, int(found.groupdict().get("d") or 1))
    except ValueError as error:
        raise SlowRefusal(f"no date: {cell!r}") from error
    return month
