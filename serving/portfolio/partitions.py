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

from features.schema import (
    COLUMNS,
    LONGEST_WINDOW,
    NAMES,
    PRODUCTS,
    StatementError,
    Violation,
    conform,
    round_amounts,
)
from serving.portfolio.errors import PortfolioError

ROWS_AT_ONCE = 1_000_000  # statements in memory; a hundred bytes each, some copies of them
_BYTES_AT_ONCE = 1 << 20
_READ_ERRORS = (pl.exceptions.PolarsError, OSError)
_SUFFIX = ".parquet"
_HIDDEN = (".", "_")
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_PRODUCT = pl.Enum(PRODUCTS)
_LARGEST_COUNT = 2**31 - 1
_AMOUNTS = [column.name for column in COLUMNS if column.kind == "amount"]
_WHOLE_NUMBERS = [column.name for column in COLUMNS if column.kind == "whole_number"]
_PRODUCT_RULE = f"product is {' or '.join(PRODUCTS)}"
_RECORDED_PRODUCT_RULE = "product is that of the earlier decisions in the audit log"
_MONTH_RULE = "no month is in the future"


@dataclass(frozen=True, slots=True)
class Partition:
    """A file of statements; ``name`` is its path within the portfolio, without ``.parquet``."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Portfolio:
    """The files of a portfolio in order of name, and those in its folder that are not Parquet."""

    partitions: list[Partition]
    left_out: list[str]


def find_partitions(portfolio: Path) -> Portfolio:
    """The files of a portfolio: a Parquet file, or all those in a folder and the folders in it.

    Names that begin with a dot or an underscore, as unfinished files and notes have them, are left
    out and not listed.  Links are followed.

    Raises:
        PortfolioError: There is no such file, a link leads nowhere, or two files differ only in the
            case of ``.parquet``.
    """
    if portfolio.is_file():
        return Portfolio([Partition(portfolio.stem, portfolio)], [])
    found: dict[str, Partition] = {}
    left_out = []
    for path in sorted(_files_in(portfolio, frozenset())):
        inside = path.relative_to(portfolio)
        if path.suffix.lower() != _SUFFIX:
            left_out.append(inside.as_posix())
            continue
        name = inside.with_suffix("").as_posix()
        if not path.exists():
            raise PortfolioError(f"{path}: expected a file, got a link to what does not exist")
        if name in found:
            raise PortfolioError(f"{path}: expected another name than that of {found[name].path}")
        found[name] = Partition(name, path)
    if not found:
        others = f", got {len(left_out)} others such as {left_out[0]}" if left_out else ""
        raise PortfolioError(
            f"{portfolio}: expected a Parquet file, or a folder with files named *{_SUFFIX}{others}"
        )
    return Portfolio([found[name] for name in sorted(found)], left_out)


def _files_in(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """All files below a folder but hidden ones; ``above`` are the folders that it is in."""
    own = folder.resolve()
    if not folder.is_dir() or own in above:  # a link may lead back
        return
    for path in folder.iterdir():
        if path.name.startswith(_HIDDEN):
            continue
        if path.is_dir():
            yield from _files_in(path, above | {own})
        else:
            yield path


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

    Amounts are rounded to cents, as those of a request are.  A product that is none is null.

    Args:
        partition: The file.
        last_month: Later statements are left out; None = none are.
        rows_at_once: About so many statements are in memory.

    Raises:
        PortfolioError: The file is no Parquet file, or cannot be read.
        StatementError: A column is missing or of another type.
    """
    try:
        lazy = _scan(partition.path, last_month)
        rows = lazy.select(pl.len()).collect().item()
        parts = -(-rows // rows_at_once)
        for part in range(parts):
            chosen = lazy
            if parts > 1:
                # The hash of a null is a number too, so its row is in one of the parts.
                chosen = lazy.filter(pl.col("account_id").hash() % parts == part)
            block = chosen.collect()
            if not block.is_empty():
                yield latest_statements(round_amounts(conform(_as_declared(block))))
    except _READ_ERRORS as error:
        raise PortfolioError(f"cannot be read as Parquet: {_first_line(error)}") from error


def breaches_of_run(block: pl.DataFrame, today: datetime.date) -> pl.DataFrame:
    """Of a block of :func:`read_blocks`, what a run can decide on at no time or not on this day.

    Returns:
        One row a breach, with ``account_id``, ``month`` and ``rule``: a product that is none, and a
        month that has not begun on ``today``.
    """
    named = {_PRODUCT_RULE: pl.col("product").is_null(), _MONTH_RULE: pl.col("month") > today}
    return pl.concat(
        block.filter(is_broken).select("account_id", "month", rule=pl.lit(rule))
        for rule, is_broken in named.items()
    )


def breaches_of_product(block: pl.DataFrame) -> pl.DataFrame:
    """The same table for accounts with another product than recorded: one row each, the last month.

    ``block`` has their statements alone.
    """
    months = block.group_by("account_id", maintain_order=True).agg(pl.col("month").max())
    return months.with_columns(rule=pl.lit(_RECORDED_PRODUCT_RULE))


def refuse_breaches(breaches: pl.DataFrame) -> None:
    """Raise :class:`StatementError` with each rule that is broken, and its first accounts."""
    violations = []
    for (rule,), rows in breaches.group_by("rule", maintain_order=True):
        first = rows.head(3).select("account_id", pl.col("month").dt.strftime("%Y-%m")).rows()
        places = tuple((str(account), str(month)) for account, month in first)
        violations.append(Violation(str(rule), rows.height, places))
    if violations:
        lines = ["statements break the schema", *map(str, violations)]
        raise StatementError("\n  ".join(lines), tuple(violations))


def _scan(path: Path, last_month: datetime.date | None) -> pl.LazyFrame:
    """The declared columns of a file, up to a month; other columns are not read."""
    lazy = pl.scan_parquet(path, hive_partitioning=False)
    schema = lazy.collect_schema()
    missing = [name for name in NAMES if name not in schema]
    if missing:
        raise StatementError(f"expected the columns {list(NAMES)}, missing {missing}")
    lazy = lazy.select(NAMES)
    if isinstance(schema["account_id"], pl.Categorical | pl.Enum):
        # Here, because what is hashed has to be the name and not its number in a dictionary.
        lazy = lazy.with_columns(pl.col("account_id").cast(pl.String))
    # A month of another type is refused with all other columns of wrong types.
    if last_month is not None and _is_day(schema["month"]):
        lazy = lazy.filter(pl.col("month").cast(pl.Date) <= last_month)
    return lazy


def _as_declared(block: pl.DataFrame) -> pl.DataFrame:
    """The same values in the types that :func:`features.schema.conform` takes.

    Warehouses write days as times at midnight, and amounts as decimals.  A product that is none
    becomes null, and a count beyond int32 its largest number: rules name their accounts, which a
    failed cast could not.
    """
    columns = []
    for name in NAMES:
        values = block[name]
        if name == "month":
            columns.append(_as_days(values))
        elif name == "product" and values.dtype in _TEXTS:
            columns.append(values.cast(pl.String).cast(_PRODUCT, strict=False))
        elif name in _AMOUNTS and values.dtype.is_decimal():
            columns.append(values.cast(pl.Float64))
        elif name in _WHOLE_NUMBERS and _is_other_whole(values.dtype):
            columns.append(values.cast(pl.Float64).clip(-1, _LARGEST_COUNT).cast(pl.Int32))
        else:
            columns.append(values)
    return pl.DataFrame(columns)


def _as_days(months: pl.Series) -> pl.Series:
    """Times at midnight as days; a column with another time stays what it is, and is refused."""
    if not _is_day(months.dtype):
        return months
    days = months.cast(pl.Date)
    return days if (days.cast(months.dtype) == months).all() else months


def _is_day(dtype: pl.DataType) -> bool:
    # A time with a zone is another day in another zone.
    return dtype == pl.Date or (isinstance(dtype, pl.Datetime) and dtype.time_zone is None)


def _is_other_whole(dtype: pl.DataType) -> bool:
    is_other_integer = dtype.is_integer() and dtype != pl.Int32
    return is_other_integer or (isinstance(dtype, pl.Decimal) and dtype.scale == 0)


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
