"""Cells to the tables of a data folder: statements, labels and attributes.

cells -> statements in the source's unit -> derived columns -> CNY, rounded to whole fen
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from features.schema import COLUMNS, NAMES, round_amounts
from training.data.ingest.csv_cells import Cells
from training.data.ingest.mapping import Dates, IngestError, Origin, Plan, Words

_AMOUNTS = [column.name for column in COLUMNS if column.kind == "amount"]
_WHOLE_NUMBERS = frozenset(column.name for column in COLUMNS if column.kind == "whole_number")
# Of a unit of the source's currency.  What is below is a remainder of floating point: amounts of up
# to 1e9 have an error of 1e-7.
_FLOAT_REMAINDER = 1e-6
_NO_STATEMENT = "at least one statement"  # the rule that a wide row of empty months breaks


@dataclass(frozen=True, slots=True)
class Mapped:
    """Statements of a source.

    ``statements`` has one row an account and month, sorted, with every statement column, in CNY,
    rounded to whole fen.  Columns that the source lacks are null.  The schema is not checked yet.

    ``fractions`` is, by column, the number of amounts with fractions of a cent in the source's
    currency; columns without any are left out.
    """

    statements: pl.DataFrame
    fractions: Mapping[str, int]


def map_statements(cells: Cells, plan: Plan) -> Mapped:
    """Return the statements of a source.

    Raises :class:`IngestError` for cells that the plan cannot parse.
    """
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
    whole = table.with_columns(absent).select(NAMES)
    statements = whole.sort("account_id", "month")
    in_cny = _in_cny(_derived(statements, plan), plan)
    return Mapped(round_amounts(in_cny), _count_fractions(statements, plan))


def _count_fractions(statements: pl.DataFrame, plan: Plan) -> dict[str, int]:
    counts = {}
    for name in _AMOUNTS:
        if name not in plan.columns:
            continue
        amounts = statements[name]
        fractions = amounts - amounts.round(2)
        is_fraction = fractions.abs() > _FLOAT_REMAINDER
        count = int(is_fraction.sum())
        if count:
            counts[name] = count
    return counts


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
    is_empty = pl.col(monthly).is_null()
    is_billed = ~pl.all_horizontal(is_empty)
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
        numbers = cells.numbers(origin, column, whole=whole)
        numbers = numbers.alias(name)
        if whole:
            numbers = numbers.cast(pl.Int32)
        values.append(numbers)
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


def find_unbilled(cells: Cells, statements: pl.DataFrame) -> pl.DataFrame:
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


def map_labels(
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
    is_label = outcome.is_in([0.0, 1.0])
    is_wrong = outcome.is_not_null() & ~is_label
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
        is_of_month = pl.col("as_of") == label.as_of
        labels = labels.filter(is_of_month)
    # A label needs features: the account has to be good, and billed in the month of the label.
    key = ["account_id", "as_of"]
    billed = good.select("account_id", as_of="month")
    labels = labels.join(
        billed,
        on=key,
        how="semi",
    )
    labels = labels.sort(key)
    if labels.is_empty():
        when = "its own month" if label.as_of is None else f"{label.as_of:%Y-%m}"
        raise IngestError(
            f"{cells.file}: column {label.column!r}: expected a label "
            f"for at least one good account at {when}, got none"
        )
    return labels


def map_attributes(
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
    attributes = pl.col(list(plan.attributes))
    first_known = attributes.drop_nulls().first()
    known = table.group_by("account_id").agg(first_known)
    kept = known.join(
        good,
        on="account_id",
        how="semi",
    )
    return kept.sort("account_id")
