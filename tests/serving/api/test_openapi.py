"""The OpenAPI document describes the service: cases of every operation, against a real service.

Every answer comes in time, with a documented status, type, headers and schema, and none is 500 or
more. The service refuses what the document forbids, and accepts what is meant to be accepted. The
audit log has the rows that the answers tell of, and no others.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import sqlalchemy as sa

from serving.audit_log.privacy.api_key_macs import KEY_KINDS
from serving.audit_log.privacy.key_file import read_secrets
from serving.audit_log.verify import verify
from serving.auth import keys
from serving.auth.caller import SCOPES
from serving.auth.routes import ROUTES
from serving.operations.audit import open_audit_log
from serving.operations.client import start_service
from serving.operations.pack import store
from serving.service import LimitReduction
from serving.storage.database import Database
from serving.storage.tables import entries
from tests.support.each import each
from tests.support.openapi_cases import (
    Battery,
    Client,
    Result,
    describe_result,
    find_faults,
    read_schema,
)
from tests.support.records import settings_in
from tests.support.served import AS_DEPLOYED

SERVICE = "serving.service:LimitReduction"
LYING_SERVICE = "tests.serving.api.lying_service:LimitReduction"
# Cases of each kind of each operation; in CI more than 500 together.
MANY = pytest.param(15, marks=pytest.mark.slow)
# The least share of accepted cases of an operation: most drawn and negated cases must be refused.
MIN_ACCEPTED = 0.25
ROW_KINDS = {"decision", "review", "started", "resolution", "withdrawal", "notification"}
Json = dict[str, Any]
DOCUMENT: Json = json.loads(json.dumps(LimitReduction.openapi_spec.asdict()))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Run:
    """The results of a battery, and the folder with the service's log and its database."""

    battery: Battery
    count: int
    results: list[Result]
    folder: Path

    @property
    def wrong(self) -> list[Result]:
        return [result for result in self.results if result.wrong]


KEYS = 2  # that a battery makes, with a row of the log each


@contextmanager
def run_battery(
    folder: Path,
    count: int,
    accounts: list[Json],
    service: str = SERVICE,
    within: float = 20.0,
) -> Iterator[Run]:
    """Start a service and send it `count` cases of each kind for each operation."""
    with open_audit_log(settings_in(folder), create=True) as log:
        terms, owned = keys.KeyTerms(rate=10_000), keys.KeyTerms(rate=10_000, owner="Li Na")
        key, _ = keys.create(log.database, log.secrets, "north", SCOPES, terms)
        reviewer_key, _ = keys.create(log.database, log.secrets, "north", ["review"], owned)
    # These tests are not about the speed of the machine.
    settings = AS_DEPLOYED | {"CLEARLINE_DEADLINE": "30"}
    with start_service(folder / "log", service, settings) as url:
        authorization, of_reviewer = f"Bearer {key}", f"Bearer {reviewer_key}"
        headers = {"authorization": authorization}
        document = httpx.get(f"{url}/docs.json", headers=headers, timeout=30).json()
        client = Client(url, authorization, of_reviewer, within)
        battery = Battery(document, client, accounts)
        yield Run(battery, count, battery.run(count), folder)


@pytest.fixture(scope="module", params=[pytest.param(3, marks=pytest.mark.brief), MANY])
def run(
    request: pytest.FixtureRequest,
    bundle_folder: Path,
    bentoml_home: Path,
    requests: list[Json],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:
    store(bundle_folder)
    with run_battery(tmp_path_factory.mktemp("openapi"), request.param, requests) as finished:
        yield finished


def stored_rows(folder: Path) -> list[tuple[str, str]]:
    """Return the kind and the id of each row of a request, as :attr:`Known.rows` has them.

    No answer told the id of a review that the policy opened, so it is named after its decision.
    """
    columns = (entries.c.kind, entries.c.entry_id, entries.c.subject, entries.c.facts)
    with (
        closing(Database(f"sqlite:///{folder / 'record.db'}")) as database,
        database.reading() as connection,
    ):
        by_request = sa.select(*columns).where(entries.c.kind.not_in(KEY_KINDS))
        rows = connection.execute(by_request).all()

    def name(row: Any) -> str:
        metadata = json.loads(row.facts)
        if metadata.get("asked_by") == "policy" or "superseded_by" in metadata:
            return f"policy's of {row.subject}"
        return str(metadata.get("review", row.entry_id))

    return sorted((row.kind, name(row)) for row in rows)


def check_run(run: Run, count: int) -> None:
    """Everything that holds for a battery; `count` as for :func:`run_battery`."""
    counted = Counter((result.operation, result.kind) for result in run.results)
    for route in each(route for route in ROUTES if route.template.startswith("/v1/")):
        label = f"{route.method} {route.template}"
        for kind in ("drawn", "meant", "negated"):
            assert counted[label, kind] == count, f"{label} {kind}"
        of_route = [result for result in run.results if result.operation == label]
        accepted = sum(result.accepted for result in of_route)
        assert accepted >= MIN_ACCEPTED * len(of_route), label
    assert "\n".join(map(describe_result, run.wrong)) == ""
    assert stored_rows(run.folder) == sorted(run.battery.known.rows)
    assert {kind for kind, _ in run.battery.known.rows} == ROW_KINDS


def test_every_operation_does_what_its_document_says(run: Run) -> None:
    assert len(run.results) >= 34 * run.count
    check_run(run, run.count)


@pytest.mark.parametrize("run", [MANY], indirect=True)
def test_the_cases_reach_what_they_are_for(run: Run) -> None:
    """Otherwise all of them might be refused at the first line."""
    answers = [result.response for result in run.results if result.response is not None]
    assert {answer.status_code for answer in answers} >= {200, 201, 400, 401, 404, 409, 422}
    actions: set[str] = set()
    for answer in accepted_answers(run, "POST /v1/decisions/batch"):
        actions |= {decision["action"] for decision in answer["decisions"]}
    assert actions >= {"keep", "reduce"}
    reviews = accepted_answers(run, "POST /v1/decisions/{id}/reviews")
    assert any(review.get("corrected") for review in reviews)


def accepted_answers(run: Run, operation: str) -> list[Json]:
    return [
        result.response.json()
        for result in run.results
        if result.operation == operation and result.accepted and result.response is not None
    ]


def test_afterwards_the_audit_log_is_whole_and_no_error_is_logged(run: Run) -> None:
    log = (run.folder / "log").read_text(errors="replace", encoding="utf-8")
    assert "initialized" in log
    assert "[ERROR]" not in log
    assert "Traceback" not in log
    with closing(Database(f"sqlite:///{run.folder / 'record.db'}")) as database:
        secrets = read_secrets(run.folder / "secrets.json")
        verdict = verify(database.reading, secrets, run.folder / "checkpoints.jsonl")
    assert verdict.count == 0
    assert verdict.rows == len(run.battery.known.rows) + KEYS


@pytest.mark.torture
@pytest.mark.usefixtures("bentoml_home")
def test_more_cases_find_no_fault(
    bundle_folder: Path, requests: list[Json], tmp_path: Path
) -> None:
    store(bundle_folder)
    with run_battery(tmp_path, 150, requests) as finished:
        assert len(finished.results) >= 5000
        check_run(finished, 150)


@pytest.mark.torture
@pytest.mark.usefixtures("bentoml_home")
def test_the_faults_of_a_lying_service_are_found(
    bundle_folder: Path, requests: list[Json], tmp_path: Path
) -> None:
    """The control: the same cases of a service with one lie for each thing that must hold."""
    store(bundle_folder)
    with run_battery(tmp_path, 4, requests, LYING_SERVICE, within=2.0) as finished:
        rows = stored_rows(finished.folder)
    wrong = {
        (result.operation, fault.split(":")[0])
        for result in finished.results
        for fault in result.wrong
    }
    assert wrong >= {
        ("POST /v1/decisions", "JsonSchemaError"),
        ("GET /v1/reviews", "ServerError"),
        ("GET /v1/notices", "UndefinedStatusCode"),
        ("GET /v1/notices", "AcceptedNegativeData"),
        ("POST /v1/reviews/{id}/resolution", "UndefinedContentType"),
        ("POST /v1/advice", "MissingHeaders"),
        ("POST /v1/decisions/batch", "no answer"),
        ("POST /v1/decisions/{id}/notifications", "meant to be accepted"),
    }
    # A notification that was answered with a refusal is stored all the same.
    stray = Counter(rows) - Counter(finished.battery.known.rows)
    assert {kind for kind, _ in stray} >= {"notification"}
    honest = {"GET /v1/decisions/{id}", "GET /v1/reviews/{id}", "GET /livez", "GET /docs.json"}
    for result in each(result for result in finished.results if result.operation in honest):
        assert not result.wrong


def without(*path: str) -> Callable[[Json], None]:
    """A change of the document: the removal of what is at `path`."""

    def change(document: Json) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def with_value(value: Any, *path: str) -> Callable[[Json], None]:
    """A change of the document: `value` at `path`."""

    def change(document: Json) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


SCHEMAS = ("components", "schemas")
PROBABILITY = (*SCHEMAS, "Answer", "properties", "probability", "type")
RESPONSES = ("paths", "/v1/decisions", "post", "responses")
ETAG = {"ETag": {"required": True, "schema": {"type": "string"}}}
# The fault that is found -> a document with this fault.
LIES: dict[str, Callable[[Json], None]] = {
    "UndefinedStatusCode": without(*RESPONSES, "422"),
    "JsonSchemaError": with_value("string", *PROBABILITY),
    "UndefinedContentType": with_value({"text/plain": {}}, *RESPONSES, "200", "content"),
    "MissingHeaders": with_value(ETAG, *RESPONSES, "200", "headers"),
}


@pytest.mark.parametrize("error", LIES)
def test_the_faults_of_a_lying_document_are_found(run: Run, error: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    LIES[error](document)
    operation = read_schema(document)["/v1/decisions"]["POST"]
    found: set[str] = set()
    for result in run.results:
        if result.operation == "POST /v1/decisions" and result.response is not None:
            case = operation.Case(body=result.case.body, media_type="application/json")
            faults = find_faults(case, result.response)
            found |= {fault.split(":")[0] for fault in faults}
    assert found == {error}


def document_faults(document: Json) -> list[str]:
    """Return where a document is not OpenAPI 3.1, or is inconsistent."""
    faults: list[str] = []
    if not document["openapi"].startswith("3.1."):
        faults.append(f"version {document['openapi']}")
    try:
        read_schema(document).validate()
    except jsonschema_rs.ValidationError as error:
        faults.append(f"OpenAPI: {error.message}")
    faults += schema_faults(document)
    # A validator for the examples needs schemas that are in order.
    if not faults:
        faults += example_faults(document["components"]["schemas"])
    return faults + repeated_operation_ids(document)


def schema_faults(document: Json) -> list[str]:
    """Return invalid and unused schemas, and references without a schema."""
    faults: list[str] = []
    schemas, text = document["components"]["schemas"], json.dumps(document)
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    for name, schema in schemas.items():
        if not jsonschema_rs.meta.is_valid({**draft, **schema}):
            faults.append(f"{name} is no JSON Schema")
        elif f'"#/components/schemas/{name}"' not in text:
            faults.append(f"nothing is {name}")
    unknown = {
        reference
        for reference in references(document)
        if reference.rpartition("/")[2] not in schemas
    }
    return faults + [f"{reference} leads nowhere" for reference in sorted(unknown)]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def example_faults(schemas: Json) -> Iterator[str]:
    for name, schema in schemas.items():
        if "example" not in schema:
            continue
        whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        for error in validator.iter_errors(schema["example"]):
            yield f"{name}'s example: {error.message}"


def repeated_operation_ids(document: Json) -> list[str]:
    ids = Counter(
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if isinstance(operation, dict)
    )
    return [
        f"operationId {name} is there {count} times" for name, count in ids.items() if count > 1
    ]


def test_the_document_is_openapi_31_without_faults() -> None:
    assert document_faults(DOCUMENT) == []
    assert DOCUMENT["info"]["version"] == "1"


def test_every_call_has_a_summary_and_no_text_a_line_break() -> None:
    for path, item in each(DOCUMENT["paths"].items()):
        for operation in item.values():
            assert not operation or operation["summary"], path
    texts = [schema.get("description", "") for schema in DOCUMENT["components"]["schemas"].values()]
    for text in each([DOCUMENT["info"]["description"], *texts]):
        assert "\n" not in text
    assert "local_" in DOCUMENT["components"]["securitySchemes"]["key"]["description"]


def test_the_document_describes_every_route_and_no_other() -> None:
    described: set[tuple[str, str]] = set()
    for path, item in DOCUMENT["paths"].items():
        described |= {(method.upper(), path) for method, operation in item.items() if operation}
    assert described == {(route.method, route.template) for route in ROUTES}
    for route in each(ROUTES):
        operation = DOCUMENT["paths"][route.template][route.method.lower()]
        assert ("security" in operation) is not route.open, route.template
        assert ("401" in operation["responses"]) is not route.open, route.template


# The fault that is found -> a document with this fault.
BROKEN: dict[str, Callable[[Json], None]] = {
    "OpenAPI: ": with_value(7, "info", "title"),
    "Answer is no JSON Schema": with_value("number and more", *PROBABILITY),
    "nothing is Surplus": with_value({"type": "string"}, *SCHEMAS, "Surplus"),
    "#/components/schemas/Reason leads nowhere": without(*SCHEMAS, "Reason"),
    "Answer's example: ": with_value("2026", *SCHEMAS, "Answer", "example", "effective_on"),
    "version 3.0.2": with_value("3.0.2", "openapi"),
    "operationId review is there 2 times": with_value(
        "review", "paths", "/v1/reviews", "get", "operationId"
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_the_faults_of_a_broken_document_are_found(fault: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    BROKEN[fault](document)
    assert any(found.startswith(fault) for found in document_faults(document))
