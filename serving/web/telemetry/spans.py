"""OpenTelemetry spans of requests, where an exporter is configured; without one they cost nothing.

A request is a span of the kind *server*, below the caller's span. Within it are spans of the steps
that may wait: the look-up in the audit log, the decision, the write. Attributes are the method, the
route and the status.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from serving.web.telemetry.settings import TelemetryError
from serving.web.telemetry.trace import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

_EXPORTERS = "opentelemetry_traces_exporter"  # the entry points of OpenTelemetry's exporters
_SERVICE = {"service.name": "clearline"}
_NOTHING: AbstractContextManager[None] = nullcontext()


class _Recorder:
    """Holds the tracer of this process; None = spans are not recorded."""

    provider: TracerProvider | None = None
    tracer: Tracer | None = None


def load_exporter(name: str) -> SpanExporter:
    """Return the installed exporter of this name, configured by OpenTelemetry's variables.

    Raises :class:`TelemetryError` if none has the name.
    """
    found = entry_points(group=_EXPORTERS)
    if name not in found.names:
        names = ", ".join(sorted(found.names))
        raise TelemetryError(
            f"OTEL_TRACES_EXPORTER: expected an exporter that is installed ({names}), got "
            f"{name!r}; the extra `traces` has that of OTLP"
        )
    exporter: SpanExporter = found[name].load()()
    return exporter


def record_spans(exporter: SpanExporter) -> None:
    """Record spans from now on, and send them to `exporter` from a thread."""
    # Imported here: a service without an exporter does not need the SDK.
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    stop_spans()
    resource = Resource(_SERVICE).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _Recorder.provider, _Recorder.tracer = provider, provider.get_tracer("clearline")


def stop_spans() -> None:
    """Send what is recorded, and record no more."""
    if _Recorder.provider is not None:
        _Recorder.provider.shutdown()
    _Recorder.provider = _Recorder.tracer = None


def span(name: str) -> AbstractContextManager[Any]:
    """Return a context that records a step of the current request."""
    tracer = _Recorder.tracer
    if tracer is None:
        return _NOTHING
    # Of an error the name of its class is recorded: messages may hold values.
    return tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False)


class RequestSpan:
    """The span of one request; does nothing if spans are not recorded.

    `trace` has the span's ids where one is recorded.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._span: Span | None = None
        self._context: AbstractContextManager[Any] = _NOTHING
        if _Recorder.tracer is not None:
            self._begin(_Recorder.tracer)

    def __enter__(self) -> RequestSpan:
        self._context.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(None, None, None)

    def note(self, method: str, route: str, status: int | None) -> None:
        """Say what was requested and answered; `route` is a template."""
        if self._span is None:
            return
        self._span.update_name(f"{method} {route}")
        attributes = {"http.request.method": method, "http.route": route}
        self._span.set_attributes(attributes)
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)

    def _begin(self, tracer: Tracer) -> None:
        from opentelemetry import trace as otel

        self._span = tracer.start_span(
            "request", context=_parent_context(self.trace), kind=otel.SpanKind.SERVER
        )
        ids = self._span.get_span_context()
        trace_id = otel.format_trace_id(ids.trace_id)
        span_id = otel.format_span_id(ids.span_id)
        self.trace = Trace(trace_id, span_id, self.trace.parent_id, int(ids.trace_flags))
        self._context = otel.use_span(self._span, end_on_exit=True, record_exception=False)


def _parent_context(trace: Trace) -> Any:
    """OpenTelemetry's context of the caller's span; an empty one if the service began the trace."""
    from opentelemetry import trace as otel
    from opentelemetry.context import Context

    if trace.parent_id is None:
        return Context()
    parent = otel.SpanContext(
        trace_id=int(trace.trace_id, 16),
        span_id=int(trace.parent_id, 16),
        is_remote=True,
        trace_flags=otel.TraceFlags(trace.flags),
    )
    return otel.set_span_in_context(otel.NonRecordingSpan(parent), Context())
