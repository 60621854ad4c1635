"""One method and path of the reviews: its route and its part of the OpenAPI document.

Not FastAPI, which validates Python objects where pydantic here validates JSON: other messages,
repeated fields accepted, a syntax error answered with 422, a repeated parameter taken once. Its
parameters and bodies would have to be read and described by hand as here, on top of FastAPI.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from features.limits import ACCOUNT_ID_PATTERN, LONGEST_ACCOUNT_ID
from serving.api.errors import error_response
from serving.api.openapi.responses import (
    answer_response,
    json_content,
    operation_errors,
    switch_parameter,
)
from serving.api.submission import check_may_see_detail, receive
from serving.auth.caller import caller_of
from serving.auth.request_context import RequestContext, arrived_at
from serving.reviews.service import Reviews
from serving.schemas.base import ApiRequest, encode
from serving.web.params import DETAIL, read_page, read_switches, refuse_query

SECURITY: list[dict[str, list[str]]] = [{"key": []}]
_ERRORS = {
    HTTPStatus.FORBIDDEN: (
        "The key lacks the scope or has no owner, or its owner asked for the review."
    ),
    HTTPStatus.NOT_FOUND: "There is no such decision or review, or another tenant has it.",
    HTTPStatus.CONFLICT: (
        "The state does not allow it, another request was first, or the bundle that decided is not "
        "there any more."
    ),
    HTTPStatus.GONE: "What could name the person was erased.",
}
_UNKNOWN_OUTCOME = {
    HTTPStatus.GATEWAY_TIMEOUT: "It may have been stored: look before sending it again."
}
_ID_PARAMETER = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "as in the answer",
    "schema": {"type": "string", "format": "uuid"},
}
_AFTER_PARAMETER = {
    "name": "after",
    "in": "query",
    "required": False,
    "description": (
        "the `decision_id`, `review_id`, `notice_id` or `due_id` of the last item of the page "
        "before"
    ),
    "schema": {"type": "string", "format": "uuid"},
}
_UNTIL_PARAMETER = {
    "name": "until",
    "in": "query",
    "required": False,
    "description": "the last day to list; left out = today on the lender's clock",
    "schema": {"type": "string", "format": "date"},
}
_ACCOUNT_PARAMETER = {
    "name": "account_id",
    "in": "query",
    "required": True,
    "description": "the lender's name for the account",
    "schema": {
        "type": "string",
        "pattern": ACCOUNT_ID_PATTERN,
        "maxLength": LONGEST_ACCOUNT_ID,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A method and path, its handler, and what it takes and returns.

    The handler gets, in this order, the reviews; the id, if there is one in the path; the body, if
    there is one; the page, for a list; and the context. A list has the `statuses` that can be
    asked for, or it has days (`has_days`) and the last one can be asked for, or it is of one
    account (`of_account`). `switches` are the query parameters that turn something on, with their
    description; one without them takes no query. `errors` are those besides the gate's. `created` =
    201 instead of 200.
    """

    method: str
    path: str
    operation_id: str
    handler: Callable[..., Awaitable[BaseModel]]
    answer: type[BaseModel]
    body: type[ApiRequest] | None = None
    statuses: Sequence[str] = ()
    has_days: bool = False
    of_account: bool = False
    switches: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[HTTPStatus, ...] = ()
    created: bool = False

    @property
    def status(self) -> HTTPStatus:
        """The status of a success."""
        return HTTPStatus.CREATED if self.created else HTTPStatus.OK

    @property
    def _is_list(self) -> bool:
        return bool(self.statuses) or self.has_days or self.of_account

    @property
    def models(self) -> list[type[BaseModel]]:
        """The models of the body and the answer."""
        return [self.answer] if self.body is None else [self.body, self.answer]

    def route(self, get_reviews: Callable[[], Reviews]) -> Route:
        """Return the route, which answers by the reviews that `get_reviews` returns."""

        async def endpoint(request: HttpRequest) -> Response:
            try:
                answer = await self._answer(get_reviews(), request)
            except Exception as error:  # noqa: BLE001  # whatever it is, the client gets a problem
                return error_response(error)
            return Response(encode(answer), self.status, media_type="application/json")

        return Route(self.path, endpoint, methods=[self.method])

    async def _answer(self, reviews: Reviews, request: HttpRequest) -> BaseModel:
        arguments: list[Any] = [reviews]
        if "id" in request.path_params:
            # A UUID in capitals is the same UUID; the stored ids are in lower case.
            arguments.append(str(request.path_params["id"]).lower())
        switches: frozenset[str] = frozenset()
        if self._is_list:
            page = read_page(
                request.query_params,
                self.statuses,
                self.has_days,
                self.of_account,
            )
            arguments.append(page)
        elif self.switches and request.query_params:
            switches = read_switches(request.query_params, self.switches)
        else:
            # Also a query without a name, as in "?&".
            refuse_query(request)
        if self.body is None:
            caller, arrived = caller_of(request.scope), arrived_at(request.scope)
            check_may_see_detail(caller, switches)
            context = RequestContext(caller, arrived, with_detail=DETAIL in switches)
        else:
            submission = await receive(self.body, request)
            arguments.append(submission.body)
            context = submission.context
        return await self.handler(*arguments, context)

    def describe(self) -> dict[str, Any]:
        """Return the operation as in an OpenAPI 3.1 document."""
        own = {status: _ERRORS[status] for status in self.errors}
        if self.method == "POST":
            own |= _UNKNOWN_OUTCOME
        described: dict[str, Any] = {
            "summary": inspect.getdoc(self.handler),
            "operationId": self.operation_id,
            "tags": ["Service APIs"],
            "parameters": self._parameters(),
            "security": SECURITY,
            "responses": {
                str(int(self.status)): answer_response(self.answer),
                **operation_errors(self.method, own),
            },
        }
        if self.body is not None:
            described["requestBody"] = {"content": json_content(self.body), "required": True}
        return described

    def _parameters(self) -> list[dict[str, Any]]:
        if "{id}" in self.path:
            switches = [switch_parameter(name, text) for name, text in self.switches.items()]
            return [_ID_PARAMETER, *switches]
        if self.has_days:
            return [_UNTIL_PARAMETER, _AFTER_PARAMETER]
        if self.of_account:
            return [_ACCOUNT_PARAMETER, _AFTER_PARAMETER]
        if not self.statuses:
            return []
        status_parameter = {
            "name": "status",
            "in": "query",
            "required": False,
            "description": "lists only these",
            "schema": {"type": "string", "enum": list(self.statuses)},
        }
        return [status_parameter, _AFTER_PARAMETER]
