"""Opens the database so that a commit is durable, or refuses to open it.

SQLite: WAL with ``synchronous=FULL`` in the versions without the WAL-reset bug
(https://sqlite.org/wal.html#walresetbug), otherwise a rollback journal with ``TRUNCATE`` and
``EXTRA``, which costs three fsyncs a commit instead of one. Few Python builds include such a
version, so SQLite comes with pysqlite3: the standard library's driver with its own SQLite.

PostgreSQL: refused if ``fsync``, ``full_page_writes`` or ``synchronous_commit`` is off.

Writers wait for each other (``BEGIN IMMEDIATE``, an advisory lock), because each row's hash needs
the hash of the row before it.

Reads have connections of their own, on which a query ends after some seconds: SQLite by its
progress handler, PostgreSQL by ``statement_timeout``.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from serving.storage.address import parse_address
from serving.storage.driver_sql import PreparedStatement, as_sqlalchemy_error
from serving.storage.errors import StorageError
from serving.storage.open_file import FileMovedError, OpenFiles
from serving.storage.settings import StorageSettings
from serving.storage.tables import migrate

_LOCK = 7_265_126_011  # key of the hash chain among PostgreSQL's advisory locks
_TIMEOUT_MS = 5_000  # for another writer, and for a PostgreSQL that does not answer
QUERY_SECONDS = 2.0  # of the service: every query of it reads one page of an index
COMMAND_SECONDS = 60.0  # commands may read all rows of a person, or all persons
_STEPS_PER_CHECK = 10_000  # of SQLite's virtual machine: below a millisecond; short reads have none
# Of the engine for single statements, each a transaction of its own: nothing is to be rolled back.
_SINGLE: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
# Rows go to random places of the indexes: with the default of 2 MB a page is read and written again
# for nearly each of them.  Neither changes what a commit makes sure of.
_FOR_MANY_ROWS = ("PRAGMA cache_size = -65536", "PRAGMA wal_autocheckpoint = 16384")  # kB, pages
# KiB of each connection that reads. What another connection writes empties it, so it saves little;
# that of SQLite, 2 MB, fills for hours, which looks like a leak.
_READERS_CACHE = 256
_DURABLE_MODES = (("wal", 2), ("truncate", 3))  # SQLite's journal_mode and synchronous


def is_free_of_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite is safe in WAL mode with several connections.

    The bug is fixed in 3.44.6, in 3.50.7 and from 3.51.3 on.

    >>> is_free_of_wal_reset_bug((3, 40, 1)), is_free_of_wal_reset_bug((3, 50, 7))
    (False, True)
    """
    fixed_patches = {(3, 44): 6, (3, 50): 7}
    if version >= (3, 51, 3):
        return True
    fixed_in = fixed_patches.get(version[:2])
    return fixed_in is not None and version[2] >= fixed_in


class _QueryLimit:
    """Ends the queries of one SQLite connection: SQLite calls it every some thousand steps."""

    def __init__(self, ending: threading.Event) -> None:
        self._ending = ending
        self.until = math.inf  # on time.monotonic's clock

    def __call__(self) -> bool:
        """Whether the query has to end."""
        return self._ending.is_set() or time.monotonic() > self.until


class Database:
    """An engine whose transactions are durable, and one for reads.

    A query of :meth:`reading` that takes longer than ``query_seconds`` ends with an error.

    Raises:
        StorageError: the address is invalid, the database cannot be reached, or it could lose a
            commit.
    """

    def __init__(self, address: str, query_seconds: float = COMMAND_SECONDS) -> None:
        self.query_seconds = query_seconds
        self._ending = threading.Event()
        self._files: OpenFiles | None = None
        try:
            self.url = parse_address(address)
            self.kind = self.url.get_backend_name()
            if self.kind == "sqlite":
                self.engine, self._reads = _sqlite(self.url), _sqlite(self.url)
                self._single = _sqlite(self.url, **_SINGLE)
                for engine in (self._reads, self._single):
                    _limit_cache(engine)
                    _limit_queries(engine, self._ending)
            else:
                query_ms = round(query_seconds * 1000)
                self.engine = _postgresql(self.url, _TIMEOUT_MS)
                self._reads = _postgresql(self.url, query_ms)
                self._single = _postgresql(self.url, query_ms, **_SINGLE)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise StorageError(f"no database can be opened at this address: {error}") from error
        try:
            with self.engine.connect() as connection:
                _check_durability(connection)
            if self.kind == "sqlite":
                self._files = OpenFiles.at(Path(str(self.url.database)))
            with self.writing() as connection:
                migrate(connection)
            # Its driver keeps the statements of a migration for reuse, and has no room for others:
            # each later one would be compiled at each use, which takes longer than to run it.
            self.engine.dispose()
        except StorageError:
            self.close()
            raise
        except DBAPIError as error:
            self.close()
            shown = self.url.render_as_string(hide_password=True)
            raise StorageError(f"the database at {shown} does not open: {error.orig}") from error

    @contextmanager
    def writing(self, held: sa.Connection | None = None) -> Iterator[sa.Connection]:
        """A write transaction; only one runs at a time. Durable once the block ends without error.

        Uses a connection of its own, or ``held``, a connection from :meth:`hold`.
        """
        self.check_file()
        connecting = self.hold() if held is None else nullcontext(held)
        with connecting as connection:
            with connection.begin():
                if self.kind == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
                files = self._files_of(connection)
                yield connection
            if files is not None:
                files.check(committed=True)

    def _files_of(self, connection: sa.Connection) -> OpenFiles | None:
        """The files of a connection within a transaction; None if there are none.

        Raises :class:`FileMovedError` if others are at their paths by now.
        """
        if self._files is None:
            return None
        files: OpenFiles | None = connection.info.get("files")
        if files is None:
            # Not before: SQLite opens the write-ahead log with the first transaction.
            files = connection.info["files"] = OpenFiles.at(self._files.database)
        files.check()
        self.check_file()
        return files

    @property
    def in_place(self) -> bool:
        """Whether the SQLite file at the path is the one opened; true for PostgreSQL."""
        try:
            self.check_file()
        except FileMovedError:
            return False
        return True

    @property
    def answers_at_once(self) -> bool:
        """Whether a short read waits neither for a network nor for a writer: SQLite in WAL mode."""
        return self.kind == "sqlite" and is_free_of_wal_reset_bug(sqlite.sqlite_version_info)

    def check_file(self) -> None:
        """Raise :class:`FileMovedError` if the SQLite file at the path is not the one opened."""
        if self._files is not None:
            self._files.check_database()

    def hold(self, many_rows: bool = False) -> sa.Connection:
        """A connection for many writes of one thread, which must close it.

        Preparing a connection costs more than SQLite's own work for a write.  With ``many_rows``,
        SQLite keeps the pages of indexes in memory, and copies the write-ahead log less often.
        """
        connection = self.engine.connect().execution_options(clearline_writes=True)
        if many_rows and self.kind == "sqlite":
            driver = connection.connection.driver_connection
            for setting in _FOR_MANY_ROWS:
                driver.execute(setting)  # type: ignore[union-attr]
        return connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A read transaction; writers do not wait for it.

        SQLite: it sees one state of the database. PostgreSQL: each of its queries does.
        """
        self.check_file()  # before a connection, which would create an empty file there
        with self._reads.connect() as connection:
            self._limit_next_query(connection.info)
            with connection.begin():
                yield connection

    def fetch(
        self,
        statement: PreparedStatement,
        values: Mapping[str, str],
    ) -> list[tuple[Any, ...]]:
        """The rows of one statement, which sees one state of the database.

        For what every decision reads: :meth:`reading` costs several times as much as a short query
        itself, and PostgreSQL is sent a BEGIN before it and a ROLLBACK after it.
        """
        self.check_file()
        connection = self._connect_single()
        try:
            self._limit_next_query(connection.info)
            rows = statement.fetch(self._single.dialect, connection.driver_connection, values)
        except BaseException:
            connection.invalidate()  # a server that was restarted is behind a new connection only
            raise
        connection.close()
        return rows

    def _connect_single(self) -> sa.PoolProxiedConnection:
        dialect = self._single.dialect
        try:
            return self._single.raw_connection()
        except dialect.loaded_dbapi.Error as error:
            raise as_sqlalchemy_error(error, "", dialect) from error

    def _limit_next_query(self, info: Mapping[str, Any]) -> None:
        limit: _QueryLimit | None = info.get("limit")
        if limit is not None:
            limit.until = time.monotonic() + self.query_seconds

    @contextmanager
    def reading_after_writes(self) -> Iterator[sa.Connection]:
        """A read transaction in which every earlier write is either committed or rolled back.

        PostgreSQL: takes the writers' lock, so it waits for writes in flight. SQLite: only this
        process writes, and what it had begun has been rolled back.
        """
        transaction = self.writing() if self.kind == "postgresql" else self.reading()
        with transaction as connection:
            yield connection

    def reopen(self) -> None:
        """Drop every connection; after a failed write none of them is trusted."""
        self.close()

    def end_queries(self) -> None:
        """End the reads that are running, for the end of the process.

        SQLite ends them at once, PostgreSQL after ``query_seconds``.
        """
        self._ending.set()

    def close(self) -> None:
        """Close every connection."""
        for engine in (self.engine, self._reads, self._single):
            engine.dispose()


def open_database(settings: StorageSettings, query_seconds: float = QUERY_SECONDS) -> Database:
    """Open the database of these settings; creates the folder of a SQLite file.

    A query may take as long as those of a service, unless a command says otherwise.

    Raises:
        StorageError: as :class:`Database`; or the SQLite file is missing beside its checkpoints.
    """
    if settings.file is not None:
        _check_not_lost(settings.file, settings.checkpoints)
        settings.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Database(settings.address, query_seconds)


def _check_not_lost(file: Path, checkpoints: Path) -> None:
    """StorageError if an empty file would take the place of a record that was lost."""
    if file.exists() or not checkpoints.exists() or not checkpoints.stat().st_size:
        return
    raise StorageError(
        f"there is no audit log at {file}, but there are checkpoints of one in {checkpoints}: "
        "CLEARLINE_RECORD says where it is, and `python -m serving restore` makes it from a copy; "
        "for a new audit log move the checkpoints away first"
    )


def _sqlite(url: sa.URL, **options: Any) -> sa.Engine:
    _create_private(Path(str(url.database)))
    # isolation_level None: the driver begins no transaction by itself, so `begin` below decides
    # which kind of transaction it is.
    arguments = {
        "isolation_level": None,
        "timeout": _TIMEOUT_MS / 1000,
        "check_same_thread": False,
    }
    engine = sa.create_engine(url, module=sqlite, connect_args=arguments, **options)
    wal = is_free_of_wal_reset_bug(sqlite.sqlite_version_info)

    @sa.event.listens_for(engine, "connect")
    def make_durable(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'TRUNCATE'}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
        # Overwrites deleted content: a deleted encryption key must not remain in a free page.
        connection.execute("PRAGMA secure_delete = ON")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("clearline_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _limit_cache(engine: sa.Engine) -> None:
    """Let each connection of a SQLite engine keep few pages in memory."""

    @sa.event.listens_for(engine, "connect")
    def limit_cache(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA cache_size = -{_READERS_CACHE}")


def _limit_queries(engine: sa.Engine, ending: threading.Event) -> None:
    """Give each connection of a SQLite engine a limit, ``info["limit"]``."""

    @sa.event.listens_for(engine, "connect")
    def limit_queries(connection: Any, record: Any) -> None:
        limit = record.info["limit"] = _QueryLimit(ending)
        connection.set_progress_handler(limit, _STEPS_PER_CHECK)


def _create_private(file: Path) -> None:
    """Create the file with mode 0600, which SQLite copies to its journals; keep an existing one."""
    with suppress(OSError):  # SQLite's own message about an impossible path is the better one
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _postgresql(url: sa.URL, query_ms: int, **options: Any) -> sa.Engine:
    timeouts = {
        "statement_timeout": query_ms,
        "lock_timeout": _TIMEOUT_MS,
        "idle_in_transaction_session_timeout": _TIMEOUT_MS,
    }
    arguments: dict[str, Any] = {
        "connect_timeout": 3,
        "tcp_user_timeout": _TIMEOUT_MS,
        "options": " ".join(f"-c {name}={value}" for name, value in timeouts.items()),
    }
    return sa.create_engine(url, connect_args=arguments, pool_pre_ping=False, **options)


def _check_durability(connection: sa.Connection) -> None:
    """StorageError if a committed transaction could be lost in a power failure."""
    if connection.dialect.name == "sqlite":
        _check_sqlite_durability(connection)
        return
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        if connection.exec_driver_sql(f"SHOW {setting}").scalar() == "off":
            raise StorageError(
                f"PostgreSQL runs with {setting} off and could lose committed decisions: turn it on"
            )


def _check_sqlite_durability(connection: sa.Connection) -> None:
    mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
    level = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    if (mode, level) not in _DURABLE_MODES:
        raise StorageError(
            "expected SQLite with WAL and FULL (2), or TRUNCATE and EXTRA (3), "
            f"got {mode} and {level}"
        )
