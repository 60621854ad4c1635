"""A gate in the process: what is asked of it, what stands behind it, and what it sends."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.auth.gate import Gate
from serving.auth.key_cache import KeyCache
from serving.auth.keys import Key
from serving.web.errors import Problem

MARK = "Geheimnis7319"
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
SHOWN = {"authorization": f"Bearer {TEXT}"}


class Echo:
    """An app that answers with what it was handed, and remembers the scopes."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        message = await receive()
        assert not message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"], "more_body": False})


def keys_of(*stored: Key) -> KeyCache:
    held = KeyCache(lambda: stored)
    held.wait()
    return held


def asked(
    app: ASGIApp,
    method: str = "POST",
    path: str = "/v1/decisions",
    client: str = "127.0.0.1",
    **sent: Any,
) -> httpx.Response:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(client, 5), raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as http:
            return await http.request(method, path, **sent)

    return asyncio.run(one())


def problem_of(response: httpx.Response, status: int) -> Problem:
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert response.status_code == problem.status == status
    assert MARK not in response.text
    return problem


def served(
    gate: Gate, messages: Sequence[Message | float], headers: dict[str, str] | None = None
) -> list[Message]:
    """What the gate sends to a client whose messages come as told, with a pause for each number."""
    coming, sent = list(messages), []

    async def receive() -> Message:
        while coming and isinstance(coming[0], float):
            await asyncio.sleep(coming.pop(0))  # type: ignore[arg-type]
        if not coming:
            await asyncio.Event().wait()
        return coming.pop(0)  # type: ignore[return-value]

    async def send(message: Message) -> None:
        sent.append(message)

    raw = [
        (name.encode(), value.encode()) for name, value in (JSON | SHOWN | (headers or {})).items()
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/decisions",
        "headers": raw,
        "client": ("127.0.0.1", 5),
    }
    asyncio.run(asyncio.wait_for(gate(scope, receive, send), 10))
    return sent


def piece(content: bytes, more: bool = True) -> Message:
    return {"type": "http.request", "body": content, "more_body": more}
