"""Triggers as statements of SQLite and of PostgreSQL."""

from __future__ import annotations

import sqlalchemy as sa


def replace_trigger(
    connection: sa.Connection,
    name: str,
    when: tuple[str, str],
    condition: str | None,
    statement: str,
) -> None:
    """Create a trigger for each row, or replace it.

    Args:
        connection: Within a write transaction.
        name: Of the trigger.
        when: An event and a table, such as ``("INSERT", "entries")``.
        condition: On the row; None = there is none.
        statement: One or more, separated by semicolons; both databases take the same text.
    """
    dialect = connection.dialect.name
    event, table = when
    drop_trigger(connection, name, table)
    for sql in _statements(dialect, f"AFTER {event} ON {table}", name, condition, statement):
        connection.exec_driver_sql(sql)


def drop_trigger(connection: sa.Connection, name: str, table: str) -> None:
    """Drop a trigger of a table, if there is one of this name."""
    on_table = "" if connection.dialect.name == "sqlite" else f" ON {table}"
    connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{on_table}")


def _statements(
    dialect: str,
    when: str,
    name: str,
    condition: str | None,
    statement: str,
) -> tuple[str, ...]:
    guard = "" if condition is None else f"WHEN ({condition}) "
    if dialect == "sqlite":
        return (f"CREATE TRIGGER {name} {when} {guard}BEGIN {statement}; END",)
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {statement}; RETURN NULL; END $$",
        f"CREATE TRIGGER {name} {when} FOR EACH ROW {guard}EXECUTE FUNCTION {name}()",
    )
