"""A gate in this process: an app behind it, requests to it, and the messages that it sends."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.caller import LOOPBACK
from serving.auth.gate import Gate
from serving.auth.key_cache import KeyCache
from serving.auth.keys import Key
from serving.web.errors import Problem

MARK = "Geheimnis7319"  # a value in requests that no answer and no log may repeat
JSON = {"content-type": "application/json"}
NOW = datetime.datetime(2026, 11, 25, 8, 0, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
SECRET = "Q" * 43
KEY = Key(
    "0123456789abcdef",
    "lender",
    frozenset({"score"}),
    hashlib.sha256(SECRET.encode()).hexdigest(),
    100.0,
    NOW,
    NOW + DAY,
)
TEXT = f"clk_{KEY.key_id}_{SECRET}"
LIVE = replace(KEY, expires_at=datetime.datetime.now(datetime.UTC) + DAY, rate=1000.0)
AUTHORIZATION = {"authorization": f"Bearer {TEXT}"}


class WithCaller:
    """An app that takes every client for one on this machine, as the gate does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = {**scope.get("state", {}), "caller": LOOPBACK}
        await self.app({**scope, "state": state}, receive, send)


class Echo:
    """An app that answers with the body of the request, and remembers the scopes."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        message = await receive()
        assert not message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"], "more_body": False})


def cache_of(*stored: Key) -> KeyCache:
    """A cache that has read these keys."""
    cache = KeyCache(lambda: stored)
    cache.wait()
    return cache


def request(
    app: ASGIApp,
    method: str = "POST",
    path: str = "/v1/decisions",
    client: str = "127.0.0.1",
    **options: Any,
) -> httpx.Response:
    """Send a request from the address `client`; `options` are those of httpx."""

    async def send_it() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 5), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as http:
            return await http.request(method, path, **options)

    return asyncio.run(send_it())


def post_json(app: ASGIApp, content: Any = b"{}", **options: Any) -> httpx.Response:
    """Send a POST of JSON with a live key."""
    return request(app, content=content, headers=JSON | AUTHORIZATION, **options)


def problem_of(response: httpx.Response, status: int) -> Problem:
    """Return the problem of a response, which has this status and repeats no value."""
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert response.status_code == problem.status == status
    assert MARK not in response.text
    return problem


def messages_of(
    gate: Gate, incoming: Sequence[Message | float], headers: dict[str, str] | None = None
) -> list[Message]:
    """Return what the gate sends for these messages of a client; a number is a pause in seconds."""
    waiting, sent = list(incoming), []

    async def receive() -> Message:
        while waiting:
            part = waiting.pop(0)
            if not isinstance(part, float):
                return part
            await asyncio.sleep(part)
        # A client that sends nothing more and stays connected.
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")

    async def send(message: Message) -> None:
        sent.append(message)

    all_headers = {"host": "127.0.0.1:3000"} | JSON | AUTHORIZATION | (headers or {})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/decisions",
        "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
        "http_version": "1.1",
        "client": ("127.0.0.1", 5),
    }
    asyncio.run(asyncio.wait_for(gate(scope, receive, send), 10))
    return sent


def body_part(content: bytes, more: bool = True) -> Message:
    """A message with a part of the body."""
    return {"type": "http.request", "body": content, "more_body": more}
