"""Where HTTP ends: bodies are read up to a size, refusals and faults of ours become problem details, logs keep no values.

BentoML alone would answer a refused request with a shape of its own and log it with a traceback and the values sent.  So
nothing is raised into BentoML: a request model hands a refusal on as a value (see payload.py), and :func:`refusable` answers.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import attrs
import bentoml
from _bentoml_sdk.service.openapi import generate_spec  # type: ignore[import-untyped]
from bentoml._internal.service.openapi.specification import OpenAPISpecification, PathItem
from bentoml._internal.utils.cattr import bentoml_cattr
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import ASGIApp

from serving.descriptor import IODescriptor
from serving.gate import Gate, RealPath
from serving.idempotency import KEY_HEADER
from serving.logged import without_values
from serving.outgoing import MEDIA_TYPE
from serving.refusals import Fault, Problem, Refused, internal_error, refusal

LOGGER = logging.getLogger("bentoml.limit_reduction")
_KEY = "key"
_KEY_TEXT = "An API key, `clk_...`; a service that has none yet answers clients on its own machine without one."
_REFERENCE = "#/components/schemas/{}"
_REFUSALS = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON in UTF-8, or nested too deep.",
    HTTPStatus.UNAUTHORIZED: "There is no live API key with the request.",
    HTTPStatus.FORBIDDEN: "The key is not for this; without any key, the client is not on the service's machine.",
    HTTPStatus.REQUEST_TIMEOUT: "The request took too long to arrive.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The content type is not application/json.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field or a parameter is not what it should be.",
    HTTPStatus.TOO_MANY_REQUESTS: "The key asked too often; `Retry-After` says when to ask again.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A fault of the service.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The record or the keys do not answer; `Retry-After` says when to ask again.",
}
# What a decision can be refused with beyond that.
_OF_A_KEY = {
    HTTPStatus.GONE: "The answer to this `Idempotency-Key` was erased.",
    HTTPStatus.GATEWAY_TIMEOUT: "It may have been decided and kept: the same `Idempotency-Key` tells.",
}
_IDEMPOTENCY_KEY = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "Asked again with the same key and body, the first answer comes again, byte for byte.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
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


def answer_problem(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The problem as it is sent."""
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


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
            return answer_problem(refused.problem, refused.headers)
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets a problem and the log gets its place
            LOGGER.error("internal error\n%s", without_values(error))
            return answer_problem(internal_error())

    return answering


@attrs.define
class DescribedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML hides its types
    """A BentoML service that keeps to the models of its Bento and whose OpenAPI says all that it answers."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """The app with the gate in front, as BentoML's worker serves it."""
        if all(middleware is not RealPath for middleware, _ in self.middlewares):
            self.add_asgi_middleware(RealPath)
        return Gate(super().to_asgi(is_main))

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
        problems, kept = (
            {str(status.value): {"description": text, "content": problem} for status, text in refusals.items()}
            for refusals in (_REFUSALS, _OF_A_KEY)
        )
        spec.components["schemas"].update(Problem.openapi_components(Problem.__name__))  # type: ignore[attr-defined]
        spec.components["securitySchemes"] = {_KEY: {"type": "http", "scheme": "bearer", "description": _KEY_TEXT}}
        for api in self.apis.values():
            # BentoML writes the models into the operation and drops null on the way.
            operation = spec.paths[api.route].post
            operation["parameters"] = [_switch(name, said) for name, said in api.input_spec.switches.items()]
            operation["requestBody"] = {"content": _json_of(api.input_spec), "required": True}
            operation["parameters"].append(_IDEMPOTENCY_KEY)
            operation["security"] = [{_KEY: []}]
            operation["responses"] = (
                {"200": {"description": "The answer.", "content": _json_of(api.output_spec)}} | problems | kept
            )
        for app in (mounted for mounted, *_ in self.mount_apps if hasattr(mounted.state, "described")):
            paths, schemas = app.state.described(problems, [{_KEY: []}])
            spec.components["schemas"].update(schemas)
            spec.paths.update({path: bentoml_cattr.structure(item, PathItem) for path, item in paths.items()})
        info = attrs.evolve(spec.info, description=self.inner.__doc__, contact=None)
        described: OpenAPISpecification = attrs.evolve(spec, info=info)
        return described


def _json_of(model: type[IODescriptor]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model.__name__)}}}


def _switch(name: str, meaning: str) -> dict[str, Any]:
    schema = {"type": "boolean", "default": False}
    return {"name": name, "in": "query", "required": False, "description": meaning, "schema": schema}
