"""Outcomes that a lender brings: one row an account and month, checked before they are used.

A fit reads them from ``labels.parquet`` of its data folder, the monitor from the file of
``--labels``.  The same rules hold for both.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from training.data.config import DataError

COLUMNS = ("account_id", "as_of", "label")
_NAMED = 3  # rows that an error names for each rule


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
    if set(table.columns) != set(COLUMNS):
        raise DataError(f"{file}: expected the columns {list(COLUMNS)}, got {table.columns}")
    if table.is_empty():
        raise DataError(f"{file}: expected at least one label, got none")
    labels = pl.DataFrame(
        [
            _read_accounts(table["account_id"], file),
            _read_months(table["as_of"], file),
            _read_outcomes(table["label"], file),
        ]
    )
    lines = []
    for rule, mask in _breaches(labels, last_month):
        if mask.any():
            lines.append(f"{rule}: {mask.sum():,} row(s): {_name_rows(table, mask)}")
    if lines:
        raise DataError("\n  ".join([f"{file}: labels that cannot be used", *lines]))
    return labels.with_columns(pl.col("label").cast(pl.Int8))


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
    counts = labels.group_by("as_of").len().sort("as_of")
    is_whole = 2 * pl.col("len") >= pl.col("len").max()
    months: list[datetime.date] = counts.filter(is_whole)["as_of"].to_list()
    return months[-1]


def _read_accounts(accounts: pl.Series, file: Path) -> pl.Series:
    is_text = accounts.dtype in (pl.String, pl.Categorical, pl.Enum)
    if not is_text and accounts.dtype != pl.Null:
        # A number has lost the zeros at the front of an id such as 007.
        raise DataError(f"{file}: account_id: expected text, got {accounts.dtype}")
    return accounts.cast(pl.String)


def _read_months(months: pl.Series, file: Path) -> pl.Series:
    """Return the dates; null where there is none, or a text that is no month."""
    if months.dtype in (pl.Date, pl.Null) or isinstance(months.dtype, pl.Datetime):
        return months.cast(pl.Date)
    if months.dtype != pl.String:
        raise DataError(f"{file}: as_of: expected dates or months, got {months.dtype}")
    days = months.str.to_date("%Y-%m-%d", strict=False)
    return days.fill_null((months + "-01").str.to_date("%Y-%m-%d", strict=False))


def _read_outcomes(outcomes: pl.Series, file: Path) -> pl.Series:
    """Return the numbers; null where there is none."""
    kind = outcomes.dtype
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.String, pl.Null)):
        raise DataError(f"{file}: label: expected 0 or 1, got {kind}")
    # Not to Int8: a 257 would overflow, and 0.5 become 0.
    return outcomes.cast(pl.Float64, strict=False)


def _breaches(
    labels: pl.DataFrame,
    last_month: datetime.date | None,
) -> Iterator[tuple[str, pl.Series]]:
    """Yield each rule with a mask of the rows that break it."""
    account, as_of, label = labels["account_id"], labels["as_of"], labels["label"]
    yield "account_id is known", account.is_null() | (account == "").fill_null(False)
    yield "as_of is a date, or a month such as 2026-09", as_of.is_null()
    yield "as_of is the first day of a month", (as_of.dt.day() != 1).fill_null(False)
    if last_month is not None:
        rule = f"as_of is a month of the statements, which end in {last_month:%Y-%m}"
        yield rule, (as_of > last_month).fill_null(False)
    yield "label is 0 or 1", ~label.is_in([0.0, 1.0]).fill_null(False)
    is_known = account.is_not_null() & as_of.is_not_null()
    repeated = labels.select("account_id", "as_of").is_duplicated()
    yield "one label an account and month", repeated & is_known


def _name_rows(table: pl.DataFrame, mask: pl.Series) -> str:
    """Return the first rows of a mask in words, with their values as they were read."""
    numbered = table.with_row_index("row", offset=1)
    first = numbered.filter(mask).head(_NAMED)
    rows = [
        f"row {row} (account {account}, as_of {as_of}, label {label})"
        for row, account, as_of, label in first.select("row", *COLUMNS).iter_rows()
    ]
    more = int(mask.sum()) - len(rows)
    return ", ".join(rows) + (f" and {more:,} more" if more else "")
