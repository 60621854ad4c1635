"""A reverse proxy in front of several services, as lenders run one: it sends to the ready ones.

It looks at ``/readyz`` of each every 0.2 seconds by default, sends each request to the next ready
one on a connection of its own, and does not send a request twice.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from serving.operations.client import free_port

SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS = 600.0  # "hung", also on a machine that stands still for some minutes
_SECONDS_FOR_A_LOOK = 1.0
_HEAD_END = b"\r\n\r\n"


class Balancer:
    """Forwards to the ready ones of some services, which may be replaced while it runs."""

    def __init__(self, urls: Sequence[str], between_looks: float) -> None:
        self._urls = list(urls)
        self.address = f"http://127.0.0.1:{free_port()}"
        self._ready = [True] * len(urls)
        self._between_looks = between_looks
        self._turns = itertools.count()

    def replace(self, place: int, url: str) -> None:
        """Send to this service instead of that at the place; returns once it is sent to."""
        self._urls[place] = url
        until = time.monotonic() + _SECONDS
        while not self._ready[place]:
            assert time.monotonic() < until, "the service was not found ready"
            time.sleep(self._between_looks / 10)

    async def run(self, started: Callable[[asyncio.Task[None]], None]) -> None:
        """Serve and look until the task, which is given to `started`, is cancelled."""
        port = int(self.address.rpartition(":")[2])
        async with await asyncio.start_server(self._serve, "127.0.0.1", port):
            task: asyncio.Task[None] | None = asyncio.current_task()
            assert task is not None
            started(task)
            await self._look()

    async def _look(self) -> None:
        """Look at the services, again and again."""
        while True:
            for place in range(len(self._urls)):
                is_ready = await self._is_ready(place)
                # On a busy machine an answer may be late; that is no reason to send elsewhere.
                self._ready[place] = self._ready[place] if is_ready is None else is_ready
            await asyncio.sleep(self._between_looks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward the requests of one client until it closes its connection."""
        try:
            while head := await reader.readuntil(_HEAD_END):
                body = await reader.readexactly(_length(head))
                writer.write(await self._forward(head + body))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _forward(self, request: bytes) -> bytes:
        """The answer; empty if the service closed the connection before it."""
        ready = [place for place, is_ready in enumerate(self._ready) if is_ready]
        if not ready:
            return b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
        return await self._exchange(ready[next(self._turns) % len(ready)], request)

    async def _exchange(self, place: int, request: bytes) -> bytes:
        host, port = self._urls[place].removeprefix("http://").split(":")
        # The services know the address that they listen on.
        lines = request.split(b"\r\n")
        named = [f"host: {host}:{port}".encode() if _is_host(one) else one for one in lines]
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
        try:
            writer.write(b"\r\n".join(named))
            head = await reader.readuntil(_HEAD_END)
            return head + await reader.readexactly(_length(head))
        except (OSError, asyncio.IncompleteReadError):
            return b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
        finally:
            writer.close()

    async def _is_ready(self, place: int) -> bool | None:
        """Whether a service is ready; None if it does not say so in time."""
        probe = b"GET /readyz HTTP/1.1\r\nhost: any\r\n\r\n"
        try:
            answer = await asyncio.wait_for(self._exchange(place, probe), _SECONDS_FOR_A_LOOK)
        except TimeoutError:
            return None
        return answer.startswith(b"HTTP/1.1 200")


@contextmanager
def balance(
    urls: Sequence[str], between_looks: float = SECONDS_BETWEEN_LOOKS
) -> Iterator[Balancer]:
    """Run a balancer in front of these services, on a thread."""
    balancer = Balancer(urls, between_looks)
    tasks: queue.SimpleQueue[asyncio.Task[None]] = queue.SimpleQueue()

    def serve() -> None:
        with asyncio.Runner() as runner, suppress(asyncio.CancelledError):
            runner.run(balancer.run(tasks.put))

    thread = threading.Thread(target=serve)
    thread.start()
    task = tasks.get(timeout=60)
    try:
        yield balancer
    finally:
        task.get_loop().call_soon_threadsafe(task.cancel)
        thread.join()


def _is_host(line: bytes) -> bool:
    return line.lower().startswith(b"host:")


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0
