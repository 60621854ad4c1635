"""The driver's own cursor does what SQLAlchemy does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.audit_log.log import AuditLog
from serving.storage.database import Database
from serving.storage.driver_sql import BulkInsert, PreparedStatement
from serving.storage.tables import entries, people
from tests.support.records import append, numbered_entries

ROW = {
    "person": "p-1",
    "account": "hash",
    "key_id": "a1",
    "sealed_key": b"\x00\xffsealed",
}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'record.db'}")
    yield opened
    opened.close()


def test_a_prepared_statement_returns_what_sqlalchemy_returns(database: Database) -> None:
    with database.writing() as connection:
        BulkInsert(people).run(connection, [ROW, ROW | {"person": "p-2", "account": "other"}])
    chosen = sa.select(people.c.person, people.c.sealed_key).where(
        people.c.account == sa.bindparam("account")
    )
    with database.reading() as connection:
        assert PreparedStatement(chosen).rows(connection, {"account": "hash"}) == [
            ("p-1", ROW["sealed_key"])
        ]
        assert [tuple(row) for row in connection.execute(chosen, {"account": "hash"})] == [
            ("p-1", ROW["sealed_key"])
        ]


@pytest.mark.parametrize("kind", ["record", "postgres"])
def test_a_single_statement_returns_what_sqlalchemy_returns_each_time(
    kind: str, request: pytest.FixtureRequest
) -> None:
    log: AuditLog = request.getfixturevalue(kind)
    append(log, numbered_entries(0, 30))
    by_kind = sa.select(entries).where(entries.c.kind == sa.bindparam("kind"))
    chosen = by_kind.order_by(entries.c.seq)
    statement = PreparedStatement(chosen)
    empty = PreparedStatement(sa.select(sa.literal_column("1")))
    for _ in range(3):
        for value in ("decision", "review", "中文 %s $1 ' \\"):
            with log.database.reading() as connection:
                expected = [tuple(row) for row in connection.execute(chosen, {"kind": value})]
            assert log.database.fetch(statement, {"kind": value}) == expected, value
        assert log.database.fetch(empty, {}) == [(1,)]
    with log.database.reading() as connection:
        columns = connection.execute(sa.select(entries)).all()
    assert any(None in row for row in columns), "no null was read"


@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_connection_is_sqlalchemys_error_and_the_next_one_is_new(
    postgres: AuditLog, times: int
) -> None:
    own = PreparedStatement(sa.select(sa.func.pg_backend_pid()))
    for _ in range(times):
        postgres.database.fetch(own, {})
    with postgres.database.writing() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with pytest.raises(sa.exc.OperationalError):
        postgres.database.fetch(own, {})
    assert postgres.database.fetch(own, {}) == postgres.database.fetch(own, {})


def test_a_prepared_statement_that_takes_too_long_is_ended(postgres: AuditLog) -> None:
    slow = sa.select(sa.func.cast(sa.func.pg_sleep(sa.cast(sa.bindparam("s"), sa.Float)), sa.Text))
    statement = PreparedStatement(slow)
    with contextlib.closing(Database(str(postgres.database.url), query_seconds=0.3)) as database:
        for seconds in ("0", "0", "0"):
            assert database.fetch(statement, {"s": seconds}) == [("",)]
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            database.fetch(statement, {"s": "60"})
        assert database.fetch(statement, {"s": "0"}) == [("",)]


def test_single_statements_share_a_connection_until_the_database_is_closed(
    postgres: AuditLog,
) -> None:
    own = PreparedStatement(sa.select(sa.func.pg_backend_pid()))
    first = postgres.database.fetch(own, {})
    assert postgres.database.fetch(own, {}) == first
    postgres.database.reopen()
    assert postgres.database.fetch(own, {}) != first


@pytest.mark.parametrize("count", [0, 1, 2, 3, 63, 64, 65, 127, 200])
def test_any_number_of_rows_is_inserted_in_order(database: Database, count: int) -> None:
    rows = [ROW | {"person": f"p-{place}", "account": f"hash-{place}"} for place in range(count)]
    with database.writing() as connection:
        BulkInsert(people).run(connection, rows)
    with database.reading() as connection:
        found = connection.execute(sa.select(people).order_by(sa.text("rowid"))).mappings()
        assert [dict(row) for row in found] == rows


def test_driver_errors_become_sqlalchemys_without_values(database: Database) -> None:
    insert = BulkInsert(people)
    with pytest.raises(sa.exc.IntegrityError) as caught, database.writing() as connection:
        insert.run(connection, [ROW, ROW])
    assert "sealed" not in str(caught.value).replace("sealed_key", "")
    with database.reading() as connection:
        assert connection.execute(sa.select(people)).all() == [], "half a transaction was stored"
    with database.reading() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(sa.exc.OperationalError):
            insert.run(connection, [ROW])
