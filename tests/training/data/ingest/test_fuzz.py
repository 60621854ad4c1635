"""Ingest on files as other programs write them: the right statements, or a refusal; never others.

Each file is held against what it means and against a slow reader that shares no code with ingest.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from tests.support.foreign_files import ForeignFile, make_file
from tests.support.slow_ingest import Row, SlowRefusal, read_slowly
from training.data.ingest import csv_cells
from training.data.ingest.csv_file import CsvFile
from training.data.ingest.ingest import ingest
from training.data.ingest.mapping import IngestError

_KEPT = ("account_id", "month", "credit_limit", "balance", "payment", "days_past_due")


def take(file: ForeignFile, home: Path) -> tuple[list[Row], set[str | None]]:
    """The statements that ingest makes of a file, and the accounts that it rejects."""
    (home / "book.csv").write_bytes(file.content)
    (home / "book.toml").write_text(file.mapping, "utf-8")
    ingest(home / "book.csv", home / "book.toml", home / "out")
    statements = pl.read_parquet(home / "out" / "statements" / "part-00000.parquet")
    rejects = pl.read_csv(home / "out" / "rejects.csv", infer_schema=False)
    return statements.select(_KEPT).rows(), set(rejects["account_id"])


def compare(file: ForeignFile, home: Path) -> str:
    """How ingest did on a file: "same", "refused", or how it differs from an oracle."""
    try:
        statements, rejected = take(file, home)
    except IngestError as error:
        if file.is_clean:
            return f"refused without need: {error}"
        return "refused"
    try:
        slow = read_slowly(file.content, file.form)
    except SlowRefusal as error:
        return f"differs: the slow reader refuses: {error}"
    for oracle, rows in (("slow reader", slow), ("truth", file.rows)):
        if oracle == "truth" and not file.is_intact:
            continue
        if not agree(statements, rejected, rows):
            return f"differs from the {oracle}: {statements} and {rejected}, expected {rows}"
    return "same"


def agree(statements: Sequence[Row], rejected: set[str | None], rows: Sequence[Row]) -> bool:
    """Whether the statements are the rows of the accounts that were not rejected."""
    kept = [row for row in rows if row[0] not in rejected]
    accounts = {row[0] for row in rows}
    return Counter(statements) == Counter(kept) and rejected <= accounts


def differing(seeds: range, home: Path) -> tuple[Counter[str], list[str]]:
    """How often which outcome came, and the files that ended in none of the two allowed ones."""
    outcomes: Counter[str] = Counter()
    wrong = []
    for seed in seeds:
        outcome = compare(make_file(seed), home)
        outcomes[outcome.split(":")[0].split(" from")[0]] += 1
        if outcome not in ("same", "refused"):
            wrong.append(f"{seed}: {outcome}")
    return outcomes, wrong


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(100), id="100", marks=pytest.mark.brief),
        pytest.param(range(3000), id="3000", marks=pytest.mark.torture),
    ],
)
def test_a_file_gives_the_right_statements_or_is_refused(seeds: range, tmp_path: Path) -> None:
    outcomes, wrong = differing(seeds, tmp_path)
    assert wrong == []
    # Neither way is the easy way out.
    assert outcomes["same"] > len(seeds) / 5
    assert outcomes["refused"] > len(seeds) / 5


class SwallowingFile(CsvFile):
    """Reads as the first version did: the csv module counts the rows, and Polars reads them."""

    def read(self, columns: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
        frame, lines = super().read(columns)
        try:
            other = pl.read_csv(
                self._file.read_bytes(),
                columns=list(columns),
                separator=self._separator,
                infer_schema=False,
                n_rows=frame.height,
            ).select(columns)
        except pl.exceptions.PolarsError as error:
            raise IngestError(str(error)) from error
        return other.with_columns(pl.all().fill_null("")), lines.head(other.height)


@pytest.mark.slow
def test_a_reader_that_swallows_rows_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the fault that this test was written for."""
    monkeypatch.setattr(csv_cells, "CsvFile", SwallowingFile)
    _, wrong = differing(range(100), tmp_path)
    assert any(": differs" in outcome for outcome in wrong)


def test_a_rounding_to_the_wrong_month_is_noticed(tmp_path: Path) -> None:
    """The control of the comparison: one statement a month late, one amount a fen too high."""
    row: Row = ("a", datetime.date(2026, 8, 1), 900.0, 50.0, 0.0, 0)
    late = (row[0], datetime.date(2026, 9, 1), *row[2:])
    high = (*row[:3], 50.01, *row[4:])
    assert agree([row], set(), [row])
    for other in (late, high):
        assert not agree([row], set(), [other])
    assert not agree([], set(), [row])
    assert not agree([row], {"b"}, [row])
    assert agree([], {"a"}, [row])
