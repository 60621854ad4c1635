"""``?detail=full``: what is answered is what is recorded, and what is read again."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from serving.api.answers import answer_again
from serving.api.decisions import Decisions
from serving.api.review_answers import decision_answer
from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.auth.caller import SCOPES, Caller
from serving.decision.bundle import Bundle
from serving.operations.decide_again.replay import recompute
from serving.reviews.past_decision import full_vector_of
from serving.reviews.service import Reviews
from serving.schemas.base import encode
from serving.schemas.reason import FeatureDetail
from serving.storage.bundles.held import HeldBundles
from serving.web.errors import ApiError
from tests.support.each import each
from tests.support.review_client import Json, ReviewClient
from tests.support.served import Server
from tests.support.submissions import answer_to, submission

AUDITOR = Caller("k2", "lender", frozenset(SCOPES))
FULL = "?detail=full"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ReviewClient]:
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as http:
        yield ReviewClient(http)


def read(client: ReviewClient, decision: Json, query: str = "") -> httpx.Response:
    return client.http.get(f"/v1/decisions/{decision['decision_id']}{query}")


def without(answer: Json, *names: str) -> Json:
    return {name: value for name, value in answer.items() if name not in names}


def test_the_answer_is_the_plain_one_with_the_vector(
    client: ReviewClient, requests: list[Json]
) -> None:
    for request in each(requests[:20]):
        plain = client.http.post("/v1/decisions", json=request).json()
        full = client.http.post(f"/v1/decisions{FULL}", json=request).json()
        assert list(full) == [*plain, "detail"]
        for name in ("log_odds", "probability", "action", "reasons", "base_log_odds"):
            assert full[name] == plain[name]
        total = full["base_log_odds"] + sum(
            feature["contribution"] for feature in full["detail"]["features"]
        )
        assert abs(total - full["log_odds"]) <= 1e-9


def test_what_was_answered_is_read_again_byte_for_byte(
    client: ReviewClient, requests: list[Json]
) -> None:
    for query in each(("?detail=full", "?advice=true&detail=full")):
        answered = client.http.post(f"/v1/decisions{query}", json=requests[0])
        again = read(client, answered.json(), FULL)
        assert again.status_code == HTTPStatus.OK
        if "advice" not in query:
            assert again.content.startswith(b'{"decision":' + answered.content)
        assert again.json()["decision"] == answered.json()


def test_a_decision_that_was_answered_without_it_gets_it_by_the_same_bundle(
    client: ReviewClient, requests: list[Json]
) -> None:
    request = requests[0]
    full = client.http.post(f"/v1/decisions{FULL}", json=request).json()
    plain = client.http.post("/v1/decisions", json=request).json()
    advised = client.http.post("/v1/advice", json=request).json()["decision"]
    batch = {"accounts": requests[:3]}
    batched = client.http.post("/v1/decisions/batch", json=batch).json()["decisions"][0]
    for decision in each((plain, advised, batched)):
        again = read(client, decision, FULL).json()["decision"]
        assert again["detail"] == full["detail"]
        assert read(client, decision).json()["decision"] == without(again, "detail")


def test_a_batch_has_the_bytes_of_each(client: ReviewClient, requests: list[Json]) -> None:
    batch = {"accounts": requests[:10]}
    body = client.http.post(f"/v1/decisions/batch{FULL}", json=batch).json()
    for request, decision in each(zip(requests[:10], body["decisions"], strict=True)):
        alone = client.http.post(f"/v1/decisions{FULL}", json=request).json()
        assert alone["detail"] == decision["detail"]


@pytest.mark.parametrize("query", ["?detail=", "?detail=true", "?detail=FULL", "?Detail=full"])
def test_another_value_is_refused_and_nothing_is_decided(
    client: ReviewClient, requests: list[Json], query: str
) -> None:
    decision = client.decide(requests[0])
    name, expected = query[1:].split("=")[0], "expected full"
    for response in each(
        (
            client.http.post(f"/v1/decisions{query}", json=requests[0]),
            client.http.post("/v1/decisions/batch" + query, json={"accounts": requests[:2]}),
            read(client, decision, query),
        )
    ):
        assert response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        [fault] = response.json()["errors"]
        known = name == "detail"
        assert fault["message"] == (expected if known else "unknown parameter")
    # It has no other switch: each of these answers holds the advice.
    advice = client.http.post("/v1/advice?detail=full", json=requests[0])
    assert advice.status_code == HTTPStatus.UNPROCESSABLE_ENTITY


def test_the_document_describes_it(client: ReviewClient) -> None:
    document = client.http.get("/docs.json").json()
    for path, method in each(
        (
            ("/v1/decisions", "post"),
            ("/v1/decisions/batch", "post"),
            ("/v1/decisions/{id}", "get"),
        )
    ):
        parameters = document["paths"][path][method]["parameters"]
        [detail] = [one for one in parameters if one["name"] == "detail"]
        assert detail["schema"] == {"type": "string", "enum": ["full"]}
        assert "`review` or `audit`" in detail["description"]
        assert "409" in document["paths"]["/v1/decisions/{id}"]["get"]["responses"]
    schemas = document["components"]["schemas"]
    assert schemas["Answer"]["properties"]["detail"]["$ref"].endswith("/Detail")
    assert "detail" not in schemas["Answer"]["required"]
    example = schemas["FeatureDetail"]["example"]
    FeatureDetail.model_validate_json(json.dumps(example))


# Over an audit log, without HTTP


def decide(log: AuditLog, bundle: Bundle, request: Json, key: str | None = None) -> bytes:
    sent = submission(request, key, caller=AUDITOR, detail=True)
    return asyncio.run(answer_to(Decisions(bundle, log), sent))


def only_row(log: AuditLog) -> Entry:
    [row] = log.reader.of_kind(("decision",))
    return row


def test_the_vector_is_recorded_and_replayed(
    bundle: Bundle, record: AuditLog, requests: list[Json]
) -> None:
    answer = decide(record, bundle, requests[0])
    row = only_row(record)
    assert row.response_body == answer
    assert row.metadata["detail"] is True
    assert recompute(row, bundle, record.secrets.id_key) == answer


def test_a_key_belongs_to_a_request_with_or_without_it(
    bundle: Bundle, record: AuditLog, requests: list[Json]
) -> None:
    first = decide(record, bundle, requests[0], "key-1")
    assert decide(record, bundle, requests[0], "key-1") == first
    # A key of an app would otherwise read the vector by a retry without the switch.
    with pytest.raises(ApiError) as refused:
        asyncio.run(answer_to(Decisions(bundle, record), submission(requests[0], "key-1")))
    assert refused.value.problem.status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_what_was_recorded_with_it_is_read_without_it(
    bundle: Bundle, record: AuditLog, requests: list[Json]
) -> None:
    answer = json.loads(decide(record, bundle, requests[0]))
    row = only_row(record)
    plain = json.loads(encode(decision_answer([row])))
    assert plain["decision"] == without(answer, "detail")
    vector = Reviews(bundle, record, answer_again).full_vector(row)
    full = json.loads(encode(decision_answer([row], vector)))
    assert full["decision"] == answer


def test_a_bundle_that_is_gone_is_said_and_nothing_is_made_up(
    bundle: Bundle, record: AuditLog, requests: list[Json]
) -> None:
    gone = dataclasses.replace(bundle, digest="0" * 64)
    asyncio.run(answer_to(Decisions(gone, record), submission(requests[0])))
    reviews = Reviews(bundle, record, answer_again)
    with pytest.raises(ApiError) as refused:
        reviews.full_vector(only_row(record))
    assert refused.value.problem.status == HTTPStatus.CONFLICT
    assert "is not stored here any more" in refused.value.problem.errors[0].message
    # With the vector in the record no bundle is needed.
    answer = json.loads(decide(record, gone, requests[1]))
    [_, recorded] = record.reader.of_kind(("decision",))
    assert reviews.full_vector(recorded) == answer["detail"]


@pytest.mark.parametrize("name", ["log_odds", "base_log_odds"])
def test_another_score_today_has_no_vector(
    bundle: Bundle, record: AuditLog, requests: list[Json], name: str
) -> None:
    """Other versions of the libraries: their vector would be that of another decision."""
    asyncio.run(answer_to(Decisions(bundle, record), submission(requests[0])))
    row = only_row(record)
    answered: dict[str, Any] = json.loads(row.response_body or b"{}")
    answered[name] += 1e-12
    changed = dataclasses.replace(row, response_body=json.dumps(answered).encode())
    keys = (record.secrets.id_key,)
    with pytest.raises(ApiError) as refused:
        full_vector_of(changed, HeldBundles(bundle), answer_again, keys)
    assert refused.value.problem.status == HTTPStatus.CONFLICT
    assert "another score today" in refused.value.problem.errors[0].message
    # The control.
    assert full_vector_of(row, HeldBundles(bundle), answer_again, keys)["features"]


def test_recorded_statements_that_are_refused_today_have_no_vector(
    bundle: Bundle, record: AuditLog, requests: list[Json]
) -> None:
    asyncio.run(answer_to(Decisions(bundle, record), submission(requests[0])))
    row = only_row(record)
    request: dict[str, Any] = json.loads(row.request_body or b"{}")
    request["statements"][-1]["month"] = "2099-01"
    changed = dataclasses.replace(row, request_body=json.dumps(request).encode())
    with pytest.raises(ApiError) as refused:
        full_vector_of(changed, HeldBundles(bundle), answer_again, (record.secrets.id_key,))
    assert "are refused today" in refused.value.problem.errors[0].message
