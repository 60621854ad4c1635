"""Statements on the way of every decision: made from the tables once, and run on the driver's own cursor.

Through SQLAlchemy each costs ten times what SQLite takes to run it, and all that time the interpreter is kept from deciding on
the next request.  What a driver raises comes as SQLAlchemy's errors, as it does everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError


class Prepared:
    """A statement whose parameters all have names; no type in it may need SQLAlchemy's help to go in or come out.

    >>> engine = sa.create_engine("sqlite://")
    >>> sum_of = Prepared(sa.select(sa.bindparam("a", type_=sa.Integer) + sa.bindparam("b", type_=sa.Integer)))
    >>> with engine.connect() as connection:
    ...     sum_of.rows(connection, {"b": 2, "a": 1})
    [(3,)]
    """

    def __init__(self, statement: sa.Select[Any] | sa.Insert) -> None:
        self._statement = statement
        self._made: dict[str, tuple[str, Sequence[str] | None]] = {}  # by dialect: the SQL, and the order of its parameters

    def rows(self, connection: sa.Connection, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run it within the connection's transaction; the rows it gives."""
        sql, order = self._for(connection.dialect)
        cursor = _driver(connection).cursor()
        try:
            cursor.execute(sql, _placed(values, order))
            return [*cursor.fetchall()]
        except connection.dialect.loaded_dbapi.Error as error:
            raise _known(error, sql, connection.dialect) from error
        finally:
            cursor.close()

    def each(self, connection: sa.Connection, values: Sequence[Mapping[str, object]]) -> None:
        """Run it for each of these within the connection's transaction."""
        sql, order = self._for(connection.dialect)
        cursor = _driver(connection).cursor()
        try:
            # Not executemany: psycopg makes that a pipeline, and PostgreSQL lets a client that is gone amid one keep its locks;
            # idle_in_transaction_session_timeout does not see it.
            for row in values:
                cursor.execute(sql, _placed(row, order))
        except connection.dialect.loaded_dbapi.Error as error:
            raise _known(error, sql, connection.dialect) from error
        finally:
            cursor.close()

    def _for(self, dialect: sa.Dialect) -> tuple[str, Sequence[str] | None]:
        made = self._made.get(dialect.name)
        if made is None:
            compiled: Any = self._statement.compile(dialect=dialect)
            made = self._made[dialect.name] = str(compiled), compiled.positiontup if compiled.positional else None
        return made


def _placed(values: Mapping[str, object], order: Sequence[str] | None) -> Any:
    return values if order is None else [values[name] for name in order]


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.dbapi_connection


def _known(error: Exception, sql: str, dialect: sa.Dialect) -> BaseException:
    """As SQLAlchemy names it; without the parameters, which hold what nobody may read in a log."""
    return DBAPIError.instance(sql, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect)
