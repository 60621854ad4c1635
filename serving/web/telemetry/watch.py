"""Counts, traces and logs every request, also those that the gate refuses.

The outermost layer of the service. It reads the method, the path and ``traceparent`` of a request
and the status of the answer, and nothing else.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.web.error_responses import Refusal
from serving.web.server.protocol import MakeResponse, refuse_early
from serving.web.telemetry import metrics
from serving.web.telemetry.spans import RequestSpan
from serving.web.telemetry.trace import HEADER, Trace, begin_trace, enter_trace, leave_trace

LOGGER = logging.getLogger("clearline.request")
UNKNOWN_ROUTE = "unknown"
_HEADER = HEADER.encode()
# Sent every few seconds by machines: a line says only that one failed.
_PROBES = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})


def _refuse_none(scope: Scope) -> None:
    """The `admit` of an app that is called for each request."""


class Watch:
    """An ASGI app that passes every request on to `app`.

    `route_of` returns the template of a path; None = there is no such route. A line is logged for
    each request, but not for a probe that succeeds, where the logger ``clearline.request`` is
    enabled for INFO. `admit` is called before the app, and returns why a request is refused by its
    headers; None = it may not be: then the app has to say.
    """

    def __init__(
        self,
        app: ASGIApp,
        route_of: Callable[[str], str | None],
        admit: Callable[[Scope], Refusal | None] = _refuse_none,
    ) -> None:
        self.app = app
        self._route_of = route_of
        self._admit = admit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; its answer gets the header ``traceparent``."""
        if scope["type"] == "lifespan" and "state" in scope:
            refuse_early(scope["state"], self.refuse)
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        with RequestSpan(begin_trace(_sent(scope))) as span:
            answer = _Answer(send, span.trace)
            entered = enter_trace(span.trace)
            try:
                await self.app(scope, receive, answer)
            finally:
                seconds = time.perf_counter() - started
                self._note(scope, answer.status, seconds, span)
                leave_trace(entered)

    def refuse(self, scope: Scope) -> MakeResponse | None:
        """Return the response to a request that is refused by its headers; None = call the app.

        It is counted, traced and logged as one that the app answers.
        """
        refusal = self._admit(scope)
        if refusal is None:
            return None
        with RequestSpan(begin_trace(_sent(scope))) as span:
            entered = enter_trace(span.trace)
            self._note(scope, refusal.status, 0.0, span)
            leave_trace(entered)
        return functools.partial(refusal.response, _HEADER, span.trace.header)

    def _note(self, scope: Scope, status: int | None, seconds: float, span: RequestSpan) -> None:
        """Count a request that ended, and log it."""
        method = metrics.method_label(scope["method"])
        route = self._route_of(scope["path"]) or UNKNOWN_ROUTE
        metrics.count_request(method, route, status, seconds)
        span.note(method, route, status)
        expected = route in _PROBES and status == HTTPStatus.OK
        if LOGGER.isEnabledFor(logging.INFO) and not expected:
            fields = {
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1000, 3),
            }
            LOGGER.info("request", extra={"fields": fields})


class _Answer:
    """An ASGI ``send`` that adds ``traceparent``; `status` is None until the answer begins."""

    def __init__(self, send: Send, trace: Trace) -> None:
        self._send = send
        self._header = (_HEADER, trace.header.encode())
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), self._header]
            message = {**message, "headers": headers}
        await self._send(message)


def _sent(scope: Scope) -> list[str]:
    """Return the values of ``traceparent`` that a request has."""
    return [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
