"""Reviews, appeals and notices over a real service."""

from __future__ import annotations

import contextlib
import datetime
import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from serving.api.reviews import OPERATIONS
from serving.audit_log.erasure import ErasureOrder, erase_account
from serving.audit_log.privacy.key_file import read_secrets
from serving.auth.routes import ROUTES
from serving.storage.database import Database
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
        if (
            answered["action"] in ("reduce", "suspend")
            and answered["probability"] > answered["cut_off"]
        ):
            return sent
    pytest.fail("expected an account that is cut")


@pytest.fixture
def decision(client: httpx.Client, cut_request: dict[str, Any]) -> dict[str, Any]:
    answered: dict[str, Any] = client.post("/v1/decisions", json=cut_request).json()
    return answered


def opened(client: httpx.Client, decision: dict[str, Any], **asked: Any) -> dict[str, Any]:
    response = client.post(
        f"/v1/decisions/{decision['decision_id']}/reviews", json={"reason": "I was ill."} | asked
    )
    assert response.status_code == HTTPStatus.CREATED, response.text
    review: dict[str, Any] = response.json()
    return review


def listed(client: httpx.Client, path: str, name: str) -> list[dict[str, Any]]:
    """What is listed there, of all pages; other tests ask the same service."""
    found: list[dict[str, Any]] = []
    while True:
        page = client.get(path, params={"after": found[-1][name]} if found else {}).json()[
            path.rsplit("/", 1)[1]
        ]
        found += page
        if len(page) < 100:
            return found


def queue(client: httpx.Client) -> list[dict[str, Any]]:
    return listed(client, "/v1/reviews", "review_id")


def untold(client: httpx.Client) -> list[dict[str, Any]]:
    return listed(client, "/v1/notices", "notice_id")


def step(client: httpx.Client, review: dict[str, Any], name: str, **asked: Any) -> httpx.Response:
    return client.post(f"/v1/reviews/{review['review_id']}/{name}", json=asked)


def test_every_operation_has_a_route_of_the_gate() -> None:
    assert {(one.method, one.path) for one in OPERATIONS} <= {
        (route.method, route.template) for route in ROUTES
    }


def test_a_decision_is_found_as_it_was_answered(
    client: httpx.Client, decision: dict[str, Any]
) -> None:
    found = client.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert found == {
        "decision": decision,
        "limit": decision["new_limit"],
        "reviews": [],
        "notifications": [],
    }


def test_a_decision_with_advice_is_found_alike(
    client: httpx.Client, cut_request: dict[str, Any]
) -> None:
    for path in ("/v1/decisions?advice=true", "/v1/advice"):
        answered = client.post(path, json=cut_request).json()
        answered = answered.get("decision", answered)
        found = client.get(f"/v1/decisions/{answered['decision_id']}").json()
        assert found["decision"] == answered


def test_a_review_is_opened_taken_and_resolved(
    client: httpx.Client, decision: dict[str, Any]
) -> None:
    review = opened(client, decision)
    assert (review["status"], review["reason"], review["reviewer"]) == ("open", "I was ill.", None)
    days = (
        datetime.date.fromisoformat(review["decide_by"])
        - datetime.datetime.fromisoformat(review["opened_at"]).date()
    )
    assert 29 <= days.days <= 31
    assert review | {"statements": None} in queue(client)
    taken = step(client, review, "start", reviewer="Li Na").json()
    assert (taken["status"], taken["reviewer"]) == ("in_review", "Li Na")
    halfway = (decision["new_limit"] + decision["credit_limit"]) / 2
    done = step(
        client,
        review,
        "resolution",
        reviewer="Li Na",
        outcome="amend",
        reasons="Half of it.",
        new_limit=halfway,
    )
    assert done.status_code == HTTPStatus.OK
    resolved = done.json()
    resolution = resolved["resolution"]
    assert resolution == {
        "outcome": "amend",
        "limit": halfway,
        "reviewer": "Li Na",
        "reasons": "Half of it.",
        "at": resolution["at"],
        "notice": resolution["notice"],
    }
    assert client.get(f"/v1/reviews/{review['review_id']}").json() == resolved
    found = client.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert found["limit"] == halfway
    assert found["decision"] == decision, "what was answered is never changed"
    assert found["reviews"] == [resolved | {"statements": None}]
    # A person can be asked again.
    assert opened(client, decision)["status"] == "open"


@pytest.mark.parametrize(
    ("outcome", "limit"), [("uphold", "new_limit"), ("overturn", "credit_limit")]
)
def test_an_outcome_says_which_limit_holds(
    client: httpx.Client, decision: dict[str, Any], outcome: str, limit: str
) -> None:
    review = opened(client, decision)
    step(client, review, "start", reviewer="Li Na")
    resolved = step(
        client, review, "resolution", reviewer="Li Na", outcome=outcome, reasons="So it is."
    ).json()
    assert resolved["resolution"]["limit"] == decision[limit]
    assert client.get(f"/v1/decisions/{decision['decision_id']}").json()["limit"] == decision[limit]


STEPS: dict[str, dict[str, Any]] = {
    "start": {"reviewer": "Li Na"},
    "resolution": {"reviewer": "Li Na", "outcome": "uphold", "reasons": "So it is."},
    "withdrawal": {"reason": "It was paid."},
}
# The states that each history leads to, and the steps that are possible there: all others are
# refused.
HISTORIES = {
    (): {"start", "withdrawal"},
    ("start",): {"resolution", "withdrawal"},
    ("start", "resolution"): set(),
    ("withdrawal",): set(),
}


@pytest.mark.parametrize(
    ("history", "possible"),
    HISTORIES.items(),
    ids=["-".join(history) or "open" for history in HISTORIES],
)
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


def test_of_many_at_once_one_wins(
    client: httpx.Client, server: Server, decision: dict[str, Any]
) -> None:
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
        statement |= {
            "days_past_due": 0,
            "credit_inquiries": 0,
            "limit_requests": 0,
            "cash_advance": 0.0,
        }
    review = opened(client, decision, statements=better)
    corrected = review["corrected"]
    assert corrected["model"] == decision["model"]
    assert corrected["probability"] < decision["probability"]
    # It is what the endpoint would have said of those statements.
    anew = client.post("/v1/decisions", json=cut_request | {"statements": better}).json()
    own = ("decision_id", "decided_at")
    assert {k: v for k, v in corrected.items() if k not in own} == {
        k: v for k, v in anew.items() if k not in own
    }
    changed = {one["field"]: (one["decided"], one["corrected"]) for one in review["differences"]}
    assert changed["probability"] == (decision["probability"], corrected["probability"])
    assert ("action" in changed) == (decision["action"] != corrected["action"])


def test_corrected_statements_are_checked_like_any(
    client: httpx.Client, cut_request: dict[str, Any], decision: dict[str, Any]
) -> None:
    twice = cut_request["statements"] + cut_request["statements"][-1:]
    response = client.post(
        f"/v1/decisions/{decision['decision_id']}/reviews",
        json={"reason": "x", "statements": twice[-24:]},
    )
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert response.json()["errors"][0]["path"].startswith("$.statements[")
    assert client.get(f"/v1/decisions/{decision['decision_id']}").json()["reviews"] == []


def test_who_was_told_is_not_listed_as_to_be_told(
    client: httpx.Client, decision: dict[str, Any]
) -> None:
    def names() -> list[str]:
        found = untold(client)
        assert [one["send_by"] for one in found] == sorted(one["send_by"] for one in found)
        assert len({one["notice_id"] for one in found}) == len(found)
        return [one["notice_id"] for one in found]

    assert decision["decision_id"] in names()
    assert client.get("/v1/notices", params={"status": "overdue"}).json() == {"notices": []}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = client.post(
        f"/v1/decisions/{decision['decision_id']}/notifications",
        json={"sent_at": now, "channel": "app", "language": "zh"},
    )
    assert told.status_code == HTTPStatus.CREATED
    assert decision["decision_id"] not in names()
    found = client.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert found["notifications"] == [told.json()["notification"]]


@pytest.mark.parametrize(
    "sent_at",
    ["2020-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2099-01-01T00:00:00Z", "2026-11-25", "now"],
)
def test_a_time_that_cannot_be_is_refused(
    client: httpx.Client, decision: dict[str, Any], sent_at: str
) -> None:
    sent = {"sent_at": sent_at, "channel": "app", "language": "zh"}
    response = client.post(f"/v1/decisions/{decision['decision_id']}/notifications", json=sent)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [fault["path"] for fault in response.json()["errors"]] == ["$.sent_at"]


def test_of_a_limit_that_is_kept_there_is_nothing_to_tell(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    kept = next(
        one
        for sent in requests
        if (one := client.post("/v1/decisions", json=sent).json())["action"] == "keep"
    )
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    sent = {"sent_at": now, "channel": "app", "language": "zh"}
    assert (
        client.post(f"/v1/decisions/{kept['decision_id']}/notifications", json=sent).status_code
        == HTTPStatus.CONFLICT
    )


def resolved(client: httpx.Client, review: dict[str, Any], **asked: Any) -> dict[str, Any]:
    """The review, taken and answered."""
    step(client, review, "start", reviewer="Li Na")
    response = step(
        client, review, "resolution", **{"reviewer": "Li Na", "reasons": "So it is."} | asked
    )
    assert response.status_code == HTTPStatus.OK, response.text
    done: dict[str, Any] = response.json()
    return done


@pytest.fixture(scope="module")
def referred(client: httpx.Client, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """A request whose decision is that a person decides, with a lower limit proposed."""
    for sent in requests:
        answered = client.post("/v1/decisions", json=sent).json()
        if answered["action"] == "review" and answered["proposed_limit"] < answered["credit_limit"]:
            return sent
    pytest.fail("expected an account that a person decides on")


def test_what_a_person_decides_on_is_in_their_queue(
    client: httpx.Client, referred: dict[str, Any]
) -> None:
    made = client.post("/v1/decisions", json=referred).json()
    [review] = client.get(f"/v1/decisions/{made['decision_id']}").json()["reviews"]
    assert (review["asked_by"], review["status"], review["reason"]) == ("policy", "open", None)
    assert review["decide_by"] == made["review_on"]
    # Nothing was decided that could be upheld, and the customer cannot withdraw what the policy
    # asks.
    step(client, review, "start", reviewer="Li Na")
    asked = {"reviewer": "Li Na", "reasons": "So it is."}
    assert (
        step(client, review, "resolution", **asked, outcome="uphold").status_code
        == HTTPStatus.UNPROCESSABLE_ENTITY
    )
    assert step(client, review, "withdrawal", reason=None).status_code == HTTPStatus.CONFLICT
    done = step(
        client, review, "resolution", **asked, outcome="amend", new_limit=made["proposed_limit"]
    ).json()
    notice = done["resolution"]["notice"]
    assert (done["limit"], notice["kind"]) == (made["proposed_limit"], "adverse_action")
    assert "So it is." in notice["text"]["en"]
    assert "So it is." in notice["text"]["zh"]
    # Somebody has to be told of that cut too.
    [due] = [one for one in untold(client) if one["review_id"] == review["review_id"]]
    assert (due["kind"], due["send_by"], due["overdue"]) == (
        "adverse_action",
        notice["send_by"],
        False,
    )


def test_a_customer_s_own_review_takes_the_policy_s_place(
    client: httpx.Client, referred: dict[str, Any]
) -> None:
    made = client.post("/v1/decisions", json=referred).json()
    own = opened(client, made)
    assert own["decide_by"] == made["review_on"], "the day that was promised stands"
    by_policy, by_customer = client.get(f"/v1/decisions/{made['decision_id']}").json()["reviews"]
    assert by_policy["status"] == "withdrawn"
    assert by_policy["withdrawal"]["superseded_by"] == own["review_id"]
    assert by_customer == own | {"statements": None}
    again = client.post(f"/v1/decisions/{made['decision_id']}/reviews", json={"reason": "x"})
    assert again.status_code == HTTPStatus.CONFLICT
    assert own["review_id"] in again.json()["errors"][0]["message"]


def test_a_review_shows_what_was_decided_on_and_what_was_corrected(
    client: httpx.Client, cut_request: dict[str, Any], decision: dict[str, Any]
) -> None:
    corrected = json.loads(json.dumps(cut_request["statements"][1:]))
    corrected[-1]["income"] = 54321.0
    review = opened(client, decision, statements=corrected)
    assert review["account_id"] == decision["account_id"]
    assert review["statements"] == cut_request["statements"]
    first, last = cut_request["statements"][0], cut_request["statements"][-1]
    expected = [
        (first["month"], "statement", first, None),
        (last["month"], "income", last["income"], 54321.0),
    ]
    assert [tuple(one.values()) for one in review["corrections"]] == expected
    found = client.get(f"/v1/reviews/{review['review_id']}").json()
    assert found == review


def test_corrected_statements_end_where_the_decided_ones_do(
    client: httpx.Client, cut_request: dict[str, Any], decision: dict[str, Any]
) -> None:
    sent = {"reason": "x", "statements": cut_request["statements"][:-1]}
    response = client.post(f"/v1/decisions/{decision['decision_id']}/reviews", json=sent)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [fault["path"] for fault in response.json()["errors"]] == ["$.statements"]


@pytest.mark.parametrize("limit", [-1.0, 0.001, -0.0001, 1e-320, 1e308])
def test_a_limit_is_an_amount_within_what_the_decision_took(
    client: httpx.Client, decision: dict[str, Any], limit: float
) -> None:
    review = opened(client, decision)
    step(client, review, "start", reviewer="Li Na")
    asked = {"reviewer": "Li Na", "reasons": "x", "outcome": "amend"}
    for wrong in (limit, decision["new_limit"] - 0.01, decision["credit_limit"] + 0.01):
        response = step(client, review, "resolution", **asked, new_limit=wrong)
        assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert [fault["path"] for fault in response.json()["errors"]] == ["$.new_limit"]


def test_a_limit_that_was_kept_is_not_lowered_by_a_review(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    kept = next(
        one
        for sent in requests
        if (one := client.post("/v1/decisions", json=sent).json())["action"] == "keep"
    )
    review = opened(client, kept)
    step(client, review, "start", reviewer="Li Na")
    asked = {
        "reviewer": "Li Na",
        "reasons": "x",
        "outcome": "amend",
        "new_limit": kept["credit_limit"] / 2,
    }
    assert (
        step(client, review, "resolution", **asked).status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    )


def test_upheld_is_the_limit_in_force_and_not_an_earlier_one(
    client: httpx.Client, decision: dict[str, Any]
) -> None:
    assert (
        resolved(client, opened(client, decision), outcome="overturn")["limit"]
        == decision["credit_limit"]
    )
    assert (
        resolved(client, opened(client, decision), outcome="uphold")["limit"]
        == decision["credit_limit"]
    )


def test_a_review_is_taken_over_only_by_who_says_so(
    client: httpx.Client, decision: dict[str, Any]
) -> None:
    review = opened(client, decision)
    step(client, review, "start", reviewer="Li Na")
    assert (
        step(client, review, "start", reviewer="Wang Wei", instead_of="Li Na").json()["reviewer"]
        == "Wang Wei"
    )
    asked = {"outcome": "uphold", "reasons": "So it is."}
    assert (
        step(client, review, "resolution", reviewer="Li Na", **asked).status_code
        == HTTPStatus.CONFLICT
    )
    assert (
        step(client, review, "resolution", reviewer="Wang Wei", **asked).status_code
        == HTTPStatus.OK
    )


def test_a_withdrawal_says_why(client: httpx.Client, decision: dict[str, Any]) -> None:
    withdrawn = step(client, opened(client, decision), "withdrawal", reason="It was paid.").json()
    assert withdrawn["withdrawal"]["reason"] == "It was paid."
    assert withdrawn["withdrawal"]["superseded_by"] is None


def test_a_decision_and_each_outcome_are_told_apart(
    client: httpx.Client, decision: dict[str, Any]
) -> None:
    review = resolved(client, opened(client, decision), outcome="overturn")

    def due() -> list[str | None]:
        mine = [one for one in untold(client) if one["decision_id"] == decision["decision_id"]]
        # Whoever writes the first letter late sees that it is no longer the limit in force.
        assert all(one["limit"] == decision["credit_limit"] for one in mine)
        return [one["review_id"] for one in mine]

    def tell(**asked: Any) -> httpx.Response:
        return client.post(
            f"/v1/decisions/{decision['decision_id']}/notifications", json=sent | asked
        )

    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    sent = {"sent_at": now, "channel": "app", "language": "zh"}
    assert sorted(due(), key=str) == sorted([None, review["review_id"]], key=str)
    told = tell(review_id=review["review_id"])
    assert told.status_code == HTTPStatus.CREATED, told.text
    assert due() == [None]
    again = tell(review_id=review["review_id"])
    assert again.status_code == HTTPStatus.CONFLICT, (
        "an answer that was lost, and the same sent again"
    )
    assert told.json()["notification"]["notification_id"] in again.json()["errors"][0]["message"]
    assert tell().status_code == HTTPStatus.CREATED
    assert due() == []
    assert tell(channel="letter").status_code == HTTPStatus.CREATED, (
        "by another channel it is told again"
    )
    assert len(client.get(f"/v1/decisions/{decision['decision_id']}").json()["notifications"]) == 3


def test_an_id_in_capitals_is_the_same(client: httpx.Client, decision: dict[str, Any]) -> None:
    assert (
        client.get(f"/v1/decisions/{decision['decision_id'].upper()}").status_code == HTTPStatus.OK
    )


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
    ("POST", "/v1/decisions/{decision}/reviews", {"reason": " \u3000"}, 422, "$.reason"),
    ("POST", "/v1/decisions/{decision}/reviews", {"reason": "x", "more": 1}, 422, "$.more"),
    ("POST", "/v1/reviews/none/start", {"reviewer": "Li Na"}, 404, "$"),
    (
        "POST",
        "/v1/reviews/{review}/resolution",
        {"reviewer": "x", "outcome": "amend", "reasons": "x"},
        422,
        "$.new_limit",
    ),
    (
        "POST",
        "/v1/reviews/{review}/resolution",
        {"reviewer": "x", "outcome": "uphold", "reasons": "x"},
        409,
        "$",
    ),
    ("POST", "/v1/reviews/{review}/start", {"reviewer": "x"}, 409, "$"),
    ("POST", "/v1/reviews/{review}/start", {"reviewer": "x", "instead_of": "Wang Wei"}, 409, "$"),
    (
        "POST",
        "/v1/decisions/{decision}/notifications",
        {
            "sent_at": "2026-11-26T08:00:00Z",
            "channel": "app",
            "language": "zh",
            "review_id": "none",
        },
        422,
        "$.review_id",
    ),
    (
        "POST",
        "/v1/reviews/{review}/resolution",
        {"reviewer": "x", "outcome": "uphold", "reasons": "x", "new_limit": 1.0},
        422,
        "$.new_limit",
    ),
    (
        "POST",
        "/v1/reviews/{review}/resolution",
        {"reviewer": "Li Na", "outcome": "amend", "reasons": "x", "new_limit": 1e9},
        422,
        "$.new_limit",
    ),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "fault"), WRONG)
def test_what_cannot_be_is_refused_with_its_path(
    client: httpx.Client,
    decision: dict[str, Any],
    method: str,
    path: str,
    body: Any,
    status: int,
    fault: str,
) -> None:
    review = opened(client, decision) if "{review}" in path else {"review_id": ""}
    if review["review_id"]:
        step(client, review, "start", reviewer="Li Na")
    path = path.format(decision=decision["decision_id"], review=review["review_id"])
    response = client.request(method, path, json=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [one["path"] for one in response.json()["errors"]] == [fault]


def test_the_reviews_of_an_erased_person_are_nobody_s_to_answer(
    client: httpx.Client, server: Server, cut_request: dict[str, Any]
) -> None:
    made = client.post("/v1/decisions", json=cut_request | {"account_id": "to-be-erased"}).json()
    review = opened(client, made)
    assert review["review_id"] in {one["review_id"] for one in queue(client)}
    folder = server.log.parent
    with contextlib.closing(Database(f"sqlite:///{folder / 'record.db'}")) as database:
        secrets = read_secrets(folder / "secrets.json")
        order = ErasureOrder("Li Na", "asked for", datetime.datetime.now(datetime.UTC))
        assert erase_account(database, secrets, "local", "to-be-erased", order) is not None
    assert review["review_id"] not in {one["review_id"] for one in queue(client)}
    assert client.get("/v1/notices").status_code == HTTPStatus.OK
    assert client.get(f"/v1/reviews/{review['review_id']}").status_code == HTTPStatus.GONE


def test_what_is_blank_is_what_the_document_says(
    client: httpx.Client, decision: dict[str, Any]
) -> None:
    """U+001D is a blank to Python, and none to JSON Schema."""
    assert opened(client, decision, reason="\u001d")["reason"] == "\u001d"
