"""A request that was read: its body as a model, and its context."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import Request as HttpRequest

from serving.auth.caller import caller_of
from serving.auth.request_context import RequestContext
from serving.schemas.base import ApiRequest, parse
from serving.web.params import idempotency_key, read_switches

_Body = TypeVar("_Body", bound=ApiRequest)


@dataclass(frozen=True, slots=True)
class Submission(Generic[_Body]):
    """The body of a request, and its context."""

    body: _Body
    context: RequestContext


async def receive(model: type[_Body], request: HttpRequest) -> Submission[_Body]:
    """Read and validate a request whose body is `model`.

    The gate has already limited the body's size and time.

    Raises :class:`serving.web.errors.ApiError` for a wrong parameter, key or body, and
    :class:`LookupError` if the request did not pass through the gate.
    """
    arrived = time.monotonic()
    switches = read_switches(request.query_params, model.switches)
    key = idempotency_key(request.headers)
    body = parse(model, await request.body())
    context = RequestContext(
        caller=caller_of(request.scope),
        arrived=arrived,
        key=key,
        with_advice="advice" in switches,
    )
    return Submission(body, context)
