"""A request that is refused by its headers never reaches the app, and its connection goes on.

A real uvicorn server answers raw connections.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from serving.web import admission
from serving.web.error_responses import Refusal
from serving.web.server.protocol import MakeResponse, WholeTargetProtocol, refuse_early
from tests.support.each import each

REFUSAL = Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "too many", 7)
BODY = b"x" * 3000


class Server:
    """An app that answers 200 with its path; what begins with /refused is refused early."""

    def __init__(self, is_early: bool = True) -> None:
        self.called: list[str] = []
        self.running: uvicorn.Server | None = None
        self._is_early = is_early

    def end(self) -> None:
        assert self.running is not None
        self.running.should_exit = True

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        assert self.running is not None
        port = self.running.servers[0].sockets[0].getsockname()[1]
        return await asyncio.open_connection("127.0.0.1", port)

    def refuse(self, scope: Scope) -> MakeResponse | None:
        if not scope["path"].startswith("/refused"):
            return None
        return functools.partial(REFUSAL.response, b"named", scope["path"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            if self._is_early:
                refuse_early(scope["state"], self.refuse)
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
            return
        self.called.append(scope["path"])
        body = scope["path"].encode()
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": body})


def run(server: Server, test: Callable[[Server], Coroutine[Any, Any, None]]) -> None:
    async def serve() -> None:
        config = uvicorn.Config(
            server, port=0, http=WholeTargetProtocol, log_config=None, lifespan="on"
        )
        running = server.running = uvicorn.Server(config)
        task = asyncio.ensure_future(running.serve())
        while not running.started:
            await asyncio.sleep(0.005)
        try:
            await asyncio.wait_for(test(server), 60)
        finally:
            server.end()
            await task

    asyncio.run(serve())


def post(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: any", f"content-length: {len(BODY)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + BODY


async def read_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, body


def test_a_connection_has_its_answers_in_order_whether_refused_or_not() -> None:
    paths = ["/refused/1", "/answered/2", "/refused/3", "/refused/4", "/answered/5"]

    async def at_once_and_one_by_one(server: Server) -> None:
        reader, writer = await server.connect()
        # Pipelined: all are on their way before the first is answered.
        writer.write(b"".join(post(path) for path in paths))
        found = [await read_response(reader) for _ in paths]
        for path in paths:
            writer.write(post(path))
            found.append(await read_response(reader))
        writer.close()
        for path, (status, headers, body) in zip(each(paths * 2), found, strict=True):
            if path.startswith("/refused"):
                assert (status, headers["named"], headers["retry-after"]) == (503, path, "7")
                assert body == REFUSAL.error.problem.model_dump_json().encode()
                assert "connection" not in headers
            else:
                assert (status, body) == (200, path.encode())
        assert server.called == [path for path in paths * 2 if path.startswith("/answered")]

    run(Server(), at_once_and_one_by_one)


def test_a_server_that_is_not_told_calls_the_app() -> None:
    """The control."""

    async def one(server: Server) -> None:
        reader, writer = await server.connect()
        writer.write(post("/refused/1"))
        assert (await read_response(reader))[0] == 200
        writer.close()
        assert server.called == ["/refused/1"]

    run(Server(is_early=False), one)


def test_a_refusal_closes_the_connection_where_the_client_wants_it() -> None:
    async def one(server: Server) -> None:
        reader, writer = await server.connect()
        writer.write(post("/refused/1", "connection: close"))
        status, headers, _ = await read_response(reader)
        assert (status, headers["connection"]) == (503, "close")
        assert await reader.read() == b""
        writer.close()

    run(Server(), one)


def test_a_client_that_leaves_before_its_refusal_holds_nothing_up() -> None:
    async def some(server: Server) -> None:
        for _ in range(5):
            _, writer = await server.connect()
            writer.write(post("/refused/1"))
            await writer.drain()
            writer.transport.abort()
        reader, writer = await server.connect()
        writer.write(post("/refused/2"))
        assert (await read_response(reader))[0] == 503
        writer.close()

    run(Server(), some)


def test_a_server_that_ends_sends_the_refusal_that_is_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "_LEAST_HOLD", 0.06)  # longer than the sleep below

    async def end(server: Server) -> None:
        reader, writer = await server.connect()
        writer.write(post("/refused/1"))
        await asyncio.sleep(0.02)
        # What uvicorn does with each when it ends; it looks every 0.1 s.
        assert server.running is not None
        for connection in each(server.running.server_state.connections):
            connection.shutdown()
        status, headers, _ = await read_response(reader)
        assert (status, headers["connection"]) == (503, "close")
        assert await reader.read() == b""
        writer.close()

    run(Server(), end)
