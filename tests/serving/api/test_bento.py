"""Endpoints that are called without BentoML's layers answer as they do behind them."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import bentoml
import httpx
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.bento import (
    DirectEndpoints,
    answers_errors,
    input_spec,
    output_spec,
    with_own_layers,
)
from serving.auth.request_context import RequestContext
from serving.schemas import examples
from serving.schemas.base import encode
from serving.schemas.decision import Answer, Request
from tests.support.each import each
from tests.support.gated_app import WithCaller

SECONDS = 0.2
HANGS = "hangs"  # the account whose decision is never made
FAILS = "fails"


@bentoml.service(tracing={"excluded_urls": ".*"}, traffic={"timeout": SECONDS})
class Small:
    """An endpoint as those of the real service, which decides nothing."""

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/v1/decisions", input_spec=input_spec(Request), output_spec=output_spec(Answer)
    )
    @answers_errors
    async def decide(self, request: Request, context: RequestContext, /) -> Response:
        """The request, as it was understood."""
        if request.account_id == HANGS:
            await asyncio.sleep(60)
        if request.account_id == FAILS:
            raise ValueError("planted")
        headers = {"caller": context.caller.key_id}
        return Response(encode(request), media_type="application/json", headers=headers)


class Counted:
    """Counts the requests that reach BentoML's layers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.requests = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def layers() -> Iterator[Counted]:
    app = Small.to_asgi()  # type: ignore[attr-defined]
    with asyncio.Runner() as runner:
        runs = app.router.lifespan_context(app)
        runner.run(runs.__aenter__())
        yield Counted(app)
        runner.run(runs.__aexit__(None, None, None))


def ask(app: ASGIApp, body: Any, **options: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(WithCaller(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            method, path = options.pop("method", "POST"), options.pop("path", "/v1/decisions")
            return await http.request(method, path, json=body, **options)

    return asyncio.run(send())


def seen(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    return response.status_code, dict(response.headers), response.content


CASES = {
    "an answer": {"body": examples.REQUEST},
    "a fault in the body": {"body": examples.REQUEST | {"product": 7}},
    "an unknown switch": {"body": examples.REQUEST, "params": {"advise": "true"}},
    "an exception": {"body": examples.REQUEST | {"account_id": FAILS}},
}


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_that_behind_the_layers(layers: Counted, case: str) -> None:
    asked = dict(CASES[case])
    behind = ask(layers.app, **asked)
    before = layers.requests
    direct = ask(DirectEndpoints(layers, Small, SECONDS), **asked)
    assert seen(direct) == seen(behind)
    assert layers.requests == before


def test_other_requests_pass_the_layers(layers: Counted) -> None:
    direct = DirectEndpoints(layers, Small, SECONDS)
    for method, path in each([("GET", "/v1/decisions"), ("GET", "/livez"), ("POST", "/nowhere")]):
        before = layers.requests
        asked: dict[str, Any] = {"method": method, "path": path}
        assert seen(ask(direct, {}, **asked)) == seen(ask(layers.app, {}, **asked))
        assert layers.requests == before + 1


def test_a_late_endpoint_is_cancelled_as_behind_the_layers(
    layers: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    hangs = examples.REQUEST | {"account_id": HANGS}
    with caplog.at_level(logging.ERROR, "clearline.service"):
        direct = ask(DirectEndpoints(layers, Small, SECONDS), hangs)
    assert direct.status_code == ask(layers.app, hangs).status_code == HTTPStatus.GATEWAY_TIMEOUT
    assert "no answer after 0.2 s" in caplog.text


def test_where_pages_of_other_origins_may_call_all_requests_pass_the_layers(
    layers: Counted,
) -> None:
    allowed = BentoMLContainer.http.cors.enabled
    before = allowed.get()
    allowed.set(True)
    direct = DirectEndpoints(layers, Small, SECONDS)
    allowed.set(before)
    passed = layers.requests
    assert ask(direct, examples.REQUEST).status_code == HTTPStatus.OK
    assert layers.requests == passed + 1


async def read(request: HttpRequest) -> Response:
    """A page, which is late for who asks for `late`."""
    if "late" in request.query_params:
        await asyncio.sleep(60)
    return PlainTextResponse("a page")


def limited(seconds: float) -> Starlette:
    """An app with BentoML's own time limit."""
    limit = Middleware(TimeoutMiddleware, timeout=seconds)
    return Starlette(routes=[Route("/", read)], middleware=[limit])


def timers_after(app: ASGIApp, requests: int) -> int:
    """How many timers wait after so many requests were answered."""

    async def send() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            for _ in range(requests):
                response = await http.get("/")
                assert response.text == "a page"
        # By its type: `isinstance` asks a weak proxy for the class of what may be gone.
        handles = [one for one in gc.get_objects() if type(one) is asyncio.TimerHandle]
        return sum(not one.cancelled() for one in handles)

    return asyncio.run(send())


def test_no_timer_waits_after_an_answer() -> None:
    control = timers_after(limited(600), 20)
    assert control == 20
    assert timers_after(with_own_layers(limited(600)), 20) == 0


@pytest.mark.parametrize("make", [limited, lambda seconds: with_own_layers(limited(seconds))])
def test_a_late_page_is_refused_as_by_bentoml(make: Callable[[float], Starlette]) -> None:
    late = ask(make(SECONDS), None, method="GET", path="/?late=1")
    assert late.status_code == HTTPStatus.GATEWAY_TIMEOUT
    assert late.json() == {"error": f"Not able to process the request in {SECONDS} seconds"}
