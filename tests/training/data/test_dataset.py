"""Data folders are read part by part, and a path is no pattern."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from features.schema import NAMES, StatementError, check
from tests.support.accounts import quiet_account
from tests.support.each import each
from training.data.config import DataError
from training.data.dataset import Source, digest, load

Change = Callable[[pl.DataFrame], pl.DataFrame]


def write_parts(folder: Path, *parts: pl.DataFrame) -> Path:
    (folder / "statements").mkdir(parents=True)
    for number, part in enumerate(parts):
        part.write_parquet(folder / "statements" / f"part-{number:05d}.parquet")
    return folder


def dusty_account(name: str) -> pl.DataFrame:
    """An account with an amount of 0.1, which no float32 is, and with a remainder of 5.7e-14."""
    return quiet_account(account_id=name).with_columns(
        balance=pl.lit(0.1),
        cash_advance=pl.lit(5.684341886080802e-14),
        income=pl.lit(None, pl.Float64),
    )


CHANGES: dict[str, Change] = {
    "order of columns": lambda part: part.select(NAMES[::-1]),
    "wide whole numbers": lambda part: part.with_columns(
        pl.col("days_past_due", "limit_requests").cast(pl.Int64)
    ),
    "narrow whole numbers": lambda part: part.with_columns(
        pl.col("days_past_due", "limit_requests").cast(pl.UInt8)
    ),
    "float32": lambda part: part.with_columns(pl.col("balance", "payment").cast(pl.Float32)),
    "whole amounts": lambda part: part.with_columns(pl.col("credit_limit").cast(pl.Int64)),
    "all null": lambda part: part.with_columns(pl.col("income").cast(pl.Null)),
    "product as text": lambda part: part.with_columns(pl.col("product").cast(pl.String)),
    "product as category": lambda part: part.with_columns(
        pl.col("product").cast(pl.String).cast(pl.Categorical)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_parts_are_brought_to_the_schema_before_they_meet(tmp_path: Path, change: str) -> None:
    first, second = dusty_account("a"), dusty_account("b")
    expected = load(write_parts(tmp_path / "one", pl.concat([first, second]))).statements
    changed = CHANGES[change](second)
    assert changed.schema != second.schema or changed.columns != second.columns
    for parts in each([(first, changed), (changed, first), (changed, first, first.clear())]):
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        assert load(write_parts(folder, *parts)).statements.equals(expected)
    assert expected["balance"].unique().to_list() == [0.1]
    assert expected["cash_advance"].unique().to_list() == [0.0]
    assert check(expected).equals(expected)


def test_a_part_that_does_not_fit_is_named(tmp_path: Path) -> None:
    wrong = quiet_account(account_id="b").with_columns(balance=pl.lit("much"))
    folder = write_parts(tmp_path / "data", quiet_account(), wrong)
    with pytest.raises(StatementError, match=r"part-00001\.parquet: .*\n.*got String"):
        load(folder)


def test_parts_without_any_row_are_refused(tmp_path: Path) -> None:
    empty = quiet_account().clear()
    with pytest.raises(DataError, match="expected statements, got 2 empty parts"):
        load(write_parts(tmp_path / "data", empty, empty))


BRACKETS = ("book[1]", "book?", "book*", "boo[a-z]1", "a b%2Fü[1]")


@pytest.mark.parametrize("name", BRACKETS)
def test_a_path_is_no_pattern(tmp_path: Path, name: str) -> None:
    """The siblings are what the names would match as patterns."""
    mine = quiet_account(account_id="mine")
    others = [tmp_path / sibling for sibling in ("book1", "bookx", "a b%2Fü1")]
    for other in others:
        write_labelled(other, quiet_account(account_id="other"))
    folder = write_labelled(tmp_path / name, mine)
    source = load(folder)
    assert source.statements["account_id"].unique().to_list() == ["mine"]
    assert source.labels is not None
    assert source.labels["account_id"].to_list() == ["mine"]
    files = [folder / "statements" / "part-00000.parquet", folder / "labels.parquet"]
    assert source.digest == digest(files)
    assert source.digest not in [load(other).digest for other in others]


def write_labelled(folder: Path, statements: pl.DataFrame) -> Path:
    write_parts(folder, statements)
    labels = statements.tail(1).select("account_id", as_of="month", label=pl.lit(1, pl.Int8))
    labels.write_parquet(folder / "labels.parquet")
    (folder / "ingest.json").write_text('{"label": {"definition": "违约"}}', encoding="utf-8")
    return folder


def test_the_definition_of_a_label_is_read_as_utf_8(tmp_path: Path) -> None:
    source: Source = load(write_labelled(tmp_path / "data", quiet_account()))
    assert source.label_definition == "违约"
