"""uvicorn's event loop, which accepts all connections that wait, and not one in each turn.

libuv, on which uvloop is built, accepts one connection in a turn of the loop since version 1.45
(https://github.com/libuv/libuv/pull/3696). Measured: with four times the requests that can be
answered a turn takes 10 to 30 ms, so that the last of 512 new connections waits for seconds before
its first request is read: too long for a refusal, and unseen by the deadline, which has not begun.
asyncio's own loop accepts as many as may wait.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, ClassVar

import uvicorn.config
import uvloop

_ProtocolFactory = Callable[[], asyncio.BaseProtocol]
MOST = 2048  # what uvicorn and BentoML let wait
# Of several processes, the one that is first must not take all.
MOST_OF_SEVERAL = 16


class EagerLoop(uvloop.Loop):
    """A uvloop whose servers accept up to `at_once` connections in a turn.

    So do servers on a given socket, without TLS; the others are as uvloop makes them.
    """

    at_once: ClassVar[int] = MOST

    async def create_server(  # type: ignore[override]  # uvloop has overloads of 14 parameters
        self, protocol_factory: _ProtocolFactory, *args: Any, **options: Any
    ) -> asyncio.AbstractServer:
        """Return a server, as uvloop does."""
        listening: socket.socket | None = options.get("sock")
        if listening is not None and options.get("ssl") is None:
            acceptor = _Acceptor(self, listening, protocol_factory)
            protocol_factory = acceptor.make_protocol
        return await super().create_server(protocol_factory, *args, **options)


class _Acceptor:
    """Accepts what waits at a socket, whenever uvloop has accepted a connection of it."""

    def __init__(
        self, loop: EagerLoop, listening: socket.socket, protocol_factory: _ProtocolFactory
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._factory = protocol_factory
        self._is_due = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def make_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol of a connection that uvloop accepts; the others follow."""
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._accept_others)
        return self._factory()

    def _accept_others(self) -> None:
        self._is_due = False
        for _ in range(self._loop.at_once - 1):
            try:
                connection, _ = self._listening.accept()
            except OSError:
                # None waits, or the server is closed. If there is another reason, such as too many
                # open files, uvloop finds the same and logs it.
                return
            connecting = self._loop.connect_accepted_socket(self._factory, connection)
            task = self._loop.create_task(connecting)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def new_loop_factory(use_subprocess: bool = False) -> Callable[[], EagerLoop]:
    """Return what makes an event loop, as uvicorn wants it."""
    return EagerLoop


def accept_eagerly(workers: int) -> None:
    """Let the uvicorn servers that start after this in this process use the loop.

    `workers` is how many processes accept the connections of one socket. BentoML's worker passes no
    loop to uvicorn, so uvicorn's default is changed.
    """
    EagerLoop.at_once = MOST if workers == 1 else MOST_OF_SEVERAL
    uvicorn.config.LOOP_FACTORIES["auto"] = f"{__name__}:{new_loop_factory.__name__}"
