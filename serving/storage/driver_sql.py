"""Statements on the way of every decision: made from the tables once, and run on the driver's own
cursor.

Through SQLAlchemy each costs ten times what SQLite takes to run it, and all that time the
interpreter is kept from deciding on the next request.  What a driver raises comes as SQLAlchemy's
errors, as it does everywhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

_MOST_TOGETHER = 6  # as a power of two; PostgreSQL takes at most 65,535 parameters


class PreparedStatement:
    """A statement whose parameters all have names; no type in it may need SQLAlchemy's help to go
    in or come out.

    >>> engine = sa.create_engine("sqlite://")
    >>> sum_of = PreparedStatement(sa.select(sa.bindparam("a", type_=sa.Integer) + sa.bindparam("b", type_=sa.Integer)))
    >>> with engine.connect() as connection:
    ...     sum_of.rows(connection, {"b": 2, "a": 1})
    [(3,)]
    """

    def __init__(self, statement: sa.Select[Any] | sa.Insert) -> None:
        self._statement = statement
        # by dialect: the SQL, and the order of its parameters
        self._made: dict[str, tuple[str, Sequence[str] | None]] = {}

    def rows(
        self, connection: sa.Connection, values: Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        """Run it within the connection's transaction; the rows it gives."""
        sql, order = self._for(connection.dialect)
        cursor = _driver(connection).cursor()
        try:
            cursor.execute(sql, values if order is None else [values[name] for name in order])
            return [*cursor.fetchall()] if cursor.description else []
        except connection.dialect.loaded_dbapi.Error as error:
            raise _known(error, sql, connection.dialect) from error
        finally:
            cursor.close()

    def _for(self, dialect: sa.Dialect) -> tuple[str, Sequence[str] | None]:
        made = self._made.get(dialect.name)
        if made is None:
            compiled: Any = self._statement.compile(dialect=dialect)
            made = self._made[dialect.name] = (
                str(compiled),
                compiled.positiontup if compiled.positional else None,
            )
        return made


class BulkInsert:
    """Rows into a table, each with a value for every column.

    Several go in one statement: after each the driver must have the interpreter back, from whoever
    decides meanwhile. (Not ``executemany``: psycopg makes that a pipeline, and PostgreSQL lets a
    client that is gone amid one keep its locks; idle_in_transaction_session_timeout does not see
    it.)

    >>> engine, table = sa.create_engine("sqlite://"), sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer))
    >>> with engine.begin() as connection:
    ...     table.create(connection)
    ...     BulkInsert(table).run(connection, [{"a": place} for place in range(7)])
    ...     connection.scalar(sa.select(sa.func.sum(table.c.a)))
    21
    """

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        self._of = functools.cache(self._made)

    def run(self, connection: sa.Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """Insert them within the connection's transaction, in this order."""
        begun = 0
        while left := len(rows) - begun:
            # Powers of two: few statements serve every number of rows.
            together = 1 << min(left.bit_length() - 1, _MOST_TOGETHER)
            some = rows[begun : begun + together]
            values = {
                f"{name}_{place}": value
                for place, row in enumerate(some)
                for name, value in row.items()
            }
            self._of(together).rows(connection, values)
            begun += together

    def _made(self, count: int) -> PreparedStatement:
        names = [column.name for column in self._table.columns]
        rows: list[dict[str, sa.BindParameter[object]]] = [
            {name: sa.bindparam(f"{name}_{place}") for name in names} for place in range(count)
        ]
        return PreparedStatement(self._table.insert().values(rows))


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.dbapi_connection


def _known(error: Exception, sql: str, dialect: sa.Dialect) -> BaseException:
    """As SQLAlchemy names it; without the parameters, which hold what nobody may read in a log."""
    return DBAPIError.instance(
        sql, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect
    )
