"""Which requests are taken, and in which order: a bounded queue, fair to the keys of callers.

    headers -> enter: refused if too much work is ahead -> body -> start: wait for a slot -> answer

A request is refused before its body is read, so that a refusal costs little. While there is too
much work, a key has an equal share of what may wait; a request of a key below its share takes the
place of the newest one that waits of the key with the most.

A key that nobody is beside has all slots. Beside others it has few, because what runs at the same
time shares one event loop: the saved requests of a key, started all at once, would make those of
others take as many times longer.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from serving.web.error_responses import Refusal
from serving.web.fair_queue import FairQueue

LOGGER = logging.getLogger("clearline.admission")
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_TO_MEASURE = 0.2
_WEIGHT = 0.5  # of a new measurement of the speed
_SECONDS_BESIDE_OTHERS = 5.0  # after a request of another key
_SECONDS_ABOVE_RATE = 5.0  # after a refusal for the rate
# Seconds for which a refusal is held. Up to 120 clients that send again at once then get at most
# 2,000 refusals a second, which take a seventh of a processor.
_LEAST_HOLD, _LONGEST_HOLD = 0.02, 0.06
_REFUSALS_A_SECOND = 2000
OVERLOADED = "the service has more requests than it can answer in time: nothing was decided"
MORE_THAN_SHARE = (
    "this key has more requests waiting than its share while others wait too: nothing was decided"
)


@dataclass(frozen=True, slots=True)
class Slots:
    """How many requests run at once: of `all` keys, and of a key while others send requests too.

    What runs takes turns on one event loop, so a request takes as many times longer as others run.
    A key that has sent more than its rate lately has `above_rate`, beside others.
    """

    all: int
    beside_others: int
    above_rate: int


class Admission:
    """Takes requests while the work ahead of a new one is done within `max_wait` seconds.

    Those that have no slot wait. `seconds` is how long one unit of cost takes, before it is
    measured. Everything runs in one event loop; `clock` returns seconds.
    """

    def __init__(
        self,
        slots: Slots,
        max_wait: float,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = slots
        self._max_wait = max_wait
        self._seconds = seconds
        self._clock = clock
        self._running = 0
        self._running_by_key: dict[str, int] = {}
        self._waiting: FairQueue[Ticket] = FairQueue()
        self._latest = _Latest()
        self._above_rate_at: dict[str, float] = {}  # by key, as many as keys
        self._cost_by_key: dict[str, float] = {}  # of all requests that entered and have not left
        self._left_at = clock()  # when the latest one left, later by the idle time since then
        self._busy = _Measured()
        self._free = _Measured()
        self._refused = 0
        self._logged_at = -math.inf

    @property
    def cost(self) -> float:
        """The cost of all requests that entered and have not left."""
        return sum(self._cost_by_key.values())

    def take(self, key: str, cost: float) -> Ticket | Refusal:
        """Take a request, or count it as refused, and return why."""
        ahead = self.cost * self._seconds
        is_full = bool(self._cost_by_key) and ahead > self._max_wait
        is_above_rate = self._slots_of(key) < self._slots.beside_others
        if is_full or is_above_rate:
            others = len(self._cost_by_key) - (key in self._cost_by_key)
            # What a key with few slots has waiting takes longer, as if another had as much.
            others = max(others, int(is_above_rate))
            share = self._max_wait / self._seconds / (others + 1)
            own = self._cost_by_key.get(key, 0.0) + cost
            if own > share:
                return self._refuse(ahead, others > 0)
        if is_full:
            self._refuse_newest(ahead)
        self._cost_by_key[key] = self._cost_by_key.get(key, 0.0) + cost
        self._latest.note(key, self._clock())
        return Ticket(self, key, cost)

    def enter(self, key: str, cost: float) -> Ticket:
        """Take a request.

        Raises :class:`serving.web.errors.ApiError`: 503, or 429 for more than a key's share.
        """
        taken = self.take(key, cost)
        if isinstance(taken, Refusal):
            raise taken.error
        return taken

    def note_above_rate(self, key: str) -> None:
        """Note that a request of a key was refused for its rate."""
        self._above_rate_at[key] = self._clock()

    async def start(self, ticket: Ticket) -> None:
        """Wait for a slot; raises as :meth:`enter` if the request has to make place for another."""
        if not self._waiting and self._may_run(ticket.key):
            self._waiting.pass_through(ticket.key, ticket.cost)
            self._run_one(ticket.key)
            return
        turn = ticket.turn = asyncio.get_running_loop().create_future()
        self._waiting.push(ticket.key, ticket.cost, ticket)
        # Those that wait may be of keys that have no slot left.
        self._fill()
        try:
            await turn
        except BaseException:
            if not self._waiting.remove(ticket.key, ticket) and _has_slot(turn):
                self._release(ticket.key)
            raise

    def leave(self, ticket: Ticket) -> None:
        """Give back what a request had: its slot, and its part of the queue."""
        left = self._cost_by_key[ticket.key] - ticket.cost
        if left > 0:
            self._cost_by_key[ticket.key] = left
        else:
            del self._cost_by_key[ticket.key]
        if not ticket.started:
            return
        self._measure(ticket.cost)
        self._release(ticket.key)

    def _run_one(self, key: str) -> None:
        if not self._running:
            self._left_at = self._clock()
        self._running += 1
        running = self._running_by_key.get(key, 0)
        self._running_by_key[key] = running + 1

    def _release(self, key: str) -> None:
        self._running -= 1
        self._running_by_key[key] -= 1
        self._fill()

    def _fill(self) -> None:
        """Let those that wait start, in turns, while there are slots for them."""
        while self._waiting:
            key = self._waiting.next_key(self._may_run)
            if key is None:
                return
            turn = self._waiting.pop_of(key).turn
            if not turn.done():
                self._run_one(key)
                turn.set_result(None)

    def _may_run(self, key: str) -> bool:
        """Return whether one more request of a key may run."""
        if self._running >= self._slots.all:
            return False
        running = self._running_by_key.get(key, 0)
        return running < self._slots_of(key)

    def _slots_of(self, key: str) -> int:
        """Return how many requests of a key may run at once."""
        now = self._clock()
        if not self._latest.is_beside_others(key, now):
            return self._slots.all
        refused_at = self._above_rate_at.get(key, -math.inf)
        if now - refused_at < _SECONDS_ABOVE_RATE:
            return self._slots.above_rate
        return self._slots.beside_others

    def _measure(self, cost: float) -> None:
        """Measure how long a unit of cost takes, from the time in which requests run."""
        now = self._clock()
        waits = bool(self._waiting)
        measured = self._busy if waits else self._free
        measured.seconds += now - self._left_at
        measured.cost += cost
        self._left_at = now
        # Requests that are committed together leave together, so one alone says little.
        if measured.seconds < _SECONDS_TO_MEASURE:
            return
        seconds = measured.seconds / measured.cost
        # While none waits, more could be done at once: a unit takes at most so long. Without this
        # bound a machine that was slow for a moment would be thought slow for ever, because with
        # few requests taken, none waits.
        if waits or seconds < self._seconds:
            self._seconds += _WEIGHT * (seconds - self._seconds)
        measured.seconds = measured.cost = 0.0

    def _refuse_newest(self, ahead: float) -> None:
        heaviest = max(self._cost_by_key, key=lambda name: self._cost_by_key[name])
        newest = self._waiting.pop_newest(heaviest)
        if newest is not None and not newest.turn.done():
            newest.turn.set_exception(self._refuse(ahead, True).error)

    def _refuse(self, ahead: float, others_wait: bool) -> Refusal:
        self._refused += 1
        now = self._clock()
        if now - self._logged_at >= _SECONDS_BETWEEN_LINES:
            LOGGER.warning("refused %d requests: %.2g s of work is ahead", self._refused, ahead)
            self._refused, self._logged_at = 0, now
        status = HTTPStatus.SERVICE_UNAVAILABLE
        message = OVERLOADED
        if others_wait:
            status, message = HTTPStatus.TOO_MANY_REQUESTS, MORE_THAN_SHARE
        return Refusal(status, message, max(1, math.ceil(ahead - self._max_wait)))


@dataclass(slots=True)
class _Latest:
    """When the latest request entered, and when the latest one of another key than that one's."""

    key: str = ""
    at: float = -math.inf
    other_at: float = -math.inf

    def note(self, key: str, now: float) -> None:
        """Note a request that enters."""
        if key != self.key:
            self.key = key
            self.other_at = self.at
        self.at = now

    def is_beside_others(self, key: str, now: float) -> bool:
        """Return whether another key than this one has sent requests lately."""
        others = self.other_at if key == self.key else self.at
        return now - others < _SECONDS_BESIDE_OTHERS


@dataclass(slots=True)
class _Measured:
    """Time in which requests ran, and the cost of those that left in it."""

    seconds: float = 0.0
    cost: float = 0.0


class HeldRefusals:
    """The refusals that are held: the more there are, the longer is the next one held.

    Clients that do not wait before they try again, as they are told, must not keep the process busy
    with refusals. Few of them need not be held for long, and a late refusal is of no use to others.

    >>> held = HeldRefusals()
    >>> held.begin(), [held.begin() for _ in range(79)][-1], [held.begin() for _ in range(99)][-1]
    (0.02, 0.04, 0.06)
    """

    def __init__(self) -> None:
        self._count = 0

    def begin(self) -> float:
        """Return for how many seconds to hold a refusal; :meth:`end` comes after them."""
        self._count += 1
        return min(max(self._count / _REFUSALS_A_SECOND, _LEAST_HOLD), _LONGEST_HOLD)

    def end(self) -> None:
        """Note that a refusal is sent now, or its client has gone."""
        self._count -= 1

    async def wait(self) -> None:
        """Hold a refusal."""
        seconds = self.begin()
        try:
            await asyncio.sleep(seconds)
        finally:
            self.end()


HELD_REFUSALS = HeldRefusals()  # of the process, which has one event loop


class Ticket:
    """The place of a request that :meth:`Admission.enter` took, until :meth:`leave`."""

    __slots__ = ("_admission", "cost", "key", "started", "turn")

    def __init__(self, admission: Admission, key: str, cost: float) -> None:
        self._admission = admission
        self.key = key
        self.cost = cost
        self.started = False
        self.turn: asyncio.Future[None]  # done as soon as it has a slot; made by `start`

    async def start(self) -> None:
        """Wait for a slot; raises as :meth:`Admission.start`."""
        await self._admission.start(self)
        self.started = True

    def leave(self) -> None:
        """Let the next request start."""
        self._admission.leave(self)


def _has_slot(turn: asyncio.Future[None]) -> bool:
    return turn.done() and not turn.cancelled() and turn.exception() is None
