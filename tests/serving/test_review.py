"""Reviews, appeals and notices over a real service."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from serving.review import OPERATIONS
from serving.routes import ROUTES
from tests.serving.conftest import Server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as opened:
        yield opened


@pytest.fixture(scope="module")
def cut_request(client: httpx.Client, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """An account whose limit the model reduces or suspends."""
    for sent in requests:
        answered = client.post("/v1/decisions", json=sent).json()
        if answered["action"] in ("reduce", "suspend") and answered["probability"] > answered["cut_off"]:
            return sent
    pytest.fail("expected an account that is cut")


@pytest.fixture
def decision(client: httpx.Client, cut_request: dict[str, Any]) -> dict[str, Any]:
    answered: dict[str, Any] = client.post("/v1/decisions", json=cut_request).json()
    return answered


def opened(client: httpx.Client, decision: dict[str, Any], **asked: Any) -> dict[str, Any]:
    response = client.post(f"/v1/decisions/{decision['decision_id']}/reviews", json={"reason": "I was ill."} | asked)
    assert response.status_code == HTTPStatus.CREATED, response.text
    review: dict[str, Any] = response.json()
    return review


def step(client: httpx.Client, review: dict[str, Any], name: str, **asked: Any) -> httpx.Response:
    return client.post(f"/v1/reviews/{review['review_id']}/{name}", json=asked)


def test_every_operation_has_a_route_of_the_gate() -> None:
    assert {(one.method, one.path) for one in OPERATIONS} <= {(route.method, route.template) for route in ROUTES}


def test_a_decision_is_found_as_it_was_answered(client: httpx.Client, decision: dict[str, Any]) -> None:
    found = client.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert found == {"decision": decision, "limit": decision["new_limit"], "reviews": [], "notifications": []}


def test_a_decision_with_advice_is_found_alike(client: httpx.Client, cut_request: dict[str, Any]) -> None:
    for path in ("/v1/decisions?advice=true", "/v1/advice"):
        answered = client.post(path, json=cut_request).json()
        answered = answered.get("decision", answered)
        found = client.get(f"/v1/decisions/{answered['decision_id']}").json()
        assert found["decision"] == answered


def test_a_review_is_opened_taken_and_resolved(client: httpx.Client, decision: dict[str, Any]) -> None:
    review = opened(client, decision)
    assert (review["status"], review["reason"], review["reviewer"]) == ("open", "I was ill.", None)
    days = datetime.date.fromisoformat(review["decide_by"]) - datetime.datetime.fromisoformat(review["opened_at"]).date()
    assert 29 <= days.days <= 31
    assert review in client.get("/v1/reviews").json()["reviews"]
    taken = step(client, review, "start", reviewer="Li Na").json()
    assert (taken["status"], taken["reviewer"]) == ("in_review", "Li Na")
    done = step(client, review, "resolution", reviewer="Li Na", outcome="amend", reasons="Half of it.", new_limit=1234.0)
    assert done.status_code == HTTPStatus.OK
    resolved = done.json()
    assert resolved["resolution"] == {
        "outcome": "amend",
        "limit": 1234.0,
        "reviewer": "Li Na",
        "reasons": "Half of it.",
        "at": resolved["resolution"]["at"],
    }
    assert client.get(f"/v1/reviews/{review['review_id']}").json() == resolved
    found = client.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert found["limit"] == 1234.0
    assert found["decision"] == decision, "what was answered is never changed"
    assert found["reviews"] == [resolved]
    # A person can be asked again.
    assert opened(client, decision)["status"] == "open"


@pytest.mark.parametrize(("outcome", "limit"), [("uphold", "new_limit"), ("overturn", "credit_limit")])
def test_an_outcome_says_which_limit_holds(client: httpx.Client, decision: dict[str, Any], outcome: str, limit: str) -> None:
    review = opened(client, decision)
    step(client, review, "start", reviewer="Li Na")
    resolved = step(client, review, "resolution", reviewer="Li Na", outcome=outcome, reasons="So it is.").json()
    assert resolved["resolution"]["limit"] == decision[limit]
    assert client.get(f"/v1/decisions/{decision['decision_id']}").json()["limit"] == decision[limit]


STEPS: dict[str, dict[str, Any]] = {
    "start": {"reviewer": "Li Na"},
    "resolution": {"reviewer": "Li Na", "outcome": "uphold", "reasons": "So it is."},
    "withdrawal": {"reason": "It was paid."},
}
# The states that each history leads to, and the steps that are possible there: all others are refused.
HISTORIES = {
    (): {"start", "withdrawal"},
    ("start",): {"resolution", "withdrawal"},
    ("start", "resolution"): set(),
    ("withdrawal",): set(),
}


@pytest.mark.parametrize(("history", "possible"), HISTORIES.items(), ids=["-".join(history) or "open" for history in HISTORIES])
def test_only_the_steps_of_its_state_are_possible(
    client: httpx.Client, decision: dict[str, Any], history: tuple[str, ...], possible: set[str]
) -> None:
    for name, asked in STEPS.items():
        decision = client.get(f"/v1/decisions/{decision['decision_id']}").json()["decision"]
        for review in client.get(f"/v1/decisions/{decision['decision_id']}").json()["reviews"]:
            step(client, review, "withdrawal")
        review = opened(client, decision)
        for done in history:
            assert step(client, review, done, **STEPS[done]).status_code == HTTPStatus.OK
        expected = HTTPStatus.OK if name in possible else HTTPStatus.CONFLICT
        assert step(client, review, name, **asked).status_code == expected, name


def test_of_many_at_once_one_wins(client: httpx.Client, server: Server, decision: dict[str, Any]) -> None:
    """Reviews of one decision, then reviewers of one review: one each, the others are told."""

    def together(path: str, bodies: list[dict[str, Any]]) -> list[int]:
        statuses: list[int] = []
        ready = threading.Barrier(len(bodies))

        def post(body: dict[str, Any]) -> None:
            ready.wait()
            statuses.append(httpx.post(f"{server.url}{path}", json=body, timeout=30).status_code)

        threads = [threading.Thread(target=post, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(statuses)

    path = f"/v1/decisions/{decision['decision_id']}/reviews"
    assert together(path, [{"reason": f"reason {k}"} for k in range(8)]) == [201] + [409] * 7
    [review] = client.get(f"/v1/decisions/{decision['decision_id']}").json()["reviews"]
    path = f"/v1/reviews/{review['review_id']}/start"
    assert together(path, [{"reviewer": f"reviewer {k}"} for k in range(8)]) == [200] + [409] * 7


def test_corrected_statements_are_decided_by_the_same_bundle_and_compared(
    client: httpx.Client, cut_request: dict[str, Any], decision: dict[str, Any]
) -> None:
    better = json.loads(json.dumps(cut_request["statements"]))
    for statement in better:
        statement |= {"days_past_due": 0, "credit_inquiries": 0, "limit_requests": 0, "cash_advance": 0.0}
    review = opened(client, decision, statements=better)
    corrected = review["corrected"]
    assert corrected["model"] == decision["model"]
    assert corrected["probability"] < decision["probability"]
    # It is what the endpoint would have said of those statements.
    anew = client.post("/v1/decisions", json=cut_request | {"statements": better}).json()
    own = ("decision_id", "decided_at")
    assert {k: v for k, v in corrected.items() if k not in own} == {k: v for k, v in anew.items() if k not in own}
    changed = {one["field"]: (one["decided"], one["corrected"]) for one in review["differences"]}
    assert changed["probability"] == (decision["probability"], corrected["probability"])
    assert ("action" in changed) == (decision["action"] != corrected["action"])


def test_corrected_statements_are_checked_like_any(
    client: httpx.Client, cut_request: dict[str, Any], decision: dict[str, Any]
) -> None:
    twice = cut_request["statements"] + cut_request["statements"][-1:]
    response = client.post(f"/v1/decisions/{decision['decision_id']}/reviews", json={"reason": "x", "statements": twice[-24:]})
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.json()["errors"][0]["path"].startswith("$.statements[")
    assert client.get(f"/v1/decisions/{decision['decision_id']}").json()["reviews"] == []


def test_who_was_told_is_not_listed_as_to_be_told(client: httpx.Client, decision: dict[str, Any]) -> None:
    def listed() -> list[str]:
        """Of all pages."""
        found: list[dict[str, Any]] = []
        while True:
            after = {"after": found[-1]["decision_id"]} if found else {}
            page = client.get("/v1/notices", params=after).json()["notices"]
            found += page
            if len(page) < 100:
                break
        assert [one["send_by"] for one in found] == sorted(one["send_by"] for one in found)
        assert len({one["decision_id"] for one in found}) == len(found)
        return [one["decision_id"] for one in found]

    assert decision["decision_id"] in listed()
    assert client.get("/v1/notices", params={"status": "overdue"}).json() == {"notices": []}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = client.post(
        f"/v1/decisions/{decision['decision_id']}/notifications", json={"sent_at": now, "channel": "app", "language": "zh"}
    )
    assert told.status_code == HTTPStatus.CREATED
    assert decision["decision_id"] not in listed()
    found = client.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert found["notifications"] == [told.json()["notification"]]


@pytest.mark.parametrize(
    "sent_at", ["2020-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2099-01-01T00:00:00Z", "2026-11-25", "now"]
)
def test_a_time_that_cannot_be_is_refused(client: httpx.Client, decision: dict[str, Any], sent_at: str) -> None:
    sent = {"sent_at": sent_at, "channel": "app", "language": "zh"}
    response = client.post(f"/v1/decisions/{decision['decision_id']}/notifications", json=sent)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [fault["path"] for fault in response.json()["errors"]] == ["$.sent_at"]


def test_of_a_limit_that_is_kept_there_is_nothing_to_tell(client: httpx.Client, requests: list[dict[str, Any]]) -> None:
    kept = next(one for sent in requests if (one := client.post("/v1/decisions", json=sent).json())["action"] == "keep")
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    sent = {"sent_at": now, "channel": "app", "language": "zh"}
    assert client.post(f"/v1/decisions/{kept['decision_id']}/notifications", json=sent).status_code == HTTPStatus.CONFLICT


WRONG: list[tuple[str, str, dict[str, Any] | None, int, str]] = [
    ("GET", "/v1/decisions/none", None, 404, "$"),
    ("GET", "/v1/reviews/none", None, 404, "$"),
    ("GET", "/v1/decisions/{decision}?x=1", None, 422, "?x"),
    ("GET", "/v1/reviews?status=lost", None, 422, "?status"),
    ("GET", "/v1/reviews?status=open&status=open", None, 422, "?status"),
    ("GET", "/v1/notices?status=due&more=1", None, 422, "?more"),
    ("GET", "/v1/notices?after=none", None, 422, "?after"),
    ("GET", "/v1/reviews?after={decision}", None, 422, "?after"),
    ("GET", "/v1/reviews?after=a&after=b", None, 422, "?after"),
    ("GET", "/v1/reviews/{decision}", None, 404, "$"),
    ("POST", "/v1/decisions/none/reviews", {"reason": "x"}, 404, "$"),
    ("POST", "/v1/decisions/{decision}/reviews", {}, 422, "$.reason"),
    ("POST", "/v1/decisions/{decision}/reviews", {"reason": "  "}, 422, "$.reason"),
    ("POST", "/v1/decisions/{decision}/reviews", {"reason": "x", "more": 1}, 422, "$.more"),
    ("POST", "/v1/reviews/none/start", {"reviewer": "Li Na"}, 404, "$"),
    ("POST", "/v1/reviews/{review}/resolution", {"reviewer": "x", "outcome": "amend", "reasons": "x"}, 422, "$"),
    (
        "POST",
        "/v1/reviews/{review}/resolution",
        {"reviewer": "x", "outcome": "uphold", "reasons": "x", "new_limit": 1.0},
        422,
        "$",
    ),
    (
        "POST",
        "/v1/reviews/{review}/resolution",
        {"reviewer": "x", "outcome": "amend", "reasons": "x", "new_limit": 1e9},
        422,
        "$.new_limit",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "fault"), WRONG)
def test_what_cannot_be_is_refused_with_its_path(
    client: httpx.Client, decision: dict[str, Any], method: str, path: str, body: Any, status: int, fault: str
) -> None:
    review = opened(client, decision) if "{review}" in path else {"review_id": ""}
    if review["review_id"]:
        step(client, review, "start", reviewer="Li Na")
    path = path.format(decision=decision["decision_id"], review=review["review_id"])
    response = client.request(method, path, json=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [one["path"] for one in response.json()["errors"]] == [fault]
