"""Advice over HTTP: its endpoint, and the switch of the decisions' endpoints."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import polars as pl
import pytest

from features.months import last_day
from serving.api.answers import constraints_of
from serving.decision.advice.constraints import Constraints
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise_many
from serving.decision.reasons.wording import day
from serving.decision.result import AdviceOptions, Advised
from serving.schemas import examples
from serving.schemas.advice import make_advice
from serving.schemas.advice_request import AdviceRequest, Choices, make_advice_answer
from serving.schemas.base import encode, parse
from serving.schemas.decision import make_answer
from tests.support.each import each
from tests.support.served import Server

Json = dict[str, Any]
MARK = "Geheimnis7319"  # a value in requests that no answer and no log may repeat
ENDPOINTS = ("/v1/decisions", "/v1/decisions/batch", "/v1/advice")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
        yield client


def post(client: httpx.Client, path: str, body: Json) -> Json:
    answer: Json = client.post(path, json=body).raise_for_status().json()
    return answer


@pytest.fixture(scope="module")
def cut_request(client: httpx.Client, requests: list[Json]) -> Json:
    """A request whose limit the model cuts, or refers to a person."""
    for request in requests:
        if post(client, "/v1/advice", request)["advice"]["way_back"] is not None:
            return request
    raise AssertionError("expected a request whose limit is cut, got none")


Advise = Callable[..., Advised]


@pytest.fixture(scope="module")
def advise_in_process(server: Server, some_windows: pl.DataFrame, bundle: Bundle) -> Advise:
    """The advice on a request, by the functions that the service calls."""

    def advise_on(request: Json, answer: Json, constraints: Constraints | None = None) -> Advised:
        window = some_windows.filter(pl.col("account_id") == request["account_id"])
        at = datetime.datetime.fromisoformat(answer["decided_at"])
        prior, earlier = server.recall(answer)
        account_id = request["account_id"]
        options = AdviceOptions(
            None if constraints is None else [constraints],
            earlier=None if earlier is None else {account_id: earlier},
        )
        priors = None if prior is None else {account_id: prior}
        [advised] = advise_many(window, bundle, at, options, priors, server.id_key)
        return advised

    return advise_on


def encode_embedded(advised: Advised, bundle: Bundle) -> bytes:
    """The bytes of a decision's answer with the advice in it."""
    return encode(make_answer(advised.decision, bundle, make_advice(advised)))


def body_for(path: str, request: Json) -> Json:
    return {"accounts": [request]} if path.endswith("batch") else request


# The endpoint


def test_the_endpoint_sends_the_bytes_of_advise(
    client: httpx.Client,
    requests: list[Json],
    bundle: Bundle,
    advise_in_process: Advise,
) -> None:
    with_way_back = 0
    for request in requests:
        body = request | {"choices": {"monthly_payment": 900.0}}
        response = client.post("/v1/advice", json=body)
        assert response.status_code == 200, response.text
        answer = response.json()
        advised = advise_in_process(request, answer["decision"], Constraints(900.0))
        assert response.content == encode(make_advice_answer(advised, bundle))
        with_way_back += answer["advice"]["way_back"] is not None
    assert 0 < with_way_back < len(requests)


def test_the_decision_is_that_of_the_other_endpoint(
    client: httpx.Client, requests: list[Json]
) -> None:
    own = {"decision_id": None, "decided_at": None, "since_last": None, "prior": None}
    for request in each(requests[:10]):
        advised = post(client, "/v1/advice", request)
        decided = post(client, "/v1/decisions", request)
        assert advised["decision"] | own == decided | own


def test_the_note_of_a_kept_limit_says_that_it_is_not_cut(
    client: httpx.Client, requests: list[Json]
) -> None:
    answers = [post(client, "/v1/advice", request) for request in requests]
    for answer in each(answer for answer in answers if answer["decision"]["action"] == "keep"):
        assert answer["advice"]["way_back"] is None
        assert answer["advice"]["notes"][0]["en"].startswith("The limit is not cut")


# Choices


@pytest.mark.parametrize(
    ("choices", "path"),
    [
        ({"monthly_payment": 0.0}, "$.choices.monthly_payment"),
        ({"monthly_payment": -5.0}, "$.choices.monthly_payment"),
        ({"monthly_payment": "800"}, "$.choices.monthly_payment"),
        ({"monthly_payment": 2e9}, "$.choices.monthly_payment"),
        ({"extra": -0.01}, "$.choices.extra"),
        ({"extra": 18650.0}, "$.choices.extra"),
        ({"spending": 30000.01}, "$.choices.spending"),
        ({"spending": True}, "$.choices.spending"),
        ({"repay_elsewhere": 52050.0}, "$.choices.repay_elsewhere"),
        ({"repay_elsewhere": 2e9}, "$.choices.repay_elsewhere"),
        (
            {"monthly_payment": 500.0, "extra": 300.0, "repay_elsewhere": 250.0},
            "$.choices.monthly_payment",
        ),
        ({"payment": 5.0}, "$.choices.payment"),
        ([], "$.choices"),
    ],
)
def test_impossible_choices_are_refused_with_a_path(
    client: httpx.Client, choices: Any, path: str
) -> None:
    body = copy.deepcopy(examples.REQUEST) | {"choices": choices}
    response = client.post("/v1/advice", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [fault["path"] for fault in response.json()["errors"]] == [path]
    assert client.post("/v1/advice", json=examples.REQUEST).status_code == 200


def test_every_constraint_of_the_decision_can_be_chosen_and_is_kept_to(
    client: httpx.Client, cut_request: Json
) -> None:
    constraints = [field.name for field in dataclasses.fields(Constraints)]
    assert list(Choices.model_fields) == constraints
    body = cut_request | {"choices": {"spending": 77.7, "extra": None}}
    plan = post(client, "/v1/advice", body)["advice"]["way_back"]["plan"]
    steps = [(step["lever"], step["amount"]) for step in plan["steps"]]
    assert ("spending", 77.7) in steps


LENDERS_ZONE = datetime.timezone(datetime.timedelta(hours=8))


def test_a_note_names_the_first_month_above_the_chosen_payment(
    client: httpx.Client, cut_request: Json
) -> None:
    """The minimum is due even above the chosen payment.  Months that are over are not named."""
    path = post(client, "/v1/advice", cut_request)["advice"]["way_back"]["plan"]["path"]
    payments = [month["payment"] for month in path]
    noted = 0
    for chosen in (0.01, payments[0], max(payments) - 0.02, 1e9):
        chosen = round(chosen, 2)
        body = cut_request | {"choices": {"monthly_payment": chosen}}
        answer = post(client, "/v1/advice", body)
        advice, decided_at = answer["advice"], answer["decision"]["decided_at"]
        today = datetime.datetime.fromisoformat(decided_at).astimezone(LENDERS_ZONE).date()
        plan = advice["way_back"]["plan"]
        elsewhere = sum(
            step["amount"] for step in plan["steps"] if step["lever"] == "repay_elsewhere"
        )
        above = [
            month
            for month in plan["path"]
            if month["payment"] + elsewhere > chosen + 0.005
            and last_day(datetime.date.fromisoformat(f"{month['month']}-01")) >= today
        ]
        english = [note["en"] for note in advice["notes"]]
        notes = [text for text in english if "more than you say you can pay" in text]
        assert len(notes) == bool(above)
        if above:
            month, amount = above[0]["month"], above[0]["payment"] + elsewhere
            named = day(last_day(datetime.date.fromisoformat(f"{month}-01")), "en")
            asked = math.ceil(round(amount, 2))
            assert notes[0].startswith(f"By {named} this comes to CNY {asked:,}, ")
        noted += bool(above)
    assert 0 < noted < 4


# The OpenAPI document


def test_the_document_has_the_endpoint(client: httpx.Client) -> None:
    document = client.get("/docs.json").json()
    assert "/v1/advice" in document["paths"]
    schemas = document["components"]["schemas"]
    assert schemas.keys() >= {"AdviceRequest", "AdviceAnswer", "Advice", "WayBack"}
    example = schemas["AdviceRequest"]["example"]
    request = parse(AdviceRequest, json.dumps(example).encode())
    assert constraints_of(request) == Constraints(**example["choices"])
    assert client.post("/v1/advice", json=example).status_code == 200


@pytest.mark.parametrize("path", ENDPOINTS)
def test_the_document_has_the_switch(client: httpx.Client, path: str) -> None:
    document = client.get("/docs.json").json()
    *switches, key = document["paths"][path]["post"]["parameters"]
    names = [] if path == "/v1/advice" else ["advice", "detail"]
    assert [switch["name"] for switch in switches] == names
    for switch in switches:
        assert (switch["in"], switch["required"]) == ("query", False)
        assert switch["description"]
    for switch in switches[:1]:
        assert switch["schema"] == {"type": "boolean", "default": False}
    assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", False)


def test_the_document_says_that_the_advice_may_be_left_out(client: httpx.Client) -> None:
    schemas = client.get("/docs.json").json()["components"]["schemas"]
    answer = schemas["Answer"]
    # Left out, so it is never null and has no default.
    assert answer["properties"]["advice"]["$ref"].endswith("/Advice")
    assert "default" not in answer["properties"]["advice"]
    assert "advice" not in answer["required"]
    assert set(schemas["AdviceAnswer"]["required"]) == {"decision", "advice"}


# The switch


def test_a_decision_with_advice_has_the_bytes_of_advise(
    client: httpx.Client,
    requests: list[Json],
    bundle: Bundle,
    advise_in_process: Advise,
) -> None:
    with_way_back = 0
    for request in requests:
        response = client.post("/v1/decisions?advice=true", json=request).raise_for_status()
        answer = response.json()
        advised = advise_in_process(request, answer)
        assert response.content == encode_embedded(advised, bundle)
        with_way_back += answer["advice"]["way_back"] is not None
    assert 0 < with_way_back < len(requests)


@pytest.mark.parametrize("query", ["", "?", "?advice=false"])
def test_without_the_switch_an_answer_has_the_bytes_from_before_the_advice(
    client: httpx.Client,
    requests: list[Json],
    bundle: Bundle,
    advise_in_process: Advise,
    query: str,
) -> None:
    for request in each(requests[:10]):
        response = client.post(f"/v1/decisions{query}", json=request).raise_for_status()
        assert response.json().keys() == examples.ANSWER.keys()
        advised = advise_in_process(request, response.json())
        appended = b',"advice":' + encode(make_advice(advised)) + b"}"
        assert response.content[:-1] + appended == encode_embedded(advised, bundle)


def test_both_endpoints_have_advice_of_one_shape(
    client: httpx.Client, requests: list[Json]
) -> None:
    for request in each(requests[:20]):
        alone = post(client, "/v1/advice", request)
        embedded = post(client, "/v1/decisions?advice=true", request)
        assert embedded["advice"] == alone["advice"]
        assert alone.keys() == {"decision", "advice"}
        assert embedded.keys() == {*alone["decision"].keys(), "advice"}


def test_a_batch_with_advice_has_the_bytes_of_each_in_the_order_of_the_request(
    client: httpx.Client,
    requests: list[Json],
    bundle: Bundle,
    advise_in_process: Advise,
) -> None:
    backwards = sorted(requests, key=lambda request: str(request["account_id"]), reverse=True)
    response = client.post("/v1/decisions/batch?advice=true", json={"accounts": backwards})
    answers = response.raise_for_status().json()["decisions"]
    alone = [
        encode_embedded(advise_in_process(request, answer), bundle)
        for request, answer in zip(backwards, answers, strict=True)
    ]
    assert response.content == b'{"decisions":[' + b",".join(alone) + b"]}"


def test_a_batch_with_advice_may_have_100_accounts(client: httpx.Client, cut_request: Json) -> None:
    path = "/v1/decisions/batch?advice=true"
    accounts = [cut_request | {"account_id": f"a{number}"} for number in range(100)]
    decisions = post(client, path, {"accounts": accounts})["decisions"]
    for decision in each(decisions):
        assert decision["advice"]["way_back"] is not None
    accounts.append(cut_request | {"account_id": "one_more"})
    assert client.post(path, json={"accounts": accounts}).status_code == 422


@pytest.mark.parametrize("query", ["", "?advice=true"])
def test_a_batch_is_refused_with_the_paths_of_all_accounts(
    client: httpx.Client, query: str
) -> None:
    gap = [
        statement for statement in examples.REQUEST["statements"] if statement["month"] != "2026-07"
    ]
    accounts = [
        examples.REQUEST | {"account_id": "good"},
        examples.REQUEST | {"account_id": "bad", "statements": gap},
        examples.REQUEST | {"account_id": "bad_too", "statements": gap[::-1]},
    ]
    response = client.post(f"/v1/decisions/batch{query}", json={"accounts": accounts})
    assert response.status_code == 422
    paths = [fault["path"] for fault in response.json()["errors"]]
    assert paths == ["$.accounts[1].statements[2].month", "$.accounts[2].statements[2].month"]


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("advice=1", ["?advice"]),
        ("advice=True", ["?advice"]),
        ("advice=", ["?advice"]),
        ("advice", ["?advice"]),
        ("advice=true&advice=true", ["?advice"]),
        ("detail=none&advice=yes", ["?detail", "?advice"]),
        (f"6222%200000={MARK}&x={MARK}", ["?", "?x"]),
    ],
)
def test_a_wrong_query_is_refused(
    client: httpx.Client, path: str, query: str, faults: list[str]
) -> None:
    body = body_for(path, examples.REQUEST)
    response = client.post(f"{path}?{query}", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [fault["path"] for fault in response.json()["errors"]] == faults
    assert client.post(path, json=body).status_code == 200


def test_the_endpoint_of_advice_has_no_switch(client: httpx.Client) -> None:
    response = client.post("/v1/advice?advice=true", json=examples.REQUEST)
    assert response.status_code == 422
    assert response.json()["errors"][0]["path"] == "?advice"


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_query_is_neither_repeated_nor_logged(
    client: httpx.Client, server: Server, path: str
) -> None:
    query = f"advice={MARK}&{MARK}%20={MARK}"
    response = client.post(f"{path}?{query}", json=body_for(path, examples.REQUEST))
    assert response.status_code == 422
    assert MARK not in response.text
    assert MARK not in server.log.read_text(encoding="utf-8")


def test_a_choice_is_neither_repeated_nor_logged(client: httpx.Client, server: Server) -> None:
    choices = {"extra": 987654.25, "monthly_payment": 1.25}
    response = client.post("/v1/advice", json=examples.REQUEST | {"choices": choices})
    assert response.status_code == 422
    assert "987654" not in response.text
    assert "987654" not in server.log.read_text(encoding="utf-8")
