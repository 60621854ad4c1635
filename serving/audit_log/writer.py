"""One thread that writes: entries that wait are committed together, then their callers continue.

A batch is the requests that arrived while the last transaction became durable, and those that
:meth:`serving.audit_log.log.AuditLog.expecting` announced. It has at most 64 rows; a request with
more rows is a batch of its own. A single caller does not wait for others.

    AuditLog.append -> Writer.submit, Writer.wake           on the event loop
    Writer._run -> Committer.commit -> rows.insert_entries  on the writer's thread
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from serving.audit_log.committer import LOGGER, Committer, Refusal
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.errors import Duplicate, Outdated, Unavailable, Unconfirmed
from serving.storage.open_file import FileMovedError
from serving.web.telemetry.metrics import WAITING_ROWS

ROWS_PER_BATCH = 64
MAX_ROWS_WAITING = 2048  # less than a second's work; more are refused
_SECONDS_PER_PROBE = 0.5
_MAX_COMMITS = 2
_SECONDS_BETWEEN_RETRIES = 0.05


@dataclass(slots=True)
class _Item:
    entries: Sequence[NewEntry]
    deadline: float  # on time.monotonic's clock
    future: Future[list[Entry]]


class Writer:
    """Commits with a :class:`Committer` on a thread of its own until :meth:`close`."""

    def __init__(self, committer: Committer) -> None:
        self.committer = committer
        # Guarded by `_condition`: the event loop submits, the thread takes.
        self._waiting: deque[_Item] = deque()
        self._rows_waiting = 0
        self._condition = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="record-writer", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether the last write succeeded."""
        return self.committer.ready

    @property
    def rows_waiting(self) -> int:
        """Rows that were submitted and are not being written yet."""
        return self._rows_waiting

    def submit(self, entries: Sequence[NewEntry], deadline: float) -> Future[list[Entry]]:
        """Queue entries, to be stored together or not at all; :meth:`wake` starts the write.

        Cancelling the future before the write starts stores nothing.

        Args:
            entries: The entries of one request.
            deadline: On time.monotonic's clock; not written if it passes before the write starts.

        Returns:
            The future of the stored entries. Its exception is :class:`Duplicate`,
            :class:`Outdated`, :class:`Unavailable` (nothing was stored) or :class:`Unconfirmed`.

        Raises:
            Unavailable: the queue is full or closed.
        """
        future: Future[list[Entry]] = Future()
        with self._condition:
            if self._closing or self._rows_waiting + len(entries) > MAX_ROWS_WAITING:
                raise Unavailable("the queue of the audit log is full; nothing was stored")
            self._waiting.append(_Item(entries, deadline, future))
            self._rows_waiting += len(entries)
            WAITING_ROWS.set(self._rows_waiting)
        return future

    def wake(self) -> None:
        """Make the thread write the submitted entries."""
        with self._condition:
            self._condition.notify()

    def close(self, seconds: float | None = None) -> bool:
        """Write what was submitted, sign a checkpoint, end the thread.

        Returns whether it has ended within ``seconds``; None = however long it takes.
        """
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                if batch:
                    self._write(batch)
                elif not self.ready:
                    self.committer.probe()
                self.committer.sign_if_due()
            # A bug: the thread must go on, and no caller may wait forever.
            except Exception as error:  # noqa: BLE001
                LOGGER.error("the audit log's writer failed: %s", type(error).__name__)
                self.committer.ready = False
                self.committer.reopen()
                _fail([item for item in batch if not item.future.done()], error)
        self.committer.close()

    def _next_batch(self) -> list[_Item] | None:
        """Items to commit together; empty if none arrived for a while, None after :meth:`close`."""
        with self._condition:
            if not self._waiting and not self._closing:
                self._condition.wait(_SECONDS_PER_PROBE)
            if not self._waiting:
                return None if self._closing else []
            batch: list[_Item] = []
            rows = 0
            while self._waiting:
                more = len(self._waiting[0].entries)
                if batch and rows + more > ROWS_PER_BATCH:
                    break
                item = self._waiting.popleft()
                self._rows_waiting -= more
                if _try_start(item):
                    batch.append(item)
                    rows += more
            WAITING_ROWS.set(self._rows_waiting)
            return batch

    def _write(self, batch: list[_Item]) -> None:
        """Commit a batch and complete every future."""
        try:
            _complete(batch, self.committer.commit([item.entries for item in batch]))
        except FileMovedError as error:
            self.committer.fail(error)
            _fail(batch, _refusal_of(error))
        except SQLAlchemyError as error:
            self.committer.fail(error)
            self._recover(batch)

    def _recover(self, batch: Sequence[_Item]) -> None:
        """After a failed commit: find out what was stored, and commit the rest once more."""
        pending, commits = list(batch), 1
        while pending:
            try:
                pending = self._complete_committed(pending)
                if commits == _MAX_COMMITS:
                    _fail(
                        pending,
                        Unavailable("the audit log does not accept writes; nothing was stored"),
                    )
                    return
                # Once more only: a database that refuses twice refuses the next request too.
                commits += 1
                _complete(pending, self.committer.commit([item.entries for item in pending]))
                return
            except SQLAlchemyError as error:
                self.committer.fail(error)
                # Past their deadline the callers have left; the other items are tried again.
                late = [item for item in pending if time.monotonic() > item.deadline]
                _fail(late, Unconfirmed("the database did not confirm the write in time"))
                pending = [item for item in pending if item not in late]
                time.sleep(_SECONDS_BETWEEN_RETRIES)

    def _complete_committed(self, pending: Sequence[_Item]) -> list[_Item]:
        """Complete the futures of items that were stored after all; returns the others."""
        stored = self.committer.find_committed([item.entries for item in pending])
        left = []
        for item, entries in zip(pending, stored, strict=True):
            if entries is None:
                left.append(item)
            else:
                item.future.set_result(entries)
        return left


def _try_start(item: _Item) -> bool:
    """Start the write of an item; False if it was cancelled or its deadline passed.

    From here on the write cannot be cancelled: a caller that timed out may still find its entry.
    """
    if not item.future.set_running_or_notify_cancel():
        return False
    if time.monotonic() > item.deadline:
        item.future.set_exception(Unavailable("the deadline passed; nothing was stored"))
        return False
    return True


def _complete(batch: Sequence[_Item], stored: Sequence[list[Entry] | Refusal]) -> None:
    for item, entries in zip(batch, stored, strict=True):
        if entries == "duplicate":
            item.future.set_exception(Duplicate("another entry has this unique key"))
        elif entries == "outdated":
            item.future.set_exception(Outdated("the account has a newer event"))
        else:
            item.future.set_result(entries)


def _refusal_of(error: FileMovedError) -> Exception:
    if error.committed:
        return Unconfirmed("the database file was moved during the write")
    return Unavailable("the database file is not at its path; nothing was stored")


def _fail(items: Sequence[_Item], error: Exception) -> None:
    for item in items:
        item.future.set_exception(error)
