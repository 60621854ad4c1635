"""Which event of an endpoint goes next: those of an account in order, one at a time.

After a failure the account waits, each time about twice as long. After some failures in a row,
whoever they are of, the endpoint is taken for down: then one event at a time tries it, after a wait
that grows too. Events that are refused one after another are taken for a fault of the endpoint, not
of the events: they slow it down in the same way, so that few of them are set aside.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

FIRST_WAIT = 1.0  # seconds
LONGEST_WAIT_OF_ACCOUNT = 900.0
LONGEST_WAIT_OF_ENDPOINT = 60.0
TROUBLES_TO_PAUSE = 5  # in a row
_MOST_DOUBLINGS = 20  # so that the power does not overflow


@dataclass(frozen=True, slots=True, order=True)
class Event:
    """An event of the outbox: its place in it, and its account's random id."""

    seq: int
    place: int
    person: str = field(compare=False)


@dataclass(slots=True)
class _Account:
    events: deque[Event] = field(default_factory=deque)
    failures: int = 0


class Schedule:
    """The events of one endpoint that wait. Times are in seconds, of any steady clock.

    Args:
        most_in_flight: Events that may be on their way at a time.
        draw: Draws the jitter.
    """

    def __init__(self, most_in_flight: int, draw: random.Random | None = None) -> None:
        self._most_in_flight = most_in_flight
        self._draw = draw or random.Random()  # no secret depends on it
        self._accounts: dict[str, _Account] = {}
        # Each account is in one of the two heaps, or its first event is on its way.
        self._ready: list[tuple[int, Event]] = []  # by failures, then by event
        self._waiting: list[tuple[float, Event]] = []  # by the time at which it is ready
        self._count = 0
        self._in_flight = 0
        self._troubles = 0  # failures and refusals in a row
        self._paused_until = 0.0

    def __len__(self) -> int:
        """The events that wait or are on their way."""
        return self._count

    @property
    def in_flight(self) -> int:
        """The events that are on their way."""
        return self._in_flight

    @property
    def first(self) -> Event | None:
        """The first event that waits or is on its way; None = there is none."""
        return min((one.events[0] for one in self._accounts.values()), default=None)

    def add(self, event: Event) -> None:
        """Add an event, which is after all others of its account."""
        self._count += 1
        account = self._accounts.setdefault(event.person, _Account())
        account.events.append(event)
        if len(account.events) == 1:
            heapq.heappush(self._ready, (0, event))

    def take(self, now: float) -> list[Event]:
        """The events to send now; each has to come back by one of the methods below.

        Accounts without a failure go first, then those with the earliest event.
        """
        while self._waiting and self._waiting[0][0] <= now:
            _, event = heapq.heappop(self._waiting)
            failures = self._accounts[event.person].failures
            heapq.heappush(self._ready, (failures, event))
        if now < self._paused_until:
            return []
        most = self._most_in_flight if self._troubles < TROUBLES_TO_PAUSE else 1
        taken: list[Event] = []
        while self._ready and self._in_flight < most:
            _, event = heapq.heappop(self._ready)
            taken.append(event)
            self._in_flight += 1
        return taken

    def finish(self, event: Event) -> None:
        """An event was delivered: the next one of its account may go."""
        self._troubles = 0
        self._paused_until = 0.0
        self.drop(event)

    def set_aside(self, event: Event, now: float) -> None:
        """An event was refused for good: the next one of its account may go."""
        self._trouble(now, None)
        self.drop(event)

    def drop(self, event: Event) -> None:
        """An event is no event any more: the next one of its account may go."""
        self._in_flight -= 1
        self._count -= 1
        account = self._accounts[event.person]
        account.events.popleft()
        account.failures = 0
        if account.events:
            heapq.heappush(self._ready, (0, account.events[0]))
        else:
            del self._accounts[event.person]

    def fail(self, event: Event, now: float, retry_after: float | None = None) -> None:
        """An event was not delivered: its account waits. ``retry_after`` is what the app said."""
        self._trouble(now, retry_after)
        self._in_flight -= 1
        account = self._accounts[event.person]
        ready_at = now + self._wait(account.failures, LONGEST_WAIT_OF_ACCOUNT)
        account.failures += 1
        heapq.heappush(self._waiting, (ready_at, event))

    def _trouble(self, now: float, retry_after: float | None) -> None:
        self._troubles += 1
        over = self._troubles - TROUBLES_TO_PAUSE
        wait = retry_after or 0.0
        if over >= 0:
            wait = max(wait, self._wait(over, LONGEST_WAIT_OF_ENDPOINT))
        self._paused_until = max(self._paused_until, now + wait)

    def _wait(self, failures: int, longest: float) -> float:
        """From half of the wait to all of it: so those that failed together come apart."""
        wait = FIRST_WAIT * 2.0 ** min(failures, _MOST_DOUBLINGS)
        return min(wait, longest) * self._draw.uniform(0.5, 1.0)
