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
from starlette.types import Message, Receive, Scope, Send

from serving.auth.gate import Gate
from serving.auth.key_cache import KeyCache
from serving.auth.keys import Key
from serving.web.error_responses import Refusal
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

    def scope(
        self, path: str, key_id: str = LIVE.key_id, method: str = "POST", of_type: str = ""
    ) -> Scope:
        """Such a request as a server gives it to the gate, before its body arrives."""
        path, _, query = path.partition("?")
        named = JSON | {"authorization": f"Bearer clk_{key_id}_{SECRET}", "host": "127.0.0.1"}
        if of_type:
            named["content-type"] = of_type
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        scope = {"method": method, "path": path, "query_string": query.encode(), "headers": headers}
        return {"type": "http", "http_version": "1.1", "state": {}} | scope

    def refusal(self, path: str, key_id: str = LIVE.key_id, method: str = "POST") -> Refusal | None:
        """What the gate says of such a request. If it takes it, its client leaves at once."""
        scope = self.scope(path, key_id, method)
        refusal = self.gate.admit(scope)
        for admitted in scope["state"].values():
            admitted.ticket.leave()
        return refusal

    async def status_of(self, scope: Scope) -> int:
        """The status of the gate's answer to a request without a body."""
        statuses: list[int] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        await self.gate(scope, receive, send)
        [status] = statuses
        return status

    def ask_many(
        self, path: str = "/v1/decisions", number: int = MANY
    ) -> list[asyncio.Task[httpx.Response]]:
        return [asyncio.ensure_future(self.ask(path)) for _ in range(number)]


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


@pytest.mark.parametrize(("is_above_rate", "running"), [(False, 4), (True, 2)])
def test_a_key_beside_another_has_few_slots_and_above_its_rate_fewer(
    is_above_rate: bool, running: int
) -> None:
    async def share(service: Service) -> None:
        usual = service.gate.keys
        if is_above_rate:
            with closing(cache_of(replace(LIVE, rate=1.0))) as service.gate.keys:
                refused = [service.refusal("/v1/decisions") for _ in range(3)]
            assert refused[-1] is not None
            service.gate.keys = usual
        polite = [asyncio.ensure_future(service.ask("/v1/decisions", POLITE.key_id))]
        hostile = service.ask_many(number=20)
        async with asyncio.timeout(60):
            while service.running < 1 + running:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert service.running == 1 + running, "more have started"
        service.go_on.set()
        statuses = {answer.status_code for answer in await asyncio.gather(*polite, *hostile)}
        assert statuses == {200}

    run(share)


def test_other_routes_are_not_counted() -> None:
    async def overload(service: Service) -> None:
        tasks = service.ask_many("/v1/decisions/0199-a/notifications")
        await asyncio.sleep(0.1)
        service.go_on.set()
        statuses = {response.status_code for response in await asyncio.gather(*tasks)}
        assert statuses == {200}

    run(overload)


ADVICE = "/v1/decisions?advice=true"


def test_the_gate_says_at_once_what_it_would_answer() -> None:
    async def overload(service: Service) -> None:
        assert service.refusal("/v1/decisions") is None
        tasks = [*service.ask_many(number=100), *service.ask_many(ADVICE, number=20)]
        await settle(tasks)
        for path in each(["/v1/decisions", "/v1/decisions/batch", "/v1/advice", ADVICE]):
            refusal, answer = service.refusal(path), await service.ask(path)
            assert refusal is not None
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            head, _, body = refusal.response(b"named", "value", True).partition(b"\r\n\r\n")
            assert body == answer.content
            lines = head.decode().split("\r\n")
            assert lines[0] == "HTTP/1.1 503 Service Unavailable"
            sent = [f"{name}: {value}" for name, value in answer.headers.items()]
            assert lines[1:] == [*sent, "named: value"]
        service.go_on.set()
        await asyncio.gather(*tasks)
        assert service.refusal("/v1/decisions") is None

    run(overload)


def test_the_gate_says_nothing_at_once_of_what_only_the_app_can_answer() -> None:
    async def overload(service: Service) -> None:
        tasks = service.ask_many(number=100)
        await settle(tasks)
        assert service.refusal("/v1/decisions") is not None
        # Another key has its share; of an unknown one the answer is 401, of these routes others.
        assert service.refusal("/v1/decisions", POLITE.key_id) is None
        assert service.refusal("/v1/decisions", "0" * 16) is None
        assert service.refusal("/v1/decisions", method="GET") is None
        assert service.refusal("/v1/decisions/0199-a/notifications") is None
        assert service.refusal("/livez") is None
        assert service.refusal("/nothing") is None
        service.go_on.set()
        await asyncio.gather(*tasks)

    run(overload)


def test_the_gate_says_at_once_that_a_key_is_above_its_rate_and_takes_no_token() -> None:
    async def exceed(service: Service) -> None:
        # Two tokens at first: one is taken with the first request, here at once and not by the app.
        slow = replace(LIVE, key_id="5" * 16, rate=1.0)
        service.go_on.set()
        with closing(cache_of(slow)) as service.gate.keys:
            assert service.refusal("/v1/decisions", slow.key_id) is None
            assert (await service.ask("/v1/decisions", slow.key_id)).status_code == 200
            refusal = service.refusal("/v1/decisions", slow.key_id)
            assert refusal is not None
            for _ in range(100):
                service.refusal("/v1/decisions", slow.key_id)
            answer = await service.ask("/v1/decisions", slow.key_id)
            problem = Problem.model_validate_json(answer.content)
            assert problem == refusal.error.problem
            assert answer.headers["retry-after"] == str(refusal.retry_after) == "1"

    run(exceed)


def test_what_the_gate_has_taken_it_does_not_look_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    find = KeyCache.find

    def find_and_note(keys: KeyCache, text: str) -> Key | None:
        texts.append(text)
        return find(keys, text)

    async def once(service: Service) -> None:
        service.go_on.set()
        taken = service.scope("/v1/decisions")
        assert service.gate.admit(taken) is None
        assert len(texts) == 1
        assert await service.status_of(taken) == 200
        assert len(texts) == 1
        # A server that does not let the gate take a request first: the control.
        assert await service.status_of(service.scope("/v1/decisions")) == 200
        assert len(texts) == 2

    monkeypatch.setattr(KeyCache, "find", find_and_note)
    run(once)


def test_what_is_refused_after_the_gate_has_taken_it_leaves_the_queue() -> None:
    async def refuse(service: Service) -> None:
        for _ in range(MANY):
            wrong = service.scope("/v1/decisions", of_type="text/plain")
            assert service.gate.admit(wrong) is None, "the queue is full"
            assert await service.status_of(wrong) == 415

    run(refuse)
