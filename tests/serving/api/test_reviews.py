"""Reviews, appeals and notices over a real service."""

from __future__ import annotations

import contextlib
import copy
import datetime
import threading
from collections.abc import Iterator
from http import HTTPStatus
from itertools import pairwise
from typing import Any

import httpx
import pytest

from serving.api.reviews import OPERATIONS
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.privacy.key_file import read_secrets
from serving.auth.routes import ROUTES
from serving.storage.database import Database
from tests.support.each import each
from tests.support.review_client import Json, ReviewClient
from tests.support.served import Server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ReviewClient]:
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as http:
        yield ReviewClient(http)


@pytest.fixture(scope="module")
def cut_request(client: ReviewClient, requests: list[Json]) -> Json:
    """A request whose decision is that the model cuts the limit."""

    def is_cut(decision: Json) -> bool:
        by_model = decision["probability"] > decision["cut_off"]
        return by_model and decision["action"] in ("reduce", "suspend")

    return client.first_decided(requests, is_cut)


@pytest.fixture(scope="module")
def kept_request(client: ReviewClient, requests: list[Json]) -> Json:
    """A request whose decision is to keep the limit."""
    return client.first_decided(requests, lambda decision: decision["action"] == "keep")


@pytest.fixture(scope="module")
def referred_request(client: ReviewClient, requests: list[Json]) -> Json:
    """A request whose decision is that a person decides, with a lower limit proposed."""

    def is_referred(decision: Json) -> bool:
        if decision["action"] != "review":
            return False
        return bool(decision["proposed_limit"] < decision["credit_limit"])

    # A person decides on a cut of a short history, whichever accounts the model cuts.
    short = [request | {"statements": request["statements"][-2:]} for request in requests]
    return client.first_decided([*requests, *short], is_referred)


@pytest.fixture
def decision(client: ReviewClient, cut_request: Json) -> Json:
    return client.decide(cut_request)


def fault_paths(response: httpx.Response) -> list[str]:
    return [fault["path"] for fault in response.json()["errors"]]


def test_every_operation_has_a_route_at_the_gate() -> None:
    operations = {(operation.method, operation.path) for operation in OPERATIONS}
    assert operations
    assert operations <= {(route.method, route.template) for route in ROUTES}


def test_a_decision_is_returned_as_it_was_answered(client: ReviewClient, decision: Json) -> None:
    assert client.record(decision) == {
        "decision": decision,
        "limit": decision["new_limit"],
        "reviews": [],
        "notifications": [],
    }


@pytest.mark.parametrize("path", ["/v1/decisions?advice=true", "/v1/advice"])
def test_a_decision_with_advice_is_returned_as_it_was_answered(
    client: ReviewClient, cut_request: Json, path: str
) -> None:
    answer = client.http.post(path, json=cut_request).json()
    decision = answer.get("decision", answer)
    assert client.record(decision)["decision"] == decision


def test_an_id_in_capitals_is_the_same(client: ReviewClient, decision: Json) -> None:
    capitals = decision["decision_id"].upper()
    assert client.http.get(f"/v1/decisions/{capitals}").status_code == HTTPStatus.OK


# Steps


def test_a_review_is_opened_started_and_resolved(client: ReviewClient, decision: Json) -> None:
    review = client.open_review(decision)
    assert review["status"] == "open"
    assert review["reason"] == "I was ill."
    assert review["reviewer"] is None
    decide_by = datetime.date.fromisoformat(review["decide_by"])
    opened_on = datetime.datetime.fromisoformat(review["opened_at"]).date()
    assert 29 <= (decide_by - opened_on).days <= 31
    assert review | {"statements": None} in client.open_reviews()

    started = client.start(review)
    assert started["status"] == "in_review"
    assert started["reviewer"] == "Li Na"

    halfway = (decision["new_limit"] + decision["credit_limit"]) / 2
    response = client.step(
        review,
        "resolution",
        reviewer="Li Na",
        outcome="amend",
        reasons="Half of it.",
        new_limit=halfway,
    )
    assert response.status_code == HTTPStatus.OK
    resolved = response.json()
    assert resolved["resolution"] == {
        "outcome": "amend",
        "limit": halfway,
        "reviewer": "Li Na",
        "reasons": "Half of it.",
        "at": resolved["resolution"]["at"],
        "notice": resolved["resolution"]["notice"],
    }
    assert client.review(review) == resolved

    record = client.record(decision)
    assert record["limit"] == halfway
    assert record["decision"] == decision, "an answer never changes"
    assert record["reviews"] == [resolved | {"statements": None}]
    # After an answer the customer can ask for another review.
    assert client.open_review(decision)["status"] == "open"


@pytest.mark.parametrize(
    ("outcome", "limit"), [("uphold", "new_limit"), ("overturn", "credit_limit")]
)
def test_an_outcome_sets_the_limit_in_force(
    client: ReviewClient, decision: Json, outcome: str, limit: str
) -> None:
    resolved = client.resolve(client.open_review(decision), outcome=outcome)
    assert resolved["resolution"]["limit"] == decision[limit]
    assert client.record(decision)["limit"] == decision[limit]


STEPS: dict[str, Json] = {
    "start": {"reviewer": "Li Na"},
    "resolution": {"reviewer": "Li Na", "outcome": "uphold", "reasons": "So it is."},
    "withdrawal": {"reason": "It was paid."},
}
# The steps that are possible after each history; all others are refused.
HISTORIES = {
    (): {"start", "withdrawal"},
    ("start",): {"resolution", "withdrawal"},
    ("start", "resolution"): set(),
    ("withdrawal",): set(),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("history", HISTORIES, ids=lambda steps: "-".join(steps) or "open")
def test_only_the_steps_that_the_state_allows_are_possible(
    client: ReviewClient, decision: Json, history: tuple[str, ...], name: str
) -> None:
    review = client.open_review(decision)
    for step in history:
        assert client.step(review, step, **STEPS[step]).status_code == HTTPStatus.OK
    possible = name in HISTORIES[history]
    expected = HTTPStatus.OK if possible else HTTPStatus.CONFLICT
    assert client.step(review, name, **STEPS[name]).status_code == expected


def post_together(url: str, headers: dict[str, str], bodies: list[Json]) -> list[int]:
    """Send all bodies at the same moment; the statuses, sorted."""
    statuses: list[int] = []
    ready = threading.Barrier(len(bodies))

    def post(body: Json) -> None:
        ready.wait()
        statuses.append(httpx.post(url, json=body, headers=headers, timeout=30).status_code)

    threads = [threading.Thread(target=post, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


def test_of_simultaneous_steps_one_succeeds(
    client: ReviewClient, server: Server, decision: Json
) -> None:
    reviews_url = f"{server.url}/v1/decisions/{decision['decision_id']}/reviews"
    openings = [{"reason": f"reason {number}"} for number in range(8)]
    assert post_together(reviews_url, server.headers, openings) == [201] + [409] * 7

    [review] = client.record(decision)["reviews"]
    start_url = f"{server.url}/v1/reviews/{review['review_id']}/start"
    starts = [{"reviewer": f"reviewer {number}"} for number in range(8)]
    assert post_together(start_url, server.headers, starts) == [200] + [409] * 7


def test_a_review_is_taken_over_only_from_its_reviewer(
    client: ReviewClient, decision: Json
) -> None:
    review = client.open_review(decision)
    client.start(review)
    taken_over = client.step(review, "start", reviewer="Wang Wei", instead_of="Li Na")
    assert taken_over.json()["reviewer"] == "Wang Wei"
    answer = {"outcome": "uphold", "reasons": "So it is."}
    refused = client.step(review, "resolution", reviewer="Li Na", **answer)
    assert refused.status_code == HTTPStatus.CONFLICT
    accepted = client.step(review, "resolution", reviewer="Wang Wei", **answer)
    assert accepted.status_code == HTTPStatus.OK


def test_a_withdrawal_has_a_reason(client: ReviewClient, decision: Json) -> None:
    review = client.open_review(decision)
    withdrawn = client.step(review, "withdrawal", reason="It was paid.").json()
    assert withdrawn["withdrawal"]["reason"] == "It was paid."
    assert withdrawn["withdrawal"]["superseded_by"] is None


# Corrected statements


def test_corrected_statements_are_decided_by_the_same_bundle_and_compared(
    client: ReviewClient, cut_request: Json, decision: Json
) -> None:
    better = copy.deepcopy(cut_request["statements"])
    for statement in better:
        statement["days_past_due"] = 0
        statement["credit_inquiries"] = 0
        statement["limit_requests"] = 0
        statement["cash_advance"] = 0.0
    review = client.open_review(decision, statements=better)
    corrected = review["corrected"]
    assert corrected["model"] == decision["model"]
    assert corrected["probability"] < decision["probability"]

    # The endpoint gives the same answer to these statements.
    expected = client.decide(cut_request | {"statements": better})
    own = {"decision_id": None, "decided_at": None, "since_last": None}
    assert corrected | own == expected | own

    changed = {
        difference["field"]: (difference["decided"], difference["corrected"])
        for difference in review["differences"]
    }
    assert changed["probability"] == (decision["probability"], corrected["probability"])
    assert ("action" in changed) == (decision["action"] != corrected["action"])


def test_corrected_statements_have_to_keep_the_rules(
    client: ReviewClient, cut_request: Json, decision: Json
) -> None:
    last_twice = cut_request["statements"] + cut_request["statements"][-1:]
    response = client.ask_for_review(decision, statements=last_twice[-24:])
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert fault_paths(response)[0].startswith("$.statements[")
    assert client.record(decision)["reviews"] == []


def test_corrected_statements_end_in_the_same_month(
    client: ReviewClient, cut_request: Json, decision: Json
) -> None:
    response = client.ask_for_review(decision, statements=cut_request["statements"][:-1])
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert fault_paths(response) == ["$.statements"]


def test_a_review_has_the_statements_and_their_corrections(
    client: ReviewClient, cut_request: Json, decision: Json
) -> None:
    corrected = copy.deepcopy(cut_request["statements"][1:])
    corrected[-1]["income"] = 54321.0
    review = client.open_review(decision, statements=corrected)
    assert review["account_id"] == decision["account_id"]
    assert review["statements"] == cut_request["statements"]
    first, last = cut_request["statements"][0], cut_request["statements"][-1]
    assert [tuple(correction.values()) for correction in review["corrections"]] == [
        (first["month"], "statement", first, None),
        (last["month"], "income", last["income"], 54321.0),
    ]
    assert client.review(review) == review


# Limits


@pytest.mark.parametrize("limit", [-1.0, 0.001, -0.0001, 1e-320, 1e308])
def test_an_amended_limit_is_an_amount_between_those_of_the_decision(
    client: ReviewClient, decision: Json, limit: float
) -> None:
    review = client.open_review(decision)
    client.start(review)
    answer = {"reviewer": "Li Na", "reasons": "x", "outcome": "amend"}
    too_low, too_high = decision["new_limit"] - 0.01, decision["credit_limit"] + 0.01
    for new_limit in (limit, too_low, too_high):
        response = client.step(review, "resolution", **answer, new_limit=new_limit)
        assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert fault_paths(response) == ["$.new_limit"]


def test_an_answer_before_a_cut_takes_effect_keeps_its_day(
    client: ReviewClient, cut_request: Json, decision: Json
) -> None:
    before, announced = decision["credit_limit"], decision["new_limit"]
    assert announced < before
    amended = client.resolve(
        client.open_review(decision),
        outcome="amend",
        new_limit=(before + announced) / 2,
    )
    notice = amended["resolution"]["notice"]
    assert notice["kind"] == "review_outcome"
    assert notice["effective_on"] == decision["effective_on"] > notice["send_by"]
    assert "raised" not in notice["text"]["en"]
    # The customer has the limit from before until the day that was announced.
    request = {name: value for name, value in cut_request.items() if name != "prior"}
    following = client.http.post("/v1/decisions", json=request).json()
    assert following["prior"]["in_force_from"] == decision["effective_on"]


def test_an_account_is_not_cut_again_for_what_a_person_overturned(
    client: ReviewClient, cut_request: Json
) -> None:
    request = cut_request | {"account_id": "overturned"}
    asked = {name: value for name, value in request.items() if name != "prior"}
    decision = client.decide(request)
    reasons = {"en": "The income was proven.", "zh": "收入已核实。"}
    resolved = client.resolve(client.open_review(decision), outcome="overturn", reasons=reasons)
    assert resolved["resolution"]["reasons"] == reasons
    assert reasons["en"] not in resolved["resolution"]["notice"]["text"]["zh"]
    following = client.http.post("/v1/decisions", json=asked).json()
    assert (following["action"], following["notice"]) == ("keep", None)
    assert following["new_limit"] == decision["credit_limit"]
    # The control: without the memory of the answer, the same statements are cut.
    assert client.decide(request)["action"] == decision["action"]


def test_a_person_takes_no_more_than_the_policy_proposed(
    client: ReviewClient, referred_request: Json
) -> None:
    decision = client.decide(referred_request)
    [review] = client.record(decision)["reviews"]
    client.start(review)
    answer = {"reviewer": "Li Na", "reasons": "x", "outcome": "amend"}
    for new_limit in (100.0, decision["proposed_limit"] - 0.01):
        response = client.step(review, "resolution", **answer, new_limit=new_limit)
        assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert fault_paths(response) == ["$.new_limit"]


def test_a_review_cannot_lower_a_limit_that_was_kept(
    client: ReviewClient, kept_request: Json
) -> None:
    kept = client.decide(kept_request)
    review = client.open_review(kept)
    client.start(review)
    half = kept["credit_limit"] / 2
    response = client.step(
        review,
        "resolution",
        reviewer="Li Na",
        reasons="x",
        outcome="amend",
        new_limit=half,
    )
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


def test_uphold_keeps_the_limit_in_force_and_not_an_earlier_one(
    client: ReviewClient, decision: Json
) -> None:
    overturned = client.resolve(client.open_review(decision), outcome="overturn")
    assert overturned["limit"] == decision["credit_limit"]
    upheld = client.resolve(client.open_review(decision), outcome="uphold")
    assert upheld["limit"] == decision["credit_limit"]


# Decisions that the policy refers to a person


def test_a_referred_decision_opens_a_review_by_the_policy(
    client: ReviewClient, referred_request: Json
) -> None:
    decision = client.decide(referred_request)
    [review] = client.record(decision)["reviews"]
    assert review["asked_by"] == "policy"
    assert review["status"] == "open"
    assert review["reason"] is None
    assert review["decide_by"] == decision["review_on"]
    # The customer is told while there is time to be heard.
    assert decision["notice"]["send_by"] < decision["review_on"]
    [heard] = [
        due for due in client.unsent_notices() if due["notice_id"] == decision["decision_id"]
    ]
    assert heard["send_by"] == decision["notice"]["send_by"]

    # There is no decision yet to uphold, and the customer cannot withdraw the policy's review.
    client.start(review)
    answer = {"reviewer": "Li Na", "reasons": "So it is."}
    upheld = client.step(review, "resolution", **answer, outcome="uphold")
    assert upheld.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    withdrawn = client.step(review, "withdrawal", reason=None)
    assert withdrawn.status_code == HTTPStatus.CONFLICT

    proposed = decision["proposed_limit"]
    resolved = client.step(
        review, "resolution", **answer, outcome="amend", new_limit=proposed
    ).json()
    notice = resolved["resolution"]["notice"]
    assert resolved["limit"] == proposed
    assert notice["kind"] == "adverse_action"
    assert "So it is." in notice["text"]["en"]
    assert "So it is." in notice["text"]["zh"]

    # The notice of the reviewer's cut is due like any other.
    [due] = [due for due in client.unsent_notices() if due["review_id"] == review["review_id"]]
    assert due["kind"] == "adverse_action"
    assert due["send_by"] == notice["send_by"] < notice["effective_on"]
    assert due["overdue"] is False
    # "Nothing changes yet" is no longer true.
    assert decision["decision_id"] not in [one["notice_id"] for one in client.unsent_notices()]


def test_a_customers_review_replaces_the_policys(
    client: ReviewClient, referred_request: Json
) -> None:
    decision = client.decide(referred_request)
    own = client.open_review(decision)
    assert own["decide_by"] == decision["review_on"], "the promised day holds"
    by_policy, by_customer = client.record(decision)["reviews"]
    assert by_policy["status"] == "withdrawn"
    assert by_policy["withdrawal"]["superseded_by"] == own["review_id"]
    assert by_customer == own | {"statements": None}
    second = client.ask_for_review(decision)
    assert second.status_code == HTTPStatus.CONFLICT
    assert own["review_id"] in second.json()["errors"][0]["message"]


# Notifications and notices


def test_a_notified_decision_is_no_longer_listed(client: ReviewClient, decision: Json) -> None:
    def unsent_ids() -> list[str]:
        notices = client.unsent_notices()
        due_days = [notice["send_by"] for notice in notices]
        ids = [notice["notice_id"] for notice in notices]
        assert due_days == sorted(due_days)
        assert len(set(ids)) == len(ids)
        return ids

    assert decision["decision_id"] in unsent_ids()
    overdue = client.http.get("/v1/notices", params={"status": "overdue"})
    assert overdue.json() == {"notices": []}
    notified = client.notify(decision)
    assert notified.status_code == HTTPStatus.CREATED
    assert decision["decision_id"] not in unsent_ids()
    assert client.record(decision)["notifications"] == [notified.json()["notification"]]


@pytest.mark.parametrize(
    "sent_at",
    ["2020-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2099-01-01T00:00:00Z", "2026-11-25", "now"],
)
def test_an_impossible_time_of_a_notification_is_refused(
    client: ReviewClient, decision: Json, sent_at: str
) -> None:
    response = client.notify(decision, sent_at=sent_at)
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert fault_paths(response) == ["$.sent_at"]


def test_a_kept_limit_needs_no_notification(client: ReviewClient, kept_request: Json) -> None:
    kept = client.decide(kept_request)
    assert client.notify(kept).status_code == HTTPStatus.CONFLICT


def test_a_decision_and_an_outcome_have_notices_of_their_own(
    client: ReviewClient, decision: Json
) -> None:
    review = client.resolve(client.open_review(decision), outcome="overturn")
    review_id = review["review_id"]

    def unsent() -> list[str | None]:
        mine = [
            notice
            for notice in client.unsent_notices()
            if notice["decision_id"] == decision["decision_id"]
        ]
        # A late letter about the decision would name a limit that is no longer in force.
        assert all(notice["limit"] == decision["credit_limit"] for notice in mine)
        return [notice["review_id"] for notice in mine]

    assert sorted(unsent(), key=str) == sorted([None, review_id], key=str)
    notified = client.notify(decision, review_id=review_id)
    assert notified.status_code == HTTPStatus.CREATED, notified.text
    assert unsent() == [None]

    again = client.notify(
        decision,
        review_id=review_id,
        sent_at=notified.json()["notification"]["sent_at"],
    )
    assert again.status_code == HTTPStatus.CONFLICT, "the first answer may have been lost"
    first_id = notified.json()["notification"]["notification_id"]
    assert first_id in again.json()["errors"][0]["message"]

    assert client.notify(decision).status_code == HTTPStatus.CREATED
    assert unsent() == []
    by_letter = client.notify(decision, channel="letter")
    assert by_letter.status_code == HTTPStatus.CREATED, "another channel is another notification"
    assert len(client.record(decision)["notifications"]) == 3


# Refusals


AMEND = {"reviewer": "x", "outcome": "amend", "reasons": "x"}
UPHOLD = {"reviewer": "x", "outcome": "uphold", "reasons": "x"}
NOTIFICATION = {"sent_at": "2026-11-26T08:00:00Z", "channel": "app", "language": "zh"}
OF_DECISION, OF_REVIEW = "/v1/decisions/{decision}", "/v1/reviews/{review}"
# Requests, with the status and the path of the fault.
WRONG: list[tuple[str, str, Json | None, int, str]] = [
    ("GET", "/v1/decisions/none", None, 404, "$"),
    ("GET", "/v1/reviews/none", None, 404, "$"),
    ("GET", f"{OF_DECISION}?x=1", None, 422, "?x"),
    ("GET", f"{OF_DECISION}?&", None, 422, "?"),
    ("GET", "/v1/reviews?status=lost", None, 422, "?status"),
    ("GET", "/v1/reviews?status=open&status=open", None, 422, "?status"),
    ("GET", "/v1/notices?status=due&more=1", None, 422, "?more"),
    ("GET", "/v1/notices?after=none", None, 422, "?after"),
    ("GET", "/v1/reviews?after={decision}", None, 422, "?after"),
    ("GET", "/v1/reviews?after=a&after=b", None, 422, "?after"),
    ("GET", "/v1/reviews/{decision}", None, 404, "$"),
    ("POST", "/v1/decisions/none/reviews", {"reason": "x"}, 404, "$"),
    ("POST", f"{OF_DECISION}/reviews", {}, 422, "$.reason"),
    ("POST", f"{OF_DECISION}/reviews", {"reason": " \u3000"}, 422, "$.reason"),
    ("POST", f"{OF_DECISION}/reviews", {"reason": "x", "more": 1}, 422, "$.more"),
    ("POST", f"{OF_DECISION}/reviews?x=1", {"reason": "x"}, 422, "?x"),
    ("POST", "/v1/reviews/none/start", {"reviewer": "Li Na"}, 404, "$"),
    ("POST", f"{OF_REVIEW}/resolution", AMEND, 422, "$.new_limit"),
    ("POST", f"{OF_REVIEW}/resolution", UPHOLD, 409, "$"),
    ("POST", f"{OF_REVIEW}/start", {"reviewer": "x"}, 409, "$"),
    ("POST", f"{OF_REVIEW}/start", {"reviewer": "x", "instead_of": "Wang Wei"}, 409, "$"),
    (
        "POST",
        f"{OF_DECISION}/notifications",
        NOTIFICATION | {"review_id": "none"},
        422,
        "$.review_id",
    ),
    ("POST", f"{OF_REVIEW}/resolution", UPHOLD | {"new_limit": 1.0}, 422, "$.new_limit"),
    (
        "POST",
        f"{OF_REVIEW}/resolution",
        AMEND | {"reviewer": "Li Na", "new_limit": 1e9},
        422,
        "$.new_limit",
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong[0]} {wrong[1]} {wrong[4]}")
def test_a_wrong_request_is_refused_with_the_path_of_its_fault(
    client: ReviewClient, decision: Json, wrong: tuple[str, str, Any, int, str]
) -> None:
    method, template, body, status, fault = wrong
    review_id = ""
    if "{review}" in template:
        review = client.open_review(decision)
        client.start(review)
        review_id = review["review_id"]
    path = template.format(decision=decision["decision_id"], review=review_id)
    response = client.http.request(method, path, json=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert fault_paths(response) == [fault]


def test_a_repeated_field_is_refused_with_its_path(client: ReviewClient, decision: Json) -> None:
    response = client.http.post(
        f"/v1/decisions/{decision['decision_id']}/reviews",
        content=b'{"reason": "first", "reason": "second"}',
        headers={"content-type": "application/json"},
    )
    assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert fault_paths(response) == ["$.reason"]


def test_the_reviews_of_an_erased_person_are_not_listed(
    client: ReviewClient, server: Server, cut_request: Json
) -> None:
    def listed() -> set[str]:
        return {review["review_id"] for review in client.open_reviews()}

    decision = client.decide(cut_request | {"account_id": "to-be-erased"})
    review = client.open_review(decision)
    assert review["review_id"] in listed()

    folder = server.log.parent
    with contextlib.closing(Database(f"sqlite:///{folder / 'record.db'}")) as database:
        secrets = read_secrets(folder / "secrets.json")
        now = datetime.datetime.now(datetime.UTC)
        order = ErasureOrder("Li Na", "asked for", now, hold_over="the review is of a test")
        assert erase_account(database, secrets, "local", "to-be-erased", order) is not None

    assert review["review_id"] not in listed()
    assert client.http.get("/v1/notices").status_code == HTTPStatus.OK
    erased = client.http.get(f"/v1/reviews/{review['review_id']}")
    assert erased.status_code == HTTPStatus.GONE


def test_a_list_is_read_page_by_page(client: ReviewClient, decision: Json) -> None:
    client.open_review(decision)
    reviews = client.open_reviews()
    for review, following in each(pairwise(reviews[:20])):
        page = client.http.get("/v1/reviews", params={"after": review["review_id"]}).json()
        assert page["reviews"][0] == following
