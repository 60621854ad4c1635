"""A CSV file read by one strict reader, from beginning to end; every line is a row or an error.

There is one reader on purpose.  Two readers of a file may disagree: one that takes the lone quote
of ``tv 55"`` for the beginning of a quoted cell reads the rows up to the next quote as one cell.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from training.data.ingest.mapping import IngestError

_BLOCK = 100_000  # rows that are in memory as Python texts


class CsvFile:
    """A CSV in UTF-8, open below its header."""

    def __init__(self, file: Path, separator: str) -> None:
        """Read the header.

        Raises :class:`IngestError` if the file is missing, empty or not UTF-8, or if a name is
        twice in the header.
        """
        content = _read_text(file)
        text = io.TextIOWrapper(
            io.BytesIO(content),
            encoding="utf-8-sig",  # Excel writes a byte order mark in front of the first name
            newline="",
        )
        self._file, self._separator = file, separator
        self._lines = _Lines(text)
        self._records = csv.reader(
            self._lines,
            delimiter=separator,
            strict=True,
        )
        self.sha256 = hashlib.sha256(content).hexdigest()
        _, header = next(self._read_records())
        self.header: list[str] = header
        repeated = {name for name in header if header.count(name) > 1}
        if repeated:
            got = sorted(repeated)
            raise IngestError(f"{file}: expected each column once, got {got} more than once")

    def read(self, columns: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
        """Return these columns as String, and the line on which each row begins (from 1).

        Raises :class:`IngestError` for a line with another number of cells than the header, for a
        blank line between others, for quotes that are not closed, and for a quoted cell that seems
        to have swallowed rows.
        """
        places = [self.header.index(name) for name in columns]
        blocks, lines = [], []
        kept: list[list[str]] = []
        for line, cells in self._read_rows():
            lines.append(line)
            wanted = [cells[place] for place in places]
            kept.append(wanted)
            if len(kept) == _BLOCK:
                blocks.append(_to_frame(columns, kept))
                kept = []
        blocks.append(_to_frame(columns, kept))
        table = pl.concat(blocks)
        return table, pl.Series("line", lines, dtype=pl.UInt32)

    def _read_rows(self) -> Iterator[tuple[int, list[str]]]:
        blank = 0
        for line, cells in self._read_records():
            if not cells:  # blank lines are accepted at the end of the file only
                blank = blank or line
                continue
            if blank:
                raise self._error(blank, "expected no blank line between rows, got one")
            expected = len(self.header)
            got = len(cells)
            if got != expected:
                raise self._error(line, f"expected {expected} cells, got {got}")
            self._refuse_swallowed(line)
            yield line, cells

    def _read_records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record with the line on which it begins."""
        while True:
            line = self._records.line_num + 1
            self._lines.of_record.clear()
            try:
                cells = next(self._records)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._error(
                    line,
                    f"expected quotes in pairs, as CSV has them ({error}); "
                    "a quote inside a quoted cell has to be doubled",
                ) from None
            yield line, cells

    def _refuse_swallowed(self, line: int) -> None:
        """Raise if each line of a row over several lines looks like a row of its own.

        That is what a lone quote at the beginning of a cell makes of the rows up to the next one.
        """
        texts = self._lines.of_record
        if len(texts) == 1:
            return
        is_row = [self._looks_like_a_row(text) for text in texts]
        if not all(is_row):
            return
        last = line + len(texts) - 1
        raise self._error(
            line,
            f"expected one row, got a quoted cell that goes on to line {last}, and each of these "
            "lines looks like a row; a lone quote at the beginning of a cell has to be doubled, "
            "and the cell quoted",
        )

    def _looks_like_a_row(self, text: str) -> bool:
        [cells] = csv.reader([text], delimiter=self._separator)
        without_quotes = text.split(self._separator)
        expected = len(self.header)
        return expected in (len(cells), len(without_quotes))

    def _error(self, line: int, problem: str) -> IngestError:
        return IngestError(f"{self._file}: line {line}: {problem}")


class _Lines:
    """The lines of a text; remembers those since ``of_record`` was cleared."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.of_record: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.of_record.append(line)
        return line


def _read_text(file: Path) -> bytes:
    """Return the content of a file of UTF-8 text that is not empty."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise IngestError(f"{file}: expected a CSV file: {error.strerror}") from None
    if not content.strip():
        raise IngestError(f"{file}: expected a CSV file, got an empty one")
    if b"\0" in content:
        raise IngestError(
            f"{file}: expected a CSV file, got zero bytes: not a text file, or UTF-16; "
            'a spreadsheet saves it as "CSV UTF-8"'
        )
    try:
        content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        wrong = content[error.start]
        raise IngestError(
            f"{file}: line {line}: expected UTF-8, got the byte 0x{wrong:02x}; "
            'save the file as "CSV UTF-8", or convert it: '
            f"iconv -f GB18030 -t UTF-8 {file.name} > utf8.csv (for GBK; name another encoding)"
        ) from None
    return content


def _to_frame(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> pl.DataFrame:
    series = []
    for place, name in enumerate(columns):
        cells = [row[place] for row in rows]
        text = pl.Series(name, cells, dtype=pl.String)
        series.append(text)
    return pl.DataFrame(series)
