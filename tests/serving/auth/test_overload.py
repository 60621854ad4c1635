"""The gate under more requests than are answered in time: an app that answers when it is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from serving.auth.gate import Gate
from serving.web.errors import Problem
from tests.support.each import each
from tests.support.gated_app import JSON, LIVE, SECRET, cache_of

POLITE = replace(LIVE, key_id="fedcba9876543210")
MANY = 300
Test = Callable[["Service"], Coroutine[Any, Any, None]]


class Service:
    """A gate and, behind it, an app that answers once `go_on` is set; probes at once."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.running = 0
        keys = cache_of(replace(LIVE, rate=10_000), replace(POLITE, rate=10_000))
        self.gate = Gate(self.answer, keys)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/livez":
            self.running += 1
            await self.go_on.wait()
            self.running -= 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def ask(self, path: str, key_id: str = LIVE.key_id) -> httpx.Response:
        transport = httpx.ASGITransport(self.gate)
        headers = JSON | {"authorization": f"Bearer clk_{key_id}_{SECRET}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3000") as http:
            if path == "/livez":
                return await http.get(path)
            return await http.post(path, content=b"{}", headers=headers)

    def ask_many(self, path: str = "/v1/decisions") -> list[asyncio.Task[httpx.Response]]:
        return [asyncio.ensure_future(self.ask(path)) for _ in range(MANY)]


@pytest.fixture(autouse=True)
def short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    # A quarter of a second of decisions may wait: some 80.
    monkeypatch.setenv("CLEARLINE_DEADLINE", "0.5")


def run(test: Test) -> None:
    async def with_service() -> None:
        service = Service()
        with closing(service.gate.keys or pytest.fail("the gate has no keys")):
            await test(service)

    asyncio.run(with_service())


async def settle(tasks: list[asyncio.Task[httpx.Response]]) -> None:
    """Wait until all that are refused have their answer."""
    for _ in range(100):
        before = sum(task.done() for task in tasks)
        await asyncio.sleep(0.1)
        if before and before == sum(task.done() for task in tasks):
            return


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions?advice=true"])
def test_what_cannot_be_answered_in_time_is_refused_and_the_rest_is_answered(path: str) -> None:
    async def overload(service: Service) -> None:
        tasks = service.ask_many(path)
        await settle(tasks)
        refused = [task.result() for task in tasks if task.done()]
        assert 0 < len(refused) < MANY
        for response in each(refused):
            assert response.status_code == 503
            assert int(response.headers["retry-after"]) >= 1
            problem = Problem.model_validate_json(response.content)
            assert problem.errors[0].message.endswith("nothing was decided")
        assert (await service.ask("/livez")).status_code == 200
        service.go_on.set()
        statuses = Counter([response.status_code for response in await asyncio.gather(*tasks)])
        assert statuses == {200: MANY - len(refused), 503: len(refused)}
        # Nothing is left of the queue.
        again = await asyncio.gather(*service.ask_many(path)[:16])
        assert {response.status_code for response in again} == {200}

    run(overload)


def test_only_some_decisions_run_at_once() -> None:
    async def overload(service: Service) -> None:
        tasks = service.ask_many()
        await settle(tasks)
        assert service.running == 16
        service.go_on.set()
        await asyncio.gather(*tasks)

    run(overload)


def test_another_key_is_answered_while_one_fills_the_queue() -> None:
    async def overload(service: Service) -> None:
        hostile = service.ask_many()
        await settle(hostile)
        polite = asyncio.ensure_future(service.ask("/v1/decisions", POLITE.key_id))
        await settle([*hostile, polite])
        assert not polite.done(), "it was refused, or did not wait"
        service.go_on.set()
        assert (await polite).status_code == 200
        statuses = {task.status_code for task in await asyncio.gather(*hostile)}
        # One that waited has made room.
        assert statuses == {200, 429, 503}

    run(overload)


def test_other_routes_are_not_counted() -> None:
    async def overload(service: Service) -> None:
        tasks = service.ask_many("/v1/decisions/0199-a/notifications")
        await asyncio.sleep(0.1)
        service.go_on.set()
        statuses = {response.status_code for response in await asyncio.gather(*tasks)}
        assert statuses == {200}

    run(overload)
