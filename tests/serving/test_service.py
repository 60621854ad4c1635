"""The service as it runs: every request here goes over HTTP to the one process of the session."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import polars as pl
import pytest
from starlette.responses import Response

from serving.api.bento import answers_errors
from serving.api.errors import LOGGER
from serving.api.submission import Submission
from serving.auth.caller import LOOPBACK
from serving.auth.request_context import RequestContext
from serving.auth.routes import LARGEST_BATCH, LARGEST_BODY
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide
from serving.schemas import examples
from serving.schemas.base import encode, parse
from serving.schemas.decision import Answer, BatchAnswer, BatchRequest, Request, make_answer
from serving.web.errors import Problem, internal_error
from serving.web.logs import ValueFilter
from tests.serving.conftest import Server
from tests.support.paths import ROOT

MARK = "Geheimnis7319"  # a value that a customer sent, as far as these tests go
MARKED_AMOUNT = 731.9731973
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def request(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(examples.REQUEST) | changes


def statements_with(place: int, **changes: Any) -> list[dict[str, Any]]:
    statements = request()["statements"]
    statements[place] |= changes
    return list(statements)


def without_month(place: int) -> list[dict[str, Any]]:
    return [statement for index, statement in enumerate(request()["statements"]) if index != place]


def later_month() -> str:
    # The lender's clock may be a day ahead of this one.
    later = datetime.datetime.now(datetime.UTC).date().replace(day=28) + datetime.timedelta(days=40)
    return f"{later:%Y-%m}"


def expected(sent: dict[str, Any], windows: pl.DataFrame, bundle: Bundle, decided_at: str) -> bytes:
    window = windows.filter(pl.col("account_id") == sent["account_id"])
    return encode(
        make_answer(decide(window, bundle, datetime.datetime.fromisoformat(decided_at)), bundle)
    )


def test_endpoint_sends_the_bytes_of_decide(
    client: httpx.Client, requests: list[dict[str, Any]], some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    actions = set()
    for sent in requests:
        response = client.post("/v1/decisions", json=sent)
        assert response.status_code == 200
        assert response.content == expected(
            sent, some_windows, bundle, response.json()["decided_at"]
        )
        actions.add(response.json()["action"])
    assert len(actions) > 1  # or the accounts show little


def test_batch_sends_the_same_bytes_in_the_order_asked(
    client: httpx.Client, requests: list[dict[str, Any]], some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    backwards = sorted(requests, key=lambda sent: str(sent["account_id"]), reverse=True)
    response = client.post("/v1/decisions/batch", json={"accounts": backwards})
    decided_at = response.json()["decisions"][0]["decided_at"]
    single = b",".join(expected(sent, some_windows, bundle, decided_at) for sent in backwards)
    assert response.content == b'{"decisions":[' + single + b"]}"


def test_order_of_statements_does_not_matter(client: httpx.Client) -> None:
    def decision(sent: dict[str, Any]) -> dict[str, Any]:
        answered: dict[str, Any] = client.post("/v1/decisions", json=sent).raise_for_status().json()
        return {
            name: value
            for name, value in answered.items()
            if name not in ("decision_id", "decided_at")
        }

    assert decision(request(statements=request()["statements"][::-1])) == decision(request())


BAD: dict[str, tuple[Any, int, list[str]]] = {
    "not_json": (b"{", 400, ["$"]),
    "empty": (b"", 400, ["$"]),
    "missing_field": (b"{}", 422, ["$.account_id", "$.product", "$.currency", "$.statements"]),
    "extra_field": (request(note=1), 422, ["$.note"]),
    "text_for_number": (
        request(statements=statements_with(3, balance="1")),
        422,
        ["$.statements[3].balance"],
    ),
    "nan": (
        json.dumps(request(statements=statements_with(3, balance=float("nan")))),
        422,
        ["$.statements[3].balance"],
    ),
    "1e999": (json.dumps(request()).replace("9200.0", "1e999"), 422, ["$.statements[0].balance"]),
    "negative_limit": (
        request(statements=statements_with(0, credit_limit=-1)),
        422,
        ["$.statements[0].credit_limit"],
    ),
    "no_statement": (request(statements=[]), 422, ["$.statements"]),
    "25_statements": (request(statements=request()["statements"][:1] * 25), 422, ["$.statements"]),
    "other_currency": (request(currency="EUR"), 422, ["$.currency"]),
    "other_product": (request(product="loan"), 422, ["$.product"]),
    "month_twice": (
        request(statements=statements_with(1, month="2026-05")),
        422,
        ["$.statements[1].month", "$.statements[2].month"],
    ),
    "month_missing": (request(statements=without_month(2)), 422, ["$.statements[2].month"]),
    "month_in_the_future": (
        request(statements=[request()["statements"][0] | {"month": later_month()}]),
        422,
        ["$.statements[0].month"],
    ),
    "sometimes_unknown": (
        request(statements=statements_with(2, cash_advance=None)),
        422,
        ["$.statements[2].cash_advance", "$.statements[3].cash_advance"],
    ),
    "too_large": (b"[" * (256 * 1024 + 1), 413, ["$"]),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_request_is_refused_with_a_path_and_the_next_is_answered(
    client: httpx.Client, name: str
) -> None:
    body, status, paths = BAD[name]
    sent = (
        body
        if isinstance(body, bytes)
        else (body if isinstance(body, str) else json.dumps(body)).encode()
    )
    response = client.post("/v1/decisions", content=sent, headers=JSON)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert [fault.path for fault in problem.errors] == paths
    assert problem.status == status
    assert client.post("/v1/decisions", json=request()).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in BAD
        if name not in ("not_json", "empty", "missing_field", "nan", "1e999", "too_large")
    ],
)
def test_batch_with_one_bad_account_is_refused_with_the_same_path(
    client: httpx.Client, name: str
) -> None:
    body, status, paths = BAD[name]
    response = client.post(
        "/v1/decisions/batch", json={"accounts": [request(account_id="good"), body]}
    )
    assert response.status_code == status
    assert [fault["path"] for fault in response.json()["errors"]] == [
        path.replace("$", "$.accounts[1]") for path in paths
    ]


def test_batch_takes_a_body_that_is_too_large_for_one_and_refuses_a_larger(
    client: httpx.Client,
) -> None:
    accounts = [request(account_id=f"a{number}") for number in range(100)]
    body = json.dumps({"accounts": accounts}, indent=2).encode().ljust(LARGEST_BODY + 1)
    assert len(body) <= LARGEST_BATCH
    assert (
        len(
            client.post("/v1/decisions/batch", content=body, headers=JSON)
            .raise_for_status()
            .json()["decisions"]
        )
        == 100
    )
    assert (
        client.post(
            "/v1/decisions/batch", content=b" " * (LARGEST_BATCH + 1), headers=JSON
        ).status_code
        == 413
    )


@pytest.mark.parametrize("path", ["/v1/decisions", "/v1/decisions/batch"])
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/vnd.bentoml+pickle",
        "application/jsonx",
    ],
)
def test_what_is_not_called_json_is_never_parsed(
    client: httpx.Client, path: str, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = client.post(path, content=json.dumps(request()), headers=headers)
    assert response.status_code == 415
    assert response.json()["errors"][0]["path"] == "$"


def test_json_may_name_its_charset(client: httpx.Client) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert (
        client.post("/v1/decisions", content=json.dumps(request()), headers=headers).status_code
        == 200
    )


def test_log_holds_nothing_that_was_sent(client: httpx.Client, server: Server) -> None:
    marked = statements_with(0, balance=MARKED_AMOUNT)
    for sent in (
        request(account_id=MARK, statements=marked),
        request(account_id=MARK, statements=marked, currency=MARK),
        request(account_id=MARK, statements=[*marked[:2], *marked[3:]]),
        request(account_id=MARK, statements=statements_with(0, balance=-1e10 - MARKED_AMOUNT)),
        {MARK: MARK},
        MARK,
    ):
        client.post("/v1/decisions", json=sent)
        client.post("/v1/decisions/batch", json={"accounts": [sent, sent]})
        client.post(
            "/v1/decisions", content=json.dumps(sent), headers={"content-type": "text/plain"}
        )
    client.post("/v1/decisions", content=MARK, headers=JSON)
    client.get(f"/{MARK}")
    log = server.log.read_text()
    assert "initialized" in log  # it is the service's log
    assert MARK not in log
    assert "731.97" not in log
    assert "Traceback" not in log


class Failing:
    """A service whose method fails as the libraries do: with a message that names the values."""

    async def decide(self, request: Request, context: RequestContext, /) -> Response:
        try:
            raise KeyError(MARK)
        except KeyError as error:
            raise ValueError(f"account {request.account_id}") from error


def test_fault_of_ours_is_masked_and_logged_without_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = logging.StreamHandler(sys.stdout)
    LOGGER.addHandler(handler)
    sent = parse(Request, json.dumps(request(account_id=MARK)).encode())
    received = Submission(sent, RequestContext(LOOPBACK, arrived=0.0))
    try:
        response = asyncio.run(answers_errors(Failing.decide)(Failing(), received))
    finally:
        LOGGER.removeHandler(handler)
    assert response.status_code == 500
    assert Problem.model_validate_json(bytes(response.body)) == internal_error()
    logged = capsys.readouterr().out
    assert "ValueError" in logged
    assert "KeyError" in logged
    assert "in decide" in logged  # where it happened
    assert MARK not in logged


def test_filter_drops_the_message_of_a_logged_error(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("tests.filtered")
    handler = logging.StreamHandler(sys.stdout)
    logger.addHandler(handler)
    for filtered in (False, True):
        if filtered:
            logger.addFilter(ValueFilter())
        try:
            raise ValueError(MARK)
        except ValueError:
            logger.exception("Exception on /v1/decisions")
        logged = capsys.readouterr().out
        assert "test_filter_drops" in logged
        assert (MARK in logged) is not filtered  # the search finds it where nothing is filtered


def test_openapi_shows_examples_nulls_and_problems(client: httpx.Client) -> None:
    described = client.get("/docs.json").raise_for_status().json()
    schemas = described["components"]["schemas"]
    for path, asked, answered in (
        ("/v1/decisions", Request, Answer),
        ("/v1/decisions/batch", BatchRequest, BatchAnswer),
    ):
        operation = described["paths"][path]["post"]
        assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(
            f"/{asked.__name__}"
        )
        assert operation["responses"]["200"]["content"]["application/json"]["schema"][
            "$ref"
        ].endswith(f"/{answered.__name__}")
        assert set(operation["responses"]) == {
            "200",
            "400",
            "401",
            "403",
            "408",
            "413",
            "415",
            "410",
            "422",
            "429",
            "500",
            "503",
            "504",
        }
        for status, response in operation["responses"].items():
            if status != "200":
                assert response["content"]["application/problem+json"]["schema"]["$ref"].endswith(
                    "/Problem"
                )
        asked.model_validate_json(json.dumps(schemas[asked.__name__]["example"]))
        answered.model_validate_json(json.dumps(schemas[answered.__name__]["example"]))
    Problem.model_validate_json(json.dumps(schemas["Problem"]["example"]))
    assert {"type": "null"} in schemas["Statement"]["properties"]["income"]["anyOf"]
    assert {"type": "null"} in schemas["Answer"]["properties"]["proposed_limit"]["anyOf"]
    assert "income" in schemas["Statement"]["required"]
    text = json.dumps(described)
    referred = {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert referred <= set(schemas)


def test_client_of_bentoml_works(server: Server) -> None:
    with bentoml.SyncHTTPClient(server.url) as client:
        answered = client.decide(request())
        assert Answer.model_validate_json(json.dumps(answered)).account_id == "A-1027"
        batch = client.decide_batch(
            {"accounts": [request(account_id="b"), request(account_id="a")]}
        )
        assert [decision["account_id"] for decision in batch["decisions"]] == ["b", "a"]
        client._temp_dir.cleanup()  # BentoML leaves it to the garbage collector, which warns


def test_service_needs_none_of_the_training_libraries(bundle_folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys
for name in ("mlflow", "shap", "sklearn", "pandas"):
    sys.modules[name] = None  # importing it fails, as where it is not installed
import datetime, json
from pathlib import Path
import serving.service
from serving.decision.golden import load
from serving.decision.pipeline import decide
from serving.schemas import examples
from serving.schemas.base import encode, parse
from serving.schemas.decision import Request, make_answer, statements_table
bundle = load(Path({str(bundle_folder)!r}))
request = parse(Request, json.dumps(examples.REQUEST).encode())
now = datetime.datetime.now(datetime.UTC)
decision = decide(statements_table([request]), bundle, now)
print(encode(make_answer(decision, bundle)).decode())
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["account_id"] == "A-1027"


def test_there_is_no_page_that_calls_others(client: httpx.Client) -> None:
    response = client.get("/")
    assert (response.status_code, response.headers["content-type"]) == (
        404,
        "application/problem+json",
    )
    assert response.json()["errors"][0]["message"].startswith("there is no page here")
    assert client.get("/docs.json").status_code == 200


def test_a_limit_of_minus_nought_is_nought(client: httpx.Client) -> None:
    sent = request(statements=[s | {"credit_limit": -0.0} for s in request()["statements"]])
    assert (
        b'"credit_limit":0.0' in client.post("/v1/decisions", json=sent).raise_for_status().content
    )
