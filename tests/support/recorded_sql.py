"""Every statement that reaches a database driver, and the plans and the work of these statements.

Recorded at the driver's cursors: statements that run without SQLAlchemy are among them.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import sqlalchemy as sa
from pysqlite3 import dbapi2 as sqlite

_QUERIES = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")
# Tables that grow with the decisions.
GROWING = ("entries", "people", "open_notices", "review_states", "due_accounts")
# PostgreSQL also takes a condition on a later column of an index, and reads all of it.
_BEGINS = {
    "open_notices_pkey": "tenant",
    "review_states_pkey": "tenant",
    "due_accounts_pkey": "tenant",
    "entries_by_person": "person",
    "entries_of_events": "person",
}
_SCAN = re.compile(r"SCAN (\w+)")
_ALIAS = re.compile(r"\b(\w+) AS (\w+)")


@dataclass
class Recording:
    """Statements with the values of their last execution, and the steps of SQLite's machine."""

    statements: dict[str, Any] = field(default_factory=dict)
    steps: int = 0

    def add(self, sql: Any, values: Any) -> None:
        if _QUERIES.match(str(sql)):
            self.statements[str(sql)] = values

    def count_step(self) -> bool:
        self.steps += 1
        return False


@contextlib.contextmanager
def recording() -> Iterator[Recording]:
    """Record the statements of every connection that is opened within the block."""
    recorded = Recording()

    class SqliteCursor(sqlite.Cursor):  # type: ignore[misc]
        def execute(self, sql: str, values: Any = ()) -> Any:
            recorded.add(sql, values)
            return super().execute(sql, values)

    class SqliteConnection(sqlite.Connection):  # type: ignore[misc]
        def cursor(self, *_: object) -> Any:
            return super().cursor(SqliteCursor)

        def set_progress_handler(self, *_: object) -> None:
            """The limit of a query is off: the handler counts the steps."""
            super().set_progress_handler(recorded.count_step, 1)

    class PostgresCursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            recorded.add(query, params)
            return super().execute(query, params, **options)

    def connect(dialect: sa.Dialect, _: object, arguments: Any, options: dict[str, Any]) -> Any:
        if dialect.name == "sqlite":
            return sqlite.connect(*arguments, **options, factory=SqliteConnection)
        options["cursor_factory"] = PostgresCursor
        return None

    sa.event.listen(sa.Engine, "do_connect", connect)
    try:
        yield recorded
    finally:
        sa.event.remove(sa.Engine, "do_connect", connect)


def scanned_tables(connection: sa.Connection, sql: str, values: Any) -> set[str]:
    """The growing tables that a statement reads without a condition on an index."""
    if connection.dialect.name == "sqlite":
        scanned = _scanned_in_sqlite(connection, sql, values)
    else:
        scanned = _scanned_in_postgresql(connection, sql, values)
    return scanned & set(GROWING)


def _scanned_in_sqlite(connection: sa.Connection, sql: str, values: Any) -> set[str]:
    rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", _as_tuple(values))
    aliases = {alias: table for table, alias in _ALIAS.findall(sql)}
    found = {name for row in rows for name in _SCAN.findall(row.detail)}
    return {aliases.get(name, name) for name in found}


def _scanned_in_postgresql(connection: sa.Connection, sql: str, values: Any) -> set[str]:
    # Small tables are scanned whatever their indexes: without scans the plan shows whether an
    # index can serve the query. So it is with joins, which read small indexes whole.
    for strategy in ("seqscan", "hashjoin", "mergejoin"):
        connection.exec_driver_sql(f"SET LOCAL enable_{strategy} = off")
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
        [[plan]] = cursor.fetchall()
    return set(_scans(json.loads(plan)[0]["Plan"] if isinstance(plan, str) else plan[0]["Plan"]))


def _scans(node: dict[str, Any], parent: str = "") -> Iterator[str]:
    """The tables of a plan's nodes that read rows without a condition on an index."""
    kind, condition = node["Node Type"], node.get("Index Cond", "")
    index = node.get("Index Name", "")
    begins_index = condition != "" and _BEGINS.get(index, "") in condition
    if kind == "Bitmap Index Scan" and not begins_index:
        # Such a node does not name its table, but its index is named after it.
        yield from (table for table in GROWING if index.startswith(table))
    # The first rows of an index, such as the last row of the log.
    is_first_page = parent == "Limit" and kind != "Seq Scan" and "Filter" not in node
    reads_table = kind in ("Seq Scan", "Index Scan", "Index Only Scan")
    if reads_table and not begins_index and not is_first_page:
        yield node["Relation Name"]
    for part in node.get("Plans", ()):
        yield from _scans(part, kind)


def _as_tuple(values: Any) -> Any:
    return tuple(values) if isinstance(values, list) else values
