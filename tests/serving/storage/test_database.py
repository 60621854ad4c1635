"""What the connections of a database may take."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from serving.storage.address import sqlite_address
from serving.storage.database import Database

KIB = 256


def pages_size(connection: sa.Connection) -> int:
    """KiB of pages that SQLite keeps for a connection at most."""
    return -int(connection.exec_driver_sql("PRAGMA cache_size").scalar_one())


def test_connections_that_read_keep_few_pages(tmp_path: Path) -> None:
    """For each of the service's, those that SQLite keeps grow for an hour."""
    with closing(Database(sqlite_address(tmp_path / "record.db"))) as database:
        with database.reading() as connection:
            assert pages_size(connection) == KIB
        with database.writing() as connection:
            assert pages_size(connection) > KIB
