"""How much work a request is, by what its headers say: the cost of one decision is 1."""

from __future__ import annotations

from typing import Literal

from starlette.datastructures import Headers
from starlette.types import Scope

from serving.auth.routes import Route

_Endpoint = Literal["decisions", "batch", "advice"]
_WITH_ADVICE = 15.0  # times the cost of a decision, measured
_BYTES_AN_ACCOUNT = 4000  # of a request with 24 statements, without spaces
_LONG = ("/v1/decisions/batch", "/v1/advice")


def cost_of(accounts: int, endpoint: _Endpoint, with_advice: bool) -> float:
    """Return the cost of decisions on so many accounts.

    >>> cost_of(1, "decisions", False), cost_of(2, "batch", True), cost_of(1, "advice", False)
    (1.0, 30.0, 15.0)
    """
    has_advice = with_advice or endpoint == "advice"
    return accounts * (_WITH_ADVICE if has_advice else 1.0)


def takes_long(scope: Scope, route: Route) -> bool:
    """Return whether a request is made on a thread: see :func:`serving.api.answers.is_long`."""
    return route.template in _LONG or _asks_for_advice(scope)


def cost_by_headers(scope: Scope, route: Route, headers: Headers) -> float:
    """Return about the cost of a request whose body is not read yet."""
    if route.template == "/v1/advice":
        return cost_of(1, "advice", True)
    accounts = 1
    if route.template == "/v1/decisions/batch":
        length = headers.get("content-length", "0")
        # Whatever else it says is refused when the body is read.
        size = min(int(length), route.largest_body) if length.isdecimal() else route.largest_body
        accounts = 1 + size // _BYTES_AN_ACCOUNT
    return cost_of(accounts, "decisions", _asks_for_advice(scope))


def _asks_for_advice(scope: Scope) -> bool:
    return b"advice=true" in scope.get("query_string", b"")
