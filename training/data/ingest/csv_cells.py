"""A foreign CSV as cells: read as text, then parsed as numbers, words and dates, never guessed.

A cell that cannot be parsed is an error that names the file, the column, the line and the first
accounts.  It is not a reject: text in an amount column means that the mapping or the file is wrong,
and then the rows that happen to look right are wrong too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import polars as pl

from features.limits import FIRST_MONTH, LAST_MONTH
from training.data.ingest import date_format
from training.data.ingest.account_names import EXPECTED, find_lost_zeros, find_mangled
from training.data.ingest.csv_file import CsvFile
from training.data.ingest.mapping import IngestError, Origin, Plan, Words
from training.data.ingest.number_format import NumberFormat

_FIRST = 3  # accounts that an error names
_LARGEST_WHOLE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a CSV, in file order."""

    file: Path
    sha256: str
    frame: pl.DataFrame  # String columns, stripped; null = unknown
    accounts: pl.Series  # account_id of each row
    lines: pl.Series  # line on which each row begins
    number_format: NumberFormat

    def numbers(
        self,
        origin: Origin,
        column: str,
        *,
        whole: bool,
    ) -> pl.Series:
        """Return one of the origin's columns as Float64 in the source's unit; null = unknown.

        Cells are looked up in the origin's values or parsed, then scaled and clipped.

        Raises :class:`IngestError` for a cell that is not a finite number or not among the origin's
        values, and, if ``whole``, for a result that is not a whole number of 32 bits.
        """
        cells = self.frame[column]
        if origin.values is not None:
            parsed = cells.replace_strict(
                list(origin.values),
                list(origin.values.values()),
                default=None,
                return_dtype=pl.Float64,
            )
            expected = f"one of {list(origin.values)}"
        else:
            parsed = self._parse_numbers(column)
            expected = str(self.number_format)
        # "nan", "inf" and 1e999 parse as floats, but no account has such an amount.
        is_number = parsed.is_finite().fill_null(False)
        is_wrong = cells.is_not_null() & ~is_number
        self.refuse(
            is_wrong,
            column,
            expected,
            self.number_format.explain,
        )
        scaled = parsed * origin.scale
        result = scaled.clip(origin.low, origin.high)
        if whole:
            is_fraction = result != result.round()
            is_too_large = result.abs() > _LARGEST_WHOLE
            is_wrong = is_fraction | is_too_large
            expected = "a whole number of 32 bits after scaling"
            self.refuse(is_wrong.fill_null(False), column, expected)
        return result

    def words(self, words: Words) -> pl.Series:
        """Return a column as String; null = unknown.

        Cells are looked up, put into bands such as ``25-34``, or taken as they are.  Raises
        :class:`IngestError` for a cell that is not among the values.
        """
        if words.bands:
            return self._banded(words.column, words.bands)
        cells = self.frame[words.column]
        if words.values is None:
            return cells
        known = list(words.values)
        is_unknown = cells.is_not_null() & ~cells.is_in(known)
        self.refuse(is_unknown, words.column, f"one of {known}")
        return cells.replace(words.values)

    def dates(self, column: str, form: str) -> pl.Series:
        """Return a column as Date; null = unknown.

        Raises :class:`IngestError` for a cell that is not written in ``form`` (see
        :mod:`training.data.ingest.date_format`), and for a month that the schema does not take.
        """
        cells = self.frame[column]
        # Each text once: a file has many rows and few dates.
        texts = cells.drop_nulls().unique(maintain_order=True).to_list()
        days = [date_format.parse(text, form) for text in texts]
        dates = cells.replace_strict(
            texts,
            days,
            default=None,
            return_dtype=pl.Date,
        )
        is_wrong = cells.is_not_null() & dates.is_null()
        explain = partial(date_format.explain, form=form)
        self.refuse(is_wrong, column, f"a date written as {form}", explain)
        months = dates.dt.truncate("1mo")
        is_early = months < FIRST_MONTH
        is_late = months > LAST_MONTH
        is_outside = (is_early | is_late).fill_null(False)
        expected = f"a month from {FIRST_MONTH:%Y-%m} to {LAST_MONTH:%Y-%m}"
        self.refuse(is_outside, column, expected, explain)
        return dates

    def refuse(
        self,
        rows: pl.Series,
        column: str,
        expected: str,
        explain: Callable[[str], str] = lambda cell: "",
    ) -> None:
        """Raise :class:`IngestError` for these rows of ``column``, if any; it names the first.

        ``explain`` says what may be wrong with the first of the cells.
        """
        if not rows.any():
            return
        wrong = pl.DataFrame(
            {
                "line": self.lines.filter(rows),
                "account": self.accounts.filter(rows),
                "cell": self.frame[column].filter(rows),
            }
        )
        first = wrong.head(_FIRST).rows()
        named = []
        for line, account, cell in first:
            place = f"line {line}, account {account}"
            named.append(f"{cell!r} ({place})")
        got = ", ".join(named)
        others = wrong.height - len(first)
        if others:
            got += f" and {others} more row(s)"
        explained = explain(first[0][2])
        if explained:
            got += f"; {explained}"
        where = f"{self.file}: column {column!r}"
        raise IngestError(f"{where}: expected {expected}, got {got}")

    def _parse_numbers(self, column: str) -> pl.Series:
        cells = self.frame[column]
        is_ambiguous = self.number_format.find_ambiguous(cells)
        self.refuse(
            is_ambiguous,
            column,
            "numbers whose point has one meaning "
            "(say [numbers] decimal or thousands in the mapping)",
        )
        return self.number_format.parse(cells)

    def _banded(
        self,
        column: str,
        starts: tuple[int, ...],
    ) -> pl.Series:
        lowest, highest = starts[0], starts[-1]
        numbers = self.numbers(Origin((column,)), column, whole=True)
        is_below = (numbers < lowest).fill_null(False)
        self.refuse(is_below, column, f"at least {lowest}, where the first band begins")
        names = []
        for low, high in pairwise(starts):
            last = high - 1
            names.append(f"{low}-{last}")
        names.append(f"{highest}+")
        bands = []
        for start, name in zip(starts, names, strict=True):
            is_reached = pl.col(column) >= start
            band = pl.lit(name)
            bands.append(pl.when(is_reached).then(band))
        # The highest band that the number reaches; null where the number is unknown.
        highest_first = bands[::-1]
        band = pl.coalesce(highest_first)
        return numbers.to_frame(column).select(band).to_series()


def read_cells(file: Path, plan: Plan) -> Cells:
    """Read the columns of a CSV that a plan names.

    Raises :class:`IngestError` if the file is no CSV in UTF-8 (see :class:`CsvFile`), if it lacks a
    column that the plan names or has no row, if a spreadsheet has changed account numbers, and, in
    a wide file, if an account has two rows.
    """
    source = CsvFile(file, plan.separator)
    _refuse_lacking(file, source.header, plan)
    # A dict, for each column once and in order: several statement columns may be made from one.
    named = [column for _, column in plan.sources()]
    columns = list(dict.fromkeys(named))
    frame, lines = source.read(columns)
    if frame.is_empty():
        raise IngestError(f"{file}: expected at least one row below the header, got none")
    stripped = pl.col(columns).str.strip_chars()
    is_known = ~stripped.is_in(list(plan.unknown))
    known = pl.when(is_known).then(stripped)
    frame = frame.select(known)
    name = plan.account
    names = frame[name.column]
    filled = names.str.zfill(name.width)
    accounts = name.prefix + filled
    accounts = accounts.rename("account_id")
    cells = Cells(
        file=file,
        sha256=source.sha256,
        frame=frame,
        accounts=accounts,
        lines=lines,
        number_format=plan.number_format,
    )
    is_mangled = find_mangled(frame[name.column])
    cells.refuse(is_mangled, name.column, EXPECTED)
    has_lost_zeros = find_lost_zeros(filled)
    cells.refuse(
        has_lost_zeros,
        name.column,
        "account numbers with the same number of zeros on the left "
        "(account.width in the mapping fills them)",
    )
    if plan.format == "wide":
        is_repeated = accounts.is_duplicated() & accounts.is_not_null()
        cells.refuse(is_repeated, name.column, "each account in one row")
    return cells


def _refuse_lacking(
    file: Path,
    header: list[str],
    plan: Plan,
) -> None:
    """Raise if the CSV lacks a column that the plan names."""
    lacking = []
    for section, column in plan.sources():
        if column not in header:
            lacking.append(f"[{section}] names {column!r}")
    if lacking:
        # Each once: a section may name the same column several times.
        once = ", ".join(dict.fromkeys(lacking))
        has = f"the CSV has the columns {header}"
        raise IngestError(f"{file}: {plan.file}: {once}; {has}")
