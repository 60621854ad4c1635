"""The endpoint of advice, over HTTP to the session's one process."""

from __future__ import annotations

import copy
import datetime
import json
from collections.abc import Iterator
from typing import Any

import httpx
import polars as pl
import pytest

from serving import example
from serving.advice_payload import AdviceRequest, advice_answer
from serving.decision import Bundle, Choices, advise
from serving.payload import parse
from tests.serving.conftest import Server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def cut_request(client: httpx.Client, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """An account whose limit the model cuts or asks a person to."""
    for sent in requests:
        answered = client.post("/v1/advice", json=sent).raise_for_status().json()
        if answered["advice"] is not None:
            return sent
    raise AssertionError("no account is cut")


def test_endpoint_sends_the_bytes_of_advise(
    client: httpx.Client, requests: list[dict[str, Any]], some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    given = 0
    for sent in requests:
        response = client.post("/v1/advice", json=sent | {"choices": {"monthly_payment": 900.0}})
        assert response.status_code == 200, response.text
        answered = response.json()
        decided_at = datetime.datetime.fromisoformat(answered["decision"]["decided_at"])
        window = some_windows.filter(pl.col("account_id") == sent["account_id"])
        expected = advice_answer(advise(window, bundle, decided_at, Choices(900.0)), bundle)
        assert response.content == expected.model_dump_json().encode()
        given += answered["advice"] is not None
    assert 0 < given < len(requests)


def test_the_decision_is_that_of_the_other_endpoint(client: httpx.Client, requests: list[dict[str, Any]]) -> None:
    for sent in requests[:10]:
        advised, decided = (client.post(path, json=sent).json() for path in ("/v1/advice", "/v1/decisions"))
        for answered in (advised["decision"], decided):
            del answered["decision_id"], answered["decided_at"]
        assert advised["decision"] == decided


def test_an_account_that_is_not_cut_is_told_so(client: httpx.Client, requests: list[dict[str, Any]]) -> None:
    answers = [client.post("/v1/advice", json=sent).json() for sent in requests]
    kept = [answered for answered in answers if answered["decision"]["action"] == "keep"]
    assert kept
    for answered in kept:
        assert answered["advice"] is None
        assert answered["notes"][0]["en"].startswith("The limit is not cut")


@pytest.mark.parametrize(
    ("choices", "path"),
    [
        ({"monthly_payment": 0.0}, "$.choices.monthly_payment"),
        ({"monthly_payment": -5.0}, "$.choices.monthly_payment"),
        ({"monthly_payment": "800"}, "$.choices.monthly_payment"),
        ({"monthly_payment": 2e9}, "$.choices.monthly_payment"),
        ({"payment": 5.0}, "$.choices.payment"),
        ([], "$.choices"),
    ],
)
def test_choices_that_cannot_be_are_refused_with_a_path(client: httpx.Client, choices: Any, path: str) -> None:
    response = client.post("/v1/advice", json=copy.deepcopy(example.REQUEST) | {"choices": choices})
    assert response.status_code == 422
    assert [error["path"] for error in response.json()["errors"]] == [path]
    assert client.post("/v1/advice", json=example.REQUEST).status_code == 200


def test_a_payment_below_the_minimum_is_said(client: httpx.Client, requests: list[dict[str, Any]]) -> None:
    sent = cut_request(client, requests)
    due = sorted(sent["statements"], key=lambda statement: statement["month"])[-1]["minimum_due"]
    answered = client.post("/v1/advice", json=sent | {"choices": {"monthly_payment": 0.01}}).json()
    assert any(note["en"].startswith("The minimum due of your last statement") for note in answered["notes"]) == (due > 0.02)


def test_openapi_describes_it(client: httpx.Client) -> None:
    spec = client.get("/docs.json").json()
    assert "/v1/advice" in spec["paths"]
    schemas = spec["components"]["schemas"]
    assert {"AdviceRequest", "AdviceAnswer"} <= schemas.keys()
    shown = schemas["AdviceRequest"]["example"]
    assert parse(AdviceRequest, json.dumps(shown).encode()).settled() == Choices(shown["choices"]["monthly_payment"])
