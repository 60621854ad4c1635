"""Spans are recorded where an exporter is configured, and hold no value of a request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from serving.auth.routes import route_template
from serving.web.telemetry.settings import TelemetryError, read_telemetry
from serving.web.telemetry.spans import RequestSpan, load_exporter, record_spans, span, stop_spans
from serving.web.telemetry.trace import begin_trace
from serving.web.telemetry.watch import Watch
from tests.support.each import each
from tests.support.gated_app import MARK, request

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    record_spans(memory)
    yield memory
    stop_spans()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    with span("decide"):
        await Response(b"answer")(scope, receive, send)


async def fails(scope: Scope, receive: Receive, send: Send) -> None:
    with span("decide"):
        raise ValueError(MARK)


def test_a_request_is_a_span_below_the_caller_s(exporter: InMemorySpanExporter) -> None:
    sent = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    response = request(Watch(app, route_template), headers=sent, content=b"")
    stop_spans()
    step, whole = exporter.get_finished_spans()
    assert (step.name, whole.name) == ("decide", "POST /v1/decisions")
    assert whole.kind is SpanKind.SERVER
    assert whole.parent is not None
    assert (f"{whole.context.trace_id:032x}", f"{whole.parent.span_id:016x}") == (TRACE, SPAN)
    assert step.parent is not None
    assert step.parent.span_id == whole.context.span_id
    assert response.headers["traceparent"] == f"00-{TRACE}-{whole.context.span_id:016x}-01"
    assert dict(whole.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/decisions",
        "http.response.status_code": 200,
    }


def test_a_caller_s_choice_not_to_record_is_kept(exporter: InMemorySpanExporter) -> None:
    sent = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
    response = request(Watch(app, route_template), headers=sent, content=b"")
    stop_spans()
    assert exporter.get_finished_spans() == ()
    assert response.headers["traceparent"].startswith(f"00-{TRACE}-")
    assert response.headers["traceparent"].endswith("-00")


def test_spans_hold_no_values(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match=MARK):
        request(Watch(fails, route_template), path=f"/v1/decisions/{MARK}", content=MARK.encode())
    stop_spans()
    for one in each(exporter.get_finished_spans()):
        assert MARK not in one.to_json()


def test_a_value_in_a_span_would_be_found(exporter: InMemorySpanExporter) -> None:
    with span(MARK):
        pass
    stop_spans()
    [one] = exporter.get_finished_spans()
    assert MARK in one.to_json()


def test_without_an_exporter_nothing_is_recorded() -> None:
    trace = begin_trace([])
    assert span("decide") is span("store")
    assert RequestSpan(trace).trace is trace


def test_an_exporter_is_found_by_its_name() -> None:
    assert type(load_exporter("console")).__name__ == "ConsoleSpanExporter"
    with pytest.raises(TelemetryError, match=r"expected an exporter that is installed .*console"):
        load_exporter("jaeger-of-2019")


@pytest.mark.parametrize("sent", ["", "none"])
def test_spans_are_made_on_request_only(sent: str) -> None:
    assert read_telemetry({"OTEL_TRACES_EXPORTER": sent}).exporter is None
