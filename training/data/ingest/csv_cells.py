"""A foreign CSV as cells: read as text, then parsed as numbers, words and dates, never guessed.

A cell that cannot be parsed is an error that names the file, the column and the first accounts.  It
is not a reject: text in an amount column means that the mapping or the file is wrong, and then the
rows that happen to look right are wrong too.
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
    """The cells of a CSV, in file order."""

    file: Path
    sha256: str
    frame: pl.DataFrame  # String columns, stripped; null = unknown
    accounts: pl.Series  # account_id of each row

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
            parsed = cells.cast(pl.Float64, strict=False)
            expected = "a number"
        # "nan", "inf" and 1e999 parse as floats, but no account has such an amount.
        is_number = parsed.is_finite().fill_null(False)
        self.refuse(cells.is_not_null() & ~is_number, column, expected)
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

        Raises :class:`IngestError` for a cell that is not written in ``form`` (strftime's letters).
        """
        cells = self.frame[column]
        dates = cells.str.to_date(form, strict=False)
        is_wrong = cells.is_not_null() & dates.is_null()
        self.refuse(is_wrong, column, f"a date written as {form}")
        return dates

    def refuse(
        self,
        rows: pl.Series,
        column: str,
        expected: str,
    ) -> None:
        """Raise :class:`IngestError` for these rows of ``column``, if any; it names the first."""
        if not rows.any():
            return
        accounts = self.accounts.filter(rows)
        cells = self.frame[column].filter(rows)
        wrong = pl.DataFrame([accounts, cells])
        first = wrong.head(_FIRST).rows()
        named = [f"{cell!r} (account {account})" for account, cell in first]
        got = ", ".join(named)
        others = wrong.height - len(first)
        if others:
            got += f" and {others} more row(s)"
        raise IngestError(f"{self.file}: column {column!r}: expected {expected}, got {got}")

    def _banded(
        self,
        column: str,
        starts: tuple[int, ...],
    ) -> pl.Series:
        lowest, highest = starts[0], starts[-1]
        numbers = self.numbers(Origin((column,)), column, whole=True)
        is_below = (numbers < lowest).fill_null(False)
        self.refuse(is_below, column, f"at least {lowest}, where the first band begins")
        names = [f"{low}-{high - 1}" for low, high in pairwise(starts)]
        names.append(f"{highest}+")
        bands = []
        for start, name in zip(starts, names, strict=True):
            is_reached = pl.col(column) >= start
            bands.append(pl.when(is_reached).then(pl.lit(name)))
        # The highest band that the number reaches; null where the number is unknown.
        band = pl.coalesce(bands[::-1])
        return numbers.to_frame(column).select(band).to_series()


def read_cells(file: Path, plan: Plan) -> Cells:
    """Read the columns of a CSV that a plan names.

    Raises :class:`IngestError` if the file is missing, empty or not UTF-8, if its lines have
    unequal numbers of cells, if it lacks a column that the plan names, and, in a wide file, if an
    account has two rows.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise IngestError(f"{file}: expected a CSV file: {error.strerror}") from None
    header, rows = _verify(file, content, plan.separator)
    _refuse_lacking(file, header, plan)
    if not rows:
        raise IngestError(f"{file}: expected at least one row below the header, got none")
    # A dict, for each column once and in order: several statement columns may be made from one.
    named = [column for _, column in plan.sources()]
    columns = list(dict.fromkeys(named))
    try:
        # As text: a type that Polars infers from the first rows would change later ones, or numbers
        # that are names, such as "007".
        frame = pl.read_csv(
            content,
            columns=columns,
            separator=plan.separator,
            infer_schema=False,
            n_rows=rows,
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise IngestError(f"{file}: expected a CSV file: {reason}") from None
    stripped = pl.col(columns).str.strip_chars()
    is_known = ~stripped.is_in(list(plan.unknown))
    frame = frame.select(pl.when(is_known).then(stripped))
    name = plan.account
    filled = frame[name.column].str.zfill(name.width)
    accounts = (name.prefix + filled).rename("account_id")
    cells = Cells(
        file=file,
        sha256=hashlib.sha256(content).hexdigest(),
        frame=frame,
        accounts=accounts,
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
        raise IngestError(f"{file}: {plan.file}: {once}; the CSV has the columns {header}")


def _verify(
    file: Path,
    content: bytes,
    separator: str,
) -> tuple[list[str], int]:
    """Check that a file is a CSV from beginning to end; return its header and number of rows."""
    # A pass of its own, because Polars fills short lines with nulls: a truncated file would look
    # like one with unknown values.
    if not content.strip():
        raise IngestError(f"{file}: expected a CSV file, got an empty one")
    if b"\0" in content:
        raise IngestError(
            f"{file}: expected a CSV file, got zero bytes: not a text file, or UTF-16"
        )
    text = io.TextIOWrapper(
        io.BytesIO(content),
        encoding="utf-8-sig",  # Excel writes a byte order mark in front of the first name
        newline="",
    )
    lines = csv.reader(text, delimiter=separator, strict=True)
    try:
        header = next(lines)
        repeated = sorted({name for name in header if header.count(name) > 1})
        if repeated:
            raise IngestError(f"{file}: expected each column once, got {repeated} more than once")
        rows, blank = 0, 0
        for cells in lines:
            if not cells:  # blank lines are accepted at the end of the file only
                blank = blank or lines.line_num
                continue
            line, got = lines.line_num, len(cells)
            if blank:
                line, got = blank, 0
            if blank or got != len(header):
                expected = len(header)
                raise IngestError(f"{file}: line {line}: expected {expected} cells, got {got}")
            rows += 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise IngestError(
            f"{file}: near line {lines.line_num}: expected a CSV file in UTF-8: {error}"
        ) from None
    return header, rows
