"""A foreign CSV as cells: text first, then read as numbers, words and dates, never by guessing.

A cell that cannot be read is an error that names the file, the column and the first accounts.  It
is not a reject: text in an amount column means that the mapping or the file is wrong, and so are
the rows that happen to look right.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import polars as pl

from training.data.ingest.mapping import IngestError, Origin, Plan, Words

_FIRST = 3  # accounts that an error names
_LARGEST_WHOLE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Cells:
    """The CSV's cells in file order: String columns, stripped, null = unknown; ``accounts`` are the
    rows' account_ids.
    """

    file: Path
    sha256: str
    frame: pl.DataFrame
    accounts: pl.Series

    def numbers(self, origin: Origin, column: str, *, whole: bool) -> pl.Series:
        """One of the origin's columns as Float64 in the source's unit, null = unknown: looked up or
        read, scaled, clipped.

        Raises :class:`IngestError` where a cell is no finite number, is not among the origin's
        values, or should come out as a whole number of 32 bits and does not.
        """
        cells = self.frame[column]
        if origin.values is not None:
            known, numbers = list(origin.values), list(origin.values.values())
            read = cells.replace_strict(known, numbers, default=None, return_dtype=pl.Float64)
            expected = f"one of {known}"
        else:
            read = cells.cast(pl.Float64, strict=False)
            expected = "a number"
        # "nan", "inf" and 1e999 read as floats, and are no numbers that an account can have.
        self.refuse(cells.is_not_null() & ~read.is_finite().fill_null(False), column, expected)
        result = (read * origin.scale).clip(origin.low, origin.high)
        if whole:
            wrong = (result != result.round()) | (result.abs() > _LARGEST_WHOLE)
            self.refuse(wrong.fill_null(False), column, "a whole number of 32 bits after scaling")
        return result

    def words(self, words: Words) -> pl.Series:
        """The column as String, null = unknown: looked up, put into bands such as ``25-34``, or as
        it stands.
        """
        if words.bands:
            return self._banded(words.column, words.bands)
        cells = self.frame[words.column]
        if words.values is None:
            return cells
        known = list(words.values)
        self.refuse(cells.is_not_null() & ~cells.is_in(known), words.column, f"one of {known}")
        return cells.replace(words.values)

    def dates(self, column: str, form: str) -> pl.Series:
        """The column as Date, null = unknown; raises :class:`IngestError` for cells that are not
        written in ``form``.
        """
        cells = self.frame[column]
        dates = cells.str.to_date(form, strict=False)
        self.refuse(cells.is_not_null() & dates.is_null(), column, f"a date written as {form}")
        return dates

    def refuse(self, rows: pl.Series, column: str, expected: str) -> None:
        """Raise :class:`IngestError` where any of the masked rows of ``column`` is true, naming the
        first accounts.
        """
        if not rows.any():
            return
        first = (
            pl.DataFrame([self.accounts.filter(rows), self.frame[column].filter(rows)])
            .head(_FIRST)
            .rows()
        )
        got = ", ".join(f"{cell!r} (account {account})" for account, cell in first)
        more = int(rows.sum()) - len(first)
        raise IngestError(
            f"{self.file}: column {column!r}: expected {expected}, got {got}{f' and {more} more row(s)' if more else ''}"
        )

    def _banded(self, column: str, starts: tuple[int, ...]) -> pl.Series:
        numbers = self.numbers(Origin((column,)), column, whole=True)
        self.refuse(
            (numbers < starts[0]).fill_null(False),
            column,
            f"at least {starts[0]}, where the first band begins",
        )
        names = [f"{low}-{high - 1}" for low, high in pairwise(starts)] + [f"{starts[-1]}+"]
        bands = (
            pl.when(pl.col(column) >= start).then(pl.lit(name))
            for start, name in reversed([*zip(starts, names, strict=True)])
        )
        return numbers.to_frame(column).select(pl.coalesce(bands)).to_series()


def read_cells(file: Path, plan: Plan) -> Cells:
    """The columns of a CSV that a plan names.

    Raises :class:`IngestError` for a file that is missing, empty, not UTF-8, with lines of unequal
    length, without a column that the plan names, or, wide, with an account in two rows.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise IngestError(f"{file}: expected a CSV file: {error.strerror}") from None
    header, rows = _verify(file, content, plan.separator)
    lacking = dict.fromkeys(
        f"[{section}] names {column!r}"
        for section, column in plan.sources()
        if column not in header
    )
    if lacking:
        raise IngestError(
            f"{file}: {plan.file}: {', '.join(lacking)}; the CSV has the columns {header}"
        )
    if not rows:
        raise IngestError(f"{file}: expected at least one row below the header, got none")
    named = list(dict.fromkeys(column for _, column in plan.sources()))
    try:
        frame = pl.read_csv(
            content, columns=named, separator=plan.separator, infer_schema=False, n_rows=rows
        )
    except pl.exceptions.PolarsError as error:
        raise IngestError(f"{file}: expected a CSV file: {str(error).splitlines()[0]}") from None
    stripped = pl.col(named).str.strip_chars()
    frame = frame.select(pl.when(~stripped.is_in(list(plan.unknown))).then(stripped))
    name = plan.account
    accounts = (name.prefix + frame[name.column].str.zfill(name.width)).rename("account_id")
    cells = Cells(file, hashlib.sha256(content).hexdigest(), frame, accounts)
    if plan.format == "wide":
        cells.refuse(
            accounts.is_duplicated() & accounts.is_not_null(),
            name.column,
            "each account in one row",
        )
    return cells


def _verify(file: Path, content: bytes, separator: str) -> tuple[list[str], int]:
    """The header and the number of rows of a file that is a CSV throughout.

    A pass of its own, because Polars fills short lines with nulls: a file that was cut off would
    pass for one with gaps.
    """
    if not content.strip():
        raise IngestError(f"{file}: expected a CSV file, got an empty one")
    if b"\0" in content:
        raise IngestError(
            f"{file}: expected a CSV file, got zero bytes: not a text file, or UTF-16"
        )
    lines = csv.reader(
        io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline=""),
        delimiter=separator,
        strict=True,
    )
    try:
        header = next(lines)
        if repeated := sorted({name for name in header if header.count(name) > 1}):
            raise IngestError(f"{file}: expected each column once, got {repeated} more than once")
        rows, blank = 0, 0
        for cells in lines:
            if not cells:  # lines without anything are tolerated at the end of the file only
                blank = blank or lines.line_num
                continue
            if blank or len(cells) != len(header):
                line, got = (blank, 0) if blank else (lines.line_num, len(cells))
                raise IngestError(f"{file}: line {line}: expected {len(header)} cells, got {got}")
            rows += 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise IngestError(
            f"{file}: near line {lines.line_num}: expected a CSV file in UTF-8: {error}"
        ) from None
    return header, rows
