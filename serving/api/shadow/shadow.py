"""Decisions that were answered go to the challenger, and what it decides into the audit log.

    Decisions -> Shadow.offer                     on the event loop: a queue, bounded by its bytes
    Shadow._run -> ChallengerProcess.ask          on a thread of its own, after the answer
                -> Writer.submit                  while nothing else waits for the writer

Nothing waits for it. What cannot be done in time is dropped and counted.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, MutableMapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from cryptography.exceptions import InvalidTag
from sqlalchemy.exc import SQLAlchemyError

from serving.api.shadow.challenger import Piece
from serving.api.shadow.frames import FrameError, decode_frames, encode_frame
from serving.api.shadow.process import ChallengerGone, ChallengerProcess, Limits, Why
from serving.api.shadow.server import DECIDED, FAILED, REFUSED
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.errors import Duplicate, Outdated, Unavailable, Unconfirmed
from serving.audit_log.log import AuditLog
from serving.reviews.past_decision import earlier_id
from serving.storage.bundles.store import resolve, stated_digest
from serving.storage.settings import SHADOW, read_shadow
from serving.storage.timestamps import decode_time
from serving.web.models import read_json
from serving.web.telemetry.metrics import SHADOW_DECISIONS, SHADOW_DROPPED, SHADOW_RESTARTS

LOGGER = logging.getLogger("clearline.shadow")
OF = "of"  # in the metadata of a shadow row: the id of the decision that was answered
# Why a decision has no shadow: the queue was full, the challenger is paused after a failure, it was
# ended (Why), it refused the request or raised, or the audit log did not take the row.
Dropped: TypeAlias = Literal["full", "paused", "refused", "failed", "not_stored", Why]
DROPPED: tuple[Dropped, ...] = (
    "full",
    "paused",
    "slow",
    "memory",
    "ended",
    "refused",
    "failed",
    "not_stored",
)
# Between two looks at the queue: the thread begins after answers have gone out, and decides what
# came together.
_SECONDS_BETWEEN_TURNS = 0.05
# In one message: a message for each decision takes the interpreter from the event loop each time.
_AT_ONCE = 16
_ROWS_AT_ONCE = 32  # in one transaction, for which other writers wait
_SECONDS_TO_GATHER = 1.0
_SECONDS_TO_STORE = 5.0
_SECONDS_TO_CLOSE = 2.0
_NOT_STORED = (Duplicate, Outdated, Unavailable, Unconfirmed, TimeoutError)


class Reply(NamedTuple):
    """What the challenger's process says of a piece that it decided."""

    decision_id: bytes
    account_id: bytes
    content: bytes
    metadata: bytes  # JSON


class _Decided(NamedTuple):
    """A row to store, and the action that was answered."""

    row: NewEntry
    answered: str


class Shadow:
    """Has a challenger decide what was decided, until :meth:`close`.

    `start` starts its process, and `digest` is that of its bundle: what that bundle itself decided
    is not decided again.
    """

    def __init__(
        self,
        audit_log: AuditLog,
        digest: str,
        start: Callable[[], ChallengerProcess],
        limits: Limits,
    ) -> None:
        self._audit_log, self._digest = audit_log, digest
        self._start, self._limits = start, limits
        self._waiting: deque[Entry] = deque()
        self._bytes = 0
        self._lock = threading.Lock()  # of the queue
        self._closing = threading.Event()
        self._challenger: ChallengerProcess | None = None
        self._starts = 0
        self._pause = 0.0  # seconds; 0 = it has not failed since it decided
        self._paused_until = 0.0
        self._rows: list[_Decided] = []
        self._gathered_since = 0.0
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, stored: Sequence[Entry]) -> None:
        """Queue the decisions among rows that were stored; never waits, never raises."""
        for entry in stored:
            if entry.kind != "decision" or _bundle_of(entry) == self._digest:
                continue
            size = _size(entry)
            with self._lock:
                fits = self._bytes + size <= self._limits.queue
                if fits:
                    self._waiting.append(entry)
                    self._bytes += size
            if not fits:
                _drop("full")

    def close(self) -> None:
        """End the challenger; what waits is dropped, rows that were decided are stored."""
        self._closing.set()
        challenger = self._challenger
        if challenger is not None:
            challenger.end()
        self._thread.join(_SECONDS_TO_CLOSE)

    def _run(self) -> None:
        self._turn()
        while not self._closing.wait(_SECONDS_BETWEEN_TURNS):
            self._turn()
        self._store_rows()
        self._release()

    def _turn(self) -> None:
        try:
            self._challenge()
            if self._is_time_to_store():
                self._store_rows()
        # A bug must not end the thread: the queue would be full for ever.
        except Exception as error:  # noqa: BLE001
            LOGGER.error("the shadow failed: %s", type(error).__name__)
            _drop("failed")
            self._fail()

    def _challenge(self) -> None:
        """Decide what waits, some decisions at a time."""
        self._ensure_challenger()
        while not self._closing.is_set() and len(self._rows) < _ROWS_AT_ONCE:
            entries = self._take()
            if not entries:
                return
            challenger = self._ensure_challenger()
            if challenger is None:
                _drop("paused", len(entries))
            else:
                self._challenge_some(challenger, entries)

    def _take(self) -> list[Entry]:
        """Take some decisions from the queue."""
        entries: list[Entry] = []
        with self._lock:
            while self._waiting and len(entries) < _AT_ONCE:
                entry = self._waiting.popleft()
                self._bytes -= _size(entry)
                entries.append(entry)
        return entries

    def _challenge_some(self, challenger: ChallengerProcess, entries: Sequence[Entry]) -> None:
        try:
            pieces = [self._piece(entry) for entry in entries]
        except (SQLAlchemyError, InvalidTag):
            _drop("not_stored", len(entries))
            return
        message = [encode_frame(piece.parts()) for piece in pieces]
        try:
            replies = challenger.ask(message, len(pieces) * self._limits.seconds)
        except ChallengerGone as error:
            _drop(error.why, len(entries))
            LOGGER.warning("the challenger's process is gone: %s", error)
            self._fail()
            return
        if len(replies) != len(entries):
            # It raised before it came to the first.
            _drop("failed", len(entries))
            return
        for entry, reply in zip(entries, replies, strict=True):
            self._gather(entry, reply)

    def _gather(self, entry: Entry, reply: bytes) -> None:
        """Make the row of a decision that the challenger has decided."""
        try:
            [[kind, *rest]], _ = decode_frames(reply)
        except (FrameError, ValueError):
            kind, rest = FAILED, []
        if kind != DECIDED:
            _drop("refused" if kind == REFUSED else "failed")
            return
        self._pause = 0.0
        if not self._rows:
            self._gathered_since = time.monotonic()
        row = make_row(entry, Reply(*rest))
        self._rows.append(_Decided(row, entry.metadata["action"]))

    def _piece(self, entry: Entry) -> Piece:
        named = earlier_id(entry)
        before = None if named is None else self._audit_log.reader.by_id(named)
        earlier = None
        if before is not None and before.request_body and before.response_body:
            door = before.metadata["door"]
            earlier = (before.entry_id, door, before.request_body, before.response_body)
        metadata = entry.metadata
        return Piece(
            decision_id=entry.entry_id,
            door=metadata["door"],
            decided_at=decode_time(metadata["decided_at"]),
            request=entry.request_body or b"",
            earlier=earlier,
        )

    def _ensure_challenger(self) -> ChallengerProcess | None:
        """Return the challenger's process, started if it is not there; None while it is paused."""
        if self._challenger is not None:
            return self._challenger
        if self._closing.is_set() or time.monotonic() < self._paused_until:
            return None
        if self._starts:
            SHADOW_RESTARTS.inc()
        self._starts += 1
        try:
            self._challenger = self._start()
        except (ChallengerGone, OSError) as error:
            LOGGER.error("the challenger does not start: %s", error)
            self._fail()
        return self._challenger

    def _fail(self) -> None:
        """End the challenger, and pause: twice as long as before, until it has decided again."""
        self._release()
        shortest, longest = self._limits.pause
        self._pause = min(max(2 * self._pause, shortest), longest)
        self._paused_until = time.monotonic() + self._pause

    def _release(self) -> None:
        if self._challenger is not None:
            self._challenger.close()
            self._challenger = None

    def _is_time_to_store(self) -> bool:
        if not self._rows:
            return False
        age = time.monotonic() - self._gathered_since
        # Decisions go first; but not for ever.
        if self._audit_log.writer.rows_waiting and age < _SECONDS_TO_STORE:
            return False
        return len(self._rows) >= _ROWS_AT_ONCE or age >= _SECONDS_TO_GATHER

    def _store_rows(self) -> None:
        """Store the rows that were gathered, each for itself, in one transaction."""
        rows, self._rows = self._rows, []
        until = time.monotonic() + _SECONDS_TO_STORE
        writer = self._audit_log.writer
        written: list[tuple[_Decided, Future[list[Entry]]]] = []
        for one in rows:
            try:
                written.append((one, writer.submit([one.row], until)))
            except Unavailable:
                _drop("not_stored")
        writer.wake()
        for one, future in written:
            try:
                future.result(max(until - time.monotonic(), 0.0))
            except _NOT_STORED:
                _drop("not_stored")
            else:
                metadata = one.row.metadata
                labels = metadata["product"], one.answered, metadata["action"]
                SHADOW_DECISIONS.labels(*labels).inc()


def fix_shadow(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put the digest of the bundle that ``CLEARLINE_SHADOW`` names into the environment.

    So that every worker has the same challenger, however late it starts.

    Raises :class:`serving.storage.bundles.store.NoStoredModel` if no stored bundle has the name.
    """
    version = read_shadow(environment)
    if version is not None:
        environment[SHADOW] = stated_digest(resolve(version))


def open_shadow(audit_log: AuditLog, limits: Limits | None = None) -> Shadow | None:
    """Return the shadow that ``CLEARLINE_SHADOW`` names; None without it.

    Raises :class:`serving.storage.bundles.store.NoStoredModel` if no stored bundle has the name.
    """
    version = read_shadow()
    if version is None:
        return None
    folder = resolve(version)
    digest = stated_digest(folder)
    own = limits or Limits()
    id_key = audit_log.secrets.id_key

    def start() -> ChallengerProcess:
        return ChallengerProcess(Path(folder), digest, id_key, own)

    return Shadow(audit_log, digest, start, own)


def make_row(decision: Entry, reply: Reply) -> NewEntry:
    """Return the row of the challenger's decision beside a decision that was answered.

    It has no request: that is in the decision's row. It has no last day to notify anybody, so it
    is no event, and no list has it.
    """
    shadow_id = reply.decision_id.decode()
    return NewEntry(
        entry_id=shadow_id,
        kind="shadow",
        subject=shadow_id,
        tenant=decision.tenant,
        caller=decision.caller,
        at=decision.at,
        account=reply.account_id.decode(),
        metadata={**read_json(reply.metadata), OF: decision.entry_id},
        response_body=reply.content,
        data_subject=decision.data_subject,
    )


def _drop(why: Dropped, count: int = 1) -> None:
    SHADOW_DROPPED.labels(why).inc(count)


def _bundle_of(entry: Entry) -> str:
    digest: str = entry.metadata["model"]["bundle"]
    return digest


def _size(entry: Entry) -> int:
    return len(entry.request_body or b"") + len(entry.response_body or b"")
