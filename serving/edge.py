"""Where HTTP ends: bodies are read up to a size, refusals and faults of ours become problem details, logs keep no values.

BentoML alone would answer a refused request with a shape of its own and log it with a traceback and the values sent.  So
nothing is raised into BentoML: a request model hands a refusal on as a value (see payload.py), and :func:`refusable` answers.
"""

from __future__ import annotations

import functools
import logging
import traceback
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

import attrs
import bentoml
from _bentoml_sdk.service.openapi import generate_spec  # type: ignore[import-untyped]
from bentoml._internal.service.openapi.specification import OpenAPISpecification
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.descriptor import IODescriptor
from serving.refusals import Fault, Problem, Refused, internal_error, refusal

MEDIA_TYPE = "application/problem+json"
LOGGER = logging.getLogger("bentoml.limit_reduction")
_REFERENCE = "#/components/schemas/{}"
_REFUSALS = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The content type is not application/json.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field or a parameter is not what it should be.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A fault of the service.",
}
_Service = TypeVar("_Service")
_Request = TypeVar("_Request")
_Answer = TypeVar("_Answer")


async def read_body(request: HttpRequest, largest: int) -> bytes:
    """The body, at most ``largest`` bytes; raises :class:`Refused` as soon as more have come, without reading on."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > largest:
                fault = Fault(path="$", message=f"expected at most {largest} bytes")
                raise refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, [fault])
    except ClientDisconnect:
        # Nobody is left to read the answer; it keeps a caller's hanging up from being logged as an error of ours.
        raise refusal(HTTPStatus.BAD_REQUEST, [Fault(path="$", message="the body ended early")]) from None
    return bytes(body)


def answer_problem(problem: Problem) -> Response:
    """The problem as it is sent."""
    return Response(problem.model_dump_json(), status_code=problem.status, media_type=MEDIA_TYPE)


def refusable(
    method: Callable[[_Service, _Request], Coroutine[Any, Any, _Answer]],
) -> Callable[[_Service, _Request], Coroutine[Any, Any, _Answer | Response]]:
    """The same method of a service, which answers a refusal with its problem and a fault of ours with a masked one."""

    @functools.wraps(method)
    async def answering(service: _Service, request: _Request, /) -> _Answer | Response:
        if isinstance(request, Problem):
            return answer_problem(request)
        try:
            return await method(service, request)
        except Refused as refused:
            return answer_problem(refused.problem)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets a problem and the log gets its place
            LOGGER.error("internal error\n%s", without_values(error))
            return answer_problem(internal_error())

    return answering


def without_values(error: BaseException | None) -> str:
    """Types and places of an error and its causes; no message, because messages name accounts and values."""
    parts = []
    while error is not None:
        parts.append("".join(traceback.format_tb(error.__traceback__)) + type(error).__name__)
        error = error.__cause__ or error.__context__
    return "\n\n".join(reversed(parts))


class WithoutValues(logging.Filter):
    """Keeps the place of a logged error and drops its message."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record is changed."""
        if record.exc_info:
            error = record.exc_info[1]
            record.exc_info, record.exc_text = None, without_values(error)
        return True


class OnlyJson:
    """ASGI middleware: a POST under ``/v1/`` that is not JSON is refused (415), and there is no index page (404).

    Before BentoML looks for a parser: it has some for forms and pickles.  Its index page loads a tracker of a third party.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it.  Nothing here can raise: BentoML would let the client wait for its timeout."""
        app = self.app
        if scope["type"] == "http" and scope["path"] == "/":
            fault = Fault(path="$", message="there is no page here; /docs.json describes the endpoints")
            app = answer_problem(refusal(HTTPStatus.NOT_FOUND, [fault]).problem)
        elif scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith("/v1/"):
            content_type = Headers(scope=scope).get("content-type", "")
            if content_type.partition(";")[0].strip().lower() != "application/json":
                fault = Fault(path="$", message="expected the content type application/json")
                app = answer_problem(refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, [fault]).problem)
        await app(scope, receive, send)


@attrs.define
class DescribedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML hides its types
    """A BentoML service that keeps to the models of its Bento and whose OpenAPI says all that it answers."""

    def on_load_bento(self, bento: bentoml.Bento) -> None:
        """Serve the model that the Bento was built with; BentoML alone takes the newest in the store of the day."""
        super().on_load_bento(bento)
        built_with = {model.tag.name: model.tag for service in bento.info.services for model in service.models}
        for name, model in list(vars(self.inner).items()):
            if isinstance(model, bentoml.models.BentoModel):
                setattr(self.inner, name, bentoml.models.BentoModel(built_with[model.tag.name]))

    @property
    def openapi_spec(self) -> OpenAPISpecification:
        """BentoML's own, of version 3.1 as pydantic's schemas are, with examples, null where it may stand, and the problems."""
        spec: Any = generate_spec(self, openapi_version="3.1.0")
        problem = {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(Problem.__name__)}}}
        problems = {str(status.value): {"description": text, "content": problem} for status, text in _REFUSALS.items()}
        spec.components["schemas"].update(Problem.openapi_components(Problem.__name__))  # type: ignore[attr-defined]
        for api in self.apis.values():
            # BentoML writes the models into the operation and drops null on the way.
            operation = spec.paths[api.route].post
            operation["parameters"] = [_switch(name, said) for name, said in api.input_spec.switches.items()]
            operation["requestBody"] = {"content": _json_of(api.input_spec), "required": True}
            operation["responses"] = {"200": {"description": "The answer.", "content": _json_of(api.output_spec)}, **problems}
        info = attrs.evolve(spec.info, description=self.inner.__doc__, contact=None)
        described: OpenAPISpecification = attrs.evolve(spec, info=info)
        return described


def _json_of(model: type[IODescriptor]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model.__name__)}}}


def _switch(name: str, meaning: str) -> dict[str, Any]:
    schema = {"type": "boolean", "default": False}
    return {"name": name, "in": "query", "required": False, "description": meaning, "schema": schema}
