"""Read decision records and the labels that arrive later.

``python -m serving export`` writes the records; see docs/service/audit_log.md.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from features.build import Features, build
from features.schema import COLUMNS, StatementError, check

_ROW = {
    "tenant": pl.String,
    "decided_at": pl.String,
    "as_of": pl.String,
    "product": pl.String,
    "bundle": pl.String,
    "probability": pl.Float64,
    "first_reason": pl.String,
    "account_id": pl.String,
    "line": pl.Int64,
}


_LABELS = ("account_id", "as_of", "label")


class RecordFileError(ValueError):
    """A file of records or labels that cannot be used: the line, what was expected, what came."""


@dataclass(frozen=True, slots=True)
class Records:
    """The newest decision of each account and month.

    ``rows``: ``as_of`` (first day of the month), ``probability``, ``first_reason``, ``account_id``
    (null if the export has none).  ``statements`` by line, empty if the export has none.
    ``left_out``: the number of other decisions by reason.
    """

    rows: pl.DataFrame
    statements: Mapping[int, Any]
    left_out: Mapping[str, int]

    @property
    def months(self) -> list[datetime.date]:
        """The as_of months, rising."""
        found: list[datetime.date] = self.rows["as_of"].unique().sort().to_list()
        return found

    @property
    def with_asked(self) -> bool:
        """Whether every decision tells what it was decided from."""
        return self.rows["account_id"].null_count() == 0

    def of(self, month: datetime.date) -> pl.DataFrame:
        """The rows of a month, in order of account where accounts are known."""
        return self.rows.filter(pl.col("as_of") == month).sort("account_id", "line")

    def features_of(self, month: datetime.date) -> Features:
        """The features of a month's decisions, in the order of :meth:`of`, from what was asked.

        RecordFileError where statements break the schema, or are not those of the month.
        """
        rows = self.of(month)
        names = [column.name for column in COLUMNS]
        try:
            asked = [
                statement | {"account_id": account, "product": product}
                for account, product, line in rows.select(
                    "account_id", "product", "line"
                ).iter_rows()
                for statement in self.statements[line]
            ]
            frame = pl.DataFrame(
                [{name: one.get(name) for name in names} for one in asked], infer_schema_length=None
            )
            frame = frame.with_columns((pl.col("month") + "-01").str.to_date("%Y-%m-%d"))
            features = build(check(frame))
        except (StatementError, pl.exceptions.PolarsError, AttributeError, TypeError) as error:
            raise RecordFileError(
                f"records of {month:%Y-%m}: expected statements as they were asked: {error}"
            ) from error
        if (features.accounts["as_of"] != month).any():
            raise RecordFileError(
                f"records of {month:%Y-%m}: expected statements up to that month, got others"
            )
        return features


def read_records(file: Path, bundle: str) -> Records:
    """The decisions of a file that this bundle (its digest) made.

    Left out, and counted: decisions of other bundles, of persons erased since, and earlier ones of
    the same account and month. Raises :class:`RecordFileError` naming the line, for what is no
    export, for several tenants (their accounts may share names), and where nothing is left.
    """
    rows, statements = [], {}
    for number, text in enumerate(_lines(file), start=1):
        row, asked = _row(text, f"{file}:{number}")
        rows.append(row | {"line": number})
        statements[number] = asked
    table = pl.DataFrame(rows, _ROW)
    ours = table.filter(pl.col("bundle") == bundle)
    known = ours.filter(pl.col("probability").is_not_null())
    if tenants := sorted(known["tenant"].unique().to_list())[1:]:
        raise RecordFileError(
            f"{file}: expected decisions of one tenant (export --tenant), got also {tenants}"
        )
    if known.is_empty():
        raise RecordFileError(
            f"{file}: expected decisions of bundle {bundle[:12]}, got none of {table.height}: "
            f"{table.height - ours.height} are of other bundles (--version names another), "
            f"{ours.height} of erased persons"
        )
    newest = known.sort("decided_at", "line").with_columns(
        key=pl.col("account_id").fill_null(pl.col("line").cast(pl.String))
    )
    newest = newest.unique(["key", "as_of"], keep="last", maintain_order=True).drop("key")
    left_out = {
        "other bundles": table.height - ours.height,
        "erased": ours.height - known.height,
        "decided again": known.height - newest.height,
    }
    months = newest.with_columns((pl.col("as_of") + "-01").str.to_date("%Y-%m-%d"))
    return Records(months, statements, left_out)


def read_labels(file: Path) -> pl.DataFrame:
    """What became of accounts, from Parquet or CSV: ``account_id``, ``as_of`` (first day of the
    month), ``label`` (float64).

    ``as_of`` may be a date or a month such as 2026-09.  Raises :class:`RecordFileError` for other
    columns, labels that are not 0 or 1, and two labels for one account and month.
    """
    read = {".parquet": pl.read_parquet, ".csv": lambda path: pl.read_csv(path, infer_schema=False)}
    if file.suffix not in read:
        raise RecordFileError(f"{file}: expected a name that ends in .parquet or .csv")
    try:
        table = read[file.suffix](file)
        if set(table.columns) != set(_LABELS):
            raise RecordFileError(
                f"{file}: expected the columns {list(_LABELS)}, got {table.columns}"
            )
        month = pl.col("as_of").cast(pl.String).str.head(7)
        table = table.select(
            pl.col("account_id").cast(pl.String),
            (month + "-01").str.to_date("%Y-%m-%d").alias("as_of"),
            pl.col("label").cast(pl.Float64),
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise RecordFileError(
            f"{file}: expected labels in Parquet or CSV: {str(error).splitlines()[0]}"
        ) from error
    if (
        wrong := table.filter(~pl.col("label").is_in([0.0, 1.0]).fill_null(False)).height
        + table["account_id"].null_count()
    ):
        raise RecordFileError(
            f"{file}: expected labels of 0 or 1, each of an account, got {wrong} other rows"
        )
    if twice := table.height - table.unique(["account_id", "as_of"]).height:
        raise RecordFileError(f"{file}: expected one label an account and month, got {twice} more")
    return table


def _lines(file: Path) -> list[str]:
    try:
        lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise RecordFileError(f"{file}: expected decisions as JSON lines: {error}") from error
    if not lines:
        raise RecordFileError(f"{file}: expected at least one decision, got an empty file")
    return lines


def _row(text: str, where: str) -> tuple[dict[str, Any], Any]:
    """A decision's row and the statements that were asked (None = not exported, or erased)."""
    try:
        one = json.loads(text)
        asked, reasons = one["asked"], one["reasons"]
        row = {
            name: one[name]
            for name in ("tenant", "decided_at", "as_of", "product", "bundle", "probability")
        }
        row["first_reason"] = (
            None if reasons is None else next((r["code"] for r in reasons if r["rank"] == 1), "")
        )
        row["account_id"] = None if asked is None else asked["account_id"]
        datetime.date.fromisoformat(f"{row['as_of']}-01")
        _checked(row)
        return row, None if asked is None else asked["statements"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise RecordFileError(
            f"{where}: expected a decision as `python -m serving export` writes it: {detail}"
        ) from error


def _checked(row: Mapping[str, Any]) -> None:
    for name in ("tenant", "decided_at", "product", "bundle"):
        if not isinstance(row[name], str):
            raise ValueError(f"{name} is {row[name]!r}")
    p = row["probability"]
    if p is not None and not (isinstance(p, float) and np.isfinite(p) and 0 < p < 1):
        raise ValueError(f"probability is {p!r}")
