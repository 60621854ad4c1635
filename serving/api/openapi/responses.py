"""The responses, headers and switches of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from serving.web.errors import MEDIA_TYPE, Problem
from serving.web.params import TRUE_OR_FALSE, switch_values

REFERENCE = "#/components/schemas/{model}"
# The gate reads and limits the body of every request, also of a GET.
ERRORS_OF_ALL = {
    HTTPStatus.REQUEST_TIMEOUT: "The request took too long to arrive.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is too large.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "A fault of the service.",
    HTTPStatus.GATEWAY_TIMEOUT: "There was no answer in the time that is allowed.",
}
ERRORS_WITH_KEY = ERRORS_OF_ALL | {
    HTTPStatus.UNAUTHORIZED: "There is no live API key with the request.",
    HTTPStatus.FORBIDDEN: (
        "The key lacks the scope; without any key, the client is not on the service's machine."
    ),
    HTTPStatus.TOO_MANY_REQUESTS: (
        "The key made too many requests, or more than its share waits while other keys wait too; "
        "`Retry-After` says when to try again."
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "The audit log or the keys do not answer, or there are more requests than can be answered "
        "in time; `Retry-After` says when to try again."
    ),
}
_ERRORS_OF_PARAMETERS = {
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field or a parameter is not as expected."
}
_ERRORS_OF_A_BODY = {
    HTTPStatus.BAD_REQUEST: "The body is not JSON in UTF-8, or nested too deep.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The content type is not application/json.",
}
_SECONDS = {
    "schema": {"type": "integer", "minimum": 1},
    "description": "seconds after which to try again",
}
RETRY_IF_KNOWN = {"Retry-After": {"required": False, **_SECONDS}}
_HEADERS: Mapping[int, Mapping[str, Any]] = {
    HTTPStatus.UNAUTHORIZED: {
        "WWW-Authenticate": {"required": True, "schema": {"const": "Bearer"}}
    },
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": {"required": True, **_SECONDS}},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": {"required": True, **_SECONDS}},
    # The header comes if the outcome is unknown, not with BentoML's own timeout.
    HTTPStatus.GATEWAY_TIMEOUT: RETRY_IF_KNOWN,
}


def operation_errors(method: str, own: Mapping[HTTPStatus, str]) -> dict[str, Any]:
    """Return the error responses of an operation: those of every operation, and its `own` texts."""
    of_body = _ERRORS_OF_A_BODY if method == "POST" else {}
    return error_responses(ERRORS_WITH_KEY | _ERRORS_OF_PARAMETERS | of_body | dict(own))


def error_responses(texts: Mapping[HTTPStatus, str]) -> dict[str, Any]:
    """Return a response for each status, in order, with its description and its headers."""
    return {
        str(int(status)): problem_response(text, _HEADERS.get(status))
        for status, text in sorted(texts.items())
    }


def problem_response(text: str, headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the response of an error, described by `text`."""
    response: dict[str, Any] = {
        "description": text,
        "content": {MEDIA_TYPE: {"schema": _reference_to(Problem)}},
    }
    if headers is not None:
        response["headers"] = dict(headers)
    return response


def json_content(model: type[BaseModel]) -> dict[str, Any]:
    """Return the content of a body that is this model as JSON."""
    return {"application/json": {"schema": _reference_to(model)}}


def answer_response(model: type[BaseModel]) -> dict[str, Any]:
    """Return the response of a success."""
    return {"description": "The answer.", "content": json_content(model)}


def switch_parameter(name: str, description: str) -> dict[str, Any]:
    """Return the query parameter that is a switch."""
    values = switch_values(name)
    schema: dict[str, Any] = {"type": "string", "enum": list(values)}
    if values == TRUE_OR_FALSE:
        schema = {"type": "boolean", "default": False}
    return {
        "name": name,
        "in": "query",
        "required": False,
        "description": description,
        "schema": schema,
    }


def _reference_to(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}
