"""The record as the service holds it: keep and find, without holding up the loop that answers.

>>> import asyncio, datetime, tempfile, time
>>> from serving.audit_log.entry import NewEntry
>>> from serving.storage.settings import settings_from
>>> folder = tempfile.mkdtemp()
>>> paths = {"SECRETS": "secrets.json", "CHECKPOINTS": "checkpoints.jsonl"}
>>> named = {f"CLEARLINE_{name}": f"{folder}/{file}" for name, file in paths.items()}
>>> record = AuditLog(settings_from({"CLEARLINE_RECORD": f"sqlite:///{folder}/record.db"} | named))
>>> now = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
>>> draft = NewEntry("d-1", "decision", "d-1", "lender", "key-1", now, "acct-1", {"action": "keep"}, b"asked", b"answered")
>>> [kept] = asyncio.run(record.keep([draft], time.monotonic() + 2))
>>> kept.seq, asyncio.run(record.find(lambda reader: reader.by_id("d-1"))).response_body
(1, b'answered')
>>> record.close()
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from serving.audit_log import checkpoints
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.errors import Unavailable, Unconfirmed
from serving.audit_log.privacy.key_file import secrets_at
from serving.audit_log.reader import Reader
from serving.audit_log.writer import Writer
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from serving.storage.tables import entries

_Found = TypeVar("_Found")
_READERS = 2  # threads; reads are short
_SECONDS_TO_LET_GO = 2.0
_SECONDS_FOR_COMPANY = 0.01  # some decisions' time: a window shorter than one would gather nothing


class AuditLog:
    """Opened where the settings say; RecordError where it would lose, or has lost, what was
    answered.

    Its coroutines run in one loop.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._lock = None if settings.file is None else _only_writer(settings.file)
        self.secrets = secrets_at(settings.secrets)
        self.database = Database(settings.address)
        self._agree(settings.checkpoints)
        self.deadline = settings.deadline
        self.reader = Reader(self.database, self.secrets)
        self._writer = Writer(self.database, self.secrets, settings.checkpoints)
        self._coming = 0  # requests whose rows are being made
        self._beginning: asyncio.TimerHandle | None = None
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="record-reader")

    @property
    def ready(self) -> bool:
        """Whether what was tried last was written."""
        return self._writer.ready

    async def keep(self, drafts: Sequence[NewEntry], deadline: float) -> list[Entry]:
        """The rows, all of them durable, by a deadline on time.monotonic's clock.

        Raises :class:`serving.audit_log.errors.Duplicate`, ``Unavailable`` (nothing was kept) or
        ``Unconfirmed`` (perhaps it was).
        """
        future = self._writer.submit(drafts, deadline, at_once=False)
        self._begin_together()
        waited = asyncio.wrap_future(future)
        done, _ = await asyncio.wait([waited], timeout=max(deadline - time.monotonic(), 0.0))
        if done:
            return waited.result()
        # Cancelled before the writer took it, it is kept by nobody; afterwards it cannot be
        # cancelled.
        if future.cancel():
            raise Unavailable("the record did not get to it in time; nothing was kept")
        raise Unconfirmed("the record had not answered in time; it may still be kept")

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """While the block lasts rows may be coming: what is kept meanwhile waits for them, some
        milliseconds at most.

        A commit takes the interpreter several times from whoever decides next, however many rows
        are in it.
        """
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    def _begin_together(self) -> None:
        """Have the writer begin: now where nothing is coming, or else before long."""
        if not self._coming:
            self._begin()
        elif self._beginning is None:
            self._beginning = asyncio.get_running_loop().call_later(
                _SECONDS_FOR_COMPANY, self._begin
            )

    def _begin(self) -> None:
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        self._writer.begin()

    async def find(self, what: Callable[[Reader], _Found]) -> _Found:
        """What a reader finds; ``Unavailable`` where the database does not answer."""
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._readers, what, self.reader
            )
        except SQLAlchemyError:
            raise Unavailable("the record does not answer") from None

    def close(self) -> None:
        """Write what waits, sign a checkpoint, and let go."""
        self._writer.close()
        self._readers.shutdown()
        self.database.close()
        if self._lock is not None:
            os.close(self._lock)

    def _agree(self, file: Path) -> None:
        """RecordError where the rows are not those of the newest checkpoint: nothing is added to a
        record that was cut.
        """
        checkpoint = checkpoints.newest(file, self.secrets.verifier)
        if checkpoint is None:
            return
        with self.database.reading() as connection:
            found = connection.scalar(
                sa.select(entries.c.hash).where(entries.c.seq == checkpoint.seq)
            )
        if found is None or bytes(found) != checkpoint.hash:
            raise StorageError(
                f"the record does not agree with the checkpoint of row {checkpoint.seq} in {file}: rows are missing or "
                "changed; `python -m serving verify` says which"
            )


def check_single_writer(settings: StorageSettings, workers: int) -> None:
    """RecordError where more than one process would write an embedded record: these workers, or
    another service's.
    """
    if settings.file is None:
        return
    if workers != 1:
        raise StorageError(
            f"expected one worker with the embedded record {settings.file}, got {workers}: for several workers or hosts set "
            "CLEARLINE_RECORD to a PostgreSQL"
        )
    os.close(_only_writer(settings.file))


def _only_writer(file: Path) -> int:
    """A lock on an embedded record, kept until the process ends; RecordError where another process
    keeps it.
    """
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(file.with_name(file.name + ".lock"), os.O_RDONLY | os.O_CREAT, 0o600)
    until = time.monotonic() + _SECONDS_TO_LET_GO
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            # A process that was killed in the middle of a write lets go only when the disk has
            # answered.
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            os.close(descriptor)
            raise StorageError(
                f"another process writes the record {file}: for several workers or hosts set CLEARLINE_RECORD to a PostgreSQL"
            ) from None
