"""The driver's own cursor does what SQLAlchemy does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.storage.database import Database
from serving.storage.driver_sql import BulkInsert, PreparedStatement
from serving.storage.tables import people

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
