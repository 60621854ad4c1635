"""Errors of an endpoint as responses."""

from __future__ import annotations

import logging
from http import HTTPStatus

from starlette.responses import Response

from serving.audit_log.errors import Unavailable, Unconfirmed
from serving.web.errors import ApiError, internal_error, problem_response, single_fault
from serving.web.params import KEY_HEADER
from serving.web.telemetry.logs import format_without_values

LOGGER = logging.getLogger("bentoml.limit_reduction")


def error_response(error: Exception) -> Response:
    """Return the response for an error that an endpoint raised.

    An unexpected error is logged without its message and answered with 500.
    """
    if isinstance(error, (Unavailable, Unconfirmed)):
        error = not_stored(error)
    if isinstance(error, ApiError):
        return problem_response(error.problem, error.headers)
    LOGGER.error("internal error\n%s", format_without_values(error))
    return problem_response(internal_error())


def not_stored(error: Unavailable | Unconfirmed) -> ApiError:
    """Return 503 if nothing was stored, 504 if that is unknown."""
    if isinstance(error, Unavailable):
        status = HTTPStatus.SERVICE_UNAVAILABLE
        message = "nothing was decided or kept: ask again"
    else:
        status = HTTPStatus.GATEWAY_TIMEOUT
        message = (
            f"it may have been decided and kept: ask again with the same {KEY_HEADER}, "
            "and the first answer comes"
        )
    return single_fault(status, message, headers={"retry-after": "1"})
