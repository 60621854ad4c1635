"""Errors as problem details (RFC 9457), with a path to each fault.

A message says what was expected and repeats no value of the request. A name from the request is
repeated only if it is shaped like a field's name: the client has to find it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from starlette.responses import Response

from features.months import month_index, month_of
from features.schema import GAP_RULE, NAMES, StatementError
from serving.web.models import STRICT, Strict

MEDIA_TYPE = "application/problem+json"
# One wrong field in each statement of a batch makes 2,400 faults; the first few show the mistake.
MAX_LISTED = 20

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_STATUSES = frozenset(HTTPStatus)
_MESSAGE_BY_STATUS: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "there is nothing of this name here",
    HTTPStatus.METHOD_NOT_ALLOWED: "expected another method",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests at once",
    HTTPStatus.GATEWAY_TIMEOUT: "there was no answer in the time that is allowed",
}
# With placeholders for the context of pydantic's error.
_WHOLE_NUMBER = "expected a whole number, written without a point"
_MESSAGE_BY_TYPE: Mapping[str, str] = {
    "extra_forbidden": "unknown field",
    "missing": "field is missing",
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "too_short": "expected {min_length} or more",
    "too_long": "expected {max_length} or fewer",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "greater_than": "expected more than {gt:,.12g}",
    "greater_than_equal": "expected {ge:,.12g} or more",
    "less_than": "expected less than {lt:,.12g}",
    "less_than_equal": "expected {le:,.12g} or less",
    "string_type": "expected a text",
    "string_too_short": "expected {min_length} or more characters",
    "string_too_long": "expected {max_length} or fewer characters",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "dict_type": "expected an object",
    "literal_error": "expected {expected}",
    "date_type": "expected a day, as YYYY-MM-DD",
    "date_parsing": "expected a day, as YYYY-MM-DD",
    "date_from_datetime_parsing": "expected a day, as YYYY-MM-DD",
}


class Fault(Strict):
    """One thing that is wrong with a request: where, and what was expected there."""

    path: Annotated[
        str,
        Field(
            description=(
                "JSONPath of the field; `?` and the name of a parameter; the name of a header; "
                "`$` is the whole request"
            )
        ),
    ]
    message: Annotated[
        str, Field(description="what was expected; no value of the request is repeated")
    ]


class Problem(Strict):
    """Why there is no answer (RFC 9457, application/problem+json)."""

    model_config = ConfigDict(
        **STRICT,
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "1 fault",
                "errors": [
                    {
                        "path": "$.statements[3].credit_limit",
                        "message": "expected 0 or more",
                    }
                ],
            }
        },
    )

    type: Annotated[
        str, Field(description="always `about:blank`: the status says which problem it is")
    ]
    title: Annotated[str, Field(description="the status in words")]
    status: Annotated[int, Field(description="the HTTP status")]
    detail: Annotated[str, Field(description="how many faults there are, in words")]
    errors: Annotated[list[Fault], Field(description=f"the faults, at most {MAX_LISTED}")]


class ApiError(Exception):
    """A request is answered with `problem`, sent with the additional `headers`."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.title)
        self.problem = problem
        self.headers: Mapping[str, str] = headers or {}


def api_error(
    status: HTTPStatus, faults: Sequence[Fault], headers: Mapping[str, str] | None = None
) -> ApiError:
    """Return the error for these faults; the problem lists the first :data:`MAX_LISTED`."""
    detail = f"{len(faults)} fault" + ("s" if len(faults) != 1 else "")
    if len(faults) > MAX_LISTED:
        detail += f"; the first {MAX_LISTED} are listed"
    problem = Problem(
        type="about:blank",
        title=status.phrase,
        status=status,
        detail=detail,
        errors=list(faults[:MAX_LISTED]),
    )
    return ApiError(problem, headers)


def single_fault(
    status: HTTPStatus,
    message: str,
    *,
    path: str = "$",
    headers: Mapping[str, str] | None = None,
) -> ApiError:
    """Return the error for one fault, by default of the whole request."""
    return api_error(status, [Fault(path=path, message=message)], headers)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the HTTP response for a problem."""
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


def internal_error() -> Problem:
    """Return the problem for an error of the service itself, without any detail of it."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Problem(
        type="about:blank",
        title=status.phrase,
        status=status,
        detail="a fault of the service, not of the request; its log says where",
        errors=[],
    )


def status_problem(status: int) -> Problem:
    """Return the problem for a status from 400 to 599 of which nothing more may be repeated."""
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error()
    if status >= 500:
        faults = []
        detail = _MESSAGE_BY_STATUS.get(status, "the service cannot answer this now")
    else:
        message = _MESSAGE_BY_STATUS.get(status, "this cannot be answered")
        faults = [Fault(path="$", message=message)]
        detail = "1 fault"
    title = HTTPStatus(status).phrase if status in _STATUSES else "Error"
    return Problem(
        type="about:blank",
        title=title,
        status=status,
        detail=detail,
        errors=faults,
    )


def validation_error(error: ValidationError) -> ApiError:
    """Return 400 if the body is not JSON, 422 with a path to each field that is wrong."""
    details = error.errors(include_url=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        return single_fault(HTTPStatus.BAD_REQUEST, details[0]["msg"])
    faults = [Fault(path=json_path(detail["loc"]), message=_message(detail)) for detail in details]
    return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)


def _message(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    # What pydantic calls the length of a text that has a validator of its own.
    if context.get("field_type") == "Value":
        kind = f"string_{kind}"
    message = _MESSAGE_BY_TYPE.get(kind)
    if message is None:
        return detail["msg"]
    return message.format_map(context)


def statement_error(
    error: StatementError, months: Mapping[str, Sequence[str]], roots: Mapping[str, str]
) -> ApiError:
    """Return 422 for statements that break a rule of :mod:`features.schema`.

    Parameters
    ----------
    error
        The broken rules, each with its first few accounts and months.
    months
        By account, the months ("YYYY-MM") of its statements in the order of the request.
    roots
        By account, the JSONPath of its request.

    A rule about two months is reported at the later one; a repeated month at the second statement.
    """
    faults: dict[tuple[str, str], Fault] = {}
    for violation in error.violations:
        # The text of a rule contains the name of its column; rules on the calendar, "month".
        column = next(name for name in NAMES if name in violation.rule.split())
        for account, month in violation.first:
            place = max(index for index, sent in enumerate(months[account]) if sent == month)
            path = f"{roots[account]}.statements[{place}].{column}"
            message = f"expected: {violation.rule}"
            if violation.rule == GAP_RULE:
                message += f"; {_name_missing(month, months[account])} is not there"
            faults[path, violation.rule] = Fault(path=path, message=message)
    return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, list(faults.values()))


def _name_missing(after: str, sent: Sequence[str]) -> str:
    """The months between ``after`` and the latest one before it that was sent.

    >>> _name_missing("2026-10", ["2026-06", "2026-10"]), _name_missing("2026-03", ["2026-01"])
    ('2026-07 to 2026-09', '2026-02')
    """
    before = max(month for month in sent if month < after)
    first, last = (
        month_of(month_index(datetime.date.fromisoformat(f"{month}-01")) + step)
        for month, step in ((before, 1), (after, -1))
    )
    return f"{first:%Y-%m}" if first == last else f"{first:%Y-%m} to {last:%Y-%m}"


def json_path(location: Iterable[str | int]) -> str:
    """Return the JSONPath of a place in a document, without steps that are not field names.

    >>> json_path(("accounts", 3, "statements", 0, "balance"))
    '$.accounts[3].statements[0].balance'
    >>> json_path(()), json_path(("statements", 0, "6222 0000"))
    ('$', '$.statements[0]')
    """
    path = "$"
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _FIELD_NAME.fullmatch(step):
            path += f".{step}"
    return path


def parameter_path(name: str) -> str:
    """Return the path of a query parameter.

    >>> parameter_path("advice"), parameter_path("6222 0000")
    ('?advice', '?')
    """
    return f"?{name}" if _FIELD_NAME.fullmatch(name) else "?"
