"""Every method and path that is answered, with its scopes and its largest body.

The gate refuses all other requests, so a route that is added to the service stays closed until it
is added to :data:`ROUTES`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.auth.caller import SCOPES

LARGEST_BODY = 256 * 1024  # bytes
LARGEST_BATCH = 2 * 1024 * 1024  # bytes
# Of ?detail=full, besides those of the route: the full vector shows the statements.
DETAIL_SCOPES = ("audit", "review")
# The ids of the service are UUIDs; other names of this shape are looked up and not found.
_ID = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path; ``{id}`` in the path is the id of a decision or a review.

    A key needs one of the `scopes`. `largest_body` is in bytes. With `open`, no key is needed. The
    work of a `counted` route is decisions, which are refused when there are too many.
    """

    method: str
    template: str
    scopes: frozenset[str] = frozenset(SCOPES)
    largest_body: int = LARGEST_BODY
    open: bool = False
    counted: bool = False


def _route(method: str, template: str, *scopes: str, largest_body: int = LARGEST_BODY) -> Route:
    return Route(method, template, frozenset(scopes or SCOPES), largest_body)


def _decisions(template: str, largest_body: int = LARGEST_BODY) -> Route:
    scopes = frozenset(["score"])
    return Route("POST", template, scopes, largest_body, counted=True)


ROUTES = (
    Route("GET", "/livez", open=True),
    Route("GET", "/healthz", open=True),
    Route("GET", "/readyz", open=True),
    _route("GET", "/docs.json"),
    _route("GET", "/schema.json"),
    _route("GET", "/metrics", "audit", "admin"),
    _decisions("/v1/decisions"),
    _route("GET", "/v1/decisions", "review", "audit"),
    _decisions("/v1/decisions/batch", LARGEST_BATCH),
    _decisions("/v1/advice"),
    _route("GET", "/v1/decisions/{id}", "score", "review", "audit"),
    _route("POST", "/v1/decisions/{id}/reviews", "score", "review"),
    _route("POST", "/v1/decisions/{id}/notifications", "score", "review"),
    _route("GET", "/v1/reviews", "review"),
    _route("GET", "/v1/reviews/{id}", "score", "review"),
    _route("POST", "/v1/reviews/{id}/start", "review"),
    _route("POST", "/v1/reviews/{id}/resolution", "review"),
    _route("POST", "/v1/reviews/{id}/withdrawal", "score", "review"),
    _route("GET", "/v1/notices", "review", "audit"),
    _route("GET", "/v1/due", "review", "score"),
)


def template_match(path: str) -> Mapping[str, Route]:
    """Return the routes of a path by their method; empty if the path is unknown.

    >>> template_match("/v1/decisions/0199-a")["GET"].template
    '/v1/decisions/{id}'
    >>> list(template_match("/v1/decisions/batch"))
    ['POST']
    >>> template_match("/v1/decisions/"), template_match("/v1/decisions/a%2Fb")
    ({}, {})
    """
    # An exact path goes before a template: "batch" has the shape of an id.
    if path in _EXACT:
        return _EXACT[path]
    return next((routes for pattern, routes in _WITH_ID if pattern.fullmatch(path)), {})


def route_template(path: str) -> str | None:
    """Return the template of a path; None if the path is unknown.

    >>> route_template("/v1/decisions/0199-a"), route_template("/v1/nothing")
    ('/v1/decisions/{id}', None)
    """
    route = next(iter(template_match(path).values()), None)
    return None if route is None else route.template


def _by_template(with_id: bool) -> dict[str, dict[str, Route]]:
    by_template: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        if ("{id}" in route.template) is with_id:
            by_template.setdefault(route.template, {})[route.method] = route
    return by_template


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(_ID.join(map(re.escape, template.split("{id}"))))


_EXACT = _by_template(with_id=False)
_WITH_ID = [(_pattern(template), routes) for template, routes in _by_template(with_id=True).items()]
