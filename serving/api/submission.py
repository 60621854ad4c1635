"""A request that was read: its body as a model, and its context."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Generic, TypeVar

from starlette.requests import Request as HttpRequest

from serving.auth.caller import Caller, caller_of
from serving.auth.request_context import RequestContext, arrived_at
from serving.auth.routes import DETAIL_SCOPES
from serving.schemas.base import ApiRequest, parse
from serving.web.errors import parameter_path, single_fault
from serving.web.params import DETAIL, idempotency_key, read_switches

_Body = TypeVar("_Body", bound=ApiRequest)


@dataclass(frozen=True, slots=True)
class Submission(Generic[_Body]):
    """The body of a request, and its context."""

    body: _Body
    context: RequestContext


async def receive(model: type[_Body], request: HttpRequest) -> Submission[_Body]:
    """Read and validate a request whose body is `model`.

    The gate has already limited the body's size and time.

    Raises :class:`serving.web.errors.ApiError` for a wrong parameter, key or body, or a parameter
    that the caller may not use, and
    :class:`LookupError` if the request did not pass through the gate.
    """
    arrived = arrived_at(request.scope)
    caller = caller_of(request.scope)
    switches = read_switches(request.query_params, model.switches)
    check_may_see_detail(caller, switches)
    key = idempotency_key(request.headers)
    body = parse(model, await request.body())
    context = RequestContext(
        caller=caller,
        arrived=arrived,
        key=key,
        with_advice="advice" in switches,
        with_detail=DETAIL in switches,
    )
    return Submission(body, context)


def check_may_see_detail(caller: Caller, switches: Collection[str]) -> None:
    """Raise :class:`serving.web.errors.ApiError` (403) for ``?detail=full`` without a scope for it.

    The gate has checked the scopes of the route.
    """
    if DETAIL not in switches or caller.may(*DETAIL_SCOPES):
        return
    message = (
        f"expected a key with the scope {' or '.join(DETAIL_SCOPES)} too: every feature of the "
        "model shows the statements"
    )
    raise single_fault(HTTPStatus.FORBIDDEN, message, path=parameter_path(DETAIL))
