"""Load on a service of this machine: many connections from one process, as cheap as Python can.

Run as a program, so that the load takes nothing from the interpreter that measures:
``python -m tests.support.http_load`` reads a JSON list of :class:`Load` and prints one of
:class:`Sample` for each. On a machine with several processors it has the last one for itself, if
the service is started within :func:`beside_the_load`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import NamedTuple, cast

import uvloop

from serving import PROJECT

# How the messages end of what is refused by its headers.
_AT_ONCE = ("nothing was decided", "requests a second with this key")
_SECONDS_TO_END = 10.0  # for the answers that are under way when the load ends


@dataclass(frozen=True, slots=True)
class Load:
    """So many connections that send requests for some seconds, one after the other each.

    With a `rate`, they start so many requests a second in all, or as many as they can; without one
    each sends the next as soon as it is answered. `body` None = GET.
    """

    url: str
    path: str
    connections: int
    seconds: float
    body: str | None = None
    token: str = ""
    rate: float | None = None

    def request(self) -> bytes:
        """The bytes of the request."""
        content = (self.body or "").encode()
        lines = [
            f"{'GET' if self.body is None else 'POST'} {self.path} HTTP/1.1",
            f"host: {self.url.removeprefix('http://')}",
            f"authorization: Bearer {self.token}",
            "content-type: application/json",
            f"content-length: {len(content)}",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + content


class Sample(NamedTuple):
    """A request: when it began (seconds since the beginning), how long it took, its status.

    Status 0 = no whole answer. `message` is that of the first fault of a problem.
    """

    began: float
    took: float
    status: int
    message: str = ""

    @property
    def was_refused_at_once(self) -> bool:
        """Whether the request was refused without any work on it.

        A request that the service began to answer, and had no time left for, has these statuses
        too, and another message.
        """
        is_refused = self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
        return is_refused and self.message.endswith(_AT_ONCE)


def run_loads(loads: Sequence[Load]) -> list[list[Sample]]:
    """The samples of loads that run at the same time, each in the order of their ends."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.support.http_load"],
        input=json.dumps([asdict(load) for load in loads]),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [[Sample(*one) for one in samples] for samples in json.loads(ended.stdout)]


@contextlib.contextmanager
def beside_the_load() -> Iterator[None]:
    """Keep what is started in this block off the processor of the load; all share an only one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - {max(before)} or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def quantile(seconds: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(seconds)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


class _Sender:
    """The connections of a load, and the samples so far."""

    def __init__(self, load: Load) -> None:
        self.request = load.request()
        self.samples: list[Sample] = []
        self._load = load
        self._free: deque[_Connection] = deque()
        self._open: set[_Connection] = set()
        self._sent = 0
        self._began = math.inf
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> list[Sample]:
        """Send until the load is over, and wait for the answers."""
        for _ in range(self._load.connections):
            await self._connect()
        self._began = time.monotonic()
        while not self._is_over:
            self._send_due()
            await asyncio.sleep(0.001)
        end = time.monotonic() + _SECONDS_TO_END
        while time.monotonic() < end and any(one.sent_at is not None for one in self._open):
            await asyncio.sleep(0.01)
        for connection in list(self._open):
            connection.end()
        return self.samples

    def opened(self, connection: _Connection) -> None:
        """Use a new connection."""
        self._open.add(connection)
        self._free.append(connection)

    def use(self, connection: _Connection) -> None:
        """Use a connection again, whose request is answered."""
        self._free.append(connection)
        self._send_due()

    def closed(self, connection: _Connection) -> None:
        """Note a request that had no whole answer, and open another connection."""
        self._open.discard(connection)
        if connection in self._free:
            self._free.remove(connection)
        if connection.sent_at is not None:
            self.note(connection.sent_at, 0)
        if not self._is_over:
            task = asyncio.ensure_future(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @property
    def _is_over(self) -> bool:
        return time.monotonic() - self._began >= self._load.seconds

    def note(self, sent_at: float, status: int, message: str = "") -> None:
        """Add a sample of a request that ended."""
        took = time.monotonic() - sent_at
        self.samples.append(Sample(sent_at - self._began, took, status, message))

    def _send_due(self) -> None:
        if self._is_over:
            return
        due = len(self._free)
        if self._load.rate is not None:
            passed = time.monotonic() - self._began
            due = min(due, math.ceil(passed * self._load.rate) - self._sent)
        for _ in range(due):
            self._sent += 1
            self._free.popleft().send()

    async def _connect(self) -> None:
        host, port = self._load.url.removeprefix("http://").split(":")
        loop = asyncio.get_running_loop()
        while not self._is_over:
            try:
                await loop.create_connection(lambda: _Connection(self), host, int(port))
            except OSError:
                # Nobody listens while the service is started again.
                await asyncio.sleep(0.01)
            else:
                return


class _Connection(asyncio.Protocol):
    """One connection; `sent_at` is when its request was sent, None if none is under way."""

    def __init__(self, sender: _Sender) -> None:
        self.sent_at: float | None = None
        self._sender = sender
        self._transport: asyncio.WriteTransport
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of none of asyncio's classes.
        self._transport = cast(asyncio.WriteTransport, transport)
        self._sender.opened(self)

    def send(self) -> None:
        """Send the request."""
        self.sent_at = time.monotonic()
        self._transport.write(self._sender.request)

    def end(self) -> None:
        """Close the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        _, _, rest = lowered.partition(b"content-length: ")
        if len(body) < int(rest.split(b"\r\n", 1)[0] or 0) or self.sent_at is None:
            return
        sent_at, self.sent_at, self._received = self.sent_at, None, b""
        status = int(head.split(b" ", 2)[1])
        self._sender.note(sent_at, status, "" if status < 400 else _message(body))
        if b"connection: close" in lowered:
            self._transport.abort()
        else:
            self._sender.use(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.closed(self)


def _message(body: bytes) -> str:
    """The message of the first fault of a problem; that of a proxy may be none."""
    try:
        problem = json.loads(body)
    except ValueError:
        return ""
    faults = problem.get("errors") if isinstance(problem, dict) else None
    return str(faults[0]["message"]) if faults else ""


async def _run_all(loads: Sequence[Load]) -> list[list[Sample]]:
    return await asyncio.gather(*(_Sender(load).run() for load in loads))


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    everything = uvloop.run(_run_all([Load(**load) for load in json.load(sys.stdin)]))
    json.dump(everything, sys.stdout)
