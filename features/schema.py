"""The monthly statement: one row per account and month, declared once.

Conventions
-----------
``month``       the first day of the month, ``pl.Date``
amounts         CNY, float64, finite, at most ``LARGEST_AMOUNT``
counts, days    whole numbers, int32
null            unknown.  ``Column.null`` says where it may stand: ``never``; ``any`` statement; or ``whole``: in all
                statements of an account or in none, because a source either has the column or lacks it

A table holds any number of months per account; a *window* is what one decision may see: 1 to
``LONGEST_WINDOW`` consecutive months per account, the last of which is ``as_of``.  A month that is
missing between two others means a lost statement, never a quiet month (a dormant account still has
statements, with zeros): a table with such a gap is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from features.types import Mask

LONGEST_WINDOW = 24
LARGEST_AMOUNT = 1e9
# One fen.  Features divide by amounts, and by less than there is money for the quotient may be no
# number: a request with such an amount is refused.  `check` lets it pass, for statements that are
# computed have such remainders.
SMALLEST_AMOUNT = 0.01
PRODUCTS = ("pay_later", "cash_loan")
Null = Literal["never", "any", "whole"]
Kind = Literal["identifier", "month", "product", "amount", "whole_number"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the statement: its kind, unit, range (both ends belong to it unless ``above``)
    and meaning of null.
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


def _amount(
    name: str,
    meaning: str,
    low: float | None = 0.0,
    null: Null = "never",
    above: float | None = None,
) -> Column:
    low = None if above is not None else low
    return Column(
        name, "amount", "CNY", meaning, low=low, high=LARGEST_AMOUNT, above=above, null=null
    )


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
        "minimum_due", "least to be paid before the next statement, arrears included", null="whole"
    ),
    Column(
        "days_past_due",
        "whole_number",
        "days",
        "longest that any amount stood past due in the month",
        low=0,
        high=3650,
    ),
    Column(
        "limit_requests",
        "whole_number",
        "count",
        "times a higher limit was asked for",
        low=0,
        high=1000,
        null="whole",
    ),
    Column(
        "credit_inquiries",
        "whole_number",
        "count",
        "times credit was asked for elsewhere",
        low=0,
        high=1000,
        null="whole",
    ),
    _amount("external_debt", "owed to other lenders", null="any"),
    _amount("income", "monthly income", above=0.0, null="any"),
)
NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)
_BY_NAME: Mapping[str, Column] = {column.name: column for column in COLUMNS}
_KEYS = ["account_id", "month"]


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that rows break: how many rows, and the first few of them as (account, month)."""

    rule: str
    count: int
    first: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        where = ", ".join(f"account {account} in {month}" for account, month in self.first)
        more = f" and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        return f"{self.rule}: {self.count} row(s): {where}{more}"


class StatementError(ValueError):
    """Statements that break the schema.

    ``violations`` holds the rules broken; structural faults have none.
    """

    def __init__(self, message: str, violations: tuple[Violation, ...] = ()) -> None:
        super().__init__(message)
        self.violations = violations


def column(name: str) -> Column:
    """The declared column of that name; KeyError where there is none."""
    return _BY_NAME[name]


def check(statements: pl.DataFrame, *, window: bool = True) -> pl.DataFrame:
    """The statements in canonical form: declared columns, types and order, sorted by account and
    month.

    ``window=False`` lifts the limit of 24 statements an account (raw tables).  Raises
    :class:`StatementError` naming every broken rule with its count and first rows; the input is
    left as it was.

    >>> import datetime
    >>> row = dict.fromkeys(NAMES) | {"account_id": "a", "month": datetime.date(2026, 9, 1), "product": "pay_later"}
    >>> row |= {"credit_limit": -5.0, "balance": 0.0, "payment": 0.0, "days_past_due": 0}
    >>> check(pl.DataFrame([row]))
    Traceback (most recent call last):
    ...
    features.schema.StatementError: statements break the schema
      0 <= credit_limit <= 1e+09: 1 row(s): account a in 2026-09
    """
    frame = _conform(statements)
    breaches = [(rule, mask) for rule, mask in _breaches(frame, window) if mask.any()]
    if breaches:
        violations = tuple(_violation(frame.filter(mask), rule) for rule, mask in breaches)
        raise StatementError(
            "\n  ".join(["statements break the schema", *map(str, violations)]), violations
        )
    return frame


def sift(statements: pl.DataFrame, *, window: bool = False) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(good, failed): the accounts without fault in canonical form, and one row ``account_id,
    month, rule`` a breach.

    An account with one bad statement is out as a whole: without that statement it would have a
    gap.  Structural faults (a column missing or of the wrong type, an empty table) still raise
    :class:`StatementError`.
    """
    frame = _conform(statements)
    breaches = pl.concat(
        frame.filter(mask).select("account_id", "month", rule=pl.lit(rule))
        for rule, mask in _breaches(frame, window)
    )
    # Null account names belong to nobody and are never good; an anti-join alone would keep them.
    good = frame.join(breaches, on="account_id", how="anti").drop_nulls("account_id")
    return good, breaches.sort("account_id", "month", "rule")


def table(rows: Iterable[Mapping[str, object]]) -> pl.DataFrame:
    """Rows of statement columns as a table of the declared types; columns that no row has are null."""
    records = list(rows)
    columns = {
        c.name: pl.Series(c.name, [row.get(c.name) for row in records], dtype=c.dtype)
        for c in COLUMNS
    }
    return pl.DataFrame(columns)


def _conform(statements: pl.DataFrame) -> pl.DataFrame:
    """Declared columns in order and type, sorted; raises where the table's shape is wrong rather
    than its values.
    """
    schema = statements.schema  # read once: Polars builds it anew at each access
    if missing := [name for name in NAMES if name not in schema]:
        raise StatementError(f"statements: expected the columns {list(NAMES)}, missing {missing}")
    if extra := [name for name in schema if name not in _BY_NAME]:
        raise StatementError(f"statements: unknown columns {extra}; expected {list(NAMES)}")
    if statements.is_empty():
        raise StatementError("statements: expected at least one row, got none")
    wrong = [
        f"{c.name}: expected {c.dtype}, got {schema[c.name]}"
        for c in COLUMNS
        if not _fits(schema[c.name], c)
    ]
    if wrong:
        raise StatementError("statements: wrong types\n  " + "\n  ".join(wrong))
    exact = all(schema[c.name] == c.dtype for c in COLUMNS)
    # Built from its columns: a select would start the query planner, which costs more than all
    # checks of one account.
    frame = pl.DataFrame([statements[name] for name in NAMES]) if exact else _cast(statements)
    return frame if _in_order(frame) else frame.sort(_KEYS, maintain_order=True)


def _in_order(frame: pl.DataFrame) -> bool:
    """Whether the rows stand by account and month already, as those of one request mostly do."""
    if frame["account_id"].null_count() or frame["month"].null_count():
        return False
    later, earlier = frame.slice(1), frame.slice(0, frame.height - 1)
    account = later["account_id"]
    same = account == earlier["account_id"]
    ordered = same & (later["month"] >= earlier["month"]) | (account > earlier["account_id"])
    return bool(ordered.all())


def _fits(dtype: pl.DataType, to: Column) -> bool:
    """Whether a column of this type can hold the declared values without loss or guessing."""
    if dtype == to.dtype or (dtype == pl.Null and to.null != "never"):
        return True
    if to.kind == "amount":
        return dtype.is_float() or dtype.is_integer()
    if to.kind == "whole_number":
        return dtype.is_integer()
    return to.kind == "product" and dtype in (pl.String, pl.Categorical, pl.Enum)


def _cast(statements: pl.DataFrame) -> pl.DataFrame:
    try:
        return statements.select(pl.col(c.name).cast(c.dtype) for c in COLUMNS)
    except pl.exceptions.InvalidOperationError as error:
        # An unknown product, or a count beyond int32.
        raise StatementError(
            f"statements: a value does not fit its column: {str(error).splitlines()[0]}"
        ) from error


def _breaches(frame: pl.DataFrame, window: bool) -> Iterator[tuple[str, Mask]]:
    """Each rule's name with a mask over the sorted frame: true = the row breaks it.

    Series and arrays rather than expressions: for one account the query planner costs ten times the
    arithmetic.
    """
    for c in COLUMNS:
        values = frame[c.name]
        if c.null == "never" and values.null_count():
            yield f"{c.name} is known", values.is_null().to_numpy()
        if c.kind in ("amount", "whole_number"):
            yield _range_rule(c, values)
    months = frame["month"].to_numpy()
    yield "month is the first of a month", months != months.astype("datetime64[M]")
    yield from _history_breaches(frame, window)


def _range_rule(c: Column, values: pl.Series) -> tuple[str, Mask]:
    numbers = values.to_numpy()  # null becomes NaN
    if c.above is not None:
        rule, inside = (
            f"{c.above:g} < {c.name} <= {c.high:g}",
            (numbers <= c.high) & (numbers > c.above),
        )
    else:
        rule, inside = (
            f"{c.low:g} <= {c.name} <= {c.high:g}",
            (numbers <= c.high) & (numbers >= c.low),
        )
    # Null keeps the range, NaN does not.
    return rule, ~inside & values.is_not_null().to_numpy() if values.null_count() else ~inside


def _history_breaches(frame: pl.DataFrame, window: bool) -> Iterator[tuple[str, Mask]]:
    """The rules between a row and the one before it of the same account.

    Neighbours in the sorted frame do: no groups.
    """
    account, product = frame["account_id"], frame["product"].to_physical()
    same = _against_earlier(account, 1, equal=True)
    step = np.diff(frame["month"].to_numpy().astype("datetime64[M]").astype(np.int64), prepend=0)
    yield "one statement a month", same & (step == 0)
    yield "no month is missing", same & (step > 1)
    yield "one product an account", same & _against_earlier(product, 1, equal=False)
    for c in COLUMNS:
        if c.null == "whole" and frame[c.name].null_count() not in (0, frame.height):
            changed = _against_earlier(frame[c.name].is_null(), 1, equal=False)
            yield f"{c.name} is known in all statements or in none", same & changed
    if window and frame.height > LONGEST_WINDOW:
        yield (
            f"at most {LONGEST_WINDOW} statements an account",
            _against_earlier(account, LONGEST_WINDOW, equal=True),
        )


def _against_earlier(values: pl.Series, lag: int, *, equal: bool) -> Mask:
    """Each row compared with the one ``lag`` rows before; false in the first ``lag`` rows and
    beside a null.
    """
    mask = np.zeros(len(values), dtype=np.bool_)
    later, earlier = values.slice(lag), values.slice(0, max(len(values) - lag, 0))
    result = later == earlier if equal else later != earlier
    mask[lag:] = result.fill_null(False).to_numpy() if result.null_count() else result.to_numpy()
    return mask


def _violation(rows: pl.DataFrame, rule: str) -> Violation:
    first = rows.head(3).select("account_id", pl.col("month").dt.strftime("%Y-%m")).rows()
    return Violation(
        rule, rows.height, tuple((str(account), str(month)) for account, month in first)
    )
