"""Statements as warehouses write them: other types, links, names, and files that are none."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features.schema import StatementError, conform, round_amounts
from serving.portfolio.errors import PortfolioError
from serving.portfolio.partitions import (
    Partition,
    breaches_of_run,
    find_partitions,
    latest_statements,
    read_blocks,
    refuse_breaches,
)
from tests.support.each import each

TODAY = datetime.date(2026, 10, 5)
TEXTS, COUNTS = ["account_id", "product"], ["days_past_due", "limit_requests", "credit_inquiries"]
AMOUNTS = ["credit_limit", "balance", "payment"]


@pytest.fixture(scope="module")
def statements(windows: pl.DataFrame) -> pl.DataFrame:
    """Of forty accounts, with text as pyarrow and all other libraries write it."""
    names = windows["account_id"].unique(maintain_order=True)[:40]
    some = windows.filter(pl.col("account_id").is_in(names.to_list()))
    return some.with_columns(pl.col("product").cast(pl.String))


def read(path: Path, **options: int | datetime.date) -> pl.DataFrame:
    blocks = list(read_blocks(Partition("a", path), **options))  # type: ignore[arg-type]
    return pl.concat(blocks).sort("account_id", "month")


def expected(statements: pl.DataFrame) -> pl.DataFrame:
    return latest_statements(round_amounts(conform(statements)))


def as_types(names: list[str], dtype: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        for name in names:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, table.column(name).cast(dtype))
        return table

    return change


def other_types() -> Iterator[tuple[str, Callable[[pa.Table], pa.Table]]]:
    """Each holds the same values as the declared types."""
    for unit in ("s", "ms", "us", "ns"):
        yield f"times in {unit}", as_types(["month"], pa.timestamp(unit))
    yield "days as milliseconds", as_types(["month"], pa.date64())
    yield "short text", as_types(TEXTS, pa.string())
    yield "long text", as_types(TEXTS, pa.large_string())
    yield "dictionaries", as_types(TEXTS, pa.dictionary(pa.int32(), pa.string()))
    yield "decimals", as_types(AMOUNTS, pa.decimal128(18, 2))
    yield "decimal counts", as_types(COUNTS, pa.decimal128(38, 0))
    for whole in (pa.int16(), pa.int64(), pa.uint64()):
        yield f"counts as {whole}", as_types(COUNTS, whole)
    yield "further columns", lambda table: table.append_column("region", table.column("month"))
    yield "other order", lambda table: table.select(table.column_names[::-1])


@pytest.mark.parametrize(
    "change", [pytest.param(change, id=name) for name, change in other_types()]
)
def test_types_that_hold_the_same_values_are_read_as_the_declared_ones(
    statements: pl.DataFrame, change: Callable[[pa.Table], pa.Table], tmp_path: Path
) -> None:
    cents = statements.with_columns(pl.col(AMOUNTS).round(2))
    path = tmp_path / "a.parquet"
    pq.write_table(change(cents.to_arrow()), path)
    assert read(path).equals(expected(cents), null_equal=True)
    # In parts, each account is in one of them whatever the type of its name.
    in_parts = list(read_blocks(Partition("a", path), None, 200))
    assert len(in_parts) >= 4
    assert pl.concat(in_parts).sort("account_id", "month").equals(expected(cents))
    before = datetime.date(2025, 6, 1)
    earlier = cents.filter(pl.col("month") <= before)
    assert read(path, last_month=before).equals(expected(earlier), null_equal=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (pl.col("month").cast(pl.Datetime).dt.offset_by("13h"), "month: expected Date"),
        (pl.col("month").cast(pl.Datetime(time_zone="Asia/Shanghai")), "month: expected Date"),
        (pl.col("month").dt.strftime("%Y-%m-%d"), "month: expected Date, got String"),
        (pl.col("days_past_due").cast(pl.Float64), "days_past_due: expected Int32"),
        (pl.col("days_past_due").cast(pl.Decimal(9, 1)), "days_past_due: expected Int32"),
        (pl.col("balance").cast(pl.String), "balance: expected Float64, got String"),
    ],
)
def test_types_that_would_be_guessed_at_are_refused(
    statements: pl.DataFrame, changed: pl.Expr, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    statements.with_columns(changed).write_parquet(path)
    for last_month in each((None, TODAY)):
        with pytest.raises(StatementError, match=message):
            list(read_blocks(Partition("a", path), last_month))


def test_what_no_run_can_decide_on_is_named_with_its_account(
    statements: pl.DataFrame, tmp_path: Path
) -> None:
    """A product that is none, a month to come, and a count beyond int32."""
    path = tmp_path / "a.parquet"
    second = pl.int_range(pl.len()) == 1
    name, month = statements.row(1)[:2]
    where = f"1 row(s): account {name} in {month:%Y-%m}"
    other = pl.when(second).then(pl.lit("mortgage")).otherwise("product").alias("product")
    statements.with_columns(other).write_parquet(path)
    breaches = breaches_of_run(read(path), TODAY)
    with pytest.raises(StatementError) as caught:
        refuse_breaches(breaches)
    assert f"product is pay_later or cash_loan: {where}" in str(caught.value)

    statements.write_parquet(path)
    assert breaches_of_run(read(path), TODAY).is_empty()
    last = statements["month"].max()
    assert isinstance(last, datetime.date)
    late = breaches_of_run(read(path), last - datetime.timedelta(days=1))
    assert set(late["rule"]) == {"no month is in the future"}
    assert late["account_id"].n_unique() == (statements["month"] == last).sum()

    large = pl.when(second).then(2**40).otherwise("days_past_due").alias("days_past_due")
    statements.with_columns(large).write_parquet(path)
    assert read(path)["days_past_due"].max() == 2**31 - 1


def names_in(folder: Path) -> list[str]:
    return [partition.name for partition in find_partitions(folder).partitions]


def test_files_are_found_in_folders_links_and_with_any_case(tmp_path: Path) -> None:
    portfolio, elsewhere = tmp_path / "十月 statements", tmp_path / "elsewhere"
    wanted = [
        portfolio / "product=cash_loan" / "month=1" / "0.parquet",
        portfolio / "of 中文" / "a b.PARQUET",
        portfolio / "spark.parquet" / "part-0.snappy.parquet",
        elsewhere / "far.parquet",
    ]
    others = [portfolio / "_delta" / "b.parquet", portfolio / ".c.parquet", portfolio / "_SUCCESS"]
    named = [portfolio / "notes.txt", elsewhere / "d.csv"]
    for file in [*wanted, *others, *named]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    (portfolio / "linked").symlink_to(elsewhere)
    (portfolio / "z.parquet").symlink_to(elsewhere / "far.parquet")
    (elsewhere / "back").symlink_to(portfolio)  # leads in a circle

    assert names_in(portfolio) == [
        "linked/far",
        "of 中文/a b",
        "product=cash_loan/month=1/0",
        "spark.parquet/part-0.snappy",
        "z",
    ]
    assert find_partitions(portfolio).left_out == ["linked/d.csv", "notes.txt"]


def test_files_that_would_be_missed_or_mixed_up_are_refused(tmp_path: Path) -> None:
    (tmp_path / "statements.csv").write_text("a", "utf-8")
    with pytest.raises(PortfolioError, match=r"named \*\.parquet, got 1 others such as statements"):
        find_partitions(tmp_path)
    link = tmp_path / "a.parquet"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(PortfolioError, match=r"a\.parquet: expected a file, got a link to what"):
        find_partitions(tmp_path)
    link.unlink()
    for name in ("a.parquet", "a.Parquet"):
        (tmp_path / name).write_bytes(b"")
    if len(list(tmp_path.iterdir())) == 3:  # this file system tells the cases apart
        with pytest.raises(PortfolioError, match="expected another name than that of"):
            find_partitions(tmp_path)


def test_each_row_of_a_large_file_is_in_one_part(statements: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    statements.write_parquet(path)
    blocks = list(read_blocks(Partition("a", path), None, 100))
    for one, other in each(list(itertools.combinations(blocks, 2))):
        assert set(one["account_id"]).isdisjoint(other["account_id"])
