"""The OpenAPI document: BentoML's own, of version 3.1 as pydantic's schemas are, with all that is
answered and nothing else.

The gate and the record refuse beyond what an operation knows of, so each operation says what they
answer, headers too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import attrs
import bentoml
from _bentoml_sdk.service.openapi import generate_spec  # type: ignore[import-untyped]
from bentoml._internal.service.openapi.specification import OpenAPISpecification, PathItem
from bentoml._internal.utils.cattr import bentoml_cattr

from serving.auth.routes import ROUTES, Route
from serving.web.errors import MEDIA_TYPE, Problem
from serving.web.models import IODescriptor
from serving.web.params import KEY_HEADER

VERSION = "1"  # of the interface, as in its paths
SECURITY: list[dict[str, list[str]]] = [{"key": []}]
_KEY_TEXT = "An API key, `clk_...`; a service that has none yet answers clients on its own machine without one."
_REFERENCE = "#/components/schemas/{}"
# Whatever is asked for, a body that is sent with it is waited for and measured.
_OF_ALL = {
    HTTPStatus.REQUEST_TIMEOUT: "The request took too long to arrive.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A fault of the service.",
    HTTPStatus.GATEWAY_TIMEOUT: "There was no answer in the time that is allowed.",
}
_OF_A_CALLER = {
    HTTPStatus.UNAUTHORIZED: "There is no live API key with the request.",
    HTTPStatus.FORBIDDEN: "The key is not for this; without any key, the client is not on the service's machine.",
    HTTPStatus.TOO_MANY_REQUESTS: "The key asked too often; `Retry-After` says when to ask again.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The record or the keys do not answer; `Retry-After` says when to ask again.",
}
_OF_PARAMETERS = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field or a parameter is not what it should be."
}
_OF_A_BODY = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON in UTF-8, or nested too deep.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The content type is not application/json.",
}
# What a decision can be refused with beyond that.
_OF_A_DECISION = {
    HTTPStatus.GONE: f"The answer to this `{KEY_HEADER}` was erased.",
    HTTPStatus.GATEWAY_TIMEOUT: f"It may have been decided and kept: the same `{KEY_HEADER}` tells.",
}
_IDEMPOTENCY_KEY = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "Asked again with the same key and body, the first answer comes again, byte for byte.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
_SECONDS = {
    "schema": {"type": "integer", "minimum": 1},
    "description": "seconds after which to ask again",
}
_HEADERS: Mapping[int, Mapping[str, Any]] = {
    HTTPStatus.UNAUTHORIZED: {
        "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}
    },
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": {"required": True, **_SECONDS}},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": {"required": True, **_SECONDS}},
    # Where it is not known whether something was kept; a timeout of the server's own has none.
    HTTPStatus.GATEWAY_TIMEOUT: {"Retry-After": {"required": False, **_SECONDS}},
}
# What is about the service and not about decisions: what it is, and the type of the answer.
_ABOUT: Mapping[str, tuple[str, str]] = {
    "/livez": ("Answers while the process lives.", "text/plain"),
    "/healthz": ("The same as `/livez`, by another name.", "text/plain"),
    "/readyz": ("Answers while decisions can be made and kept.", "text/plain"),
    "/metrics": ("Metrics for Prometheus.", "text/plain"),
    "/docs.json": ("This document.", "application/json"),
    "/schema.json": (
        "BentoML's description of the service, for its own client.",
        "application/json",
    ),
}


def document(service: bentoml.Service[Any]) -> OpenAPISpecification:
    """The document of a service, its mounted apps included."""
    spec: Any = generate_spec(service, openapi_version="3.1.0")
    schemas: dict[str, Any] = dict(spec.components["schemas"])
    schemas.update(Problem.openapi_components(Problem.__name__))  # type: ignore[attr-defined]
    for api in service.apis.values():
        # BentoML writes the models into the operation and drops null on the way.
        operation = spec.paths[api.route].post
        operation["parameters"] = [
            _switch(name, said) for name, said in api.input_spec.switches.items()
        ]
        operation["parameters"].append(_IDEMPOTENCY_KEY)
        operation["requestBody"] = {"content": json_content(api.input_spec), "required": True}
        operation["security"] = SECURITY
        answer = {"description": "The answer.", "content": json_content(api.output_spec)}
        operation["responses"] = {"200": answer} | error_responses("POST", _OF_A_DECISION)
    paths = dict(spec.paths) | {
        route.template: _about(route) for route in ROUTES if route.template in _ABOUT
    }
    for app in (
        mounted for mounted, *_ in service.mount_apps if hasattr(mounted.state, "described")
    ):
        found, used = app.state.described()
        schemas.update(used)
        paths |= {path: bentoml_cattr.structure(item, PathItem) for path, item in found.items()}
    key = {"type": "http", "scheme": "bearer", "description": _KEY_TEXT}
    components = {"schemas": _used(paths, schemas), "securitySchemes": {"key": key}}
    info = attrs.evolve(spec.info, description=service.inner.__doc__, contact=None, version=VERSION)
    described: OpenAPISpecification = attrs.evolve(
        spec, info=info, paths=paths, components=components
    )
    return described


def error_responses(method: str, own: Mapping[HTTPStatus, str]) -> dict[str, Any]:
    """The responses by which an operation of a caller's may refuse, its ``own`` texts included."""
    of_a_body = _OF_A_BODY if method == "POST" else {}
    return _responses({**_OF_ALL, **_OF_A_CALLER, **_OF_PARAMETERS, **of_a_body, **own})


def json_content(model: type[IODescriptor]) -> dict[str, Any]:
    """The content of a body that is this model as JSON."""
    return {"application/json": {"schema": {"$ref": _REFERENCE.format(model.__name__)}}}


def _about(route: Route) -> PathItem:
    text, kind = _ABOUT[route.template]
    said = _OF_ALL if route.open else _OF_ALL | _OF_A_CALLER
    schema = {"type": "string"} if kind == "text/plain" else {"type": "object"}
    responses = {
        "200": {"description": "The answer.", "content": {kind: {"schema": schema}}}
    } | _responses(said)
    if route.template == "/readyz":
        late = {"Retry-After": {"required": False, **_SECONDS}}
        responses["503"] = _problem("The record or the keys do not answer.") | {"headers": late}
    operation = {
        "summary": text,
        "operationId": route.template.strip("/").replace(".", "_"),
        "tags": ["Infrastructure"],
    }
    asked = {} if route.open else {"security": SECURITY}
    return PathItem(get={**operation, **asked, "responses": responses})


def _responses(said: Mapping[HTTPStatus, str]) -> dict[str, Any]:
    return {
        str(int(status)): _problem(text)
        | ({"headers": dict(_HEADERS[status])} if status in _HEADERS else {})
        for status, text in sorted(said.items())
    }


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(Problem.__name__)}}},
    }


def _used(paths: Mapping[str, PathItem], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The schemas that the paths lead to; BentoML adds some that nothing here answers with."""
    plain = {
        name: json.dumps(bentoml_cattr.unstructure(schema), default=str)
        for name, schema in schemas.items()
    }
    wanted = _named(
        json.dumps(
            {path: bentoml_cattr.unstructure(item) for path, item in paths.items()}, default=str
        )
    )
    found: set[str] = set()
    while wanted - found:
        name = min(wanted - found)
        found.add(name)
        wanted |= _named(plain[name])
    return {name: schema for name, schema in schemas.items() if name in found}


def _named(text: str) -> set[str]:
    return set(re.findall(r'"#/components/schemas/([^"]+)"', text))


def _switch(name: str, meaning: str) -> dict[str, Any]:
    schema = {"type": "boolean", "default": False}
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": meaning,
        "schema": schema,
    }
