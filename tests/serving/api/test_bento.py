"""Endpoints that are called without BentoML's layers answer as they do behind them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import bentoml
import httpx
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.bento import DirectEndpoints, answers_errors, input_spec, output_spec
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
