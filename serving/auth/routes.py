"""What may be asked: every method and path that is answered, who may ask, and how large the body
may be.

Whatever does not stand in :data:`ROUTES` is refused before the service hears of it, so a route that
is added to the service is closed until it is added here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.auth.caller import SCOPES

LARGEST_BODY = 256 * 1024  # bytes
LARGEST_BATCH = 2 * 1024 * 1024
_ID = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # ours are UUIDs; what is no name of ours is not looked up


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, in which ``{id}`` stands for a name of ours.

    A key needs one of ``scopes``; ``open`` = no key is asked for.
    """

    method: str
    template: str
    scopes: frozenset[str] = frozenset(SCOPES)
    largest_body: int = LARGEST_BODY
    open: bool = False


def _route(method: str, template: str, *scopes: str, largest_body: int = LARGEST_BODY) -> Route:
    return Route(method, template, frozenset(scopes or SCOPES), largest_body)


ROUTES = (
    Route("GET", "/livez", open=True),
    Route("GET", "/healthz", open=True),
    Route("GET", "/readyz", open=True),
    _route("GET", "/docs.json"),
    _route("GET", "/schema.json"),
    _route("GET", "/metrics", "audit", "admin"),
    _route("POST", "/v1/decisions", "score"),
    _route("POST", "/v1/decisions/batch", "score", largest_body=LARGEST_BATCH),
    _route("POST", "/v1/advice", "score"),
    _route("GET", "/v1/decisions/{id}", "score", "review", "audit"),
    _route("POST", "/v1/decisions/{id}/reviews", "score", "review"),
    _route("POST", "/v1/decisions/{id}/notifications", "score", "review"),
    _route("GET", "/v1/reviews", "review"),
    _route("GET", "/v1/reviews/{id}", "score", "review"),
    _route("POST", "/v1/reviews/{id}/start", "review"),
    _route("POST", "/v1/reviews/{id}/resolution", "review"),
    _route("POST", "/v1/reviews/{id}/withdrawal", "score", "review"),
    _route("GET", "/v1/notices", "review", "audit"),
)


def template_match(path: str) -> Mapping[str, Route]:
    """The routes of a path by their method; none where nothing is there.

    >>> template_match("/v1/decisions/0199-a")["GET"].template, list(template_match("/v1/decisions/batch"))
    ('/v1/decisions/{id}', ['POST'])
    >>> template_match("/v1/decisions/"), template_match("/v1/decisions/a%2Fb")
    ({}, {})
    """
    # A path that is written out goes before one with a name in it.
    found = _WRITTEN_OUT.get(path)
    if found is None:
        found = next((routes for pattern, routes in _NAMED if pattern.fullmatch(path)), {})
    return found


def _by_template(named: bool) -> dict[str, dict[str, Route]]:
    found: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        if ("{id}" in route.template) is named:
            found.setdefault(route.template, {})[route.method] = route
    return found


_WRITTEN_OUT = _by_template(named=False)
_NAMED = [
    (re.compile(_ID.join(map(re.escape, template.split("{id}")))), r)
    for template, r in _by_template(named=True).items()
]
