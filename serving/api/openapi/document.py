"""The OpenAPI 3.1 document: BentoML's own, completed by all that is answered.

BentoML's document leaves out the parameters, the null of the models, the mounted reviews, and the
errors that the gate and the audit log add.
"""

from __future__ import annotations

import inspect
from http import HTTPStatus
from typing import Any

import attrs
import bentoml
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.api.bento import OpenAPISpecification, generate_document, schema_model, with_paths
from serving.api.openapi.responses import (
    ERRORS_OF_ALL,
    ERRORS_WITH_KEY,
    REFERENCE,
    RETRY_IF_KNOWN,
    answer_response,
    error_responses,
    json_content,
    operation_errors,
    problem_response,
    switch_parameter,
)
from serving.api.operation import SECURITY
from serving.api.reviews import OPERATIONS
from serving.auth.routes import ROUTES, Route
from serving.web.errors import Problem
from serving.web.params import KEY_HEADER

VERSION = "1"  # of the interface, as in its paths
_KEY_TEXT = (
    "An API key, `clk_...`. A service that has none yet answers only clients on its own machine, "
    "with the token that it makes at each start, `local_...`."
)
_DECISION_ERRORS = {
    HTTPStatus.GONE: f"The answer to this `{KEY_HEADER}` was erased.",
    HTTPStatus.GATEWAY_TIMEOUT: (
        f"It may have been decided and stored: the same `{KEY_HEADER}` returns the answer."
    ),
}
_IDEMPOTENCY_KEY = {
    "name": KEY_HEADER,
    "in": "header",
    "required": False,
    "description": (
        "A second request with the same key and body gets the first answer, byte for byte."
    ),
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}
# The routes about the service itself: summary and type of the answer.
_INFRASTRUCTURE = {
    "/livez": ("Answers while the process lives.", "text/plain"),
    "/healthz": ("The same as `/livez`, by another name.", "text/plain"),
    "/readyz": ("Answers while decisions can be made and stored.", "text/plain"),
    "/metrics": ("Metrics for Prometheus.", "text/plain"),
    "/docs.json": ("This document.", "application/json"),
    "/schema.json": (
        "BentoML's description of the service, for its own client.",
        "application/json",
    ),
}


def document(service: bentoml.Service[Any]) -> OpenAPISpecification:
    """Return the document of a service and its mounted reviews."""
    base = generate_document(service)
    models: list[type[BaseModel]] = [Problem]
    for api in service.apis.values():
        body, answer = schema_model(api.input_spec), schema_model(api.output_spec)
        models += [body, answer]
        operation: Any = base.paths[api.route].post
        text = _one_line(api.func)
        operation.update({"summary": text, **_decision_operation(body, answer)})
        operation.pop("description", None)
    paths: dict[str, dict[str, Any]] = {
        route.template: _infrastructure_path(route)
        for route in ROUTES
        if route.template in _INFRASTRUCTURE
    }
    for review_operation in OPERATIONS:
        models += review_operation.models
        path = paths.setdefault(review_operation.path, {})
        path[review_operation.method.lower()] = review_operation.describe()
    key = {"type": "http", "scheme": "bearer", "description": _KEY_TEXT}
    return with_paths(
        base,
        paths,
        components={"schemas": _schemas(models), "securitySchemes": {"key": key}},
        info=attrs.evolve(
            base.info, description=_one_line(service.inner), contact=None, version=VERSION
        ),
    )


def _one_line(documented: object) -> str:
    """The docstring without line breaks; "" where there is none."""
    return " ".join((inspect.getdoc(documented) or "").split())


def _schemas(models: list[type[BaseModel]]) -> dict[str, Any]:
    """Return the JSON schemas of the models and of all models in them, by name."""
    _, schema = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=REFERENCE
    )
    schemas: dict[str, Any] = schema["$defs"]
    for own in schemas.values():
        if "description" in own:
            own["description"] = " ".join(own["description"].split())
    return schemas


def _decision_operation(body: Any, answer: type[BaseModel]) -> dict[str, Any]:
    switches = [switch_parameter(name, text) for name, text in body.switches.items()]
    return {
        "parameters": [*switches, _IDEMPOTENCY_KEY],
        "requestBody": {"content": json_content(body), "required": True},
        "security": SECURITY,
        "responses": {
            "200": answer_response(answer),
            **operation_errors("POST", _DECISION_ERRORS),
        },
    }


def _infrastructure_path(route: Route) -> dict[str, Any]:
    summary, media_type = _INFRASTRUCTURE[route.template]
    schema = {"type": "string"} if media_type == "text/plain" else {"type": "object"}
    responses = {
        "200": {"description": "The answer.", "content": {media_type: {"schema": schema}}},
        **error_responses(ERRORS_OF_ALL if route.open else ERRORS_WITH_KEY),
    }
    if route.template == "/readyz":
        text = "The audit log or the keys do not answer."
        responses["503"] = problem_response(text, RETRY_IF_KNOWN)
    operation: dict[str, Any] = {
        "summary": summary,
        "operationId": route.template.strip("/").replace(".", "_"),
        "tags": ["Infrastructure"],
        "responses": responses,
    }
    if not route.open:
        operation["security"] = SECURITY
    return {"get": operation}
