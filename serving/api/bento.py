"""All that depends on BentoML's internals, which may change with each release.

Other modules import BentoML's private names from here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from types import FrameType
from typing import Any, TypeVar

import attrs
import bentoml
from _bentoml_impl.server.allocator import ResourceAllocator  # type: ignore[import-untyped]
from _bentoml_sdk.service.openapi import generate_spec  # type: ignore[import-untyped]
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from bentoml._internal.service.openapi.specification import OpenAPISpecification, PathItem
from bentoml._internal.utils.cattr import bentoml_cattr
from circus.process import DEAD_OR_ZOMBIE, UNEXISTING  # type: ignore[import-untyped]
from circus.sighandler import SysHandler  # type: ignore[import-untyped]
from pydantic import BaseModel, create_model
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.errors import error_response
from serving.api.submission import Submission, receive
from serving.auth.request_context import RequestContext
from serving.schemas.base import ApiRequest
from serving.web.errors import ApiError

__all__ = [
    "HTTP_LOGGER",
    "DirectEndpoints",
    "OpenAPISpecification",
    "answers_errors",
    "count_workers",
    "generate_document",
    "input_spec",
    "on_hangup",
    "output_spec",
    "restart_workers_at_once",
    "schema_model",
    "with_own_layers",
    "with_paths",
]

HTTP_LOGGER = "bentoml._internal.server.http_app"  # logs the exceptions of endpoints

_LOGGER = logging.getLogger("clearline.service")
_Service = TypeVar("_Service")
_Body = TypeVar("_Body", bound=ApiRequest)


class _ReadByService(bentoml.IODescriptor):  # type: ignore[misc]  # BentoML hides its types
    """An input that the service reads itself: BentoML would log errors with their values.

    The endpoint gets the submission, or the error to answer with.
    """

    @classmethod
    async def from_http_request(
        cls, request: HttpRequest, serde: object
    ) -> Submission[Any] | ApiError:
        """Return the submission, or the reason to refuse it."""
        try:
            return await receive(schema_model(cls), request)
        except ApiError as error:
            return error


def input_spec(model: type[ApiRequest]) -> type[BaseModel]:
    """Return BentoML's description of an input; it has the name and the schema of `model`."""
    spec = _with_base(_ReadByService, model)
    # BentoML then passes the input as one argument, not field by field.
    spec.__root_input__ = True  # type: ignore[attr-defined]
    return spec


def output_spec(model: type[BaseModel]) -> type[BaseModel]:
    """Return BentoML's description of an output; it has the name and the schema of `model`."""
    return _with_base(bentoml.IODescriptor, model)


def schema_model(spec: type[BaseModel]) -> type[Any]:
    """Return the model that `input_spec` or `output_spec` was made from."""
    _, model = spec.__bases__
    return model


def answers_errors(
    endpoint: Callable[[_Service, _Body, RequestContext], Coroutine[Any, Any, Response]],
) -> Callable[[_Service, Submission[_Body] | ApiError], Coroutine[Any, Any, Response]]:
    """Decorate an endpoint so that errors are answered as problems, and never raised to BentoML.

    BentoML would answer in a format of its own, and log the error with the values of the request.
    """

    @functools.wraps(endpoint)
    async def answer(service: _Service, received: Submission[_Body] | ApiError, /) -> Response:
        if isinstance(received, ApiError):
            return error_response(received)
        try:
            return await endpoint(service, received.body, received.context)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets a problem
            return error_response(error)

    return answer


class DirectEndpoints:
    """An ASGI app that calls the endpoints of a service itself, and `app` for all else.

    `app` is BentoML's: with the same layers in front, it gives the same answers. An endpoint that
    has not answered after `seconds` is cancelled, as by BentoML.

    Measured: BentoML's layers took as long as a decision. They start a task for the time limit,
    search a route that the gate has found, set a context that no endpoint reads, and take the
    signature of the endpoint anew for each request.
    """

    def __init__(self, app: ASGIApp, service: bentoml.Service[Any], seconds: float) -> None:
        self.app = app
        self._seconds = seconds
        self._server = f"BentoML Service/{service.name}"
        # Cross-origin requests need a layer of BentoML.
        is_open = BentoMLContainer.http.cors.enabled.get()
        self._endpoints = {} if is_open else {one.route: one for one in service.apis.values()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        endpoint = self._endpoints.get(scope["path"]) if is_post else None
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        response = Response(status_code=HTTPStatus.GATEWAY_TIMEOUT)
        try:
            async with asyncio.timeout(self._seconds):
                response = await _call(endpoint, HttpRequest(scope, receive))
        except TimeoutError:
            _LOGGER.error("%s: no answer after %g s", endpoint.route, self._seconds)
        response.headers["server"] = self._server
        await response(scope, receive, send)


async def _call(endpoint: Any, request: HttpRequest) -> Response:
    received = await endpoint.input_spec.from_http_request(request, None)
    response: Response = await endpoint.func(bentoml.get_current_service(), received)
    return response


def count_workers(service: bentoml.Service[Any]) -> int:
    """Return how many worker processes BentoML will start, by its configuration."""
    count: int = ResourceAllocator().get_worker_env(service)[0]
    return count


def restart_workers_at_once() -> None:
    """Have the process that starts workers start a dead one again at once.

    BentoML looks for dead workers every 10 seconds only. Its supervisor (circus) handles SIGTERM by
    a method, through which its controller is found when a worker dies. Does nothing on a thread
    that gets no signals.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, _look_for_dead_workers)


def on_hangup(run: Callable[[], None]) -> None:
    """Have the process that starts workers call `run` at SIGHUP.

    Its supervisor (circus) takes that signal, and looks for a method that it does not have.
    """

    def handle(handler: SysHandler) -> None:
        run()

    SysHandler.handle_hup = handle


def _look_for_dead_workers(number: int, frame: FrameType | None) -> None:
    system_handler = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    controller = getattr(system_handler, "controller", None)
    # None before the supervisor has begun, and after it has ended.
    if controller is not None:
        controller.loop.add_callback_from_signal(_manage_workers, controller.arbiter)


def _manage_workers(supervisor: Any) -> object:
    # While it starts or stops its workers it takes no other command, and raises an error.
    if supervisor._exclusive_running_command is not None:
        return None
    for watcher in supervisor.iter_watchers():
        for process in watcher.processes.values():
            if process.status in (DEAD_OR_ZOMBIE, UNEXISTING):
                _LOGGER.warning("worker %d died: another one is started", process.pid)
    return supervisor.manage_watchers()


def generate_document(service: bentoml.Service[Any]) -> OpenAPISpecification:
    """Return BentoML's own OpenAPI document of a service."""
    # pydantic's schemas are those of version 3.1; BentoML's default is 3.0.
    document: OpenAPISpecification = generate_spec(service, openapi_version="3.1.0")
    return document


def with_paths(
    document: OpenAPISpecification, paths: Mapping[str, Mapping[str, Any]], **changes: Any
) -> OpenAPISpecification:
    """Return the document with the methods of `paths` added or replaced, and other `changes`."""
    items = {path: bentoml_cattr.structure(item, PathItem) for path, item in paths.items()}
    for path in items.keys() & document.paths.keys():
        added = {method: getattr(items[path], method) for method in paths[path]}
        items[path] = attrs.evolve(document.paths[path], **added)
    return attrs.evolve(document, paths={**document.paths, **items}, **changes)


def with_own_layers(app: Starlette) -> Starlette:
    """Change the layers of BentoML's app, which has not served yet.

    BentoML's own metrics of requests are taken out: :mod:`serving.web.telemetry` counts the
    requests, also those that are refused before they get here. With BentoML's switch
    ``metrics.enabled`` the route ``/metrics`` would be gone too. Its time limit becomes a
    :class:`TimeLimit`.
    """
    layers: list[Middleware] = []
    for layer in app.user_middleware:
        kind: object = layer.cls
        if kind is TimeoutMiddleware:
            options: dict[str, Any] = {**layer.kwargs}
            layers.append(Middleware(TimeLimit, timeout=options["timeout"]))
        elif kind is not RunnerTrafficMetricsMiddleware:
            layers.append(layer)
    app.user_middleware = layers
    return app


class TimeLimit:
    """An ASGI app that cancels a request whose answer has not begun after `timeout` seconds.

    It answers as BentoML's own layer. That one keeps a timer for each request until the limit is
    over, also after the answer: 1.2 kB for each page that is read.
    """

    def __init__(self, app: ASGIApp, timeout: float) -> None:
        self.app = app
        self._seconds = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds) as limit:

                async def send_in_time(message: Message) -> None:
                    limit.reschedule(None)
                    await send(message)

                await self.app(scope, receive, send_in_time)
        except TimeoutError:
            if not limit.expired():
                raise
            error = f"Not able to process the request in {self._seconds} seconds"
            late = JSONResponse({"error": error}, HTTPStatus.GATEWAY_TIMEOUT)
            await late(scope, receive, send)


def _with_base(base: type[BaseModel], model: type[BaseModel]) -> type[BaseModel]:
    # Without `__doc__` the schema would lose its description.
    return create_model(model.__name__, __base__=(base, model), __doc__=model.__doc__)
