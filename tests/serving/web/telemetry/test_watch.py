"""Every request is counted once, under labels that no caller chooses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from prometheus_client import REGISTRY
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.auth.gate import Gate
from serving.auth.key_cache import KeyCache
from serving.auth.routes import ROUTES, route_template
from serving.web.error_responses import Refusal
from serving.web.telemetry.metrics import Decided, count_decision, method_label, refusal_kind
from serving.web.telemetry.trace import Trace, current_trace
from serving.web.telemetry.watch import LOGGER, Watch
from tests.support.each import each
from tests.support.gated_app import AUTHORIZATION, MARK, Echo, post_json, request

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = f"00-{TRACE}-b7ad6b7169203331-01"


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def label_values() -> set[str]:
    """Every value of a label that the registry of this process has."""
    values: set[str] = set()
    for family in REGISTRY.collect():
        for sample in family.samples:
            values |= set(sample.labels.values())
    return values


@pytest.fixture
def watched(with_key: KeyCache) -> Watch:
    return Watch(Gate(Echo(), with_key), route_template)


def test_an_answer_and_a_refusal_are_counted_by_route_and_status(watched: Watch) -> None:
    labels = {"method": "POST", "route": "/v1/decisions", "status": "200"}
    refused = {"method": "GET", "route": "/v1/decisions/{id}", "status": "401"}
    answers = counted("clearline_requests_total", **labels)
    times = counted("clearline_request_seconds_count", route="/v1/decisions")
    refusals = counted("clearline_requests_total", **refused)
    kinds = counted("clearline_refusals_total", kind="unauthenticated")
    assert post_json(watched).status_code == 200
    assert request(watched, "GET", f"/v1/decisions/{MARK}").status_code == 401
    assert counted("clearline_requests_total", **labels) == answers + 1
    assert counted("clearline_request_seconds_count", route="/v1/decisions") == times + 1
    assert counted("clearline_requests_total", **refused) == refusals + 1
    assert counted("clearline_refusals_total", kind="unauthenticated") == kinds + 1


def test_no_label_is_what_a_caller_sends(watched: Watch) -> None:
    for number in range(3):
        request(watched, f"{MARK}{number}", f"/{MARK}/{number}")
        request(watched, "GET", f"/v1/decisions/{MARK}-{number}", headers=AUTHORIZATION)
        headers = AUTHORIZATION | {"host": MARK, "traceparent": MARK, MARK: MARK}
        request(watched, "GET", f"/docs.json?{MARK}", headers=headers)
    found = label_values()
    assert {"unknown", "other", "/v1/decisions/{id}"} <= found
    assert not [value for value in found if MARK.lower() in value.lower()]


def test_a_value_in_a_label_would_be_found() -> None:
    count_decision(Decided("card", "keep", MARK, "0" * 64, 0.1))
    assert MARK in label_values()
    # So that no other test meets it.
    from serving.web.telemetry.metrics import DECISIONS

    DECISIONS.remove("card", "keep", MARK, "0" * 12)


def test_methods_routes_and_kinds_are_few() -> None:
    assert {method_label(name) for name in ("GET", "get", "BREW", "")} == {"GET", "other"}
    templates = {route_template(route.template.format(id="0199-a")) for route in each(ROUTES)}
    assert templates == {route.template for route in ROUTES}
    assert len({refusal_kind(status) for status in range(400, 600)}) < 20


def test_a_request_that_is_refused_early_is_counted_and_says_its_trace() -> None:
    refusal = Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many", 3)
    watch = Watch(Echo(), route_template, lambda scope: refusal)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/decisions",
        "headers": [(b"traceparent", SENT.encode())],
    }
    labels = {"method": "POST", "route": "/v1/decisions", "status": "429"}
    before = counted("clearline_requests_total", **labels)
    kinds = counted("clearline_refusals_total", kind="rate")
    response = watch.refuse(scope)
    assert response is not None
    assert f"traceparent: 00-{TRACE}-".encode() in response(True)
    assert current_trace() is None
    assert counted("clearline_requests_total", **labels) == before + 1
    assert counted("clearline_refusals_total", kind="rate") == kinds + 1


def test_a_client_that_leaves_is_counted(watched: Watch) -> None:
    async def leave() -> None:
        scope = {"type": "http", "method": "GET", "path": "/livez", "headers": []}
        await Watch(_no_answer, route_template)(scope, _never, _nowhere)

    closed = {"method": "GET", "route": "/livez", "status": "closed"}
    before = counted("clearline_requests_total", **closed)
    asyncio.run(leave())
    assert counted("clearline_requests_total", **closed) == before + 1


async def _no_answer(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def _never() -> dict[str, str]:
    raise AssertionError


async def _nowhere(message: object) -> None:
    raise AssertionError


@pytest.mark.parametrize("path", ["/docs.json", "/nothing"])
def test_answers_and_refusals_say_their_trace(watched: Watch, path: str) -> None:
    response = request(watched, "GET", path, headers=AUTHORIZATION | {"traceparent": SENT})
    version, trace_id, span_id, flags = response.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id not in SENT


def test_the_app_finds_the_trace_and_it_ends_with_the_request() -> None:
    seen: list[Trace | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(current_trace())
        await Response(b"answer")(scope, receive, send)

    response = request(Watch(app, route_template), headers={"traceparent": SENT}, content=b"")
    [trace] = seen
    assert trace is not None
    assert response.headers["traceparent"] == trace.header
    assert current_trace() is None


@pytest.fixture
def request_lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, LOGGER.name):
        yield caplog


def test_a_request_is_logged_without_its_values(
    watched: Watch, request_lines: pytest.LogCaptureFixture
) -> None:
    request(watched, "GET", f"/v1/decisions/{MARK}?{MARK}", headers=AUTHORIZATION)
    [record] = request_lines.records
    fields = record.__dict__["fields"]
    assert fields["route"] == "/v1/decisions/{id}"
    assert (fields["method"], fields["status"]) == ("GET", 200)
    assert fields["ms"] > 0
    assert MARK not in str(record.__dict__)
