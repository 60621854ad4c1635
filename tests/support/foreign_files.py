"""Random CSV files as other programs write them: odd quotes, line ends, signs, ids and dates.

Every file says what it means (``rows``), so that a reader can be held against the truth as well as
against another reader.
"""

from __future__ import annotations

import csv
import datetime
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.slow_ingest import Form, Row

COLUMNS = ("id", "month", "limit", "owed", "paid", "late")
# How a month is written, in strptime's letters; the regular expression; the century.
DATES: tuple[tuple[str, str, int], ...] = (
    ("%Y-%m", r"(?P<y>\d{4})-(?P<m>\d{1,2})", 0),
    ("%Y-%m-%d", r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})", 0),
    ("%d.%m.%Y", r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})", 0),
    ("%d/%m/%y", r"(?P<d>\d{1,2})/(?P<m>\d{1,2})/(?P<y>\d{2})", 2000),
    ("%Y%m", r"(?P<y>\d{4})(?P<m>\d{2})", 0),
    ("%Y年%m月", r"(?P<y>\d{4})年(?P<m>\d{1,2})月", 0),
)
# Decimal mark, mark of thousands, sign.
NUMBERS: tuple[tuple[str, str, str], ...] = (
    (".", "", ""),
    (".", "", ""),
    (".", ",", ""),
    (",", ".", ""),
    (",", "", ""),
    (".", "'", ""),
    (".", ",", "¥"),
    (",", "\u00a0", "€"),
)
# Without separators and line ends, because some programs write them without quotes.
NOTES: tuple[str, ...] = (
    "ok",
    "",
    'bought a tv 55"',
    '26" bike',
    '"quoted"',
    '"55 inch',
    'said "no" twice',
    '""',
    '"',
    "违约",
    "naïve",
    "#N/A",
)
INCHES = ("ok", "", 'bought a tv 55"', 'bike 26"')  # every file with these alone can be read
LONG_NOTES = ("two\nlines", "a, b; c", "x\r\ny", 'he said "a,b"')


_Known = tuple[str, datetime.date, float, float, float, int]  # a row without blank cells


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A file, its mapping, and what it means.

    ``is_clean`` means that nothing is odd about the file: it must be taken.  ``is_intact`` is false
    where not even a person could tell from the file that it does not mean ``rows``.
    """

    content: bytes
    mapping: str
    form: Form
    rows: list[Row]
    is_clean: bool
    is_intact: bool


@dataclass(frozen=True, slots=True)
class _Habits:
    """How the program that writes the file goes about it."""

    form: Form
    date: str
    quoting: str  # "csv": as RFC 4180; "all": every cell; "naive": joined, whatever is in them
    line_end: str
    encoding: str
    is_declared: bool  # whether the mapping says how numbers are written
    fault: str  # "" or what goes wrong
    notes: tuple[str, ...]


FAULTS = (*[""] * 7, "excel", "form", "zeros", "years", "dust", "short", "cut", "places")


def make_file(seed: int) -> ForeignFile:
    """The file of this seed; the same for the same seed."""
    random_ = random.Random(seed)
    habits = _draw_habits(random_)
    rows = _draw_rows(random_, habits.fault)
    notes = random_.randint(0, 2)
    header = [*COLUMNS, *(f"note{number}" for number in range(notes))]
    random_.shuffle(header)
    lines = [header]
    for number, row in enumerate(rows):
        written = _write_row(random_, row, habits, number)
        for name in header[:]:
            if name.startswith("note"):
                written[name] = random_.choice(habits.notes)
        lines.append([written[name] for name in header])
    text = _join(lines, habits)
    if habits.fault == "cut":
        text = text[: len(text) - random_.randint(1, 12)]
    content = text.encode(habits.encoding, errors="replace")
    is_changed = habits.fault in ("cut", "zeros")
    if habits.fault == "years" and habits.form.century:
        is_changed = True
    if habits.fault == "form" and habits.encoding == "latin-1":
        is_changed = True  # which has no Chinese
    is_clean = habits.quoting != "naive" and habits.encoding.startswith("utf-8")
    return ForeignFile(
        content=content,
        mapping=_mapping(habits),
        form=habits.form,
        rows=[*rows],
        is_clean=is_clean and habits.is_declared and habits.fault in ("", "dust"),
        is_intact=not is_changed,
    )


def _draw_habits(random_: random.Random) -> _Habits:
    date, pattern, century = random_.choice(DATES)
    decimal, thousands, sign = random_.choice(NUMBERS)
    separators = [mark for mark in ",;\t|" if mark not in (decimal, thousands)]
    quoting = random_.choice(("csv", "csv", "all", "naive", "naive"))
    notes = NOTES + LONG_NOTES
    if quoting == "naive":
        notes = random_.choice((NOTES, INCHES))
    return _Habits(
        form=Form(random_.choice(separators), decimal, thousands, sign, pattern, century),
        date=date,
        quoting=quoting,
        line_end=random_.choice(("\n", "\n", "\r\n", "\r")),
        encoding=random_.choice(("utf-8",) * 8 + ("utf-8-sig", "utf-8-sig", "gbk", "latin-1")),
        is_declared=random_.random() < 0.7,
        fault=random_.choice(FAULTS),
        notes=notes,
    )


def _draw_rows(random_: random.Random, fault: str) -> list[_Known]:
    rows: list[_Known] = []
    for account in range(random_.randint(1, 6)):
        name = random_.choice(("A-{}", "{:07}", "62220212345678{:05}", "k.{}:x")).format(
            account + 11
        )
        if fault == "form":
            name = random_.choice((name + "/1", "户" + name, name + " 1", name + "x" * 60, name))
        first = random_.randint(0, 30)
        for month in range(first, first + random_.randint(1, 4)):
            day = datetime.date(2023 + month // 12, month % 12 + 1, 1)
            owed, paid = (_draw_amount(random_, fault) for _ in range(2))
            limit = float(random_.choice((900, 1900, 12500, 200000, 1234567)))
            rows.append((name, day, limit, owed, paid, 30 * random_.randint(0, 3)))
    random_.shuffle(rows)
    return rows


def _draw_amount(random_: random.Random, fault: str) -> float:
    if fault == "dust" and random_.random() < 0.5:
        return 0.0
    whole = random_.choice((0, 7, 50, 999, 1000, 12500, 1234567))
    return whole + random_.choice((0, 0, 25, 50, 99)) / 100


def _write_row(random_: random.Random, row: _Known, habits: _Habits, number: int) -> dict[str, str]:
    name, month, limit, owed, paid, late = row
    return {
        "id": _write_name(name, habits.fault, number),
        "month": _write_month(random_, month, habits),
        "limit": _write_amount(random_, limit, habits),
        "owed": _write_amount(random_, owed, habits),
        "paid": _write_amount(random_, paid, habits),
        "late": str(late),
    }


def _write_name(name: str, fault: str, number: int) -> str:
    if fault == "excel":
        digits = int("".join(filter(str.isdigit, name)))
        return (f"{digits:.5E}", f'="{name}"', f"{digits}.0")[number % 3]
    if fault == "zeros" and number % 2:
        return name.lstrip("0")
    return name


def _write_month(random_: random.Random, month: datetime.date, habits: _Habits) -> str:
    year = month.year
    if habits.fault == "years":
        year += random_.choice((-2000, -1911, 543))
    day = random_.choice((1, 17, 28))
    is_padded = habits.date == "%Y%m" or random_.random() < 0.5
    parts = {"Y": f"{year}", "y": f"{year % 100:02}", "m": f"{month.month}", "d": f"{day}"}
    text = habits.date
    for letter, part in parts.items():
        width = 2 if is_padded and letter in "md" else 0
        text = text.replace(f"%{letter}", part.zfill(width))
    return text


def _write_amount(random_: random.Random, amount: float, habits: _Habits) -> str:
    if habits.fault == "dust" and amount == 0.0:
        return random_.choice(("5.684341886080802E-14", "-2.8e-14", "0")).replace(
            ".", habits.form.decimal
        )
    places = 3 if habits.fault == "places" else random_.choice((2, 2, 2 if amount % 1 else 0))
    text = f"{amount:,.{places}f}"
    marks = {",": habits.form.thousands, ".": habits.form.decimal}
    text = "".join(marks.get(character, character) for character in text)
    if habits.form.sign:
        text = random_.choice((f"{habits.form.sign}{text}", f"{text} {habits.form.sign}", text))
    return random_.choice((text, text, f" {text} "))


def _join(lines: Sequence[Sequence[str]], habits: _Habits) -> str:
    if habits.quoting == "naive":
        rows = [habits.form.separator.join(line) for line in lines]
        text = habits.line_end.join(rows) + habits.line_end
    else:
        stream = io.StringIO(newline="")
        # The csv module leaves a "\n" unquoted where lines end in "\r".
        is_quoted = habits.quoting == "all" or habits.line_end == "\r"
        writer = csv.writer(
            stream,
            delimiter=habits.form.separator,
            lineterminator=habits.line_end,
            quoting=csv.QUOTE_ALL if is_quoted else csv.QUOTE_MINIMAL,
        )
        writer.writerows(lines)
        text = stream.getvalue()
    if habits.fault == "short":
        # The last row loses its last cell.
        text = text[: text.rindex(habits.form.separator)] + habits.line_end
    return text


def _mapping(habits: _Habits) -> str:
    form = habits.form
    numbers = ""
    if habits.is_declared:
        numbers = (
            f"numbers = {{ decimal = '{form.decimal}', thousands = \"{form.thousands}\", "
            f"currency_sign = '{form.sign}' }}"
        )
    return f"""
source = {{ name = "a book", format = "long", separator = "{form.separator}" }}
account = {{ column = "id" }}
product = {{ constant = "cash_loan" }}
currency = {{ code = "CNY", rate = 1, source = "none" }}
months = {{ column = "month", format = "{habits.date}" }}
{numbers}
[columns]
credit_limit = {{ column = "limit" }}
balance = {{ column = "owed" }}
payment = {{ column = "paid" }}
days_past_due = {{ column = "late" }}
"""
