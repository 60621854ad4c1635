"""The audit log as the service uses it: append and read without blocking the event loop.

>>> import asyncio, datetime, tempfile, time
>>> from serving.audit_log.entry import NewEntry
>>> folder = Path(tempfile.mkdtemp())
>>> address = f"sqlite:///{folder}/record.db"
>>> files = folder / "secrets.json", folder / "checkpoints.jsonl"
>>> audit_log = AuditLog(StorageSettings(address, *files, deadline=2.0))
>>> entry = NewEntry(
...     entry_id="d-1",
...     kind="decision",
...     subject="d-1",
...     tenant="lender",
...     caller="key-1",
...     at=datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC),
...     account="acct-1",
...     response_body=b"answer",
... )
>>> [stored] = asyncio.run(audit_log.append([entry], time.monotonic() + 2))
>>> stored.seq
1
>>> asyncio.run(audit_log.read(lambda reader: reader.by_id("d-1"))).response_body
b'answer'
>>> audit_log.close()
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from serving.audit_log import checkpoints
from serving.audit_log.committer import Committer
from serving.audit_log.entry import TRACE, Entry, NewEntry
from serving.audit_log.errors import Unavailable, Unconfirmed
from serving.audit_log.privacy.erasure import truncate_wal
from serving.audit_log.privacy.record_secrets import open_secrets
from serving.audit_log.reader import Reader
from serving.audit_log.writer import Writer
from serving.storage.database import Database, open_database
from serving.storage.errors import StorageError
from serving.storage.open_file import FileMovedError
from serving.storage.read_pools import Pool, ReadPools
from serving.storage.settings import StorageSettings
from serving.storage.tables import entries
from serving.web.telemetry.trace import current_trace

LOGGER = logging.getLogger("clearline.record")
_Result = TypeVar("_Result")
_SECONDS_FOR_LOCK = 2.0
# How long an append waits for others: the time of some decisions, as a shorter window gathers none.
SECONDS_FOR_OTHERS = 0.01
_SECONDS_TO_CLOSE = 3.0  # more than a query may take
_MS_FOR_WAL = 1000


class AuditLog:
    """Opens the audit log of these settings. Its coroutines must run in one event loop.

    ``database``, ``secrets``, ``reader`` and ``writer`` are the parts it is made of.

    Raises:
        StorageError: it would lose entries, or has lost some, or cannot be read, or another process
            writes it.
    """

    def __init__(self, settings: StorageSettings) -> None:
        # First, so that a second service never opens the database.
        self._lock = None if settings.file is None else _lock_file(settings.file)
        self.deadline = settings.deadline  # seconds
        with ExitStack() as opened:
            opened.callback(self._unlock)
            self.database = open_database(settings)
            opened.callback(self.database.close)
            with _explaining_damage(self.database):
                self.secrets = open_secrets(self.database, settings, create=True)
                self._check_newest_checkpoint(settings.checkpoints)
            opened.pop_all()  # nothing was refused: all of it stays open
        self.reader = Reader(self.database, self.secrets)
        self.writer = Writer(Committer(self.database, self.secrets, settings.checkpoints))
        self._expected = 0  # requests that are about to append
        self._pending_wake: asyncio.TimerHandle | None = None
        self._completions: _Completions | None = None
        self._pools = ReadPools()
        self._closed = False

    @property
    def ready(self) -> bool:
        """Whether the last write succeeded, and the database file is at its path."""
        return self.writer.ready and self.database.in_place

    async def append(self, new_entries: Sequence[NewEntry], deadline: float) -> list[Entry]:
        """Store entries together or not at all; returns them once they are durable.

        Args:
            new_entries: The entries of one request.
            deadline: On time.monotonic's clock.

        Raises:
            serving.audit_log.errors.Duplicate: another entry has a unique key of theirs.
            serving.audit_log.errors.Outdated: an account has a newer event than one follows from.
            serving.audit_log.errors.Unavailable: nothing was stored.
            serving.audit_log.errors.Unconfirmed: the entries may have been stored.
        """
        future = self.writer.submit(_with_trace(new_entries), deadline)
        self._wake_with_others()
        await self._completions_here().wait(future, deadline - time.monotonic())
        if future.done():
            return future.result()
        # Cancelling succeeds only before the writer takes the entries; afterwards they are written.
        if future.cancel():
            raise Unavailable("the deadline passed before the write; nothing was stored")
        raise Unconfirmed("the deadline passed during the write; the entries may be stored")

    async def read(self, query: Callable[[Reader], _Result], pool: Pool = "single") -> _Result:
        """The result of a query, which runs on a thread of this pool.

        Raises:
            serving.audit_log.errors.Unavailable: the database does not answer in time.
        """
        return await self._read(self._pools.run, query, pool)

    async def read_short(self, query: Callable[[Reader], _Result], pool: Pool) -> _Result:
        """As :meth:`read`, for a query of a tenth of a millisecond.

        It runs on the event loop where the database answers at once.
        """
        if not self.database.answers_at_once:
            return await self.read(query, pool)
        return await self._read(self._pools.run_short, query, pool)

    async def _read(
        self,
        run: Callable[[Pool, Callable[[], _Result], float], Awaitable[_Result]],
        query: Callable[[Reader], _Result],
        pool: Pool,
    ) -> _Result:
        try:
            return await run(pool, lambda: query(self.reader), self.deadline)
        except (SQLAlchemyError, TimeoutError) as error:
            # A file that is gone is for the operator to read; other errors may hold values.
            shown = str(error) if isinstance(error, FileMovedError) else type(error).__name__
            LOGGER.warning("a query of %s was given up: %s", pool, shown)
            raise Unavailable("the database does not answer in time") from None

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Announce an append: until the block ends, others wait some milliseconds to join it.

        A commit takes the GIL from the next decision several times, however many rows it has.
        """
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1

    def close(self) -> None:
        """Write what waits, sign a checkpoint, and release the database.

        Waits some seconds for a database that does not answer, and then goes on without it. A
        second call does nothing.
        """
        if self._closed:
            return
        self._closed = True
        until = time.monotonic() + _SECONDS_TO_CLOSE
        self.database.end_queries()
        written = self.writer.close(_SECONDS_TO_CLOSE)
        read = self._pools.close(max(until - time.monotonic(), 0.0))
        if not (written and read):
            LOGGER.error("the audit log was closed while a query or a write was running")
        elif self.database.in_place:
            self._empty_wal()
        self.database.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _empty_wal(self) -> None:
        """Move SQLite's write-ahead log into the database: a copy of the one file is then whole.

        SQLite does so itself when the last connection is closed, but others may be open still: the
        cache of API keys has one, and a command may run.
        """
        try:
            if not truncate_wal(self.database, wait_ms=_MS_FOR_WAL):
                LOGGER.warning("a reader holds up the write-ahead log: it keeps the latest rows")
        except (SQLAlchemyError, sqlite.Error) as error:
            LOGGER.error("the write-ahead log was not emptied: %s", type(error).__name__)

    def _completions_here(self) -> _Completions:
        loop = asyncio.get_running_loop()
        if self._completions is None or self._completions.loop is not loop:
            self._completions = _Completions(loop)
        return self._completions

    def _wake_with_others(self) -> None:
        """Wake the writer: now if no append is announced, otherwise in some milliseconds."""
        if not self._expected:
            self._wake()
        elif self._pending_wake is None:
            loop = asyncio.get_running_loop()
            self._pending_wake = loop.call_later(SECONDS_FOR_OTHERS, self._wake)

    def _wake(self) -> None:
        if self._pending_wake is not None:
            self._pending_wake.cancel()
            self._pending_wake = None
        self.writer.wake()

    def _check_newest_checkpoint(self, file: Path) -> None:
        """StorageError if rows differ from the newest checkpoint: a cut log is not continued."""
        checkpoint = checkpoints.read_newest(file, self.secrets.verifier)
        if checkpoint is None:
            return
        if _hash_at(self.database, checkpoint.seq) != checkpoint.hash:
            raise StorageError(
                f"the audit log does not agree with the checkpoint of row {checkpoint.seq} in "
                f"{file}: rows are missing or changed; `python -m serving verify` says which"
            )


class _Completions:
    """Waits for futures of the writer's thread; those of one commit go on in one turn of the loop.

    asyncio wakes the loop for each of them. It then answers the first callers and decides on their
    next requests before it answers the others, so that ever fewer rows are committed together.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[asyncio.Future[None]] = deque()  # its append and its pop are atomic
        self._is_due = False

    async def wait(self, future: Future[list[Entry]], seconds: float) -> None:
        """Return when a future is done, or after so many seconds."""
        waiting = self.loop.create_future()
        future.add_done_callback(lambda _: self._note(waiting))
        timer = self.loop.call_later(max(seconds, 0.0), _finish, waiting)
        try:
            await waiting
        finally:
            timer.cancel()

    def _note(self, waiting: asyncio.Future[None]) -> None:
        """Let the loop go on with what waits for a future; called on the writer's thread."""
        self._done.append(waiting)
        if self._is_due:
            return
        self._is_due = True
        # A loop that is closed has no caller that waits.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._finish_all)

    def _finish_all(self) -> None:
        # First: what is noted from now on is found here, or has a turn of its own.
        self._is_due = False
        while self._done:
            _finish(self._done.popleft())


def _finish(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def check_single_writer(settings: StorageSettings, workers: int) -> None:
    """Refuse several writers of a SQLite file: several workers, or another service.

    Raises:
        StorageError: more than one process would write the file.
    """
    if settings.file is None:
        return
    if workers != 1:
        raise StorageError(
            f"expected one worker with the SQLite file {settings.file}, got {workers}: for several "
            "workers or hosts set CLEARLINE_RECORD to a PostgreSQL"
        )
    os.close(_lock_file(settings.file))


def _with_trace(new_entries: Sequence[NewEntry]) -> Sequence[NewEntry]:
    """The entries with the id of the trace of this task's request, if it has one."""
    trace = current_trace()
    if trace is None:
        return new_entries
    note = {TRACE: trace.trace_id}
    return [replace(entry, metadata={**entry.metadata, **note}) for entry in new_entries]


def _hash_at(database: Database, seq: int) -> bytes | None:
    query = sa.select(entries.c.hash).where(entries.c.seq == seq)
    with database.reading() as connection:
        row_hash = connection.scalar(query)
    return None if row_hash is None else bytes(row_hash)


@contextmanager
def _explaining_damage(database: Database) -> Iterator[None]:
    """Raise StorageError for a database that opens, and whose rows cannot be read."""
    try:
        yield
    except DBAPIError as error:
        shown = database.url.render_as_string(hide_password=True)
        raise StorageError(f"the database at {shown} cannot be read: {error.orig}") from error


def _lock_file(file: Path) -> int:
    """Lock a SQLite file until the process ends; returns the lock's file descriptor.

    Raises:
        StorageError: another process holds the lock.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(
        file.with_name(file.name + ".lock"),
        os.O_RDONLY | os.O_CREAT,
        0o600,
    )
    until = time.monotonic() + _SECONDS_FOR_LOCK
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            # A process that was killed during a write releases its lock once the disk has answered.
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            os.close(descriptor)
            raise StorageError(
                f"another process writes the audit log {file}: for several workers or hosts set "
                "CLEARLINE_RECORD to a PostgreSQL"
            ) from None
