"""The monthly statement: one row per account and month, declared once.

Conventions
-----------
``month`` is the first day of the month, ``pl.Date``.  Amounts are in CNY, float64, finite.  Counts
and days are whole numbers, int32.  The limits of ids, months and amounts are those of
:mod:`features.limits`, which the API has too.  Whatever brings statements in rounds the amounts;
:func:`check` accepts fractions of a fen, because computed statements have them.

Null means unknown.  ``Column.null`` says where it is allowed: ``never``; in ``any`` statement; or
``whole``: in all statements of an account or in none, because a source either has the column or
lacks it.

A table has any number of months per account.  A *window* is what one decision may use: 1 to
``LONGEST_WINDOW`` consecutive months per account, the last of which is ``as_of``.  A missing month
between two others means a lost statement and never a quiet month, since a dormant account still has
statements, with zeros.  So a table with such a gap is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from features.limits import ACCOUNT_RULE, FIRST_MONTH, LARGEST_AMOUNT, LAST_MONTH, is_account_id
from features.types import Mask

LONGEST_WINDOW = 24
PRODUCTS = ("pay_later", "cash_loan")
Null = Literal["never", "any", "whole"]
Kind = Literal["identifier", "month", "product", "amount", "whole_number"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the statement.

    Values are in [``low``, ``high``], or in (``above``, ``high``] if ``above`` is given.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    null: Null = "never"

    @property
    def dtype(self) -> pl.DataType:
        """The Polars type that :func:`check` returns."""
        return _DTYPES[self.kind]


_DTYPES: Mapping[Kind, pl.DataType] = {
    "identifier": pl.String(),
    "month": pl.Date(),
    "product": pl.Enum(PRODUCTS),
    "amount": pl.Float64(),
    "whole_number": pl.Int32(),
}


def _amount(name: str, meaning: str, *, low: float = 0.0, null: Null = "never") -> Column:
    return Column(name, "amount", "CNY", meaning, low=low, high=LARGEST_AMOUNT, null=null)


def _count(name: str, meaning: str) -> Column:
    return Column(name, "whole_number", "count", meaning, low=0, high=1000, null="whole")


COLUMNS: tuple[Column, ...] = (
    Column("account_id", "identifier", "", "the lender's name for the account"),
    Column("month", "month", "month", "the month that the statement closes"),
    Column("product", "product", "", "pay_later or cash_loan; one per account"),
    _amount("credit_limit", "limit in force when the statement closes"),
    _amount("balance", "owed when the statement closes; negative = overpaid", low=-LARGEST_AMOUNT),
    _amount("spend", "purchases of the month", null="any"),
    _amount("cash_advance", "cash drawn in the month", null="whole"),
    _amount("payment", "paid in the month, towards the statement of the month before"),
    _amount(
        "minimum_due",
        "least to be paid before the next statement, arrears included",
        null="whole",
    ),
    Column(
        "days_past_due",
        "whole_number",
        "days",
        "longest that any amount was past due in the month",
        low=0,
        high=3650,
    ),
    _count("limit_requests", "requests for a higher limit"),
    _count("credit_inquiries", "applications for credit elsewhere"),
    _amount("external_debt", "owed to other lenders", null="any"),
    Column(
        "income",
        "amount",
        "CNY",
        "monthly income",
        above=0.0,
        high=LARGEST_AMOUNT,
        null="any",
    ),
)
NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
_BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}
_AMOUNTS = tuple(column.name for column in COLUMNS if column.kind == "amount")
_KEYS = ["account_id", "month"]
GAP_RULE = "no month is missing"  # of the row after the gap
_MONTH_RULE = f"month is from {FIRST_MONTH:%Y-%m} to {LAST_MONTH:%Y-%m}"
_FIRST_DAY, _LAST_DAY = np.datetime64(FIRST_MONTH, "D"), np.datetime64(LAST_MONTH, "D")


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: the number of rows, and the first few of them as (account, month)."""

    rule: str
    count: int
    first: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        where = ", ".join(f"account {account} in {month}" for account, month in self.first)
        if self.count > len(self.first):
            where += f" and {self.count - len(self.first)} more"
        return f"{self.rule}: {self.count} row(s): {where}"


class StatementError(ValueError):
    """Statements that break the schema.

    ``violations`` are the broken rules.  It is empty for a fault of the whole table, such as a
    missing column.
    """

    def __init__(self, message: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(message)
        self.violations = violations


def column(name: str) -> Column:
    """The declared column of that name.

    Raises:
        KeyError: There is no such column.
    """
    return _BY_NAME[name]


def check(statements: pl.DataFrame, *, window: bool = True) -> pl.DataFrame:
    """The statements in canonical form; the input is not changed.

    The result has the declared columns, types and order, and is sorted by account and month.
    ``window=False`` permits more than 24 statements per account (raw tables).

    Raises:
        StatementError: The statements break rules; the message has every broken rule with its
            number of rows and the first of them.

    >>> import datetime
    >>> row = dict.fromkeys(NAMES) | {"account_id": "a", "product": "pay_later"}
    >>> row |= {"month": datetime.date(2026, 9, 1), "credit_limit": -5.0}
    >>> row |= {"balance": 0.0, "payment": 0.0, "days_past_due": 0}
    >>> check(pl.DataFrame([row]))
    Traceback (most recent call last):
    ...
    features.schema.StatementError: statements break the schema
      0 <= credit_limit <= 1e+09: 1 row(s): account a in 2026-09
    """
    frame = conform(statements)
    violations = []
    for rule, mask in _breaches(frame, window):
        if mask.any():
            violations.append(_violation(frame.filter(mask), rule))
    if violations:
        lines = ["statements break the schema", *map(str, violations)]
        raise StatementError("\n  ".join(lines), tuple(violations))
    return frame


def sift(statements: pl.DataFrame, *, window: bool = False) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The accounts without faults, and the faults.

    The first table is in the canonical form of :func:`check`.  The second has one row per breach,
    with the columns ``account_id``, ``month`` and ``rule``.  An account with one bad statement is
    excluded as a whole, because it would have a gap without that statement.

    Raises:
        StatementError: A column is missing or has the wrong type, or the table is empty.
    """
    frame = conform(statements)
    breaches = pl.concat(
        frame.filter(mask).select("account_id", "month", rule=pl.lit(rule))
        for rule, mask in _breaches(frame, window)
    )
    # Rows without an account name are never good, but an anti-join alone would keep them.
    good = frame.join(breaches, on="account_id", how="anti").drop_nulls("account_id")
    return good, breaches.sort("account_id", "month", "rule")


def round_amounts(statements: pl.DataFrame) -> pl.DataFrame:
    """The statements with every amount rounded as :func:`features.limits.round_amount` does.

    Null stays null, and what is not finite stays what it is.  The columns of amounts are numbers or
    null.
    """
    amounts = [name for name in _AMOUNTS if name in statements.columns]
    rounded = pl.col(amounts).cast(pl.Float64).round(2)
    # Not -0.0, and null stays null.
    is_zero = rounded == 0
    unsigned = pl.when(is_zero).then(0.0).otherwise(rounded)
    return statements.with_columns(unsigned.name.keep())


def table(rows: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """Rows as a table with the declared columns and types; what a row lacks is null."""
    records = list(rows)
    columns = []
    for declared in COLUMNS:
        values = [row.get(declared.name) for row in records]
        columns.append(pl.Series(declared.name, values, dtype=declared.dtype))
    return pl.DataFrame(columns)


def conform(statements: pl.DataFrame) -> pl.DataFrame:
    """The declared columns in order and type, sorted; the values are not checked.

    Amounts may come as any number, counts as whole numbers of any width, products as text, and a
    column that may be null may have no type.

    Raises:
        StatementError: A column is missing, unknown or of another type, or there is no row.
    """
    return _sorted(_declared(statements))


def _declared(statements: pl.DataFrame) -> pl.DataFrame:
    """The declared columns in order and type."""
    schema = statements.schema  # read once, because Polars builds it at each access
    if missing := [name for name in NAMES if name not in schema]:
        raise StatementError(f"statements: expected the columns {list(NAMES)}, missing {missing}")
    if extra := [name for name in schema if name not in _BY_NAME]:
        raise StatementError(f"statements: unknown columns {extra}; expected {list(NAMES)}")
    if statements.is_empty():
        raise StatementError("statements: expected at least one row, got none")
    if all(schema[c.name] == c.dtype for c in COLUMNS):
        # Not a select: that starts the query planner, which costs more than all checks of one
        # account.
        return pl.DataFrame([statements[name] for name in NAMES])
    wrong = [
        f"{c.name}: expected {c.dtype}, got {schema[c.name]}"
        for c in COLUMNS
        if not _fits(schema[c.name], c)
    ]
    if wrong:
        raise StatementError("statements: wrong types\n  " + "\n  ".join(wrong))
    return _cast(statements)


def _sorted(frame: pl.DataFrame) -> pl.DataFrame:
    return frame if _is_sorted(frame) else frame.sort(_KEYS, maintain_order=True)


def _is_sorted(frame: pl.DataFrame) -> bool:
    """Whether the rows are sorted by account and month, as those of a request mostly are."""
    account, month = frame["account_id"], frame["month"]
    if account.null_count() or month.null_count():
        return False
    before = slice(0, frame.height - 1)
    same_account = account[1:] == account[before]
    later_account = account[1:] > account[before]
    in_order = same_account & (month[1:] >= month[before]) | later_account
    return bool(in_order.all())


def _fits(dtype: pl.DataType, column: Column) -> bool:
    """Whether a column of this type can hold the declared values without loss or guessing."""
    if dtype == column.dtype or (dtype == pl.Null and column.null != "never"):
        return True
    if column.kind == "amount":
        return dtype.is_float() or dtype.is_integer()
    if column.kind == "whole_number":
        return dtype.is_integer()
    return column.kind == "product" and dtype in (pl.String, pl.Categorical, pl.Enum)


def _cast(statements: pl.DataFrame) -> pl.DataFrame:
    try:
        return statements.select(pl.col(c.name).cast(c.dtype) for c in COLUMNS)
    except pl.exceptions.InvalidOperationError as error:
        # An unknown product, or a count beyond int32.
        cause = str(error).splitlines()[0]
        raise StatementError(f"statements: a value does not fit its column: {cause}") from error


def _breaches(frame: pl.DataFrame, window: bool) -> Iterator[tuple[str, Mask]]:
    """Each rule's name with a mask over the sorted frame: true = the row breaks the rule.

    It uses series and arrays rather than expressions: for one account the query planner costs ten
    times the arithmetic.
    """
    for column in COLUMNS:
        values = frame[column.name]
        if column.null == "never" and values.null_count():
            yield f"{column.name} is known", values.is_null().to_numpy()
        if column.kind in ("amount", "whole_number"):
            yield _range_rule(column, values)
    same_account = _compare_with_earlier(frame["account_id"], 1, equal=True)
    yield ACCOUNT_RULE, _lacks_account_form(frame["account_id"], same_account)
    months = frame["month"].to_numpy()
    yield "month is the first of a month", months != months.astype("datetime64[M]")
    # A comparison with NaT, the unknown month, is false.
    yield _MONTH_RULE, (months < _FIRST_DAY) | (months > _LAST_DAY)
    yield from _history_breaches(frame, same_account, window)


def _range_rule(column: Column, values: pl.Series) -> tuple[str, Mask]:
    numbers = values.to_numpy()  # null becomes NaN
    if column.above is not None:
        rule = f"{column.above:g} < {column.name} <= {column.high:g}"
        inside = (numbers <= column.high) & (numbers > column.above)
    else:
        rule = f"{column.low:g} <= {column.name} <= {column.high:g}"
        inside = (numbers <= column.high) & (numbers >= column.low)
    outside = ~inside
    if values.null_count():
        outside &= values.is_not_null().to_numpy()  # null is in every range, NaN in none
    return rule, outside


def _lacks_account_form(names: pl.Series, same_account: Mask) -> Mask:
    """Whether each row's account id breaks the form; names are sorted."""
    # Each name once, and by Python: Polars takes longer over one account than all other checks.
    wrong = []
    for row in np.flatnonzero(~same_account).tolist():
        name = names[row]
        if name is not None and not is_account_id(name):
            wrong.append(name)
    if not wrong:
        return np.zeros(len(names), dtype=np.bool_)
    is_wrong = names.is_in(wrong).fill_null(False)
    return is_wrong.to_numpy()


def _history_breaches(
    frame: pl.DataFrame, same_account: Mask, window: bool
) -> Iterator[tuple[str, Mask]]:
    """The rules between a row and the row before it of the same account.

    The frame is sorted, so these rows are neighbours and no grouping is needed.
    """
    product = frame["product"].to_physical()
    months = frame["month"].to_numpy().astype("datetime64[M]").astype(np.int64)
    step = np.diff(months, prepend=0)
    yield "one statement a month", same_account & (step == 0)
    yield GAP_RULE, same_account & (step > 1)
    other_product = _compare_with_earlier(product, 1, equal=False)
    yield "one product an account", same_account & other_product
    for column in COLUMNS:
        values = frame[column.name]
        if column.null == "whole" and values.null_count() not in (0, frame.height):
            changed = _compare_with_earlier(values.is_null(), 1, equal=False)
            yield f"{column.name} is known in all statements or in none", same_account & changed
    if window and frame.height > LONGEST_WINDOW:
        too_many = _compare_with_earlier(frame["account_id"], LONGEST_WINDOW, equal=True)
        yield f"at most {LONGEST_WINDOW} statements an account", too_many


def _compare_with_earlier(values: pl.Series, lag: int, *, equal: bool) -> Mask:
    """Whether each row is equal, or unequal, to the row ``lag`` rows before.

    It is false in the first ``lag`` rows and where one of the two is null.
    """
    mask = np.zeros(len(values), dtype=np.bool_)
    later, earlier = values.slice(lag), values.slice(0, max(len(values) - lag, 0))
    result = later == earlier if equal else later != earlier
    if result.null_count():
        result = result.fill_null(False)
    mask[lag:] = result.to_numpy()
    return mask


def _violation(rows: pl.DataFrame, rule: str) -> Violation:
    first = rows.head(3).select("account_id", pl.col("month").dt.strftime("%Y-%m")).rows()
    places = tuple((str(account), str(month)) for account, month in first)
    return Violation(rule, rows.height, places)
