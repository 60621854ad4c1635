"""The prior of a request over HTTP."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import httpx
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide
from serving.schemas.base import encode
from serving.schemas.decision import make_answer
from serving.schemas.prior import Prior
from tests.support.each import each
from tests.support.served import Server

Json = dict[str, Any]
CONTRADICTIONS: list[tuple[Json, str]] = [
    ({"limit_before": 0.0}, "limit_before"),
    ({"first_cut_on": "2099-01-01"}, "first_cut_on"),
    ({"restored_on": "2000-01-01"}, "restored_on"),
    ({"first_cut_on": None, "last_cut_on": None, "suspended": True}, "suspended"),
    ({"limit_after": 123456.78, "limit_before": 234567.89}, "limit_after"),
    ({"in_force_from": "2099-04-01"}, "in_force_from"),
    ({"log_odds": 1e300}, "log_odds"),
    ({"decisions": ["earlier", "earlier"]}, "decisions"),
]
ENDPOINTS = ("/v1/decisions", "/v1/decisions/batch", "/v1/advice")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
        yield client


def prior_of(request: Json, **changed: Any) -> Json:
    """Half of the limit was taken on the first of the last statement's month."""
    latest = max(request["statements"], key=lambda statement: statement["month"])
    limit, on = latest["credit_limit"], f"{latest['month']}-01"
    return {
        "limit_before": 2 * limit + 100.0,
        "balance_before": 100.0,
        "first_cut_on": on,
        "last_cut_on": on,
        "log_odds": 0.5,
        "limit_after": limit,
        "limit_in_force": limit,
        "in_force_from": on,
        "suspended": False,
        "restored_on": None,
        "referred_on": None,
        "review_on": None,
        "decisions": ["earlier"],
    } | changed


def test_the_endpoint_sends_the_bytes_of_decide_with_the_prior(
    client: httpx.Client,
    server: Server,
    requests: list[Json],
    some_windows: pl.DataFrame,
    bundle: Bundle,
) -> None:
    actions = set()
    for request in each(requests[:30]):
        body = request | {"prior": prior_of(request)}
        response = client.post("/v1/decisions", json=body).raise_for_status()
        answer = response.json()
        assert answer["prior"] == body["prior"]
        at = datetime.datetime.fromisoformat(answer["decided_at"])
        window = some_windows.filter(pl.col("account_id") == request["account_id"])
        prior = Prior.model_validate_json(json.dumps(body["prior"])).to_decision()
        _, earlier = server.recall(answer)
        decision = decide(window, bundle, at, prior, server.id_key, earlier)
        assert response.content == encode(make_answer(decision, bundle))
        actions.add(answer["action"])
    assert len(actions) > 1


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_contradiction_is_refused_with_its_path(
    client: httpx.Client, requests: list[Json], endpoint: str
) -> None:
    for changed, field in CONTRADICTIONS:
        request: Json = requests[1] | {"prior": prior_of(requests[1], **changed)}
        path = f"$.prior.{field}"
        if endpoint.endswith("batch"):
            request = {"accounts": [requests[0], request]}
            path = f"$.accounts[1].prior.{field}"
        answer = client.post(endpoint, json=request)
        assert answer.status_code == 422, answer.text
        faults = answer.json()["errors"]
        assert [fault["path"] for fault in faults] == [path]
        message = faults[0]["message"]
        assert "xpected" in message or "should be" in message
        for value in ("123456", "234567", "2099", "2000", "1e", "got"):
            assert value not in message
