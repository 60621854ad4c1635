"""The statements of a decision as arrays, read from a table or from the rows of a request.

    table of any accounts -> read_table() -> Statements
    rows of one account   -> read_rows()  -> Statements

A request has one account, mostly in order and without a fault.  A quick look at its rows tells
whether they keep every rule of the schema, without a table: that takes a tenth of the time of the
rules themselves.  It never says that a rule is broken: what it cannot tell to be sound goes through
:func:`features.schema.check`, which says what is wrong and where.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, cached_property, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from polars.exceptions import SchemaError, ShapeError

from features.limits import FIRST_MONTH, LAST_MONTH, is_account_id
from features.months import month_index, month_of
from features.schema import COLUMNS, LONGEST_WINDOW, NAMES, PRODUCTS, check, table
from features.types import Rows
from features.window import STORED_COLUMNS, Stored, Window, lay_out

# One statement: its values in the order of ``NAMES``, with the types of the schema; None = unknown.
Row: TypeAlias = tuple[Any, ...]

_ACCOUNT, _MONTH, _FIRST_NUMBER = 0, 1, 3  # places in a row
_NUMBERS = COLUMNS[_FIRST_NUMBER:]
_LOW = np.array(
    [
        # Above 0 is from the least positive number on.
        column.low if column.above is None else np.nextafter(column.above, np.inf)
        for column in _NUMBERS
    ],
    dtype=np.float64,
)
_HIGH = np.array([column.high for column in _NUMBERS], dtype=np.float64)
_IS_WHOLE = np.array([column.kind == "whole_number" for column in _NUMBERS])
_NO_STATEMENTS = table([])


class Statements:
    """The checked statements of several accounts, in order of account; read-only.

    Attributes:
        account_ids: Of each account.
        products: Of each account.
        as_of: The month of the last statement of each account.
        window: The numbers, laid out by month.
    """

    def __init__(
        self,
        account_ids: list[str],
        as_of: list[datetime.date],
        window: Window,
        source: pl.DataFrame | Sequence[Row],
    ) -> None:
        """``source`` is checked, and sorted by account and month."""
        self.account_ids = account_ids
        self.products = [PRODUCTS[place] for place in window.products.tolist()]
        self.as_of = as_of
        self.window = window
        self._source = source

    @cached_property
    def table(self) -> pl.DataFrame:
        """The statements as :func:`features.schema.check` returns them."""
        if isinstance(self._source, pl.DataFrame):
            return self._source
        return table(dict(zip(NAMES, row, strict=True)) for row in self._source)

    def take(self, accounts: Rows) -> Statements:
        """The accounts at these positions, int64 (n,), ascending and each once; at least one."""
        chosen = np.zeros(len(self.account_ids), dtype=np.bool_)
        chosen[accounts] = True
        of_chosen = np.repeat(chosen, self.window.months_observed.astype(np.int64))
        places = accounts.tolist()
        return Statements(
            account_ids=[self.account_ids[place] for place in places],
            as_of=[self.as_of[place] for place in places],
            window=self.window.take(accounts),
            source=self.table.filter(of_chosen),
        )

    def rows(self) -> Iterable[Row]:
        """The statements one by one, sorted by account and month."""
        if isinstance(self._source, pl.DataFrame):
            return self._source.iter_rows()
        return self._source

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Each account with the ``repr`` of its rows, one after the other."""
        months_observed = self.window.months_observed.astype(np.int64).tolist()
        first = 0
        for place, months in enumerate(months_observed):
            text = _write_rows(self, place, months)
            if text is None:
                text = _repr_rows(self._rows_from(first, months))
            yield self.account_ids[place], text
            first += months

    def _rows_from(self, first: int, count: int) -> Iterable[Row]:
        if isinstance(self._source, pl.DataFrame):
            return self._source.slice(first, count).iter_rows()
        return self._source[first : first + count]


def read_table(statements: pl.DataFrame) -> Statements:
    """The statements of a table, rows and columns in any order; the table is not changed.

    Raises:
        StatementError: They break the schema, as :func:`features.schema.check` says it.
    """
    if statements.height <= LONGEST_WINDOW and _is_as_declared(statements):
        account = _read_account(statements.rows())
        if account is not None:
            return account
    return _lay_out(check(statements))


def _is_as_declared(statements: pl.DataFrame) -> bool:
    """Whether the columns are those of the schema in its order, each of its type or all null."""
    # Polars compares the types: to make objects of Python of them takes three times as long.
    try:
        _NO_STATEMENTS.vstack(statements)
    except (SchemaError, ShapeError):
        return False
    return True


def read_rows(rows: Sequence[Row]) -> Statements:
    """The statements of one account, in any order.

    Raises:
        StatementError: They break the schema, as :func:`features.schema.check` says it.
    """
    account = _read_account(rows)
    if account is not None:
        return account
    return _lay_out(check(table(dict(zip(NAMES, row, strict=True)) for row in rows)))


def _lay_out(checked: pl.DataFrame) -> Statements:
    window = lay_out(checked)
    last = np.cumsum(window.months_observed.astype(np.int64)) - 1
    return Statements(
        account_ids=checked["account_id"][last].to_list(),
        as_of=checked["month"][last].to_list(),
        window=window,
        source=checked,
    )


def _read_account(rows: Sequence[Row]) -> Statements | None:
    """The statements of one account that certainly keep every rule; else None."""
    if not 0 < len(rows) <= LONGEST_WINDOW:
        return None
    accounts, months, products, *numbers = zip(*rows, strict=True)
    if not _are_of_one_account(accounts, products) or None in months:
        return None
    if not _are_in_order(months):
        rows = sorted(rows, key=itemgetter(_MONTH))
        _, months, _, *numbers = zip(*rows, strict=True)
        if not _are_in_order(months):
            return None
    stored = _lay_out_numbers(numbers)
    if stored is None:
        return None
    product = PRODUCTS.index(products[0])
    return Statements(
        account_ids=[accounts[0]],
        as_of=[months[-1]],
        window=Window(stored, np.array([len(rows)]), np.array([product])),
        source=rows,
    )


def _are_of_one_account(accounts: Sequence[Any], products: Sequence[Any]) -> bool:
    account_id, product = accounts[0], products[0]
    if account_id is None or product not in PRODUCTS or not is_account_id(account_id):
        return False
    rows = len(accounts)
    return accounts.count(account_id) == rows and products.count(product) == rows


def _are_in_order(days: tuple[datetime.date, ...]) -> bool:
    """Whether they are firsts of allowed months, each the one after the last."""
    if days[0] < FIRST_MONTH or days[-1] > LAST_MONTH:
        return False
    return days == _firsts_from(days[0], len(days))


@lru_cache(maxsize=1024)  # accounts of the same months are decided on one after the other
def _firsts_from(day: datetime.date, count: int) -> tuple[datetime.date, ...]:
    """The firsts of that many months in a row, from that of this day on."""
    first = month_index(day)
    return tuple(month_of(index) for index in range(first, first + count))


def _lay_out_numbers(columns: Sequence[Sequence[Any]]) -> Stored | None:
    """The numbers of each column, the latest month first; None unless they keep every rule.

    Each has to be in its range, or null where it may be.  NaN, which is no null, is not.
    """
    shape = len(columns), len(columns[0])
    # None -> NaN.  Not np.array, which looks through all of them first.
    numbers = np.fromiter(chain.from_iterable(columns), np.float64).reshape(shape)
    stored = np.empty((*numbers.shape, 1))
    unknown = np.empty(numbers.size, dtype=np.int64)
    check_numbers, nulls = _row_check()
    count = check_numbers(numbers, _LOW, _HIGH, nulls, stored, unknown)
    if count < 0:
        return None
    rows = numbers.shape[1]
    for place in unknown[:count].tolist():
        column, row = divmod(place, rows)
        if columns[column][row] is not None:
            return None
    return stored


def _repr_rows(rows: Iterable[Row]) -> bytes:
    return "".join(map(repr, rows)).encode()


def _write_rows(statements: Statements, place: int, months: int) -> bytes | None:
    """:func:`_repr_rows` of the account at a place, by the compiled loop.

    None if the loop cannot write one of its numbers exactly as Python does.
    """
    write_rows, most_of_a_number = _row_text()
    account_id, product = statements.account_ids[place], statements.products[place]
    # Contiguous, as the window of one account is: so the loop is compiled once.
    stored = np.ascontiguousarray(statements.window.stored[:, :months, place : place + 1])
    head, middle = f"({account_id!r}, datetime.date(", f", 1), {product!r}, "
    most_of_a_row = len(head) + len(middle) + (len(STORED_COLUMNS) + 1) * most_of_a_number
    out = np.empty(months * most_of_a_row, dtype=np.uint8)
    length = write_rows(
        stored,
        month_index(statements.as_of[place]),
        np.frombuffer(head.encode(), dtype=np.uint8),
        np.frombuffer(middle.encode(), dtype=np.uint8),
        _IS_WHOLE,
        out,
    )
    return None if length < 0 else out[:length].tobytes()


@cache
def _row_check() -> tuple[Callable[..., int], Rows]:
    """The compiled loop, and what it takes as the columns' rule on null."""
    # Only now, as for the texts.
    from features.program.row_check import ANY, NEVER, WHOLE, check_numbers

    codes = {"never": NEVER, "any": ANY, "whole": WHOLE}
    return check_numbers, np.array([codes[column.null] for column in _NUMBERS], dtype=np.int64)


@cache
def _row_text() -> tuple[Callable[..., int], int]:
    # Only now: what reads statements and decides nothing must not wait for numba.
    from features.program.row_text import MOST_OF_A_NUMBER, write_rows

    return write_rows, MOST_OF_A_NUMBER
