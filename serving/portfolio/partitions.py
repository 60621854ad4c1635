"""The Parquet files of a portfolio's statements, read some accounts at a time.

An account's statements are in one file; the accounts and rows of a file may be in any order.  A
file that is larger than the memory for it is read several times, each time for other accounts.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from features.schema import LONGEST_WINDOW, NAMES, StatementError, conform, round_amounts
from serving.portfolio.errors import PortfolioError

ROWS_AT_ONCE = 1_000_000  # statements in memory; a hundred bytes each, some copies of them
_BYTES_AT_ONCE = 1 << 20
_READ_ERRORS = (pl.exceptions.PolarsError, OSError)


@dataclass(frozen=True, slots=True)
class Partition:
    """A file of statements; ``name`` is its path within the portfolio, without ``.parquet``."""

    name: str
    path: Path


def find_partitions(portfolio: Path) -> list[Partition]:
    """The files of a portfolio in order of name: a Parquet file, or all those in a folder.

    Names that begin with a dot or an underscore, as unfinished files and notes have them, are left
    out.

    Raises:
        PortfolioError: There is no such file.
    """
    if portfolio.is_file():
        return [Partition(portfolio.stem, portfolio)]
    found = []
    for path in sorted(portfolio.rglob("*.parquet")):
        inside = path.relative_to(portfolio)
        if path.is_file() and not any(part.startswith((".", "_")) for part in inside.parts):
            found.append(Partition(inside.with_suffix("").as_posix(), path))
    if not found:
        raise PortfolioError(f"{portfolio}: expected a Parquet file, or a folder with such files")
    return found


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_BYTES_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def read_blocks(
    partition: Partition,
    last_month: datetime.date | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[pl.DataFrame]:
    """The latest statements of each account, sorted by account and month, whole accounts at a time.

    Amounts are rounded to cents, as those of a request are.

    Args:
        partition: The file.
        last_month: Later statements are left out; None = none are.
        rows_at_once: About so many statements are in memory.

    Raises:
        PortfolioError: The file is no Parquet file, or cannot be read.
        StatementError: A column is missing or of another type.
    """
    try:
        lazy = pl.scan_parquet(partition.path, hive_partitioning=False)
        missing = [name for name in NAMES if name not in lazy.collect_schema()]
        if missing:
            raise StatementError(f"expected the columns {list(NAMES)}, missing {missing}")
        rows = lazy.select(pl.len()).collect().item()
        parts = -(-rows // rows_at_once)
        if last_month is not None:
            lazy = lazy.filter(pl.col("month") <= last_month)
        for part in range(parts):
            chosen = lazy
            if parts > 1:
                # The hash of a null is a number too, so its row is in one of the parts.
                chosen = lazy.filter(pl.col("account_id").hash() % parts == part)
            block = chosen.collect()
            if not block.is_empty():
                yield latest_statements(round_amounts(conform(block)))
    except _READ_ERRORS as error:
        raise PortfolioError(f"cannot be read as Parquet: {_first_line(error)}") from error


def latest_statements(statements: pl.DataFrame, months: int = LONGEST_WINDOW) -> pl.DataFrame:
    """The last so many statements of each account, of a table sorted by account and month."""
    account = statements["account_id"]
    is_last = np.ones(len(account), dtype=np.bool_)
    differs = (account.slice(1) != account.slice(0, len(account) - 1)).fill_null(True)
    is_last[:-1] = differs.to_numpy()
    ends = np.flatnonzero(is_last)
    lengths = np.diff(ends, prepend=-1)
    rows_to_end = np.repeat(ends, lengths) - np.arange(len(account))
    if rows_to_end.max() < months:
        return statements
    return statements.filter(rows_to_end < months)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
