"""What is answered instead of a decision: problem details (RFC 9457) with a path to each fault.

No value that a customer sent is repeated: messages say what was expected.  A name that was sent is
repeated only where it is shaped like a field's name, because the caller must find it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from features.schema import NAMES, StatementError
from serving.web.models import IODescriptor


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The problem as it is sent."""
    return Response(problem.model_dump_json(), problem.status, headers, MEDIA_TYPE)


MEDIA_TYPE = "application/problem+json"

# a batch in which one field is wrong has 2,400 faults; these are enough to see which
MOST_LISTED = 20
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_STATUSES = frozenset(HTTPStatus)
_BY_STATUS: Mapping[int, str] = {
    HTTPStatus.NOT_FOUND: "there is nothing of this name here",
    HTTPStatus.METHOD_NOT_ALLOWED: "expected another method",
    HTTPStatus.TOO_MANY_REQUESTS: "too many requests at once",
    HTTPStatus.GATEWAY_TIMEOUT: "there was no answer in the time that is allowed",
}
_MESSAGES: Mapping[str, str] = {"extra_forbidden": "unknown field", "missing": "field is missing"}


class Fault(BaseModel):
    """One thing that is wrong with a request: where, and what was expected there."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: Annotated[
        str,
        Field(
            description="JSONPath of the field, `?` and the name for a parameter; `$` is the whole request"
        ),
    ]
    message: Annotated[
        str, Field(description="what was expected; no value that was sent is repeated")
    ]


class Problem(IODescriptor):
    """Why there is no decision (RFC 9457, application/problem+json)."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Entity",
                "status": 422,
                "detail": "1 fault",
                "errors": [
                    {
                        "path": "$.statements[3].credit_limit",
                        "message": "Input should be greater than or equal to 0",
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
    errors: Annotated[list[Fault], Field(description=f"the faults, at most {MOST_LISTED}")]


class ApiError(Exception):
    """There is no decision, and ``problem`` says why; ``headers`` go with it."""

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(problem.title)
        self.problem = problem
        self.headers: Mapping[str, str] = headers or {}


def api_error(
    status: HTTPStatus, faults: Sequence[Fault], headers: Mapping[str, str] | None = None
) -> ApiError:
    """A refusal for these faults, the first :data:`MOST_LISTED` of which are listed."""
    count = f"{len(faults)} fault" + ("s" if len(faults) != 1 else "")
    more = f"; the first {MOST_LISTED} are listed" if len(faults) > MOST_LISTED else ""
    listed = list(faults[:MOST_LISTED])
    problem = Problem(
        type="about:blank", title=status.phrase, status=status, detail=count + more, errors=listed
    )
    return ApiError(problem, headers)


def internal_error() -> Problem:
    """A fault of the service, about which a caller is told nothing."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    detail = "a fault of the service, not of the request; its log says where"
    return Problem(type="about:blank", title=status.phrase, status=status, detail=detail, errors=[])


def status_problem(status: int) -> Problem:
    """What an answer with this status (400 to 599) says where whoever made it was not to be
    repeated.
    """
    known = HTTPStatus(status) if status in _STATUSES else None
    if known is HTTPStatus.INTERNAL_SERVER_ERROR:
        return internal_error()
    message = _BY_STATUS.get(
        status, "this cannot be answered" if status < 500 else "the service cannot answer this now"
    )
    faults = [Fault(path="$", message=message)] if status < 500 else []
    detail = "1 fault" if faults else message
    title = known.phrase if known else "Error"
    return Problem(type="about:blank", title=title, status=status, detail=detail, errors=faults)


def validation_error(error: ValidationError) -> ApiError:
    """400 where the request is not JSON, 422 where a field is not what it should be."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        return api_error(HTTPStatus.BAD_REQUEST, [Fault(path="$", message=details[0]["msg"])])
    faults = [
        Fault(path=json_path(d["loc"]), message=_MESSAGES.get(d["type"], d["msg"])) for d in details
    ]
    return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, faults)


def statement_error(
    error: StatementError, months: Mapping[str, Sequence[str]], roots: Mapping[str, str]
) -> ApiError:
    """422 for statements that break a rule of :mod:`features.schema`: the first few of each rule.

    ``months`` are each account's months ("YYYY-MM") in the order sent, ``roots`` the path of its
    request.  A rule about neighbours is broken by the later of them, and of two statements of one
    month by the second.
    """
    faults: dict[tuple[str, str], Fault] = {}
    for violation in error.violations:
        # A rule's name has its column's name among its words; those about the calendar have
        # "month".
        column = next(name for name in NAMES if name in violation.rule.split())
        for account, month in violation.first:
            place = max(index for index, sent in enumerate(months[account]) if sent == month)
            path = f"{roots[account]}.statements[{place}].{column}"
            faults[path, violation.rule] = Fault(path=path, message=f"expected: {violation.rule}")
    return api_error(HTTPStatus.UNPROCESSABLE_ENTITY, list(faults.values()))


def json_path(location: Iterable[str | int]) -> str:
    """The JSONPath of a place in a document.

    >>> path_of(("accounts", 3, "statements", 0, "balance")), path_of(()), path_of(("statements", 0, "6222 0000"))
    ('$.accounts[3].statements[0].balance', '$', '$.statements[0]')
    """
    path = "$"
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _FIELD_NAME.fullmatch(step):
            path += f".{step}"
    return path


def parameter_path(name: str) -> str:
    """The path of a parameter in the URL.

    >>> parameter_path("advice"), parameter_path("6222 0000")
    ('?advice', '?')
    """
    return f"?{name}" if _FIELD_NAME.fullmatch(name) else "?"
