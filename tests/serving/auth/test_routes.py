"""Authorization: every route, with every state of a key, every scope and two tenants, over HTTP."""

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
from tests.support.each import each
from tests.support.served import Guarded

# The scopes of each route, a second time on purpose: whoever adds a route has to decide on them.
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
    ("GET", "/v1/decisions"): "review audit",
    ("GET", "/v1/decisions/{id}"): "score review audit",
    ("POST", "/v1/decisions/{id}/reviews"): "score review",
    ("POST", "/v1/decisions/{id}/notifications"): "score review",
    ("GET", "/v1/reviews"): "review",
    ("GET", "/v1/reviews/{id}"): "score review",
    ("POST", "/v1/reviews/{id}/start"): "review",
    ("POST", "/v1/reviews/{id}/resolution"): "review",
    ("POST", "/v1/reviews/{id}/withdrawal"): "score review",
    ("GET", "/v1/notices"): "review audit",
    ("GET", "/v1/due"): "review score",
}
# BentoML's own pages, which load files from elsewhere, are closed to everybody.
CLOSED = {"/", "/static_content", "/assets"}
EVERYBODY = "everybody"
WITHOUT_KEY = (
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
TEMPLATES = sorted({route.template for route in ROUTES})
WITH_ID = [route for route in ROUTES if "{id}" in route.template]
UNKNOWN_PATHS = [
    "/",
    "/static_content/index.html",
    "/ui",
    "/v1",
    "/v1/",
    "/v1/decisions/",
    "/V1/decisions",
    "//v1/decisions",
    "/v1/decisions/a/b",
    "/v1/decisions/%00",
    "/v1/decisions/..%2f..%2fmetrics",
    "/v1/%2e%2e/metrics",
    "/metrics/",
    "/docs.json/",
    "/v1/decisions/" + "a" * 65,
    "/favicon.ico",
    "/openapi.json",
]


@pytest.fixture(scope="module")
def client(guarded: Guarded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def decision_of_north(client: httpx.Client, guarded: Guarded) -> str:
    """The id of a decision of the tenant north."""
    headers = bearer(guarded.keys["north/score"])
    response = client.post("/v1/decisions", json=examples.REQUEST, headers=headers)
    return str(response.raise_for_status().json()["decision_id"])


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def authorization(state: str, guarded: Guarded) -> list[tuple[str, str]]:
    """The headers of a request whose key is in one of the states of `WITHOUT_KEY`."""
    good = guarded.keys["north/all"]
    values = {
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
    return [("authorization", value) for value in values[state]]


def send(
    client: httpx.Client,
    route: Route,
    headers: Iterable[tuple[str, str]],
    entry_id: str = "d-1",
    query: str = "",
) -> httpx.Response:
    """Send a request to a route, with an empty object as the body of a POST."""
    url = route.template.replace("{id}", entry_id) + query
    if route.method != "POST":
        return client.request(route.method, url, headers=list(headers))
    as_json = [*headers, ("content-type", "application/json")]
    return client.request(route.method, url, headers=as_json, content=b"{}")


def check_problem(response: httpx.Response) -> None:
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert [fault.path for fault in problem.errors] == ["$"]


def label(route: Route) -> str:
    return f"{route.method} {route.template}"


def test_each_route_has_its_scopes_here_too() -> None:
    assert {(route.method, route.template) for route in ROUTES} == set(MAY)
    assert len(ROUTES) == len(MAY)


@pytest.mark.parametrize("state", WITHOUT_KEY)
@pytest.mark.parametrize("route", ROUTES, ids=label)
def test_without_a_live_key_only_health_is_answered(
    client: httpx.Client, guarded: Guarded, route: Route, state: str
) -> None:
    query = f"?key={guarded.keys['north/all']}" if state == "in_the_url" else ""
    response = send(client, route, authorization(state, guarded), query=query)
    if MAY[route.method, route.template] == EVERYBODY:
        assert response.status_code == 200
    else:
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        check_problem(response)


@pytest.mark.parametrize("tenant", TENANTS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("route", ROUTES, ids=label)
def test_a_live_key_opens_the_routes_of_its_scope(
    client: httpx.Client, guarded: Guarded, route: Route, scope: str, tenant: str
) -> None:
    response = send(client, route, bearer(guarded.keys[f"{tenant}/{scope}"]).items())
    may = MAY[route.method, route.template]
    if may == EVERYBODY or scope in may.split():
        # The service may refuse: `{}` is no request, and there is no d-1.
        assert response.status_code not in (401, 403, 405, 413, 415, 429)
        assert response.status_code < 500
    else:
        assert response.status_code == 403
        check_problem(response)


@pytest.mark.parametrize("route", WITH_ID, ids=label)
def test_another_tenants_decision_is_answered_as_an_unknown_one(
    client: httpx.Client, guarded: Guarded, decision_of_north: str, route: Route
) -> None:
    headers = bearer(guarded.keys["south/all"]).items()
    response = send(client, route, headers, decision_of_north)
    unknown = send(client, route, headers, decision_of_north[::-1])
    # The body `{}` may be refused before the decision is looked up.
    assert response.status_code in ((404,) if route.method == "GET" else (404, 422))
    assert response.status_code == unknown.status_code
    assert response.content == unknown.content


DETAIL = "?detail=full"
REFUSED = "expected a key with the scope audit or review too: every feature of the model shows"


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions/batch"])
def test_only_reviewers_and_auditors_get_the_full_vector(
    client: httpx.Client, guarded: Guarded, path: str
) -> None:
    """A key of an app gets 403 before the body is read, and nothing is decided."""
    is_batch = path.endswith("batch")
    body = {"accounts": [examples.REQUEST]} if is_batch else examples.REQUEST
    refused = client.post(path + DETAIL, json=body, headers=bearer(guarded.keys["north/score"]))
    assert refused.status_code == 403
    [fault] = refused.json()["errors"]
    assert fault["path"] == "?detail"
    assert fault["message"].startswith(REFUSED)
    broken = client.post(path + DETAIL, json={}, headers=bearer(guarded.keys["north/score"]))
    assert broken.status_code == 403
    # The control.
    answered = client.post(path + DETAIL, json=body, headers=bearer(guarded.keys["north/all"]))
    assert answered.status_code == 200
    answer = answered.json()
    [decision] = answer["decisions"] if is_batch else [answer]
    assert decision["detail"]["features"]
    for name, status in (("score", 403), ("review", 200), ("audit", 200)):
        url = f"/v1/decisions/{decision['decision_id']}"
        headers = bearer(guarded.keys[f"north/{name}"])
        read = client.get(url + DETAIL, headers=headers)
        assert read.status_code == status
        assert ("detail" in read.json().get("decision", {})) == (status == 200)
        # What was recorded with the vector is read without it too.
        plain = client.get(url, headers=headers).raise_for_status().json()
        assert "detail" not in plain["decision"]
    other = client.get(url + DETAIL, headers=bearer(guarded.keys["south/audit"]))
    assert other.status_code == 404


def test_who_asks_for_a_review_does_not_answer_it(
    client: httpx.Client, guarded: Guarded, decision_of_north: str
) -> None:
    def post(name: str, path: str, **body: object) -> httpx.Response:
        return client.post(path, json=body, headers=bearer(guarded.keys[name]))

    opened = post("Li Na", f"/v1/decisions/{decision_of_north}/reviews", reason="I was ill.")
    assert opened.status_code == 201
    path = f"/v1/reviews/{opened.json()['review_id']}"
    refused = post("Li Na", f"{path}/start", reviewer="Wang Wei")
    assert refused.status_code == 403
    check_problem(refused)
    assert "the owner of this key asked for the review" in refused.text
    without_owner = post("north/all", f"{path}/start", reviewer="Wang Wei")
    assert without_owner.status_code == 403
    assert "expected a key with an owner" in without_owner.text
    started = post("Wang Wei", f"{path}/start", reviewer="Somebody")
    assert started.status_code == 200
    assert started.json()["reviewer"] == "Wang Wei"
    answer = {"reviewer": "Wang Wei", "outcome": "overturn", "reasons": "So it is."}
    assert post("Li Na", f"{path}/resolution", **answer).status_code == 403
    resolved = post("Wang Wei", f"{path}/resolution", **answer)
    assert resolved.status_code == 200
    assert resolved.json()["resolution"]["reviewer"] == "Wang Wei"


@pytest.mark.parametrize("template", TEMPLATES)
def test_another_method_is_refused_with_the_allowed_ones(
    client: httpx.Client, guarded: Guarded, template: str
) -> None:
    methods = {route.method for route in ROUTES if route.template == template}
    allowed = methods | {"HEAD"} if "GET" in methods else methods
    headers = bearer(guarded.keys["north/admin"])
    for method in each(method for method in METHODS if method not in methods):
        response = client.request(method, template.replace("{id}", "d-1"), headers=headers)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == allowed
        check_problem(response)


@pytest.mark.parametrize("path", UNKNOWN_PATHS)
def test_an_unknown_path_is_not_found(client: httpx.Client, guarded: Guarded, path: str) -> None:
    # As a raw target: httpx would normalise it.
    url = httpx.URL(guarded.url).copy_with(raw_path=path.encode())
    response = client.get(url, headers=bearer(guarded.keys["north/all"]))
    assert response.status_code == 404
    check_problem(response)
    assert client.get(url).status_code == 401, "without a key nobody learns which paths exist"


def test_head_is_answered_where_get_is(client: httpx.Client, guarded: Guarded) -> None:
    for path in ("/livez", "/docs.json"):
        response = client.head(path, headers=bearer(guarded.keys["north/audit"]))
        assert response.status_code == 200
        assert response.content == b""
    refused = client.head("/docs.json")
    assert refused.status_code == 401
    assert refused.content == b""


def test_every_route_of_the_service_is_in_the_table() -> None:
    app = LimitReduction.to_asgi()  # type: ignore[attr-defined]
    while not hasattr(app, "routes"):
        app = app.app  # of the layers in front of BentoML's app
    served = set(all_paths(app.routes, ""))
    assert served >= {"/v1/decisions", "/v1/reviews", "/metrics", "/readyz", "/docs.json"}
    assert served - set(TEMPLATES) <= CLOSED
    for path in CLOSED:
        assert template_match(path) == {}


def all_paths(routes: Iterable[BaseRoute], prefix: str) -> Iterator[str]:
    """The paths of the routes and of the apps that are mounted below them."""
    for route in routes:
        below = getattr(route, "routes", None)
        path = prefix + str(getattr(route, "path", ""))
        if below:
            yield from all_paths(below, path.rstrip("/"))
        else:
            yield path


def test_only_a_batch_may_be_larger_than_other_bodies() -> None:
    for route in each(ROUTES):
        is_batch = route.template == "/v1/decisions/batch"
        assert route.largest_body == (LARGEST_BATCH if is_batch else LARGEST_BODY), label(route)


def test_the_documents_ask_for_a_key(client: httpx.Client, guarded: Guarded) -> None:
    headers = bearer(guarded.keys["south/audit"])
    document = client.get("/docs.json", headers=headers).raise_for_status().json()
    schemes = document["components"]["securitySchemes"]
    assert {scheme["scheme"] for scheme in schemes.values()} == {"bearer"}
    for path in each(path for path in document["paths"] if path.startswith("/v1/")):
        item = document["paths"][path]
        operations = [operation for operation in item.values() if isinstance(operation, dict)]
        for operation in each(operations):
            assert [list(needed) for needed in operation["security"]] == [list(schemes)], path
    assert "clk_0" not in json.dumps(document)
