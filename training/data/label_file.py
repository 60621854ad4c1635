"""Outcomes that a lender brings: one row an account and month, checked before they are used.

A fit reads them from ``labels.parquet`` of its data folder, the monitor from the file of
``--labels``.  The same rules hold for both.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import polars as pl

from training.data.config import DataError
from training.data.ingest.csv_file import CsvFile
from training.data.ingest.mapping import IngestError

COLUMNS = ("account_id", "as_of", "label")
_NAMED = 3  # rows that an error names for each rule
# The types that a column may have.  One that is null in all rows is of type Null.
_TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)
_DATES = (pl.Date, pl.Datetime, pl.Null)
_OUTCOMES = (pl.Boolean, pl.String, pl.Null)  # beside numbers


def read_outcome_table(file: Path) -> pl.DataFrame:
    """Return the table of a Parquet or CSV file of outcomes, unchecked; CSV is read as text.

    Raises :class:`training.data.config.DataError` for a file that is neither.
    """
    if file.suffix not in (".parquet", ".csv"):
        raise DataError(f"{file}: expected a name that ends in .parquet or .csv")
    try:
        if file.suffix == ".parquet":
            return pl.read_parquet(file, glob=False)
        source = CsvFile(file, ",")
        # All as text: an account id such as 007 is no number.
        cells, _ = source.read(source.header)
        return cells.select(pl.all().replace("", None))
    except IngestError as error:
        raise DataError(str(error)) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        # The first line is the cause; Polars adds pages of advice.
        cause = str(error).splitlines()[0]
        raise DataError(f"{file}: expected labels in Parquet or CSV: {cause}") from error


def check_labels(
    table: pl.DataFrame,
    file: Path,
    last_month: datetime.date | None = None,
) -> pl.DataFrame:
    """Return ``account_id`` (str), ``as_of`` (the first day of a month) and ``label`` (Int8).

    In the table ``as_of`` may be a date, or text such as 2026-09 or 2026-09-01, and ``label`` a
    number, a truth value, or the text of a number.  ``last_month`` is the last one that a label can
    be of; None = any.

    Raises :class:`training.data.config.DataError` for other columns, for a table without rows, and
    for rows that break a rule.  The message has every broken rule, with the number of its rows and
    the first of them, counted from 1.

    >>> rows = {"account_id": ["a", "b"], "as_of": ["2026-09", "2026-09-15"], "label": [0, 2]}
    >>> check_labels(pl.DataFrame(rows), Path("labels.parquet"))
    Traceback (most recent call last):
    ...
    training.data.config.DataError: labels.parquet: labels that cannot be used
      as_of is the first day of a month: 1 row(s): row 2 (account b, as_of 2026-09-15, label 2)
      label is 0 or 1: 1 row(s): row 2 (account b, as_of 2026-09-15, label 2)
    """
    columns = sorted(table.columns)
    if columns != sorted(COLUMNS):
        raise DataError(f"{file}: expected the columns {list(COLUMNS)}, got {table.columns}")
    if table.is_empty():
        raise DataError(f"{file}: expected at least one label, got none")
    account = _read_accounts(table["account_id"], file)
    as_of = _read_months(table["as_of"], file)
    outcome = _read_outcomes(table["label"], file)
    labels = pl.DataFrame([account, as_of, outcome])
    lines = [f"{file}: labels that cannot be used"]
    for rule, mask in _find_breaches(labels, last_month).items():
        count = int(mask.sum())
        if count:
            rows = _name_rows(table, mask, count)
            lines.append(f"{rule}: {count:,} row(s): {rows}")
    if len(lines) > 1:
        raise DataError("\n  ".join(lines))
    label = pl.col("label").cast(pl.Int8)
    return labels.with_columns(label)


def select_known(labels: pl.DataFrame, statements: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Return the labels whose account has a statement of the month ``as_of``, in their order.

    The others have no features.  Raises :class:`training.data.config.DataError` if no label is
    left.
    """
    billed = statements.select("account_id", as_of="month")
    known = labels.join(
        billed,
        on=("account_id", "as_of"),
        how="semi",
        maintain_order="left",
    )
    if known.is_empty():
        account, month, _ = labels.row(0)
        raise DataError(
            f"{file}: expected labels of accounts with a statement of the month, got none of "
            f"{labels.height:,}: account {account} in {month:%Y-%m} and so on"
        )
    return known


def last_labelled_month(labels: pl.DataFrame) -> datetime.date:
    """Return the last ``as_of`` that has at least half as many labels as the one with the most.

    The few labels of later months are no sample of their accounts: a default is known before the
    months without one are over, and one wrong date is later than all others.
    """
    counts = labels.group_by("as_of").len("count").sort("as_of")
    count = pl.col("count")
    half = count.max() / 2
    whole = counts.filter(count >= half)
    month: datetime.date = whole["as_of"].item(-1)
    return month


def _read_accounts(accounts: pl.Series, file: Path) -> pl.Series:
    if accounts.dtype not in _TEXTS:
        # A number has lost the zeros at the front of an id such as 007.
        raise DataError(f"{file}: account_id: expected text, got {accounts.dtype}")
    return accounts.cast(pl.String)


def _read_months(months: pl.Series, file: Path) -> pl.Series:
    """Return the dates; null where there is none, or a text that is no month."""
    if months.dtype in _DATES:
        return months.cast(pl.Date)
    if months.dtype != pl.String:
        raise DataError(f"{file}: as_of: expected dates or months, got {months.dtype}")
    days = _parse_days(months)
    first_days = _parse_days(months + "-01")
    return days.fill_null(first_days)


def _parse_days(texts: pl.Series) -> pl.Series:
    return texts.str.to_date("%Y-%m-%d", strict=False)


def _read_outcomes(outcomes: pl.Series, file: Path) -> pl.Series:
    """Return the numbers; null where there is none."""
    kind = outcomes.dtype
    is_number = kind.is_numeric()
    if not is_number and kind not in _OUTCOMES:
        raise DataError(f"{file}: label: expected 0 or 1, got {kind}")
    # Not to Int8: a 257 would overflow, and 0.5 become 0.
    return outcomes.cast(pl.Float64, strict=False)


def _find_breaches(
    labels: pl.DataFrame,
    last_month: datetime.date | None,
) -> dict[str, pl.Series]:
    """Return the rows that break each rule, as masks by the rule in words."""
    account = labels["account_id"]
    as_of = labels["as_of"]
    label = labels["label"]
    is_empty = account == ""
    no_account = account.is_null() | is_empty
    no_month = as_of.is_null()
    day = as_of.dt.day()
    is_outcome = label.is_in([0.0, 1.0])
    is_right = is_outcome.fill_null(False)
    keys = labels.select("account_id", "as_of")
    is_repeated = keys.is_duplicated()
    # A repeated row without an account or a month breaks another rule already.
    is_unknown = no_account | no_month
    masks = {
        "account_id is known": no_account,
        "as_of is a date, or a month such as 2026-09": no_month,
        "as_of is the first day of a month": day != 1,
        "label is 0 or 1": ~is_right,
        "one label an account and month": is_repeated & ~is_unknown,
    }
    if last_month is not None:
        rule = f"as_of is a month of the statements, which end in {last_month:%Y-%m}"
        masks[rule] = as_of > last_month
    # A comparison with null is null: another rule has that row.
    return {rule: mask.fill_null(False) for rule, mask in masks.items()}


def _name_rows(table: pl.DataFrame, mask: pl.Series, count: int) -> str:
    """Return the first rows of a mask in words, with their values as they were read."""
    numbered = table.with_row_index("row", offset=1)
    broken = numbered.filter(mask)
    first = broken.select("row", *COLUMNS).head(_NAMED)
    rows = []
    for row, account, as_of, label in first.iter_rows():
        rows.append(f"row {row} (account {account}, as_of {as_of}, label {label})")
    names = ", ".join(rows)
    more = count - len(rows)
    if more:
        names += f" and {more:,} more"
    return names
