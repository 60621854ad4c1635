"""Refusals of a step or a query, as errors of the API."""

from __future__ import annotations

from http import HTTPStatus

from serving.web.errors import ApiError, single_fault


def not_found(kind: str) -> ApiError:
    """Return 404: the tenant has no `kind` with this id."""
    return single_fault(HTTPStatus.NOT_FOUND, f"there is no such {kind}")


def conflict(message: str) -> ApiError:
    """Return 409: the state of the decision or the review does not allow the step."""
    return single_fault(HTTPStatus.CONFLICT, message)


def forbidden(message: str) -> ApiError:
    """Return 403: another person has to take the step, or the caller is not known well enough."""
    return single_fault(HTTPStatus.FORBIDDEN, message)


def invalid(field: str, message: str) -> ApiError:
    """Return 422: a field of the body does not fit the decision or the review."""
    return single_fault(HTTPStatus.UNPROCESSABLE_ENTITY, message, path=f"$.{field}")
