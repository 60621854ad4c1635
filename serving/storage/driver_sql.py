"""SQL that runs for every decision: prepared once and executed on the driver's own cursor.

SQLAlchemy's own execution takes ten times as long as SQLite, and holds the GIL for that time: no
other decision can run. Errors of the driver are raised as SQLAlchemy's errors, as everywhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

_MAX_ROWS = 64  # in one statement; PostgreSQL takes at most 65,535 parameters
_PLACEHOLDERS = {"qmark": "?", "pyformat": "%s"}  # by the driver's paramstyle
# PostgreSQL sends bytes as hexadecimal text unless it is asked for binary results.
_CURSOR_OPTIONS: Mapping[str, Mapping[str, Any]] = {"postgresql": {"binary": True}}


class PreparedStatement:
    """A SELECT, or several joined by UNION ALL, whose parameters all have names.

    Values pass to and from the driver as they are: no type in the statement may need SQLAlchemy's
    conversion.

    >>> engine = sa.create_engine("sqlite://")
    >>> a, b = sa.bindparam("a", type_=sa.Integer), sa.bindparam("b", type_=sa.Integer)
    >>> total = PreparedStatement(sa.select(a + b))
    >>> with engine.connect() as connection:
    ...     total.rows(connection, {"b": 2, "a": 1})
    [(3,)]
    """

    def __init__(self, statement: sa.Select[Any] | sa.CompoundSelect[Any]) -> None:
        self._statement = statement
        # By dialect: the SQL, and the order of its parameters if the driver takes them by position.
        self._compiled: dict[str, tuple[str, Sequence[str] | None]] = {}

    def rows(
        self,
        connection: sa.Connection,
        values: Mapping[str, object],
    ) -> list[tuple[Any, ...]]:
        """Execute within the connection's transaction; returns the rows."""
        return self.fetch(connection.dialect, _driver_of(connection), values)

    def fetch(
        self,
        dialect: sa.Dialect,
        driver: Any,
        values: Mapping[str, object],
    ) -> list[tuple[Any, ...]]:
        """Execute on a connection of the driver; returns the rows."""
        sql, order = self._compile(dialect)
        given = values if order is None else [values[name] for name in order]
        with _executed(dialect, driver, sql, given) as cursor:
            # Not `cursor.description` first: psycopg describes each column anew for every result.
            return list(cursor.fetchall())

    def _compile(self, dialect: sa.Dialect) -> tuple[str, Sequence[str] | None]:
        known = self._compiled.get(dialect.name)
        if known is not None:
            return known
        compiled: Any = self._statement.compile(dialect=dialect)
        order = compiled.positiontup if compiled.positional else None
        self._compiled[dialect.name] = str(compiled), order
        return self._compiled[dialect.name]


def number(name: str, values: Collection[str]) -> dict[str, str]:
    """The parameters ``name_0`` to ``name_n`` of a statement that looks for any of these values.

    The last value is repeated, so that their number is a power of two: to compile a statement for
    each number takes longer than to run it.

    >>> number("id", ["a", "b", "c"])
    {'id_0': 'a', 'id_1': 'b', 'id_2': 'c', 'id_3': 'c'}
    """
    given = list(values)
    count = 1 << (len(given) - 1).bit_length()
    given += given[-1:] * (count - len(given))
    return {f"{name}_{place}": value for place, value in enumerate(given)}


class BulkInsert:
    """Inserts rows into a table; each row has a value for every column.

    Several rows go in one statement, because the driver has to re-acquire the GIL after each
    statement. The SQL text is built here: SQLAlchemy needs 40 ms or more to compile 64 rows.
    ``executemany`` is not used: psycopg turns it into a pipeline, and PostgreSQL keeps the locks of
    a client that disappears within one (idle_in_transaction_session_timeout does not apply there).

    >>> engine = sa.create_engine("sqlite://")
    >>> table = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer))
    >>> with engine.begin() as connection:
    ...     table.create(connection)
    ...     BulkInsert(table).run(connection, [{"a": number} for number in range(7)])
    ...     connection.scalar(sa.select(sa.func.sum(table.c.a)))
    21
    """

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        self._names = [column.name for column in table.columns]
        self._built: dict[tuple[str, int], str] = {}  # by dialect and number of rows

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert the rows within the connection's transaction, in this order."""
        self.run_values(connection, [[row[name] for name in self._names] for row in rows])

    def run_values(self, connection: sa.Connection, rows: Sequence[Sequence[object]]) -> None:
        """As :meth:`run`; each row has its values in the order of the table's columns."""
        for begin in range(0, len(rows), _MAX_ROWS):
            some = rows[begin : begin + _MAX_ROWS]
            values: list[object] = []
            for row in some:
                values += row
            sql = self._sql(connection.dialect, len(some))
            with _executed(connection.dialect, _driver_of(connection), sql, values):
                pass  # an INSERT has no result

    def _sql(self, dialect: sa.Dialect, count: int) -> str:
        built = self._built.get((dialect.name, count))
        if built is None:
            built = self._built[dialect.name, count] = self._build_sql(dialect, count)
        return built

    def _build_sql(self, dialect: sa.Dialect, count: int) -> str:
        quote = dialect.identifier_preparer.quote
        table = quote(self._table.name)
        columns = ", ".join(quote(name) for name in self._names)
        placeholder = _PLACEHOLDERS[dialect.paramstyle]
        row = ", ".join([placeholder] * len(self._names))
        rows = ", ".join([f"({row})"] * count)
        return f"INSERT INTO {table} ({columns}) VALUES {rows}"


def _driver_of(connection: sa.Connection) -> Any:
    return connection.connection.dbapi_connection


@contextmanager
def _executed(
    dialect: sa.Dialect,
    driver: Any,
    sql: str,
    values: Mapping[str, object] | Sequence[object],
) -> Iterator[Any]:
    """The driver's cursor after the statement, until the block ends."""
    cursor = driver.cursor(**_CURSOR_OPTIONS.get(dialect.name, {}))
    try:
        cursor.execute(sql, values)
        yield cursor
    except dialect.loaded_dbapi.Error as error:
        raise as_sqlalchemy_error(error, sql, dialect) from error
    finally:
        cursor.close()


def as_sqlalchemy_error(
    error: Exception,
    sql: str,
    dialect: sa.Dialect,
) -> BaseException:
    """Convert a driver's error. Its parameters are personal data and must not reach a log."""
    return DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
    )
