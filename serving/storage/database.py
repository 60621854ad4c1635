"""The record's database, opened so that what is committed is durable, or not at all.

SQLite: WAL with ``FULL`` in the versions without the WAL-reset bug
(https://sqlite.org/wal.html#walresetbug), or a rollback journal with ``TRUNCATE`` and ``EXTRA``,
which costs a commit three fsyncs instead of one.  Few Pythons bring such a version, so it comes
with pysqlite3: the standard library's driver with a SQLite of its own.  PostgreSQL: refused with
``fsync``, ``full_page_writes`` or ``synchronous_commit`` off.  Writers wait for each other (``BEGIN
IMMEDIATE``, an advisory lock), because each row's hash needs the one before it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from serving.storage.errors import StorageError
from serving.storage.tables import migrate

_LOCK = 7_265_126_011  # of the chain, among PostgreSQL's advisory locks
_PATIENCE_MS = 5_000  # for another writer, and for a PostgreSQL that does not answer


def free_of_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether several connections in WAL mode are safe in this SQLite: 3.44.6, 3.50.7, and from
    3.51.3 on.

    >>> free_of_wal_reset_bug((3, 40, 1)), free_of_wal_reset_bug((3, 50, 7)), free_of_wal_reset_bug((3, 51, 3))
    (False, True, True)
    """
    series = {(3, 44): 6, (3, 50): 7}
    return version >= (3, 51, 3) or version[2] >= series.get(version[:2], 1_000_000)


class Database:
    """An engine whose transactions are durable.

    Raises :class:`StorageError` where the address is none, the database is not reached or would
    lose a commit.
    """

    def __init__(self, address: str) -> None:
        try:
            url = sa.make_url(address)
            if url.drivername == "postgresql":
                url = url.set(drivername="postgresql+psycopg")
            self.kind = url.get_backend_name()
            if self.kind not in ("sqlite", "postgresql"):
                raise StorageError(
                    f"expected a record at sqlite:///... or postgresql://..., got {self.kind}"
                )
            if self.kind == "sqlite" and url.database in (None, "", ":memory:"):
                raise StorageError(
                    "expected a file for the record, got a database in memory: it would keep nothing"
                )
            self.url = url
            self.engine = _sqlite(url) if self.kind == "sqlite" else _postgresql(url)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise StorageError(f"no record can be opened at this address: {error}") from error
        try:
            with self.engine.connect() as connection:
                _refuse_to_lose(connection)
            with self.writing() as connection:
                migrate(connection)
        except StorageError:
            self.engine.dispose()
            raise
        except DBAPIError as error:
            self.engine.dispose()
            raise StorageError(
                f"the record at {url.render_as_string(hide_password=True)} does not open: {error.orig}"
            ) from error

    @contextmanager
    def writing(self, held: sa.Connection | None = None) -> Iterator[sa.Connection]:
        """A transaction that no other writer runs beside; durable when the block is left without an
        error.

        On a connection of its own, or on one that :meth:`hold` gave.
        """
        with self.hold() if held is None else nullcontext(held) as connection, connection.begin():
            if self.kind == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield connection

    def hold(self) -> sa.Connection:
        """A connection for many writes of one thread, which closes it: to make it ready costs more
        than what SQLite does.
        """
        return self.engine.connect().execution_options(clearline_writes=True)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that sees one state and holds up nobody for longer than it lasts."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def settled(self) -> Iterator[sa.Connection]:
        """A transaction that sees all that was committed, and during which nothing of before can
        come to be committed.

        In PostgreSQL that takes the writers' lock; in SQLite who writes is this process, and what
        it began is rolled back.
        """
        with self.writing() if self.kind == "postgresql" else self.reading() as connection:
            yield connection

    def reopen(self) -> None:
        """Drop every connection: after a failed write none of them is to be trusted."""
        self.engine.dispose()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _sqlite(url: sa.URL) -> sa.Engine:
    _make_private(Path(str(url.database)))
    # isolation_level None: the driver begins nothing by itself, so that `begin` below decides which
    # kind of transaction it is.
    arguments = {
        "isolation_level": None,
        "timeout": _PATIENCE_MS / 1000,
        "check_same_thread": False,
    }
    engine = sa.create_engine(url, module=sqlite, connect_args=arguments)
    wal = free_of_wal_reset_bug(sqlite.sqlite_version_info)

    @sa.event.listens_for(engine, "connect")
    def durable(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'TRUNCATE'}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
        # a destroyed key shall not lie on in a free page
        connection.execute("PRAGMA secure_delete = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("clearline_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _make_private(file: Path) -> None:
    """A new file is its owner's alone, and SQLite gives its journals the same mode; one that is
    there stays as it is.
    """
    with suppress(OSError):  # where it cannot be made SQLite says so, and better
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _postgresql(url: sa.URL) -> sa.Engine:
    arguments: dict[str, Any] = {
        "connect_timeout": 3,
        "tcp_user_timeout": _PATIENCE_MS,
        "options": f"-c statement_timeout={_PATIENCE_MS} -c lock_timeout={_PATIENCE_MS} "
        f"-c idle_in_transaction_session_timeout={_PATIENCE_MS}",
    }
    return sa.create_engine(url, connect_args=arguments, pool_pre_ping=False)


def _refuse_to_lose(connection: sa.Connection) -> None:
    """RecordError where a commit that was answered could be gone after a power failure."""
    if connection.dialect.name == "sqlite":
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        level = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        if (mode, level) not in (("wal", 2), ("truncate", 3)):
            raise StorageError(
                f"expected WAL with FULL (2) or TRUNCATE with EXTRA (3), SQLite gave {mode} with {level}"
            )
        return
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if connection.exec_driver_sql(f"SHOW {setting}").scalar() == "off":
            raise StorageError(
                f"PostgreSQL runs with {setting} off and would lose decisions that were answered: turn it on"
            )
