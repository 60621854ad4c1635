"""Who gets in: every route, with every state of a key, every scope and two tenants, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import httpx
import pytest
from starlette.routing import BaseRoute

from serving.auth.caller import SCOPES
from serving.auth.routes import LARGEST_BATCH, LARGEST_BODY, ROUTES, Route, template_match
from serving.schemas import examples
from serving.service import LimitReduction
from serving.web.errors import Problem
from tests.serving.conftest import Guarded

# Written down a second time on purpose: a route that is added is closed to everybody until someone
# says here who may ask.
MAY = {
    ("GET", "/livez"): "everybody",
    ("GET", "/healthz"): "everybody",
    ("GET", "/readyz"): "everybody",
    ("GET", "/docs.json"): "score review audit admin",
    ("GET", "/schema.json"): "score review audit admin",
    ("GET", "/metrics"): "audit admin",
    ("POST", "/v1/decisions"): "score",
    ("POST", "/v1/decisions/batch"): "score",
    ("POST", "/v1/advice"): "score",
    ("GET", "/v1/decisions/{id}"): "score review audit",
    ("POST", "/v1/decisions/{id}/reviews"): "score review",
    ("POST", "/v1/decisions/{id}/notifications"): "score review",
    ("GET", "/v1/reviews"): "review",
    ("GET", "/v1/reviews/{id}"): "score review",
    ("POST", "/v1/reviews/{id}/start"): "review",
    ("POST", "/v1/reviews/{id}/resolution"): "review",
    ("POST", "/v1/reviews/{id}/withdrawal"): "score review",
    ("GET", "/v1/notices"): "review audit",
}
# BentoML's own that nobody may ask for: they load parts from elsewhere.
CLOSED = {"/", "/static_content", "/assets"}
NO_KEY = (
    "none",
    "unknown",
    "malformed",
    "wrong_secret",
    "expired",
    "revoked",
    "two_headers",
    "other_scheme",
    "in_the_url",
)
TENANTS = ("north", "south")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


@pytest.fixture(scope="module")
def client(guarded: Guarded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def of_north(client: httpx.Client, guarded: Guarded) -> str:
    """The id of a decision that north asked for."""
    response = client.post(
        "/v1/decisions", json=examples.REQUEST, headers=bearer(guarded.keys["north/score"])
    )
    return str(response.raise_for_status().json()["decision_id"])


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def headers_of(state: str, guarded: Guarded) -> list[tuple[str, str]]:
    good = guarded.keys["north/all"]
    shown = {
        "none": [],
        "unknown": [f"Bearer clk_{'0' * 16}_{good[-43:]}"],
        "malformed": [f"Bearer {good}="],
        "wrong_secret": [f"Bearer {good[:-43]}{good[-43:].swapcase()}"],
        "expired": [f"Bearer {guarded.keys['expired']}"],
        "revoked": [f"Bearer {guarded.keys['revoked']}"],
        "two_headers": [f"Bearer {good}", f"Bearer {good}"],
        "other_scheme": [f"Basic {good}"],
        "in_the_url": [],
    }
    return [("authorization", text) for text in shown[state]]


def asked(
    client: httpx.Client,
    route: Route,
    headers: Iterable[tuple[str, str]],
    name: str = "d-1",
    query: str = "",
) -> httpx.Response:
    sent = (
        [*headers, ("content-type", "application/json")]
        if route.method == "POST"
        else list(headers)
    )
    body = b"{}" if route.method == "POST" else None
    return client.request(
        route.method, route.template.replace("{id}", name) + query, headers=sent, content=body
    )


def check_problem(response: httpx.Response) -> None:
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert [fault.path for fault in problem.errors] == ["$"]


def named(route: Route) -> str:
    return f"{route.method} {route.template}"


def test_each_route_says_here_who_may_ask() -> None:
    assert {(route.method, route.template) for route in ROUTES} == set(MAY)
    assert len(ROUTES) == len(MAY)


@pytest.mark.parametrize("state", NO_KEY)
@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_without_a_live_key_only_health_is_told(
    client: httpx.Client, guarded: Guarded, route: Route, state: str
) -> None:
    query = f"?key={guarded.keys['north/all']}" if state == "in_the_url" else ""
    response = asked(client, route, headers_of(state, guarded), query=query)
    if MAY[route.method, route.template] == "everybody":
        assert response.status_code == 200
    else:
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        check_problem(response)


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("route", ROUTES, ids=named)
def test_a_live_key_opens_what_it_is_for(
    client: httpx.Client, guarded: Guarded, route: Route, scope: str, tenant: str
) -> None:
    response = asked(client, route, bearer(guarded.keys[f"{tenant}/{scope}"]).items())
    may = MAY[route.method, route.template]
    if may == "everybody" or scope in may.split():
        # What the service says then is its own matter; `{}` is no request, and there is no d-1.
        assert response.status_code not in (401, 403, 405, 413, 415, 429)
        assert response.status_code < 500
    else:
        assert response.status_code == 403
        check_problem(response)


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if "{id}" in route.template], ids=named
)
def test_a_tenant_is_told_nothing_of_another_ones_decision(
    client: httpx.Client, guarded: Guarded, of_north: str, route: Route
) -> None:
    response = asked(client, route, bearer(guarded.keys["south/all"]).items(), of_north)
    unknown = asked(client, route, bearer(guarded.keys["south/all"]).items(), of_north[::-1])
    # A body that is none may be refused before it is looked up; either way both are answered alike.
    assert response.status_code in ((404,) if route.method == "GET" else (404, 422))
    assert (response.status_code, response.content) == (unknown.status_code, unknown.content)


@pytest.mark.parametrize("template", sorted({route.template for route in ROUTES}))
def test_another_method_is_refused_with_those_that_there_are(
    client: httpx.Client, guarded: Guarded, template: str
) -> None:
    there = {route.method for route in ROUTES if route.template == template}
    for method in METHODS:
        if method not in there:
            response = client.request(
                method, template.replace("{id}", "d-1"), headers=bearer(guarded.keys["north/admin"])
            )
            assert response.status_code == 405
            assert set(response.headers["allow"].split(", ")) == there | (
                {"HEAD"} if "GET" in there else set()
            )
            check_problem(response)


@pytest.mark.parametrize(
    "path",
    ["/", "/static_content/index.html", "/ui", "/v1", "/v1/", "/v1/decisions/", "/V1/decisions", "//v1/decisions",
     "/v1/decisions/a/b", "/v1/decisions/%00", "/v1/decisions/..%2f..%2fmetrics", "/v1/%2e%2e/metrics", "/metrics/",
     "/docs.json/", "/v1/decisions/" + "a" * 65, "/favicon.ico", "/openapi.json"],
)  # fmt: skip
def test_another_path_is_not_found(client: httpx.Client, guarded: Guarded, path: str) -> None:
    # As a raw target: httpx would tidy it.
    url = httpx.URL(guarded.url).copy_with(raw_path=path.encode())
    response = client.get(url, headers=bearer(guarded.keys["north/all"]))
    assert response.status_code == 404
    check_problem(response)
    assert client.get(url).status_code == 401  # and without a key nobody learns what there is


def test_head_is_answered_where_get_is(client: httpx.Client, guarded: Guarded) -> None:
    for path in ("/livez", "/docs.json"):
        response = client.head(path, headers=bearer(guarded.keys["north/audit"]))
        assert (response.status_code, response.content) == (200, b"")
    refused = client.head("/docs.json")
    assert (refused.status_code, refused.content) == (401, b"")


def test_every_route_of_the_service_stands_in_the_table() -> None:
    app = LimitReduction.to_asgi().app  # type: ignore[attr-defined]
    found = set(paths(app.routes, ""))
    # or nothing was looked at
    assert found >= {"/v1/decisions", "/metrics", "/readyz", "/docs.json"}
    open_paths = {route.template for route in ROUTES}
    assert {path for path in found if path not in open_paths} <= CLOSED
    assert not any(template_match(path) for path in CLOSED)


def paths(routes: Iterable[BaseRoute], above: str) -> Iterator[str]:
    for route in routes:
        below = getattr(route, "routes", None)
        path = above + str(getattr(route, "path", ""))
        if below:
            yield from paths(below, path.rstrip("/"))
        else:
            yield path


def test_only_a_batch_may_be_larger_than_other_bodies() -> None:
    for route in ROUTES:
        is_batch = route.template == "/v1/decisions/batch"
        assert route.largest_body == (LARGEST_BATCH if is_batch else LARGEST_BODY), named(route)


def test_the_documents_ask_for_a_key(client: httpx.Client, guarded: Guarded) -> None:
    described = (
        client.get("/docs.json", headers=bearer(guarded.keys["south/audit"]))
        .raise_for_status()
        .json()
    )
    schemes = described["components"]["securitySchemes"]
    assert {scheme["scheme"] for scheme in schemes.values()} == {"bearer"}
    for path, operations in described["paths"].items():
        if path.startswith("/v1/"):
            asked = [said["security"] for said in operations.values() if isinstance(said, dict)]
            assert asked
            assert all(
                [list(needed) for needed in security] == [list(schemes)] for security in asked
            ), path
    assert "clk_0" not in json.dumps(described)
