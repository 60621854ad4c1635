"""Foreign data to statements: a CSV and a mapping file in, a data folder out.

    CSV -> cells -> statements in the source's unit -> derived columns -> CNY -> schema -> folder

The folder holds

statements/part-00000.parquet   the declared columns, of accounts that keep the schema
labels.parquet                  account_id, as_of, label; if the source brings an outcome
accounts/part-00000.parquet     attributes to measure fairness; if the source brings them
rejects.csv                     account_id, month, rule
ingest.json                     what was made from what

Columns that the source lacks are null, never invented.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from features.schema import COLUMNS, NAMES, StatementError, sift
from training.data.ingest.csv_cells import Cells, read_cells
from training.data.ingest.mapping import Dates, IngestError, Origin, Plan, Words, read_mapping

__all__ = ["IngestError", "Summary", "ingest"]

_PART = "part-00000.parquet"
_OURS = frozenset({"statements", "accounts", "labels.parquet", "rejects.csv", "ingest.json"})
_AMOUNTS = [column.name for column in COLUMNS if column.kind == "amount"]
_MAY_LACK = frozenset(column.name for column in COLUMNS if column.null != "never")
_WHOLE_NUMBERS = frozenset(column.name for column in COLUMNS if column.kind == "whole_number")
_FIRST = 3  # foreign files that an error names
_NO_STATEMENT = "at least one statement"  # the rule that a wide row of empty months breaks


@dataclass(frozen=True, slots=True)
class Summary:
    """What was ingested: counts, and the columns that the source lacks."""

    folder: Path
    rows: int  # of the CSV
    accounts: int  # that keep the schema
    statements: int  # of these accounts
    rejected_accounts: int
    rejected: Mapping[str, int]  # rows by the rule that they break
    products: Mapping[str, int]  # accounts by product
    absent: tuple[str, ...]  # columns that the source lacks
    labels: int  # accounts and months with a known outcome
    label_rate: float | None  # share of label 1; None if the source brings no outcome

    def __str__(self) -> str:
        lines = [
            f"ingested {self.accounts:,} accounts, {self.statements:,} statements "
            f"from {self.rows:,} rows: {self.folder}"
        ]
        if self.label_rate is not None:
            lines.append(f"  labels {self.labels:,}, rate {self.label_rate:.2%}")
        if self.absent:
            lines.append(f"  the source lacks {', '.join(self.absent)}")
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
    mapped = _statements(cells, plan)
    statements = _in_cny(_derived(mapped, plan), plan)
    try:
        good, failed = sift(statements)
    except StatementError as error:
        raise IngestError(f"{csv}: {error}") from None
    unbilled = _without_statement(cells, statements)
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
        labels=_labels(cells, plan, good),
        accounts=_accounts(cells, plan, good),
    )
    summary = _summary(folder, cells, plan, tables)
    report = _report(cells, plan, summary)
    _write(folder, tables, report)
    return summary


def _statements(cells: Cells, plan: Plan) -> pl.DataFrame:
    """Return one row an account and month in the source's unit; absent columns are null."""
    product = _product(cells, plan.product).alias("product")
    accounts = cells.accounts.to_frame().with_columns(product)
    values = {}
    for name, origin in plan.columns.items():
        values[name] = _values(cells, name, origin)
    if plan.month is not None:
        table = _long_table(cells, plan.month, accounts, values)
    else:
        table = _wide_table(plan, accounts, values)
    absent = [
        pl.lit(None, column.dtype).alias(column.name)
        for column in COLUMNS
        if column.name not in table.columns
    ]
    return table.with_columns(absent).select(NAMES).sort("account_id", "month")


def _product(cells: Cells, product: str | Words) -> pl.Series | pl.Expr:
    if isinstance(product, Words):
        return cells.words(product)
    return pl.lit(product)


def _long_table(
    cells: Cells,
    month: Dates,
    accounts: pl.DataFrame,
    values: Mapping[str, list[pl.Series]],
) -> pl.DataFrame:
    """Return the table of a CSV with one row an account and month."""
    columns = [series for (series,) in values.values()]
    return accounts.with_columns(
        _months_of(cells, month).alias("month"),
        *columns,
    )


def _wide_table(
    plan: Plan,
    accounts: pl.DataFrame,
    values: Mapping[str, list[pl.Series]],
) -> pl.DataFrame:
    """Return the table of a CSV with one row an account and its months in columns."""
    tables = []
    for place, month in enumerate(plan.months):
        # A column of its own for each month, or one that holds for all.
        columns = [series[place % len(series)] for series in values.values()]
        billed = accounts.with_columns(
            pl.lit(month).alias("month"),
            *columns,
        )
        tables.append(billed)
    table = pl.concat(tables)
    # A month whose own cells are all empty was not billed.  At either end of the history that
    # is no fault; in the middle it is a gap, which the schema refuses.
    monthly = [name for name, series in values.items() if len(series) > 1]
    if not monthly:
        return table
    is_billed = ~pl.all_horizontal(pl.col(monthly).is_null())
    return table.filter(is_billed)


def _months_of(cells: Cells, month: Dates) -> pl.Series:
    # Whatever the day of the statement: a month is named by its first day.
    dates = cells.dates(month.column, month.format)
    return dates.dt.truncate("1mo")


def _values(
    cells: Cells,
    name: str,
    origin: Origin,
) -> list[pl.Series]:
    """Return a statement column from each of its source columns."""
    whole = name in _WHOLE_NUMBERS
    values = []
    for column in origin.columns:
        numbers = cells.numbers(origin, column, whole=whole).alias(name)
        values.append(numbers.cast(pl.Int32) if whole else numbers)
    return values


def _derived(statements: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """Return the statements with the derived columns.  They are sorted by account and month."""
    if "spend" not in plan.derived:
        return statements
    # Growth of the balance plus payment: includes interest and fees, unknown in the first month.
    earlier = pl.col("balance").shift(1).over("account_id")
    growth = pl.col("balance") - earlier
    posted = growth + pl.col("payment")
    # clip() and not max_horizontal(), which ignores nulls.
    spend = posted.clip(lower_bound=0.0)
    # Rounded to cents of the source's currency before the rate is applied: afterwards equal amounts
    # would differ by 1e-13, and a month without purchases would not show as one.
    return statements.with_columns(spend=spend.round(2))


def _in_cny(statements: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    return statements.with_columns(pl.col(_AMOUNTS) * plan.rate)


def _without_statement(cells: Cells, statements: pl.DataFrame) -> pl.DataFrame:
    """Return accounts of a wide file whose months are all empty, as rejects without a month."""
    # nulls_equal: the schema already rejects rows without an account, under a rule of its own.
    lost = cells.accounts.to_frame().join(
        statements,
        on="account_id",
        how="anti",
        nulls_equal=True,
    )
    return lost.select(
        "account_id",
        month=pl.lit(None, pl.Date),
        rule=pl.lit(_NO_STATEMENT),
    )


def _labels(
    cells: Cells,
    plan: Plan,
    good: pl.DataFrame,
) -> pl.DataFrame | None:
    """Return account_id, as_of and label (Int8) of good statements with a known outcome.

    None if no label is mapped.
    """
    label = plan.label
    if label is None:
        return None
    origin = Origin((label.column,), label.values)
    outcome = cells.numbers(origin, label.column, whole=True)
    is_wrong = ~outcome.is_in([0.0, 1.0]) & outcome.is_not_null()
    cells.refuse(is_wrong, label.column, "a label of 0 or 1")
    if plan.month is not None:
        as_of = _months_of(cells, plan.month)
    else:
        as_of = pl.repeat(
            label.as_of,
            len(outcome),
            dtype=pl.Date,
            eager=True,
        )
    columns = [
        cells.accounts,
        as_of.alias("as_of"),
        outcome.cast(pl.Int8).alias("label"),
    ]
    labels = pl.DataFrame(columns).drop_nulls()
    if label.as_of is not None:
        labels = labels.filter(pl.col("as_of") == label.as_of)
    # A label needs features: the account has to be good, and billed in the month of the label.
    key = ["account_id", "as_of"]
    billed = good.select("account_id", as_of="month")
    labels = labels.join(billed, on=key, how="semi").sort(key)
    if labels.is_empty():
        when = "its own month" if label.as_of is None else f"{label.as_of:%Y-%m}"
        raise IngestError(
            f"{cells.file}: column {label.column!r}: expected a label "
            f"for at least one good account at {when}, got none"
        )
    return labels


def _accounts(
    cells: Cells,
    plan: Plan,
    good: pl.DataFrame,
) -> pl.DataFrame | None:
    """Return account_id and the mapped attributes of the good accounts; null = unknown.

    None if no attribute is mapped.
    """
    if not plan.attributes:
        return None
    table = cells.accounts.to_frame()
    for name, origin in plan.attributes.items():
        if isinstance(origin, Dates):
            values = cells.dates(origin.column, origin.format)
        else:
            values = cells.words(origin)
        table = table.with_columns(values.alias(name))
        # A long file repeats an attribute in every month: all of them must agree.
        distinct = pl.col(name).drop_nulls().n_unique().over("account_id")
        counts = table.select(distinct).to_series()
        cells.refuse(counts > 1, origin.column, "one value an account")
    first_known = pl.col(list(plan.attributes)).drop_nulls().first()
    known = table.group_by("account_id").agg(first_known)
    return known.join(good, on="account_id", how="semi").sort("account_id")


def _summary(
    folder: Path,
    cells: Cells,
    plan: Plan,
    tables: _Tables,
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
