"""The endpoint of advice, over HTTP to the session's one process."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
from collections.abc import Iterator
from typing import Any

import httpx
import polars as pl
import pytest

from serving.api.answers import constraints_of
from serving.decision.advice.constraints import Constraints
from serving.decision.bundle import Bundle
from serving.decision.pipeline import advise
from serving.decision.result import Advised
from serving.schemas import examples
from serving.schemas.advice import make_advice
from serving.schemas.advice_request import AdviceRequest, make_advice_answer
from serving.schemas.advice_request import Choices as SentChoices
from serving.schemas.base import encode, parse
from serving.schemas.decision import make_answer
from tests.serving.conftest import Server

MARK = "Geheimnis7319"  # a value that a customer sent, as far as these tests go
DOORS = ("/v1/decisions", "/v1/decisions/batch", "/v1/advice")


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def cut_request(client: httpx.Client, requests: list[dict[str, Any]]) -> dict[str, Any]:
    """An account whose limit the model cuts or asks a person to."""
    for sent in requests:
        answered = client.post("/v1/advice", json=sent).raise_for_status().json()
        if answered["advice"]["way_back"] is not None:
            return sent
    raise AssertionError("no account is cut")


def advised_in_process(
    sent: dict[str, Any], decided_at: str, windows: pl.DataFrame, bundle: Bundle
) -> Advised:
    window = windows.filter(pl.col("account_id") == sent["account_id"])
    return advise(window, bundle, datetime.datetime.fromisoformat(decided_at))


def body_of(path: str, sent: dict[str, Any]) -> dict[str, Any]:
    return {"accounts": [sent]} if path.endswith("batch") else sent


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
        expected = make_advice_answer(
            advise(window, bundle, decided_at, Constraints(900.0)), bundle
        )
        assert response.content == expected.model_dump_json().encode()
        given += answered["advice"]["way_back"] is not None
    assert 0 < given < len(requests)


def test_the_decision_is_that_of_the_other_endpoint(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    for sent in requests[:10]:
        advised, decided = (
            client.post(path, json=sent).json() for path in ("/v1/advice", "/v1/decisions")
        )
        for answered in (advised["decision"], decided):
            del answered["decision_id"], answered["decided_at"]
        assert advised["decision"] == decided


def test_an_account_that_is_not_cut_is_told_so(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    answers = [client.post("/v1/advice", json=sent).json() for sent in requests]
    kept = [answered for answered in answers if answered["decision"]["action"] == "keep"]
    assert kept
    for answered in kept:
        assert answered["advice"]["way_back"] is None
        assert answered["advice"]["notes"][0]["en"].startswith("The limit is not cut")


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
def test_choices_that_cannot_be_are_refused_with_a_path(
    client: httpx.Client, choices: Any, path: str
) -> None:
    response = client.post(
        "/v1/advice", json=copy.deepcopy(examples.REQUEST) | {"choices": choices}
    )
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["path"] for error in response.json()["errors"]] == [path]
    assert client.post("/v1/advice", json=examples.REQUEST).status_code == 200


def test_every_choice_of_the_decision_can_be_sent_and_is_kept_to(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    assert list(SentChoices.model_fields) == [
        field.name for field in dataclasses.fields(Constraints)
    ]
    sent = cut_request(client, requests)
    answered = (
        client.post("/v1/advice", json=sent | {"choices": {"spending": 77.7, "extra": None}})
        .raise_for_status()
        .json()
    )
    assert ("spending", 77.7) in [
        (step["lever"], step["amount"]) for step in answered["advice"]["way_back"]["plan"]["steps"]
    ]


def test_a_payment_beyond_what_can_be_paid_is_said(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    """The minimum is asked for whatever can be paid; the first month in which it is more is named."""
    sent = cut_request(client, requests)
    path = client.post("/v1/advice", json=sent).json()["advice"]["way_back"]["plan"]["path"]
    said = 0
    for most in (0.01, path[0]["payment"], max(month["payment"] for month in path) - 0.02, 1e9):
        advice = client.post(
            "/v1/advice", json=sent | {"choices": {"monthly_payment": round(most, 2)}}
        ).json()["advice"]
        plan = advice["way_back"]["plan"]
        elsewhere = sum(
            step["amount"] for step in plan["steps"] if step["lever"] == "repay_elsewhere"
        )
        beyond = [
            month for month in plan["path"] if month["payment"] + elsewhere > round(most, 2) + 0.005
        ]
        told = [
            note["en"] for note in advice["notes"] if "more than you say you can pay" in note["en"]
        ]
        assert len(told) == bool(beyond)
        if beyond:
            amount = beyond[0]["payment"] + elsewhere
            assert told[0].startswith(f"In {beyond[0]['month']} this comes to CNY {amount:,.0f}, ")
        said += bool(beyond)
    assert 0 < said < 4


def test_openapi_describes_it(client: httpx.Client) -> None:
    spec = client.get("/docs.json").json()
    assert "/v1/advice" in spec["paths"]
    schemas = spec["components"]["schemas"]
    assert {"AdviceRequest", "AdviceAnswer", "Advice", "WayBack"} <= schemas.keys()
    shown = schemas["AdviceRequest"]["example"]
    request = parse(AdviceRequest, json.dumps(shown).encode())
    assert constraints_of(request) == Constraints(**shown["choices"])
    assert client.post("/v1/advice", json=shown).status_code == 200


def test_openapi_describes_the_parameter(client: httpx.Client) -> None:
    spec = client.get("/docs.json").json()
    for path in DOORS:
        parameters = spec["paths"][path]["post"]["parameters"]
        *switches, key = parameters
        assert [(p["name"], p["in"], p["required"]) for p in switches] == [
            ("advice", "query", False)
        ] * (path != "/v1/advice")
        assert all(
            p["schema"] == {"type": "boolean", "default": False} and p["description"]
            for p in switches
        )
        assert (key["name"], key["in"], key["required"]) == ("Idempotency-Key", "header", False)
    told = spec["components"]["schemas"]["Answer"]
    # never null, and without a default: it is left out
    assert told["properties"]["advice"]["$ref"].endswith("/Advice")
    assert "default" not in told["properties"]["advice"]
    assert "advice" not in told["required"]
    assert set(spec["components"]["schemas"]["AdviceAnswer"]["required"]) == {"decision", "advice"}


def test_a_decision_asked_for_with_advice_has_the_bytes_of_advise(
    client: httpx.Client, requests: list[dict[str, Any]], some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    given = 0
    for sent in requests:
        response = client.post("/v1/decisions?advice=true", json=sent).raise_for_status()
        found = advised_in_process(sent, response.json()["decided_at"], some_windows, bundle)
        assert response.content == encode(make_answer(found.decision, bundle, make_advice(found)))
        given += response.json()["advice"]["way_back"] is not None
    assert 0 < given < len(requests)


def test_without_the_parameter_the_bytes_are_those_before_the_advice(
    client: httpx.Client, requests: list[dict[str, Any]], some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    for sent in requests[:10]:
        for query in ("", "?", "?advice=false"):
            response = client.post(f"/v1/decisions{query}", json=sent).raise_for_status()
            assert response.json().keys() == examples.ANSWER.keys()
            found = advised_in_process(sent, response.json()["decided_at"], some_windows, bundle)
            said = b',"advice":' + make_advice(found).model_dump_json().encode() + b"}"
            assert response.content[:-1] + said == encode(
                make_answer(found.decision, bundle, make_advice(found))
            )


def test_both_doors_have_advice_of_one_shape(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    for sent in requests[:20]:
        alone, embedded = (
            client.post(path, json=sent).json()
            for path in ("/v1/advice", "/v1/decisions?advice=true")
        )
        assert embedded["advice"] == alone["advice"]
        assert alone.keys() == {"decision", "advice"}
        assert embedded.keys() == {*alone["decision"].keys(), "advice"}


def test_a_batch_with_advice_has_the_bytes_of_each_in_the_order_asked(
    client: httpx.Client, requests: list[dict[str, Any]], some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    backwards = sorted(requests, key=lambda sent: str(sent["account_id"]), reverse=True)
    response = client.post(
        "/v1/decisions/batch?advice=true", json={"accounts": backwards}
    ).raise_for_status()
    decided_at = response.json()["decisions"][0]["decided_at"]
    each = [advised_in_process(sent, decided_at, some_windows, bundle) for sent in backwards]
    single = b",".join(
        encode(make_answer(found.decision, bundle, make_advice(found))) for found in each
    )
    assert response.content == b'{"decisions":[' + single + b"]}"


def test_a_batch_with_advice_may_hold_as_many_accounts(
    client: httpx.Client, requests: list[dict[str, Any]]
) -> None:
    sent = cut_request(client, requests)
    accounts = [sent | {"account_id": f"a{number}"} for number in range(100)]
    answered = (
        client.post("/v1/decisions/batch?advice=true", json={"accounts": accounts})
        .raise_for_status()
        .json()
    )
    assert all(decision["advice"]["way_back"] is not None for decision in answered["decisions"])
    accounts.append(sent | {"account_id": "one_more"})
    assert (
        client.post("/v1/decisions/batch?advice=true", json={"accounts": accounts}).status_code
        == 422
    )


@pytest.mark.parametrize("query", ["", "?advice=true"])
def test_a_batch_is_refused_with_the_paths_of_all_accounts(
    client: httpx.Client, query: str
) -> None:
    gap = [
        statement for statement in examples.REQUEST["statements"] if statement["month"] != "2026-07"
    ]
    accounts = [examples.REQUEST | {"account_id": name} for name in ("good", "bad", "bad_too")]
    accounts[1] |= {"statements": gap}
    accounts[2] |= {"statements": gap[::-1]}
    response = client.post(f"/v1/decisions/batch{query}", json={"accounts": accounts})
    assert response.status_code == 422
    paths = [error["path"] for error in response.json()["errors"]]
    assert paths == ["$.accounts[1].statements[2].month", "$.accounts[2].statements[2].month"]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("advice=1", ["?advice"]),
        ("advice=True", ["?advice"]),
        ("advice=", ["?advice"]),
        ("advice", ["?advice"]),
        ("advice=true&advice=true", ["?advice"]),
        ("detail=full&advice=yes", ["?detail", "?advice"]),
        (f"6222%200000={MARK}&x={MARK}", ["?", "?x"]),
    ],
)
def test_a_query_is_taken_as_described_or_refused(
    client: httpx.Client, path: str, query: str, faults: list[str]
) -> None:
    response = client.post(f"{path}?{query}", json=body_of(path, examples.REQUEST))
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert [error["path"] for error in response.json()["errors"]] == faults
    assert client.post(path, json=body_of(path, examples.REQUEST)).status_code == 200


def test_advice_alone_takes_no_parameter(client: httpx.Client) -> None:
    response = client.post("/v1/advice?advice=true", json=examples.REQUEST)
    assert (response.status_code, response.json()["errors"][0]["path"]) == (422, "?advice")


def test_a_query_or_a_choice_is_neither_repeated_nor_logged(
    client: httpx.Client, server: Server
) -> None:
    for path in DOORS:
        response = client.post(
            f"{path}?advice={MARK}&{MARK}%20={MARK}", json=body_of(path, examples.REQUEST)
        )
        assert MARK not in response.text
    response = client.post(
        "/v1/advice",
        json=examples.REQUEST | {"choices": {"extra": 987654.25, "monthly_payment": 1.25}},
    )
    assert "987654" not in response.text + server.log.read_text()
    assert MARK not in server.log.read_text()
