"""Foreign data to statements: a CSV and a mapping file in, a data folder out.

    CSV -> cells -> statements in the source's unit -> derived columns -> CNY -> schema -> folder

The folder holds

statements/part-00000.parquet   the declared columns, of accounts that keep the schema
labels.parquet                  account_id, as_of, label; if the source has an outcome
accounts/part-00000.parquet     attributes to measure fairness; if the source has them
rejects.csv                     account_id, month, rule
ingest.json                     source, mapping, currency and counts

Columns that the source lacks are null, never invented.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.display import notebook_display
from features.schema import COLUMNS, NAMES, StatementError, sift
from training.data.ingest.account_names import count_rounded_names
from training.data.ingest.csv_cells import Cells, read_cells
from training.data.ingest.mapping import IngestError, Plan, read_mapping
from training.data.ingest.tables import (
    find_unbilled,
    map_attributes,
    map_labels,
    map_statements,
)

__all__ = ["IngestError", "Summary", "ingest"]

_PART = "part-00000.parquet"
_OURS = frozenset({"statements", "accounts", "labels.parquet", "rejects.csv", "ingest.json"})
_MAY_LACK = frozenset(column.name for column in COLUMNS if column.null != "never")
_FIRST = 3  # foreign files that an error names


@notebook_display
@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of an ingest, and the columns that the source lacks."""

    folder: Path
    rows: int  # of the CSV
    accounts: int  # that keep the schema
    statements: int  # of these accounts
    rejected_accounts: int
    rejected: Mapping[str, int]  # rows by the rule that they break
    products: Mapping[str, int]  # accounts by product
    absent: tuple[str, ...]  # columns that the source lacks
    labels: int  # accounts and months with a known outcome
    label_rate: float | None  # share of label 1; None if the source has no outcome
    fractions: Mapping[str, int]  # amounts with fractions of a cent, which were rounded; by column
    rounded_names: int  # account numbers that a spreadsheet may have rounded to 15 digits

    def __str__(self) -> str:
        lines = [
            f"ingested {self.accounts:,} accounts, {self.statements:,} statements "
            f"from {self.rows:,} rows: {self.folder}"
        ]
        if self.label_rate is not None:
            lines.append(f"  labels {self.labels:,}, rate {self.label_rate:.2%}")
        if self.absent:
            lines.append(f"  the source lacks {', '.join(self.absent)}")
        if self.fractions:
            columns = ", ".join(f"{name} {count:,}" for name, count in self.fractions.items())
            lines.append(f"  amounts with fractions of a cent, rounded to 0.01: {columns}")
        if self.rounded_names:
            lines.append(
                f"  {self.rounded_names:,} account numbers end in zeros from the 16th digit on: "
                "a spreadsheet may have rounded them, so that several accounts have one number"
            )
        if self.rejected:
            lines.append(
                f"  rejected {self.rejected_accounts:,} accounts: {self.folder / 'rejects.csv'}"
            )
        for rule, count in self.rejected.items():
            lines.append(f"    {rule}: {count:,} row(s)")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Tables:
    """The tables of a data folder."""

    statements: pl.DataFrame
    rejects: pl.DataFrame
    labels: pl.DataFrame | None
    accounts: pl.DataFrame | None


def ingest(csv: Path, mapping: Path, folder: Path) -> Summary:
    """Make ``folder`` from a CSV and a mapping file; return counts of its content.

    A folder that an earlier ingest wrote is overwritten; it is complete before it takes the name.
    Raises :class:`IngestError` for a CSV or a mapping that cannot be used, for a source without any
    account that keeps the schema, and for a folder that holds other files.  Nothing is then written
    or overwritten.

    >>> home = Path(tempfile.mkdtemp())
    >>> lines = ["id,month,limit,owed,paid,late", "7,2026-08,900,50,0,0", "7,2026-09,900,80,50,0"]
    >>> _ = (home / "book.csv").write_text("\\n".join(lines))
    >>> _ = (home / "book.toml").write_text('''
    ...     source = { name = "a small book", format = "long" }
    ...     account = { column = "id" }
    ...     product = { constant = "cash_loan" }
    ...     currency = { code = "CNY", rate = 1, source = "none needed" }
    ...     months = { column = "month", format = "%Y-%m" }
    ...     derived = { spend = "balance_and_payment" }
    ...     [columns]
    ...     credit_limit = { column = "limit" }
    ...     balance = { column = "owed" }
    ...     payment = { column = "paid" }
    ...     days_past_due = { column = "late" }
    ... ''')
    >>> summary = ingest(home / "book.csv", home / "book.toml", home / "data")
    >>> summary.accounts, summary.statements, summary.rejected
    (1, 2, {})
    >>> pl.read_parquet(home / "data" / "statements")["spend"].to_list()
    [None, 80.0]
    """
    _refuse_foreign(folder)
    plan = read_mapping(mapping)
    cells = read_cells(csv, plan)
    mapped = map_statements(cells, plan)
    try:
        good, failed = sift(mapped.statements)
    except StatementError as error:
        raise IngestError(f"{csv}: {error}") from None
    unbilled = find_unbilled(cells, mapped.statements)
    rejects = pl.concat([unbilled, failed]).sort("account_id", "month", "rule")
    if good.is_empty():
        rules = rejects["rule"].value_counts(sort=True).rows()
        raise IngestError(
            f"{csv}: expected at least one account that keeps the schema, got none; "
            f"rows by rule broken: {rules}"
        )
    tables = _Tables(
        statements=good,
        rejects=rejects,
        labels=map_labels(cells, plan, good),
        accounts=map_attributes(cells, plan, good),
    )
    summary = _summary(folder, cells, plan, tables, mapped.fractions)
    report = _report(cells, plan, summary)
    _write(folder, tables, report)
    return summary


def _summary(
    folder: Path,
    cells: Cells,
    plan: Plan,
    tables: _Tables,
    fractions: Mapping[str, int],
) -> Summary:
    statements, labels = tables.statements, tables.labels
    rules = tables.rejects.group_by("rule").len().sort("rule")
    accounts = statements.unique("account_id")
    products = accounts.group_by("product").len().sort("product")
    mapped = {*plan.columns, *plan.derived}
    absent = [name for name in NAMES if name in _MAY_LACK - mapped]
    count, label_rate = 0, None
    if labels is not None:
        count = labels.height
        ones = labels.filter(pl.col("label") == 1).height
        label_rate = ones / count
    return Summary(
        folder=folder,
        rows=cells.frame.height,
        accounts=accounts.height,
        statements=statements.height,
        rejected_accounts=tables.rejects["account_id"].n_unique(),
        rejected=dict(rules.rows()),
        products=dict(products.rows()),
        absent=tuple(absent),
        labels=count,
        label_rate=label_rate,
        fractions=fractions,
        rounded_names=count_rounded_names(cells.frame[plan.account.column]),
    )


def _report(
    cells: Cells,
    plan: Plan,
    summary: Summary,
) -> Mapping[str, object]:
    """Return the content of ingest.json.

    Without time or paths of this machine: the same input gives the same bytes.
    """
    label = None
    if plan.label is not None:
        label = {
            "definition": plan.label.definition,
            "as_of": f"{plan.label.as_of:%Y-%m}" if plan.label.as_of else None,
            "count": summary.labels,
            "rate": summary.label_rate,
        }
    return {
        "source": {
            "name": plan.source,
            "file": cells.file.name,
            "sha256": cells.sha256,
        },
        "mapping": {
            "file": plan.file.name,
            "sha256": plan.sha256,
        },
        "currency": {
            "code": plan.currency,
            "rate": plan.rate,
            "source": plan.rate_source,
        },
        "counts": {
            "rows": summary.rows,
            "accounts": summary.accounts,
            "statements": summary.statements,
            "rejected_accounts": summary.rejected_accounts,
        },
        "products": summary.products,
        "rejected": summary.rejected,
        "derived": plan.derived,
        "absent": summary.absent,
        "fractions_rounded": summary.fractions,
        "account_numbers_ending_in_zeros": summary.rounded_names,
        "label": label,
    }


def _write(
    folder: Path,
    tables: _Tables,
    report: Mapping[str, object],
) -> None:
    """Write the folder next to its place, and rename it when it is complete."""
    folder = folder.resolve()
    prefix = f".{folder.name}-"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder and so on the same file system, where a rename is atomic.
        with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as scratch:
            # Not the scratch folder itself: its mode lets only the owner read it.
            whole = Path(scratch, "whole")
            old = Path(scratch, "old")
            _fill(whole, tables, report)
            if folder.exists():
                folder.rename(old)
            try:
                whole.rename(folder)
            except OSError:
                if old.exists():
                    old.rename(folder)
                raise
    except OSError as error:
        raise IngestError(f"{folder}: expected a folder that can be written: {error}") from error


def _fill(
    folder: Path,
    tables: _Tables,
    report: Mapping[str, object],
) -> None:
    statements = folder / "statements"
    statements.mkdir(parents=True)
    tables.statements.write_parquet(statements / _PART)
    if tables.accounts is not None:
        accounts = folder / "accounts"
        accounts.mkdir()
        tables.accounts.write_parquet(accounts / _PART)
    if tables.labels is not None:
        tables.labels.write_parquet(folder / "labels.parquet")
    tables.rejects.write_csv(folder / "rejects.csv")
    content = json.dumps(report, indent=2, ensure_ascii=False)
    (folder / "ingest.json").write_text(content + "\n", encoding="utf-8")


def _refuse_foreign(folder: Path) -> None:
    """Raise if ``folder`` holds a file that no ingest writes: it would be lost."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise IngestError(f"{folder}: expected a folder, got a file")
    present = {path.name for path in folder.iterdir()}
    foreign = sorted(present - _OURS)
    if foreign:
        raise IngestError(
            f"{folder}: expected a new folder or one that ingest wrote, "
            f"found {foreign[:_FIRST]} in it"
        )
