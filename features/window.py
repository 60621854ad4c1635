"""The window: statements laid out by month back from ``as_of``, and the verbs of the features.

Conventions
-----------
A column is a float64 array of shape (months, accounts).  Row 0 is ``as_of``, row k is k months
earlier.  NaN means that the value is unknown or that the account had no statement yet.

Months are rows because every verb adds one month after the other, for all accounts at once.  So an
account's value is the same to the last bit, with any other accounts in the window.  (Polars'
grouped means do not promise that: a third of them differed between tables of 1 and 1,000 accounts.)

:mod:`features.program` traces the same expressions once, those of the derived columns too, and
evaluates them compiled.  The verbs here say what its result is, to the last bit.

A verb covers "the last k months, or as many as there are" and skips unknown months.  Its result is
NaN if all of these months are unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.schema import COLUMNS, PRODUCTS
from features.types import Mask, Rows

Months = NDArray[np.float64]  # (months, accounts)
Values = NDArray[np.float64]  # (accounts,)
Stored = NDArray[np.float64]  # (STORED_COLUMNS, months, accounts)
HALF_CENT = 0.005  # amounts that differ by less are equal
# Knife edges: very many customers pay exactly the minimum or exactly the balance, so a flag that
# compares with it to the cent would tell two payments apart that differ by a fen.  Amounts that
# differ by less than LITTLE, or by less than SLACK of what is asked for, count as equal.
LITTLE = 2.0  # CNY
SLACK = 0.02  # share
# CNY.  A ratio to less than this is unknown: of a debt of a few fen, any payment is a huge share.
LEAST_DENOMINATOR = 10.0
# Months for which utilization is still measured against the limit before a cut: our own cut must
# not become its own reason.  This is a definition of the features and not a setting of the policy,
# because a model is fitted on it.
COOLING_MONTHS = 6
# The columns that a window stores; it computes all others from these.
STORED_COLUMNS = tuple(c.name for c in COLUMNS if c.kind in ("amount", "whole_number"))
# Row by row is faster than ufunc.accumulate from this many accounts on (eight times at 2,000).
_MANY_ACCOUNTS = 128

_Verb = Literal["count", "sum", "total", "mean", "max", "min"]


class Window:
    """The windows of several accounts: ``window["balance"]`` is a column, a method is a verb.

    Besides the numeric columns of the statement (``STORED_COLUMNS``) there are derived columns,
    each computed when it is first read and then cached:

    - ``owed_before``, ``due_before``: balance (at least 0) and minimum due of the statement before
    - ``payment_of_owed``: the payment, in months with a known ``owed_before``
    - ``repaid_spend``: the smaller of spending and payment
    - ``spend_3_ago``: spending three months earlier
    - ``income_on_file``: the latest income known by then, in the window
    - ``spend_with_income``, ``cash_with_income``: spending and cash of a month with an income on
      file; ``income_with_spend``, ``income_with_cash``: the income on file of the same months
    - ``uncut_limit``: the largest limit of this month and the ``COOLING_MONTHS`` before
    - ``utilization``: balance (at least 0) divided by ``uncut_limit``
    - ``carried_on_time``: balance (at least 0) of a month without a late payment
    - 1/0 flags: ``above_90``, ``late``, ``active``, ``missed_minimum``, ``minimum_only``,
      ``paid_in_full``, ``drew_cash``

    ``stored`` are the stored columns as one array, in the order of ``STORED_COLUMNS``.
    ``months_observed`` is the number of statements of each account, float64 (accounts,).
    ``products`` are the positions in :data:`features.schema.PRODUCTS` of their products, int64
    (accounts,).
    """

    def __init__(
        self,
        columns: Mapping[str, Months] | Stored,
        months_observed: Rows,
        products: Rows,
    ) -> None:
        """``columns`` are those of ``STORED_COLUMNS``, by name or in that order as one array."""
        if isinstance(columns, Mapping):
            columns = np.stack([columns[name] for name in STORED_COLUMNS])
        self.stored: Stored = columns
        self.months_observed: Values = months_observed.astype(np.float64)
        self.products = products
        self._columns: dict[str, Months] = {}
        self._accumulated: dict[tuple[_Verb, str], Months] = {}
        self._last_known: dict[str, Values] = {}

    def __getitem__(self, name: str) -> Months:
        """A stored or derived column, float64 (months, accounts).

        Raises:
            KeyError: The window has no column of that name.
        """
        if name not in self._columns:
            self._columns[name] = self._column(name)
        return self._columns[name]

    def total(self, name: str, months: int) -> Values:
        """The sum over the last months."""
        return self._over("total", name, months)

    def mean(self, name: str, months: int) -> Values:
        """The mean over the known values of the last months."""
        return self._over("mean", name, months)

    def max(self, name: str, months: int) -> Values:
        """The largest value of the last months."""
        return self._over("max", name, months)

    def min(self, name: str, months: int) -> Values:
        """The smallest value of the last months."""
        return self._over("min", name, months)

    def now(self, name: str) -> Values:
        """The value at ``as_of``."""
        values: Values = self[name][0]
        return values

    def ago(self, name: str, months: int) -> Values:
        """The value that many months before ``as_of``; NaN if the window is shorter than that."""
        column = self[name]
        if months >= len(column):
            return np.full(column.shape[1], np.nan)
        values: Values = column[months]
        return values

    def last_known(self, name: str) -> Values:
        """The latest value that is known; NaN if none is."""
        if name not in self._last_known:
            self._last_known[name] = _last_known(self[name])
        return self._last_known[name]

    def earlier(self, name: str, months: int = 1) -> Months:
        """Each month's value that many months earlier; NaN before the first."""
        column = self[name]
        out = np.full_like(column, np.nan)
        out[:-months] = column[months:]
        return out

    def carried_on(self, name: str) -> Months:
        """Each month's value, or the latest one known by then where it is unknown."""
        column = self[name].copy()
        for month in range(len(column) - 2, -1, -1):
            unknown = np.isnan(column[month])
            earlier = column[month + 1]
            column[month, unknown] = earlier[unknown]
        return column

    def months_since(self, name: str) -> Values:
        """The number of latest months in a row in which a 1/0 flag is not 1.

        It is ``months_observed`` if the flag is never 1.
        """
        is_set = self[name] == 1.0
        latest = is_set.argmax(axis=0).astype(np.float64)
        values: Values = np.where(is_set.any(axis=0), latest, self.months_observed)
        return values

    def is_product(self, products: Collection[str]) -> Mask:
        """Whether each account is of one of these products."""
        is_wanted = np.array([name in products for name in PRODUCTS])
        chosen: Mask = is_wanted[self.products]
        return chosen

    def take(self, accounts: NDArray[np.int64] | slice) -> Window:
        """The window of the accounts at these positions, int64 (n,), in this order.

        A position may occur several times.  A slice shares the memory of the columns.
        """
        if isinstance(accounts, slice):
            stored = self.stored[:, :, accounts]
        else:
            stored = np.take(self.stored, accounts, axis=2)
        observed = self.months_observed[accounts].astype(np.int64)
        return Window(stored, observed, self.products[accounts])

    def replace(self, name: str, column: Months) -> Window:
        """The window with another stored column of that name."""
        stored = self.stored.copy()
        stored[STORED_COLUMNS.index(name)] = column
        return Window(stored, self.months_observed.astype(np.int64), self.products)

    def _column(self, name: str) -> Months:
        if name in STORED_COLUMNS:
            stored: Months = self.stored[STORED_COLUMNS.index(name)]
            return stored
        if name not in DERIVED:
            expected = sorted({*STORED_COLUMNS, *DERIVED})
            raise KeyError(f"expected a column of the window, one of {expected}, got {name!r}")
        with np.errstate(invalid="ignore", divide="ignore"):
            return DERIVED[name](self)

    def _over(self, verb: _Verb, name: str, months: int) -> Values:
        accumulated = self._accumulate(verb, name)
        values: Values = accumulated[min(months, len(accumulated)) - 1]
        return values

    def _accumulate(self, verb: _Verb, name: str) -> Months:
        """The verb over the last 1, 2, 3, ... months, float64 (months, accounts), cached."""
        key = (verb, name)
        if key not in self._accumulated:
            self._accumulated[key] = self._apply(verb, name)
        return self._accumulated[key]

    def _apply(self, verb: _Verb, name: str) -> Months:
        if verb == "total":
            known = self._accumulate("count", name) > 0
            return np.where(known, self._accumulate("sum", name), np.nan)
        if verb == "mean":
            count = np.maximum(self._accumulate("count", name), 1.0)
            return self._accumulate("total", name) / count
        column = self[name]
        if verb == "count":
            return _accumulate_rows(np.add, (~np.isnan(column)).astype(np.float64))
        if verb == "sum":
            return _accumulate_rows(np.add, np.where(np.isnan(column), 0.0, column))
        return _accumulate_rows(np.fmax if verb == "max" else np.fmin, column)


def lay_out(statements: pl.DataFrame) -> Window:
    """The windows of a table that :func:`features.schema.check` returned.

    The accounts keep their order of appearance.
    """
    account = statements["account_id"]
    rows = len(account)
    if account[0] == account[rows - 1]:
        return _lay_out_one(statements)
    is_first = np.ones(rows, dtype=np.bool_)
    is_first[1:] = (account.slice(1) != account.slice(0, rows - 1)).to_numpy()
    starts = np.flatnonzero(is_first)
    lengths = np.diff(starts, append=rows)
    latest = starts + lengths - 1
    ago = np.arange(int(lengths.max()))[:, np.newaxis]
    rows_ago = latest - ago
    has_none = ago >= lengths
    rows_ago[has_none] = 0
    stored = np.empty((len(STORED_COLUMNS), *rows_ago.shape))
    for name, column in zip(STORED_COLUMNS, stored, strict=True):
        values = statements[name].to_numpy().astype(np.float64, copy=False)
        # No row is out of range; with the mode "raise", take would fill a copy first.
        np.take(values, rows_ago, out=column, mode="clip")
    if has_none.any():
        stored[:, has_none] = np.nan
    codes = statements["product"].to_physical()
    products = codes.to_numpy()[latest].astype(np.int64)
    return Window(stored, lengths, products)


def _lay_out_one(statements: pl.DataFrame) -> Window:
    """The window of the only account: its rows, the latest first."""
    rows = statements.height
    stored = np.empty((len(STORED_COLUMNS), rows, 1))
    for name, column in zip(STORED_COLUMNS, stored, strict=True):
        column[::-1, 0] = statements[name].to_numpy()
    product = PRODUCTS.index(statements["product"][rows - 1])
    return Window(stored, np.array([rows]), np.array([product]))


def ratio(numerator: Values, denominator: Values) -> Values:
    """numerator / denominator, amounts in CNY of one shape.

    NaN where the denominator is less than LEAST_DENOMINATOR.
    """
    is_enough = denominator >= LEAST_DENOMINATOR
    divisor = np.where(is_enough, denominator, 1.0)
    return np.where(is_enough, numerator / divisor, np.nan)


def _where_known(column: Months, other: Months) -> Months:
    return np.where(np.isnan(other), np.nan, column)


def _uncut_limit(w: Window) -> Months:
    highest = w["credit_limit"]
    for lag in range(1, COOLING_MONTHS + 1):
        highest = np.fmax(highest, w.earlier("credit_limit", lag))
    return highest


def _flag(condition: NDArray[np.bool_], *operands: Months) -> Months:
    """1.0 or 0.0; NaN where an operand is unknown."""
    unknown = np.isnan(operands[0])
    for column in operands[1:]:
        unknown = unknown | np.isnan(column)
    return np.where(unknown, np.nan, condition)


def _nearly(amount: Months) -> Months:
    """The least payment that counts as this amount."""
    return amount - np.maximum(SLACK * amount, LITTLE)


def _minimum_only(w: Window) -> Months:
    """Clearly more than the minimum was owed, and little more than the minimum was paid."""
    due, owed = w["due_before"], w["owed_before"]
    payment = w["payment"]
    paid_minimum = payment >= _nearly(due)
    paid_little = payment <= 1.1 * due + LITTLE
    owed_more = (due > LITTLE) & (owed > 1.2 * due)
    return _flag(paid_minimum & paid_little & owed_more, due, owed)


def _missed_minimum(w: Window) -> Months:
    due = w["due_before"]
    return _flag(w["payment"] < _nearly(due), due)


def _paid_in_full(w: Window) -> Months:
    owed = w["owed_before"]
    return _flag(w["payment"] >= _nearly(owed), owed)


def _active(w: Window) -> Months:
    drew = (w["spend"] > 0) | (w["cash_advance"] > 0)
    owes = w["balance"] > HALF_CENT
    return _flag(drew | (w["payment"] > 0) | owes, w["balance"])


def _payment_of_owed(w: Window) -> Months:
    # The first payment of a window settles a statement that lies before the window.
    return _where_known(w["payment"], w["owed_before"])


def _owed(w: Window) -> Months:
    return np.maximum(w["balance"], 0.0)


def _carried_on_time(w: Window) -> Months:
    return np.where(w["late"] == 0.0, _owed(w), np.nan)


DERIVED: Mapping[str, Callable[[Window], Months]] = {
    "owed_before": lambda w: np.maximum(w.earlier("balance"), 0.0),
    "due_before": lambda w: w.earlier("minimum_due"),
    "payment_of_owed": _payment_of_owed,
    "repaid_spend": lambda w: np.minimum(w["spend"], w["payment"]),
    "spend_3_ago": lambda w: w.earlier("spend", 3),
    # Carried on and never back: a lender that asks for the income once a year has one in each month
    # since, and had none before.
    "income_on_file": lambda w: w.carried_on("income"),
    "spend_with_income": lambda w: _where_known(
        w["spend"],
        w["income_on_file"],
    ),
    "income_with_spend": lambda w: _where_known(
        w["income_on_file"],
        w["spend"],
    ),
    "cash_with_income": lambda w: _where_known(
        w["cash_advance"],
        w["income_on_file"],
    ),
    "income_with_cash": lambda w: _where_known(
        w["income_on_file"],
        w["cash_advance"],
    ),
    "uncut_limit": _uncut_limit,
    "utilization": lambda w: ratio(_owed(w), w["uncut_limit"]),
    "carried_on_time": _carried_on_time,
    "above_90": lambda w: _flag(w["utilization"] > 0.9, w["utilization"]),
    "late": lambda w: _flag(w["days_past_due"] > 0, w["days_past_due"]),
    "active": _active,
    "missed_minimum": _missed_minimum,
    "minimum_only": _minimum_only,
    "paid_in_full": _paid_in_full,
    "drew_cash": lambda w: _flag(w["cash_advance"] > LITTLE, w["cash_advance"]),
}


def _last_known(column: Months) -> Values:
    values: Values = column[0]
    for row in column[1:]:
        unknown = np.isnan(values)
        if not unknown.any():
            break
        values = np.where(unknown, row, values)
    return values


def _accumulate_rows(ufunc: np.ufunc, column: Months) -> Months:
    """``ufunc`` over the first 1, 2, 3, ... rows.

    Both branches apply it in the same order, so their results are equal to the last bit.
    """
    if column.shape[1] < _MANY_ACCOUNTS:
        result: Months = ufunc.accumulate(column, axis=0)
        return result
    out = np.empty_like(column)
    out[0] = column[0]
    for row in range(1, len(column)):
        ufunc(out[row - 1], column[row], out=out[row])
    return out
