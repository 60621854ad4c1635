"""One thread that writes: what waits is committed together, and only then does anybody hear of it.

At most 64 rows go together, or one request's where it has more: those that came while the last
transaction became durable, and those that :meth:`serving.audit_log.log.AuditLog.expecting`
gathers.  A single caller waits for nobody.  After any failure the connections are dropped and the
database is asked, under the writers' lock, what it holds: a commit whose answer was lost is then
known to be kept or not.
"""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from serving.audit_log import checkpoints
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.errors import Duplicate, Unavailable, Unconfirmed
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import chain_head, insert_entries
from serving.storage.database import Database
from serving.storage.tables import entries, probe

LOGGER = logging.getLogger("clearline.record")
ROWS_TOGETHER = 64
ROWS_WAITING = 2048  # more, and there is no room to wait; a second's work and less
ROWS_A_CHECKPOINT = 256
SECONDS_A_CHECKPOINT = 10.0
_SECONDS_A_PROBE = 0.5
_TRIES = 2
_SECONDS_BETWEEN_TRIES = 0.05
_FILLER = 64 * 1024  # bytes: a database that takes these takes a decision

_TAKEN = sa.select(entries.c.entry_id, entries.c.slot).where(
    entries.c.entry_id.in_(sa.bindparam("names", expanding=True))
    | entries.c.slot.in_(sa.bindparam("slots", expanding=True))
)


@dataclass(slots=True)
class _Item:
    drafts: Sequence[NewEntry]
    deadline: float  # on time.monotonic's clock
    future: Future[list[Entry]]


class Writer:
    """Writes to a database until it is closed.

    ``ready``: the last thing tried was written.  ``checkpoint_file`` gets a signed line now and
    then, and at the end.
    """

    def __init__(self, database: Database, secrets: Secrets, checkpoint_file: Path) -> None:
        self._database, self._secrets, self._file = database, secrets, checkpoint_file
        self._waiting: deque[_Item] = deque()
        self._rows_waiting = 0
        self._wake = threading.Condition()
        self._closing = False
        self._since, self._signed_at = 0, time.monotonic()
        self._held: sa.Connection | None = None
        self.ready = True
        self._thread = threading.Thread(target=self._run, name="record-writer", daemon=True)
        self._thread.start()

    def submit(
        self, drafts: Sequence[NewEntry], deadline: float, at_once: bool = True
    ) -> Future[list[Entry]]:
        """What will be the rows, all or none.  Cancelled while it waits, nothing is kept of it.

        A writer that has nothing to do begins now; unless ``at_once``, with :meth:`begin`.

        Its exception is :class:`Duplicate` where another row has a slot of theirs,
        :class:`Unavailable` where nothing was kept, :class:`Unconfirmed` where that is not known.
        Raises Unavailable at once where too many wait.
        """
        future: Future[list[Entry]] = Future()
        with self._wake:
            if self._closing or self._rows_waiting + len(drafts) > ROWS_WAITING:
                raise Unavailable("the record has no room for more to wait")
            self._waiting.append(_Item(drafts, deadline, future))
            self._rows_waiting += len(drafts)
            if at_once:
                self._wake.notify()
        return future

    def begin(self) -> None:
        """Write what was submitted."""
        with self._wake:
            self._wake.notify()

    def close(self) -> None:
        """Write what waits, sign a checkpoint, and end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            try:
                if batch:
                    self._keep(batch)
                elif not self.ready:
                    self._probe()
                self._sign(at_once=False)
            except Exception as error:  # noqa: BLE001  # a fault of ours: the thread must live, and nobody may wait for ever
                LOGGER.error("the record's writer failed: %s", type(error).__name__)
                self.ready = False
                self._reopen()
                _tell([item for item in batch if not item.future.done()], error)
        self._sign(at_once=True)
        if self._held is not None:
            self._held.close()

    def _next(self) -> list[_Item] | None:
        """What goes together now; empty = nothing came for a while; None = nothing will come any
        more.
        """
        with self._wake:
            if not self._waiting and not self._closing:
                self._wake.wait(_SECONDS_A_PROBE)
            if not self._waiting:
                return None if self._closing else []
            batch: list[_Item] = []
            rows = 0
            while self._waiting and (
                not batch or rows + len(self._waiting[0].drafts) <= ROWS_TOGETHER
            ):
                item = self._waiting.popleft()
                self._rows_waiting -= len(item.drafts)
                # From here on nobody can cancel it: who waits no longer may find it kept.
                if not item.future.set_running_or_notify_cancel():
                    continue
                if time.monotonic() > item.deadline:
                    item.future.set_exception(Unavailable("the record did not get to it in time"))
                    continue
                batch.append(item)
                rows += len(item.drafts)
            return batch

    def _keep(self, batch: list[_Item]) -> None:
        """Commit a batch and tell everybody; whatever fails, everybody is told."""
        try:
            self._settle(batch, self._commit(batch))
        except SQLAlchemyError as error:
            self._failed(error)
            self._resolve(batch)

    def _commit(self, batch: Sequence[_Item]) -> list[list[Entry] | None]:
        """The rows of each item, None where a slot is taken.  Durable when this returns."""
        try:
            found = self._add(batch, careful=False)
        except IntegrityError:
            found = self._add(batch, careful=True)
        self.ready = True
        self._since += sum(len(rows or ()) for rows in found)
        return found

    def _add(self, batch: Sequence[_Item], careful: bool) -> list[list[Entry] | None]:
        """All of them, or where ``careful`` those whose names and slots are free: seldom is one
        not, and asking costs.
        """
        if self._held is None:
            self._held = self._database.hold()
        with self._database.writing(self._held) as connection:
            free = self._free(connection, batch) if careful else [True] * len(batch)
            drafts = [
                draft
                for item, goes in zip(batch, free, strict=True)
                if goes
                for draft in item.drafts
            ]
            kept = iter(insert_entries(connection, drafts, self._secrets))
            return [
                [next(kept) for _ in item.drafts] if goes else None
                for item, goes in zip(batch, free, strict=True)
            ]

    @staticmethod
    def _free(connection: sa.Connection, batch: Sequence[_Item]) -> list[bool]:
        """Which items have no name or slot that another row has, in the record or earlier in the
        batch.
        """
        drafts = [draft for item in batch for draft in item.drafts]
        slots = [draft.unique_key for draft in drafts if draft.unique_key is not None]
        names = [draft.entry_id for draft in drafts]
        found = connection.execute(_TAKEN, {"names": names, "slots": slots})
        taken: set[str | None] = {value for row in found for value in row} - {None}
        free = []
        for item in batch:
            own = {
                value for draft in item.drafts for value in (draft.entry_id, draft.unique_key)
            } - {None}
            free.append(not own & taken)
            if free[-1]:
                taken |= own
        return free

    @staticmethod
    def _settle(batch: Sequence[_Item], found: Sequence[list[Entry] | None]) -> None:
        for item, rows in zip(batch, found, strict=True):
            if rows is None:
                item.future.set_exception(Duplicate("another row has this slot"))
            else:
                item.future.set_result(rows)

    def _resolve(self, batch: Sequence[_Item]) -> None:
        """After a failure: ask, once the database answers again, what was kept, and try the rest
        once more.
        """
        pending, tries = list(batch), 1
        while pending:
            try:
                pending = self._unkept(pending)
                if tries == _TRIES:
                    _tell(pending, Unavailable("the record does not take writes; nothing was kept"))
                    return
                tries += 1
                self._settle(pending, self._commit(pending))
                return
            except SQLAlchemyError as error:
                self._failed(error)
                late = [item for item in pending if time.monotonic() > item.deadline]
                _tell(
                    late,
                    Unconfirmed("the record does not answer; whether it was kept is not known"),
                )
                pending = [item for item in pending if item not in late]
                time.sleep(_SECONDS_BETWEEN_TRIES)

    def _unkept(self, pending: Sequence[_Item]) -> list[_Item]:
        """Tell those that were kept after all; the others certainly were not."""
        names = [draft.entry_id for item in pending for draft in item.drafts]
        with self._database.settled() as connection:
            rows = connection.execute(
                sa.select(entries.c.entry_id, entries.c.seq).where(entries.c.entry_id.in_(names))
            )
            numbers: dict[str, int] = {row.entry_id: row.seq for row in rows}
        left = []
        for item in pending:
            if all(draft.entry_id in numbers for draft in item.drafts):
                item.future.set_result(
                    [_as_kept(draft, numbers[draft.entry_id]) for draft in item.drafts]
                )
            else:
                left.append(item)
        return left

    def _failed(self, error: SQLAlchemyError) -> None:
        if self.ready:
            LOGGER.error(
                "the record does not take writes: %s",
                type(getattr(error, "orig", None) or error).__name__,
            )
        self.ready = False
        self._reopen()

    def _reopen(self) -> None:
        if self._held is not None:
            self._held.invalidate()
            self._held.close()
            self._held = None
        self._database.reopen()

    def _probe(self) -> None:
        try:
            with self._database.writing() as connection:
                connection.execute(probe.update().values(filler=bytes(_FILLER)))
            with self._database.writing() as connection:
                connection.execute(probe.update().values(filler=b""))
        except SQLAlchemyError as error:
            self._failed(error)
        else:
            LOGGER.warning("the record takes writes again")
            self.ready = True

    def _sign(self, at_once: bool) -> None:
        """A checkpoint, where enough was written or enough time passed since the last."""
        due = (
            self._since >= ROWS_A_CHECKPOINT
            or time.monotonic() - self._signed_at >= SECONDS_A_CHECKPOINT
        )
        if not self._since or not (due or at_once):
            return
        try:
            with self._database.reading() as connection:
                seq, row_hash = chain_head(connection)
            checkpoints.append(self._file, seq, row_hash, _now(), self._secrets.signer)
        except (SQLAlchemyError, OSError) as error:
            LOGGER.error("no checkpoint could be written: %s", type(error).__name__)
            self._signed_at = time.monotonic()  # not at every turn
            return
        self._since, self._signed_at = 0, time.monotonic()


def _tell(items: Sequence[_Item], error: Exception) -> None:
    for item in items:
        item.future.set_exception(error)


def _as_kept(draft: NewEntry, seq: int) -> Entry:
    fields = {name: getattr(draft, name) for name in NewEntry.__slots__ if name != "account"}
    return Entry(seq=seq, data_subject=None, erased=False, **fields)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
