"""The loop of one endpoint: read what waits, send it, store what became of it.

    Outbox.waiting -> Schedule.add
    Schedule.take -> Outbox.messages -> Sender.send    several at a time, one of each account
    Schedule.finish, fail or set_aside -> Outbox.note  many in a transaction

An outcome is stored after the answer, and never before: a process that is killed between them sends
the event again, with the same id.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from serving.operations.serve.deliver.endpoints import Endpoint
from serving.operations.serve.deliver.message import Message
from serving.operations.serve.deliver.outbox import EVENTS_PER_QUERY, Outbox, Outcome
from serving.operations.serve.deliver.schedule import Event, Schedule
from serving.operations.serve.deliver.sender import Answer

LOGGER = logging.getLogger("clearline.events")
MOST_WAITING = 20_000  # events in memory, 10 MB; the others wait in the database
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_NOTE = 0.2  # a write of the deliverer delays those of a service with SQLite
_SECONDS_AFTER_ERROR = 2.0
_LAST_PLACE = 9  # above every place of an event
_Result = TypeVar("_Result")

Send = Callable[[Message], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class _Attempt:
    event: Event
    event_id: str
    task: asyncio.Task[Answer]


class Deliverer:
    """Delivers the events of one endpoint.

    ``send`` makes one attempt. ``delivered`` and ``refused`` are the numbers so far, and
    ``waiting`` that of the events that are in memory.
    """

    def __init__(self, outbox: Outbox, endpoint: Endpoint, send: Send) -> None:
        self._outbox, self._endpoint, self._send = outbox, endpoint, send
        self._schedule = Schedule(endpoint.in_flight)
        self._attempts: dict[asyncio.Task[Answer], _Attempt] = {}
        self._outcomes: list[Outcome] = []
        self._noted_at = time.monotonic()
        self._looked = (0, _LAST_PLACE)
        self._look_at = 0.0
        self._has_all = False  # what is in the database is in memory
        self._why = ""
        self.delivered = self.refused = 0

    @property
    def _is_full(self) -> bool:
        """Whether no more is to be read now."""
        return self._has_all or len(self._schedule) >= MOST_WAITING

    @property
    def waiting(self) -> int:
        """The events in memory that are not delivered."""
        return len(self._schedule)

    async def run(self, stopping: asyncio.Event, once: bool = False) -> None:
        """Deliver until the event is set, or ``once`` what can be delivered without waiting.

        What is on its way then is waited for, and stored.

        Raises:
            serving.storage.errors.StorageError: The endpoint was forgotten.
        """
        self._looked = await self._ask(self._outbox.done), _LAST_PLACE
        while not stopping.is_set():
            await self._look()
            await self._start()
            if once and not self._attempts and self._is_full:
                break
            await self._wait(_SECONDS_TO_NOTE if self._attempts else _SECONDS_BETWEEN_LOOKS)
            await self._note()
        while self._attempts:
            await self._wait(_SECONDS_TO_NOTE)
        await self._note(at_once=True)

    async def _look(self) -> None:
        """Read more of the outbox, if it is time and there is room."""
        now = time.monotonic()
        if now < self._look_at or len(self._schedule) >= MOST_WAITING:
            return
        events, looked = await self._ask(lambda: self._outbox.waiting(self._looked))
        for event in events:
            self._schedule.add(event)
        self._has_all = looked == self._looked
        self._looked = looked
        self._look_at = now + _SECONDS_BETWEEN_LOOKS if self._has_all else now

    async def _start(self) -> None:
        taken = self._schedule.take(time.monotonic())
        if not taken:
            return
        # Read at each attempt: of a person who was erased meanwhile nothing is sent.
        messages = await self._ask(lambda: self._outbox.messages(taken))
        for event in taken:
            if event not in messages:
                self._schedule.drop(event)
                continue
            message = messages[event]
            task = asyncio.ensure_future(self._send(message))
            self._attempts[task] = _Attempt(event, message.event_id, task)

    async def _wait(self, seconds: float) -> None:
        """Wait for an answer, for so many seconds at most, and take what has come."""
        if not self._attempts:
            await asyncio.sleep(seconds)
            return
        finished, _ = await asyncio.wait(
            self._attempts, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in finished:
            self._take(self._attempts.pop(task), task.result())

    def _take(self, attempt: _Attempt, answer: Answer) -> None:
        event, now = attempt.event, time.monotonic()
        if answer.outcome == "failed":
            self._schedule.fail(event, now, answer.retry_after)
            self._tell(f"does not take events: {answer.why}; they are sent again")
            return
        self._outcomes.append(Outcome(event, answer.outcome, answer.status))
        if answer.outcome == "delivered":
            self._schedule.finish(event)
            self.delivered += 1
            self._why = ""
            return
        self._schedule.set_aside(event, now)
        self.refused += 1
        name = self._endpoint.name
        LOGGER.error("%s refused %s (%s): set aside", name, attempt.event_id, answer.why)

    def _tell(self, why: str) -> None:
        """Log why events wait, once until it is another reason or one was delivered."""
        if why != self._why:
            LOGGER.warning("%s %s", self._endpoint.name, why)
            self._why = why

    async def _note(self, at_once: bool = False) -> None:
        """Store the outcomes, if there are many or some time has passed."""
        now = time.monotonic()
        is_time = now - self._noted_at >= _SECONDS_TO_NOTE
        is_many = len(self._outcomes) >= EVENTS_PER_QUERY
        if not self._outcomes or not (at_once or is_time or is_many):
            return
        outcomes, done = self._outcomes, self._done()
        self._outcomes = []
        await self._ask(lambda: self._outbox.note(outcomes, done))
        self._noted_at = time.monotonic()

    def _done(self) -> int:
        """The row up to which every event has an outcome, with those that are being stored."""
        first = self._schedule.first
        if first is not None:
            return first.seq - 1
        seq, _ = self._looked
        # Of the last row of a page, the events may go on on the next page.
        return seq if self._has_all else seq - 1

    async def _ask(self, query: Callable[[], _Result]) -> _Result:
        """The result of a query, on a thread; until the database answers."""
        while True:
            try:
                return await asyncio.to_thread(query)
            except SQLAlchemyError as error:
                self._tell(f"waits for the database: {type(error).__name__}")
                await asyncio.sleep(_SECONDS_AFTER_ERROR)


async def deliver(
    deliverers: Sequence[Deliverer],
    stopping: asyncio.Event,
    once: bool = False,
    beside: Callable[[], Coroutine[None, None, None]] | None = None,
) -> None:
    """Run all deliverers until ``stopping`` is set; none waits for another.

    ``beside`` runs along, and is cancelled at the end. What one of them raises ends all of them,
    and is raised in an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as group:
        others: list[asyncio.Task[None]] = [] if beside is None else [group.create_task(beside())]
        runs = [group.create_task(one.run(stopping, once)) for one in deliverers]
        await asyncio.wait(runs)
        for task in others:
            task.cancel()
