"""The window: statements laid out by month back from ``as_of``, and the verbs in which features are
written.

Layout ------ A column is a float64 array of shape (months, accounts).  Row 0 is ``as_of``, row k is
k months earlier.  NaN means unknown, or before the account's first statement.  Month-major on
purpose: every verb walks the months in order and works on all accounts side by side, so that an
account's value is the same to the last bit whatever stands beside it.  (Polars' grouped means do
not promise that: measured, a third of six-month means change in the last bit between a table of 1
and of 1,000.)

Verbs take "the last k months, or as many as there are" and leave unknown months out; all unknown
gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.schema import COLUMNS

Months = NDArray[np.float64]  # (months, accounts)
Values = NDArray[np.float64]  # (accounts,)
CENT = 0.005  # amounts that differ by less are equal
# Months for which utilization is still measured against the limit before a cut: our own cut must
# not become its own reason.  A definition of the features and not a setting of the policy: a model
# is fitted on it.
COOLING_MONTHS = 6

_NUMBERS = tuple(c.name for c in COLUMNS if c.kind in ("amount", "whole_number"))


class Window:
    """The windows of some accounts; columns by attribute: the statement's own, and those derived
    here.

    Derived, row by row: ``owed_before`` and ``due_before`` (balance, at least 0, and minimum due of
    the statement before), ``carried_on_time`` (balance, at least 0, of a month without a late
    payment), ``uncut_limit`` (the largest limit of this month and the COOLING_MONTHS before),
    ``utilization`` (of ``uncut_limit``), and 1/0 columns ``late``, ``active``, ``missed_minimum``,
    ``minimum_only``, ``paid_in_full``, ``drew_cash``.
    """

    def __init__(self, columns: Mapping[str, Months], months_observed: NDArray[np.int64]) -> None:
        self.__dict__.update(columns)
        self._running: dict[tuple[str, str], Months] = {}
        self.months_observed: Values = months_observed.astype(np.float64)

    def __getattr__(self, name: str) -> Months:
        """A derived column, made when it is first asked for and found without this method from then
        on.
        """
        if name not in _DERIVED:
            raise AttributeError(
                f"the window has no column {name!r}; it derives {sorted(_DERIVED)}"
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            column = self.__dict__[name] = _DERIVED[name](self)
        return column

    def total(self, name: str, months: int) -> Values:
        """The sum over the last months."""
        return self._at("total", name, months)

    def mean(self, name: str, months: int) -> Values:
        """The mean over the known ones of the last months."""
        return self._at("mean", name, months)

    def most(self, name: str, months: int) -> Values:
        """The largest of the last months."""
        return self._at("most", name, months)

    def least(self, name: str, months: int) -> Values:
        """The smallest of the last months."""
        return self._at("least", name, months)

    def now(self, name: str) -> Values:
        """The value at as_of."""
        values: Values = getattr(self, name)[0]
        return values

    def ago(self, name: str, months: int) -> Values:
        """The value that many months before as_of; NaN where the window does not reach back."""
        column: Months = getattr(self, name)
        values: Values = (
            column[months] if months < len(column) else np.full(column.shape[1], np.nan)
        )
        return values

    def last_known(self, name: str) -> Values:
        """The latest value that is known."""
        known = self._running.get(("last known", name))
        if known is None:
            known = self._running[("last known", name)] = _last_known(getattr(self, name))
        return known

    def months_since(self, name: str) -> Values:
        """Months in a row, up to as_of, in which a 1/0 column is 0; all of them where it never is
        1.
        """
        column: Months = getattr(self, name)
        hit = column == 1.0
        values: Values = np.where(
            hit.any(axis=0), hit.argmax(axis=0).astype(np.float64), self.months_observed
        )
        return values

    def take(self, accounts: NDArray[np.int64]) -> Window:
        """The window of these accounts, by position: int64 (n,).

        Order is kept; an account may be taken several times.
        """
        columns = {name: getattr(self, name)[:, accounts] for name in _NUMBERS}
        return Window(columns, self.months_observed[accounts].astype(np.int64))

    def _at(self, verb: str, name: str, months: int) -> Values:
        running = self._over(verb, name)
        values: Values = running[min(months, len(running)) - 1]
        return values

    def _over(self, verb: str, name: str) -> Months:
        """A verb over the last 1, 2, 3, ... months: (months, accounts)."""
        running = self._running.get((verb, name))
        if running is None:
            running = self._running[(verb, name)] = _RUNNING[verb](self, name)
        return running


def lay_out(statements: pl.DataFrame) -> Window:
    """The windows of a checked, sorted table, accounts in order of appearance.

    Raises nothing: ``check`` did.
    """
    account = statements["account_id"]
    first = np.ones(len(account), dtype=np.bool_)
    first[1:] = (account.slice(1) != account.slice(0, len(account) - 1)).to_numpy()
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=len(account))
    number = np.repeat(np.arange(len(starts)), lengths)
    back = np.repeat(starts + lengths - 1, lengths) - np.arange(len(account))
    shape = (int(lengths.max()), len(starts))
    columns = {}
    for name in _NUMBERS:
        column = columns[name] = np.full(shape, np.nan)
        column[back, number] = statements[name].to_numpy()
    return Window(columns, lengths)


def ratio(numerator: Values, denominator: Values) -> Values:
    """numerator / denominator, of one shape, where the denominator is above 0, else NaN."""
    out = np.full(denominator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _before(column: Months, months: int = 1) -> Months:
    """Each month's value that many months earlier: rows run back in time."""
    out = np.full_like(column, np.nan)
    out[:-months] = column[months:]
    return out


def _uncut_limit(w: Window) -> Months:
    highest = w.credit_limit.copy()
    for lag in range(1, min(COOLING_MONTHS, len(highest) - 1) + 1):
        highest[:-lag] = np.fmax(highest[:-lag], w.credit_limit[lag:])
    return highest


def _flag(condition: NDArray[np.bool_], *known: Months) -> Months:
    """1.0 or 0.0; NaN where an operand is unknown."""
    unknown = np.isnan(known[0])
    for column in known[1:]:
        unknown = unknown | np.isnan(column)
    return np.where(unknown, np.nan, condition)


def _minimum_only(w: Window) -> Months:
    """More than the minimum was owed, and little more than the minimum was paid."""
    due, owed, payment = w.due_before, w.owed_before, w.payment
    paid = (payment >= due - CENT) & (payment <= 1.1 * due + CENT)
    return _flag(paid & (due > CENT) & (owed > 1.2 * due), due, owed)


def _active(w: Window) -> Months:
    used = (w.spend > 0) | (w.cash_advance > 0) | (w.payment > 0) | (w.balance > CENT)
    return _flag(used, w.balance)


_DERIVED: Mapping[str, Callable[[Window], Months]] = {
    "owed_before": lambda w: np.maximum(_before(w.balance), 0.0),
    # The first month of a window pays a statement that nobody sees.
    "payment_of_owed": lambda w: np.where(np.isnan(w.owed_before), np.nan, w.payment),
    "repaid_spend": lambda w: np.minimum(w.spend, w.payment),
    "spend_3_ago": lambda w: _before(w.spend, 3),
    "due_before": lambda w: _before(w.minimum_due),
    "uncut_limit": _uncut_limit,
    "utilization": lambda w: ratio(np.maximum(w.balance, 0.0), w.uncut_limit),
    "above_90": lambda w: _flag(w.utilization > 0.9, w.utilization),
    "late": lambda w: _flag(w.days_past_due > 0, w.days_past_due),
    "carried_on_time": lambda w: np.where(w.late == 0.0, np.maximum(w.balance, 0.0), np.nan),
    "active": _active,
    "missed_minimum": lambda w: _flag(w.payment < w.due_before - CENT, w.due_before),
    "minimum_only": _minimum_only,
    "paid_in_full": lambda w: _flag(w.payment >= w.owed_before - CENT, w.owed_before),
    "drew_cash": lambda w: _flag(w.cash_advance > 0, w.cash_advance),
}


def _last_known(column: Months) -> Values:
    values: Values = column[0]
    for row in column[1:]:
        if not np.isnan(values).any():
            break
        values = np.where(np.isnan(values), row, values)
    return values


def _accumulate(ufunc: np.ufunc, column: Months) -> Months:
    """``ufunc`` over the first 1, 2, 3, ... rows, in that order whichever way it is done: the same
    to the last bit.
    """
    if column.shape[1] < _WIDE:
        narrow: Months = ufunc.accumulate(column, axis=0)
        return narrow
    out = np.empty_like(column)
    out[0] = column[0]
    for so_far, row, into in zip(out, column[1:], out[1:], strict=False):
        ufunc(so_far, row, out=into)
    return out


# accounts from which a row at a time is faster than NumPy's own accumulation (measured: eight times
# at 2,000)
_WIDE = 128


def _count(w: Window, name: str) -> Months:
    return _accumulate(np.add, (~np.isnan(getattr(w, name))).astype(np.float64))


def _sum(w: Window, name: str) -> Months:
    return _accumulate(np.add, np.nan_to_num(getattr(w, name), nan=0.0))


def _total(w: Window, name: str) -> Months:
    return np.where(w._over("count", name) > 0, w._over("sum", name), np.nan)


def _mean(w: Window, name: str) -> Months:
    return w._over("total", name) / np.maximum(w._over("count", name), 1.0)


_RUNNING: Mapping[str, Callable[[Window, str], Months]] = {
    "count": _count,
    "sum": _sum,
    "total": _total,
    "mean": _mean,
    "most": lambda w, name: _accumulate(np.fmax, getattr(w, name)),
    "least": lambda w, name: _accumulate(np.fmin, getattr(w, name)),
}
