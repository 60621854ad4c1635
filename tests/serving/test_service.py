"""The service as it runs: every request here goes over HTTP to the one process of the session."""

from __future__ import annotations

import asyncio
import copy
import datetime
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bentoml
import httpx
import polars as pl
import pytest
from pydantic import BaseModel
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
from serving.web.telemetry.logs import ValueFilter
from tests.support.paths import ROOT
from tests.support.served import Server

Json = dict[str, Any]
Expected = Callable[[Json, Json], bytes]
MARK = "Geheimnis7319"  # a value in requests that no answer and no log may repeat
MARKED_AMOUNT = 731.9731973
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
        yield client


def request(**changes: Any) -> Json:
    return copy.deepcopy(examples.REQUEST) | {"prior": None} | changes


def statements_with(place: int, **changes: Any) -> list[Json]:
    statements: list[Json] = request()["statements"]
    statements[place] |= changes
    return statements


def without_month(place: int) -> list[Json]:
    statements: list[Json] = request()["statements"]
    del statements[place]
    return statements


def later_month() -> str:
    # More than a month ahead: the lender's clock may be a day ahead of this one.
    later = datetime.datetime.now(datetime.UTC).date().replace(day=28) + datetime.timedelta(days=40)
    return f"{later:%Y-%m}"


@pytest.fixture(scope="module")
def expected(server: Server, some_windows: pl.DataFrame, bundle: Bundle) -> Expected:
    """The bytes of the answer by the functions that the service calls."""

    def answer_to(sent: Json, answer: Json) -> bytes:
        window = some_windows.filter(pl.col("account_id") == sent["account_id"])
        at = datetime.datetime.fromisoformat(answer["decided_at"])
        prior, earlier = server.recall(answer)
        decision = decide(window, bundle, at, prior, server.id_key, earlier)
        return encode(make_answer(decision, bundle))

    return answer_to


# Answers


def test_the_endpoint_sends_the_bytes_of_decide(
    client: httpx.Client, requests: list[Json], expected: Expected
) -> None:
    actions: set[str] = set()
    for sent in requests:
        response = client.post("/v1/decisions", json=sent)
        assert response.status_code == 200
        answer = response.json()
        assert response.content == expected(sent, answer)
        actions.add(answer["action"])
    assert len(actions) > 1, "accounts with one action only prove little"


def test_a_batch_has_the_same_bytes_in_the_order_of_the_request(
    client: httpx.Client, requests: list[Json], expected: Expected
) -> None:
    backwards = sorted(requests, key=lambda sent: str(sent["account_id"]), reverse=True)
    response = client.post("/v1/decisions/batch", json={"accounts": backwards})
    answers = response.json()["decisions"]
    alone = [expected(sent, answer) for sent, answer in zip(backwards, answers, strict=True)]
    assert response.content == b'{"decisions":[' + b",".join(alone) + b"]}"


def test_the_order_of_statements_does_not_matter(client: httpx.Client) -> None:
    def decision(sent: Json) -> Json:
        answer: Json = client.post("/v1/decisions", json=sent).raise_for_status().json()
        return answer | {"decision_id": None, "decided_at": None, "since_last": None}

    backwards = request(statements=request()["statements"][::-1])
    assert decision(backwards) == decision(request())


def test_a_limit_of_minus_zero_is_zero(client: httpx.Client) -> None:
    statements = [statement | {"credit_limit": -0.0} for statement in request()["statements"]]
    response = client.post("/v1/decisions", json=request(statements=statements))
    assert b'"credit_limit":0.0' in response.raise_for_status().content


# Refusals

ONE_STATEMENT = request()["statements"][:1]
# Bodies, with the status and the paths of the faults.
BAD: dict[str, tuple[Any, int, list[str]]] = {
    "not_json": (b"{", 400, ["$"]),
    "empty": (b"", 400, ["$"]),
    "deep": (b"[" * 1000, 400, ["$"]),
    "missing_field": (b"{}", 422, ["$.account_id", "$.product", "$.currency", "$.statements"]),
    "extra_field": (request(note=1), 422, ["$.note"]),
    "text_for_number": (
        request(statements=statements_with(3, balance="1")),
        422,
        ["$.statements[3].balance"],
    ),
    "nan": (
        json.dumps(request(statements=statements_with(3, balance=float("nan")))).encode(),
        422,
        ["$.statements[3].balance"],
    ),
    "1e999": (
        json.dumps(request()).replace("9200.0", "1e999").encode(),
        422,
        ["$.statements[0].balance"],
    ),
    "negative_limit": (
        request(statements=statements_with(0, credit_limit=-1)),
        422,
        ["$.statements[0].credit_limit"],
    ),
    "no_statement": (request(statements=[]), 422, ["$.statements"]),
    "25_statements": (request(statements=ONE_STATEMENT * 25), 422, ["$.statements"]),
    "other_currency": (request(currency="EUR"), 422, ["$.currency"]),
    "other_product": (request(product="loan"), 422, ["$.product"]),
    "month_twice": (
        request(statements=statements_with(1, month="2026-05")),
        422,
        ["$.statements[1].month", "$.statements[2].month"],
    ),
    "month_missing": (request(statements=without_month(2)), 422, ["$.statements[2].month"]),
    "month_in_the_future": (
        request(statements=[ONE_STATEMENT[0] | {"month": later_month()}]),
        422,
        ["$.statements[0].month"],
    ),
    "sometimes_unknown": (
        request(statements=statements_with(2, cash_advance=None)),
        422,
        ["$.statements[2].cash_advance", "$.statements[3].cash_advance"],
    ),
    "too_large": (b"[" * (LARGEST_BODY + 1), 413, ["$"]),
}
BAD_REQUESTS = [name for name, (body, _, _) in BAD.items() if isinstance(body, dict)]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_with_its_path_and_the_next_is_answered(
    client: httpx.Client, name: str
) -> None:
    body, status, paths = BAD[name]
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.post("/v1/decisions", content=content, headers=JSON)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate_json(response.content)
    assert [fault.path for fault in problem.errors] == paths
    assert problem.status == status
    assert client.post("/v1/decisions", json=request()).status_code == 200


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_batch_with_a_bad_account_is_refused_with_the_same_path(
    client: httpx.Client, name: str
) -> None:
    body, status, paths = BAD[name]
    accounts = [request(account_id="good"), body]
    response = client.post("/v1/decisions/batch", json={"accounts": accounts})
    assert response.status_code == status
    in_batch = [path.replace("$", "$.accounts[1]") for path in paths]
    assert [fault["path"] for fault in response.json()["errors"]] == in_batch


def test_a_batch_may_be_larger_than_a_request_up_to_its_own_limit(client: httpx.Client) -> None:
    accounts = [request(account_id=f"a{number}") for number in range(100)]
    body = json.dumps({"accounts": accounts}, indent=2).encode().ljust(LARGEST_BODY + 1)
    assert len(body) <= LARGEST_BATCH
    response = client.post("/v1/decisions/batch", content=body, headers=JSON)
    assert len(response.raise_for_status().json()["decisions"]) == 100
    too_large = b" " * (LARGEST_BATCH + 1)
    refused = client.post("/v1/decisions/batch", content=too_large, headers=JSON)
    assert refused.status_code == 413


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
def test_a_body_of_another_type_is_never_parsed(
    client: httpx.Client, path: str, content_type: str | None
) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = client.post(path, content=json.dumps(request()), headers=headers)
    assert response.status_code == 415
    assert response.json()["errors"][0]["path"] == "$"


def test_the_content_type_may_have_a_charset(client: httpx.Client) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    response = client.post("/v1/decisions", content=json.dumps(request()), headers=headers)
    assert response.status_code == 200


def test_there_is_no_page_that_loads_files_from_elsewhere(client: httpx.Client) -> None:
    """BentoML's own page would."""
    response = client.get("/")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["errors"][0]["message"].startswith("there is no page here")
    assert client.get("/docs.json").status_code == 200


# Logs


def test_the_log_has_nothing_of_a_request(client: httpx.Client, server: Server) -> None:
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
        as_text = {"content-type": "text/plain"}
        client.post("/v1/decisions", content=json.dumps(sent), headers=as_text)
    client.post("/v1/decisions", content=MARK, headers=JSON)
    client.get(f"/{MARK}")
    log = server.log.read_text(encoding="utf-8")
    assert "initialized" in log, "this is not the service's log"
    assert MARK not in log
    assert "731.97" not in log
    assert "Traceback" not in log


class Failing:
    """A service that fails as libraries do: with a message that names the values."""

    async def decide(self, request: Request, context: RequestContext, /) -> Response:
        try:
            raise KeyError(MARK)
        except KeyError as error:
            raise ValueError(f"account {request.account_id}") from error


def test_an_internal_error_is_masked_and_logged_without_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent = parse(Request, json.dumps(request(account_id=MARK)).encode())
    received = Submission(sent, RequestContext(LOOPBACK, arrived=0.0))
    handler = logging.StreamHandler(sys.stdout)
    LOGGER.addHandler(handler)
    try:
        response = asyncio.run(answers_errors(Failing.decide)(Failing(), received))
    finally:
        LOGGER.removeHandler(handler)
    assert response.status_code == 500
    assert Problem.model_validate_json(bytes(response.body)) == internal_error()
    logged = capsys.readouterr().out
    assert "ValueError" in logged
    assert "KeyError" in logged
    assert "in decide" in logged, "the place of the error is missing"
    assert MARK not in logged


def test_the_filter_drops_the_message_of_a_logged_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("tests.filtered")
    logger.addHandler(logging.StreamHandler(sys.stdout))

    def logged() -> str:
        try:
            raise ValueError(MARK)
        except ValueError:
            logger.exception("Exception on /v1/decisions")
        return capsys.readouterr().out

    assert MARK in logged()  # the control
    logger.addFilter(ValueFilter())
    filtered = logged()
    assert "test_service.py" in filtered
    assert MARK not in filtered


# Documents and clients


@pytest.mark.parametrize(
    ("path", "request_model", "answer_model"),
    [
        ("/v1/decisions", Request, Answer),
        ("/v1/decisions/batch", BatchRequest, BatchAnswer),
    ],
)
def test_the_document_has_examples_and_problems(
    client: httpx.Client,
    path: str,
    request_model: type[BaseModel],
    answer_model: type[BaseModel],
) -> None:
    document = client.get("/docs.json").raise_for_status().json()
    schemas = document["components"]["schemas"]
    operation = document["paths"][path]["post"]
    responses = operation["responses"]

    def reference(content: Json, media_type: str) -> str:
        return str(content["content"][media_type]["schema"]["$ref"]).rpartition("/")[2]

    assert reference(operation["requestBody"], "application/json") == request_model.__name__
    assert reference(responses["200"], "application/json") == answer_model.__name__
    errors = {"400", "401", "403", "408", "410", "413", "415", "422", "429", "500", "503", "504"}
    assert set(responses) == {"200"} | errors
    for status in errors:
        assert reference(responses[status], "application/problem+json") == "Problem"
    for model in (request_model, answer_model, Problem):
        model.model_validate_json(json.dumps(schemas[model.__name__]["example"]))


def test_the_document_has_nulls_and_no_open_reference(client: httpx.Client) -> None:
    document = client.get("/docs.json").raise_for_status().json()
    schemas = document["components"]["schemas"]
    assert {"type": "null"} in schemas["Statement"]["properties"]["income"]["anyOf"]
    assert {"type": "null"} in schemas["Answer"]["properties"]["proposed_limit"]["anyOf"]
    assert "income" in schemas["Statement"]["required"]
    after_reference = json.dumps(document).split('"#/components/schemas/')[1:]
    referred = {text.split('"')[0] for text in after_reference}
    assert referred
    assert referred <= set(schemas)


def test_bentomls_client_works(server: Server) -> None:
    with bentoml.SyncHTTPClient(server.url, token=server.token) as client:
        # This client takes null for an object with fields, and sends nothing.
        own, *accounts = (
            {name: value for name, value in request(account_id=account).items() if name != "prior"}
            for account in ("A-1027", "b", "a")
        )
        answer = client.decide(own)
        assert Answer.model_validate_json(json.dumps(answer)).account_id == "A-1027"
        batch = client.decide_batch({"accounts": accounts})
        assert [decision["account_id"] for decision in batch["decisions"]] == ["b", "a"]
        # BentoML leaves its folder to the garbage collector, which warns.
        client._temp_dir.cleanup()


WITHOUT_TRAINING = """
import sys
for name in ("mlflow", "shap", "sklearn", "pandas"):
    sys.modules[name] = None  # importing it fails, as if it were not installed
import datetime, json
from pathlib import Path
import serving.service
from serving.decision.golden import load
from serving.decision.pipeline import decide
from serving.schemas import examples
from serving.schemas.base import encode, parse
from serving.schemas.decision import Request, make_answer, statements_table
bundle = load(Path({folder!r}))
request = parse(Request, json.dumps(examples.REQUEST).encode())
now = datetime.datetime.now(datetime.UTC)
decision = decide(statements_table([request]), bundle, now)
print(encode(make_answer(decision, bundle)).decode())
"""


@pytest.mark.slow
def test_the_service_needs_no_training_library(bundle_folder: Path) -> None:
    code = WITHOUT_TRAINING.format(folder=str(bundle_folder))
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["account_id"] == "A-1027"
