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

import polars as pl

from features.build import Features, build
from features.schema import COLUMNS, StatementError, check
from training.data.config import DataError
from training.data.label_file import check_labels, read_outcome_table

_ROW = {
    "tenant": pl.String,
    "decided_at": pl.String,
    "as_of": pl.String,
    "product": pl.String,
    "bundle": pl.String,
    "probability": pl.Float64,
    "first_reason": pl.String,
    "arm": pl.String,
    "account_id": pl.String,
    "line": pl.Int64,
}
_EXPORTED = ("tenant", "decided_at", "as_of", "product", "bundle", "probability")
_TEXTS = ("tenant", "decided_at", "product", "bundle")


class RecordFileError(ValueError):
    """An unusable file of records or labels: the line, what was expected, and what came."""


@dataclass(frozen=True, slots=True)
class Records:
    """The newest decision of each account and month.

    Attributes:
        rows: One row a decision: ``as_of`` (first day of the month), ``probability``,
            ``first_reason``, ``arm`` (treated, control or null), ``account_id`` (null if the export
            has no requests), ``line``.
        statements: The requests' statements by line; null if the export has no requests.
        left_out: The number of other decisions in the file, by why they are left out.
    """

    rows: pl.DataFrame
    statements: Mapping[int, Any]
    left_out: Mapping[str, int]

    @property
    def months(self) -> list[datetime.date]:
        """The as_of months, ascending."""
        months: list[datetime.date] = self.rows["as_of"].unique().sort().to_list()
        return months

    @property
    def with_requests(self) -> bool:
        """Whether the export has the request of every decision."""
        return self.rows["account_id"].null_count() == 0

    def of_month(self, month: datetime.date) -> pl.DataFrame:
        """Return the rows of a month, by account; by line if accounts are not known."""
        return self.rows.filter(pl.col("as_of") == month).sort("account_id", "line")

    def build_features(self, month: datetime.date) -> Features:
        """Return the features of a month's decisions from their requests.

        The order is that of :meth:`of_month`.  Raises :class:`RecordFileError` for statements that
        break the schema or do not end in that month.
        """
        try:
            features = build(check(self._statements_of(month)))
        except (StatementError, pl.exceptions.PolarsError, AttributeError, TypeError) as error:
            expected = "expected statements as in a request"
            raise RecordFileError(f"records of {month:%Y-%m}: {expected}: {error}") from error
        if (features.accounts["as_of"] != month).any():
            expected = "expected statements up to that month, got others"
            raise RecordFileError(f"records of {month:%Y-%m}: {expected}")
        return features

    def in_default(self, default_days: int) -> pl.DataFrame:
        """Return ``account_id`` and ``as_of`` of the decisions on accounts in default at as_of.

        Expects the requests, and statements that :meth:`build_features` took.
        """
        keys = self.rows.select("account_id", "as_of", "line")
        found = []
        for account_id, as_of, line in keys.iter_rows():
            month = f"{as_of:%Y-%m}"
            at_as_of = [row for row in self.statements[line] if row["month"] == month]
            if at_as_of[-1]["days_past_due"] >= default_days:
                found.append((account_id, as_of))
        schema = {"account_id": pl.String, "as_of": pl.Date}
        return pl.DataFrame(found, schema, orient="row")

    def _statements_of(self, month: datetime.date) -> pl.DataFrame:
        keys = self.of_month(month).select("account_id", "product", "line")
        names = [column.name for column in COLUMNS]
        rows = []
        for account_id, product, line in keys.iter_rows():
            for statement in self.statements[line]:
                # Account and product stand once in a request, not in each of its statements.
                values = statement | {"account_id": account_id, "product": product}
                rows.append({name: values.get(name) for name in names})
        # The whole length, because a column may be null in all of the first rows.
        frame = pl.DataFrame(rows, infer_schema_length=None)
        first_day = (pl.col("month") + "-01").str.to_date("%Y-%m-%d")
        return frame.with_columns(first_day)


def read_records(file: Path, bundle: str) -> Records:
    """Return the decisions in a file that this bundle (its digest) made.

    Left out, and counted: decisions of other bundles, decisions on people erased since, and all
    but the newest decision on an account and month.

    Raises :class:`RecordFileError` for a line that is not an export's, for decisions of several
    tenants (two tenants may use the same account id), and if no decision remains.
    """
    rows, statements = [], {}
    for number, text in enumerate(_read_lines(file), start=1):
        row, statements[number] = _parse_decision(text, f"{file}:{number}")
        rows.append(row | {"line": number})
    table = pl.DataFrame(rows, _ROW)
    of_bundle = table.filter(bundle=bundle)
    # An erased decision keeps its row in the audit log, without its content.
    known = of_bundle.drop_nulls("probability")
    if known.is_empty():
        raise _no_decision(file, bundle, table.height, of_bundle.height)
    tenants = sorted(known["tenant"].unique().to_list())
    if len(tenants) > 1:
        expected = "expected decisions of one tenant (export --tenant)"
        raise RecordFileError(f"{file}: {expected}, got also {tenants[1:]}")
    newest = _keep_newest(known)
    left_out = {
        "other bundles": table.height - of_bundle.height,
        "erased": of_bundle.height - known.height,
        "decided again": known.height - newest.height,
    }
    first_day = (pl.col("as_of") + "-01").str.to_date("%Y-%m-%d")
    return Records(newest.with_columns(first_day), statements, left_out)


def read_labels(file: Path) -> pl.DataFrame:
    """Return the outcomes of accounts from a Parquet or CSV file.

    Columns: ``account_id``, ``as_of`` (first day of the month), ``label`` (float64).  In the file
    ``as_of`` may be a date or a month such as 2026-09.

    Raises :class:`RecordFileError` for a file that is neither, and for labels that cannot be used:
    see :func:`training.data.label_file.check_labels`.
    """
    try:
        labels = check_labels(read_outcome_table(file), file)
    except DataError as error:
        raise RecordFileError(str(error)) from error
    return labels.with_columns(pl.col("label").cast(pl.Float64))


def _keep_newest(known: pl.DataFrame) -> pl.DataFrame:
    """Return the last decision of each account and month; all decisions if accounts are unknown."""
    line = pl.col("line").cast(pl.String)
    account = pl.col("account_id").fill_null(line)
    ordered = known.sort("decided_at", "line").with_columns(key=account)
    newest = ordered.unique(["key", "as_of"], keep="last", maintain_order=True)
    return newest.drop("key")


def _no_decision(
    file: Path,
    bundle: str,
    decisions: int,
    of_bundle: int,
) -> RecordFileError:
    return RecordFileError(
        f"{file}: expected decisions of bundle {bundle[:12]}, got none of {decisions}: "
        f"{decisions - of_bundle} are of other bundles (--version names another), "
        f"{of_bundle} of erased persons"
    )


def _read_lines(file: Path) -> list[str]:
    try:
        lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise RecordFileError(f"{file}: expected decisions as JSON lines: {error}") from error
    if not lines:
        raise RecordFileError(f"{file}: expected at least one decision, got an empty file")
    return lines


def _parse_decision(text: str, where: str) -> tuple[dict[str, Any], Any]:
    """Return a decision's row and its statements, null if they are not exported or erased."""
    try:
        decision = json.loads(text)
        row = {name: decision[name] for name in _EXPORTED}
        request = decision["asked"]
        row["account_id"] = None if request is None else request["account_id"]
        row["first_reason"] = _first_reason(decision["reasons"])
        # Exports of earlier versions have no arms.
        row["arm"] = decision.get("arm")
        datetime.date.fromisoformat(f"{row['as_of']}-01")
        _check_types(row)
        return row, None if request is None else request["statements"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"no field {error}" if isinstance(error, KeyError) else str(error)
        expected = "expected a decision as `python -m serving export` writes it"
        raise RecordFileError(f"{where}: {expected}: {detail}") from error


def _first_reason(reasons: Any) -> str | None:
    """Return the code of the first reason: "" if there is no reason, null if it was erased."""
    if reasons is None:
        return None
    for reason in reasons:
        if reason["rank"] == 1:
            code: str = reason["code"]
            return code
    return ""


def _check_types(row: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        if not isinstance(row[name], str):
            raise ValueError(f"{name} is {row[name]!r}")
    probability = row["probability"]
    if probability is None:
        return
    # Open at both ends: the log-odds of 0 and of 1 are infinite.
    if not isinstance(probability, float) or not 0 < probability < 1:
        raise ValueError(f"probability is {probability!r}")
