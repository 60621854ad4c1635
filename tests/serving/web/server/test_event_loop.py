"""Connections that wait are accepted in few turns of the loop: they were made before it ran."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import pytest
import uvicorn
import uvloop

from serving.web.server import event_loop
from serving.web.server.event_loop import EagerLoop, accept_eagerly
from tests.support.each import each

WAITING = 60


class Echo(asyncio.Protocol):
    """Sends back what it gets, and closes; `made` and `lost` count the connections."""

    made = lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Echo.made += 1
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        Echo.lost += 1


@contextmanager
def waiting_clients() -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """A listening socket, and clients that are connected to it and have sent their number."""
    with ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=WAITING))
        clients: list[socket.socket] = []
        for number in range(WAITING):
            client = socket.create_connection(listening.getsockname(), timeout=60)
            clients.append(opened.enter_context(client))
            client.sendall(b"%02d" % number)
        yield listening, clients


def turns_to_accept(loop_class: type[uvloop.Loop]) -> int:
    """How many turns of the loop it takes until all are accepted; each gets its answer."""
    Echo.made = Echo.lost = 0

    async def count(listening: socket.socket, clients: list[socket.socket]) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, sock=listening)
        turns = 0
        while Echo.made < WAITING:
            await asyncio.sleep(0)
            turns += 1
            assert turns < 10_000, f"{Echo.made} of {WAITING} were accepted"
        for number, client in enumerate(each(clients)):
            answer = await loop.run_in_executor(None, client.recv, 2)
            assert answer == b"%02d" % number
        # More come one by one.
        with socket.create_connection(listening.getsockname(), timeout=60) as late:
            late.sendall(b"on")
            assert await loop.run_in_executor(None, late.recv, 2) == b"on"
        server.close()
        await server.wait_closed()
        while Echo.lost < Echo.made:
            await asyncio.sleep(0.01)
        return turns

    with waiting_clients() as (listening, clients), asyncio.Runner(loop_factory=loop_class) as run:
        return run.run(count(listening, clients))


def test_all_that_wait_are_accepted_in_few_turns() -> None:
    assert turns_to_accept(EagerLoop) < 10


def test_uvloop_alone_takes_a_turn_for_each() -> None:
    """The control. If it fails, uvloop does what the project's loop is for."""
    assert turns_to_accept(uvloop.Loop) >= WAITING - 1


def test_of_several_processes_one_takes_some_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EagerLoop, "at_once", event_loop.MOST_OF_SEVERAL)
    turns = turns_to_accept(EagerLoop)
    assert WAITING // event_loop.MOST_OF_SEVERAL <= turns < WAITING // 2


def test_uvicorn_takes_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EagerLoop, "at_once", 0)
    monkeypatch.setattr(uvicorn.config, "LOOP_FACTORIES", dict(uvicorn.config.LOOP_FACTORIES))
    accept_eagerly(workers=1)
    assert uvicorn.Config("no:app").get_loop_factory() is EagerLoop
    assert EagerLoop.at_once == event_loop.MOST
    accept_eagerly(workers=3)
    assert EagerLoop.at_once == event_loop.MOST_OF_SEVERAL
