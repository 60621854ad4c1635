"""The OpenAPI document says what the service does: cases for every operation of it, against a
service that runs.

What must hold: an answer in time that is documented, with its status, type, headers and schema;
none of 500 or more; what the document forbids is refused, and what is meant to be accepted is; the
record has the rows that answers told of, and no others.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import jsonschema_rs
import pytest
import sqlalchemy as sa

from serving.audit_log.privacy.key_file import read_secrets
from serving.audit_log.verify import verify
from serving.auth import keys
from serving.auth.caller import SCOPES
from serving.auth.routes import ROUTES
from serving.operations.client import start_service
from serving.operations.pack import store
from serving.service import LimitReduction
from serving.storage.database import Database
from serving.storage.tables import entries
from tests.support.openapi_cases import Asked, Battery, described, faults, shown

EACH = 15  # cases of each kind of each operation
# Of the cases of an operation; what is left is refused, as most of what is drawn or negated must
# be.
LEAST_ACCEPTED = 0.25
DOCUMENT: dict[str, Any] = json.loads(json.dumps(LimitReduction.openapi_spec.asdict()))  # type: ignore[attr-defined]


class Ran(NamedTuple):
    """The cases that were asked, and where the service left its log and its record."""

    battery: Battery
    request_body: list[Asked]
    folder: Path

    @property
    def wrong(self) -> list[Asked]:
        return [one for one in self.request_body if one.wrong]


@contextmanager
def ran(
    folder: Path, each: int, accounts: list[dict[str, Any]], service: str, within: float = 20.0
) -> Iterator[Ran]:
    address = f"sqlite:///{folder / 'record.db'}"
    with closing(Database(address)) as database:
        key, _ = keys.create(database, "north", SCOPES, rate=10_000)
    # How long a busy machine takes is not what these tests are about.
    with start_service(folder / "log", service, {"CLEARLINE_DEADLINE": "30"}) as url:
        document = httpx.get(
            f"{url}/docs.json", headers={"authorization": f"Bearer {key}"}, timeout=30
        ).json()
        battery = Battery(document, url, f"Bearer {key}", accounts, within)
        yield Ran(battery, battery.run(each), folder)


@pytest.fixture(scope="module")
def results(
    bundle_folder: Path,
    bentoml_home: Path,
    requests: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ran]:
    store(bundle_folder)
    with ran(
        tmp_path_factory.mktemp("openapi"), EACH, requests, "serving.service:LimitReduction"
    ) as found:
        yield found


def rows_of(folder: Path) -> list[tuple[str, str]]:
    """Each row's kind with its id, or for a step of a review with the review's; see
    :class:`openapi_cases.Known`.

    What becomes of a review that the policy asked for, nobody was told: it has the decision's name.
    """
    with (
        closing(Database(f"sqlite:///{folder / 'record.db'}")) as database,
        database.reading() as connection,
    ):
        rows = connection.execute(
            sa.select(entries.c.kind, entries.c.entry_id, entries.c.subject, entries.c.facts)
        ).all()

    def named(row: Any) -> str:
        facts = json.loads(row.facts)
        if facts.get("asked_by") == "policy" or "superseded_by" in facts:
            return f"policy's of {row.subject}"
        return str(facts.get("review", row.entry_id))

    return sorted((row.kind, named(row)) for row in rows)


def check_all(found: Ran, each: int) -> None:
    """All that must hold of a battery."""
    count = Counter((one.operation, one.kind) for one in found.request_body)
    ours = [route for route in ROUTES if route.template.startswith("/v1/")]
    for route in ours:
        label = f"{route.method} {route.template}"
        assert [count[label, kind] for kind in ("drawn", "meant", "negated")] == [each] * 3, label
        mine = [one for one in found.request_body if one.operation == label]
        assert sum(one.accepted for one in mine) >= LEAST_ACCEPTED * len(mine), label
    assert "\n".join(map(shown, found.wrong)) == ""
    assert rows_of(found.folder) == sorted(found.battery.known.rows)
    assert {kind for kind, _ in found.battery.known.rows} == {
        "decision", "review", "started", "resolution", "withdrawal", "notification",
    }  # fmt: skip


def test_every_operation_does_what_its_document_says(results: Ran) -> None:
    assert len(results.request_body) >= 500
    check_all(results, EACH)


def test_the_cases_reach_what_they_are_for(results: Ran) -> None:
    """Or all might be refused at the first line."""
    statuses = {
        one.response.status_code for one in results.request_body if one.response is not None
    }
    assert statuses >= {200, 201, 400, 401, 404, 409, 422}
    actions = {
        decision["action"]
        for one in results.request_body
        if one.accepted and one.response is not None and one.operation == "POST /v1/decisions/batch"
        for decision in one.response.json()["decisions"]
    }
    assert actions >= {"keep", "reduce"}
    opened = [
        one.response
        for one in results.request_body
        if one.operation.endswith("/reviews") and one.accepted
    ]
    assert any(response.json().get("corrected") for response in opened if response is not None)


def test_afterwards_the_record_is_whole_and_the_log_tells_of_no_fault(results: Ran) -> None:
    log = (results.folder / "log").read_text(errors="replace")
    assert "initialized" in log
    assert "[ERROR]" not in log
    assert "Traceback" not in log
    with closing(Database(f"sqlite:///{results.folder / 'record.db'}")) as database:
        secrets = read_secrets(results.folder / "secrets.json")
        verdict = verify(database.reading, secrets, results.folder / "checkpoints.jsonl")
    assert verdict.count == 0
    assert verdict.rows == len(results.battery.known.rows)


@pytest.mark.torture
def test_of_more_cases_the_same_holds(
    bundle_folder: Path, bentoml_home: Path, requests: list[dict[str, Any]], tmp_path: Path
) -> None:
    store(bundle_folder)
    with ran(tmp_path, 150, requests, "serving.service:LimitReduction") as found:
        assert len(found.request_body) >= 5000
        check_all(found, 150)


def test_a_service_that_lies_is_found_out(
    bundle_folder: Path, bentoml_home: Path, requests: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The control: the same cases of a service with one lie for each thing that must hold."""
    store(bundle_folder)
    with ran(
        tmp_path, 4, requests, "tests.serving.api.lying_service:LimitReduction", within=2.0
    ) as found:
        rows = rows_of(found.folder)
    wrong = {
        (one.operation, said.split(":")[0]) for one in found.request_body for said in one.wrong
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
    stray = Counter(rows) - Counter(found.battery.known.rows)
    assert {kind for kind, _ in stray} >= {"notification"}  # was refused, and is kept
    honest = {"GET /v1/decisions/{id}", "GET /v1/reviews/{id}", "GET /livez", "GET /docs.json"}
    assert not any(one.wrong for one in found.request_body if one.operation in honest)


def without(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return change


def with_value(value: Any, *path: str) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


SCHEMAS = ("components", "schemas")
ANSWERS = ("paths", "/v1/decisions", "post", "responses")
LYING: dict[str, Callable[[dict[str, Any]], None]] = {
    "UndefinedStatusCode": without(*ANSWERS, "422"),
    "JsonSchemaError": with_value(
        "string", *SCHEMAS, "Answer", "properties", "probability", "type"
    ),
    "UndefinedContentType": with_value({"text/plain": {}}, *ANSWERS, "200", "content"),
    "MissingHeaders": with_value(
        {"ETag": {"required": True, "schema": {"type": "string"}}}, *ANSWERS, "200", "headers"
    ),
}


@pytest.mark.parametrize("error", LYING)
def test_a_document_that_lies_is_found_out(results: Ran, error: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    LYING[error](document)
    lying, label = described(document)["/v1/decisions"]["POST"], "POST /v1/decisions"
    found = [
        said
        for one in results.request_body
        if one.operation == label and one.response is not None
        for said in faults(
            lying.Case(body=one.case.body, media_type="application/json"), one.response
        )
    ]
    assert {said.split(":")[0] for said in found} == {error}


def schema_faults(document: dict[str, Any]) -> list[str]:
    """Where a document is no OpenAPI 3.1, or leads nowhere, or shows an example that its own schema
    refuses.
    """
    found = []
    if not document["openapi"].startswith("3.1."):
        found.append(f"version {document['openapi']}")
    try:
        described(document).validate()
    except jsonschema_rs.ValidationError as error:
        found.append(f"OpenAPI: {error.message}")
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    for name, schema in schemas.items():
        if not jsonschema_rs.meta.is_valid(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        ):
            found.append(f"{name} is no JSON Schema")
        elif f'"#/components/schemas/{name}"' not in text:
            found.append(f"nothing is {name}")
    nowhere = {place for place in _references(document) if place.rpartition("/")[2] not in schemas}
    found += [f"{place} leads nowhere" for place in sorted(nowhere)]
    if not found:
        found += [f"{name}'s example: {said}" for name, said in _wrong_examples(schemas)]
    operations = [
        said
        for item in document["paths"].values()
        for said in item.values()
        if isinstance(said, dict)
    ]
    names = Counter(said["operationId"] for said in operations)
    return found + [
        f"operationId {name} is there {count} times" for name, count in names.items() if count > 1
    ]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for inner in node.values():
            yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)


def _wrong_examples(schemas: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, schema in schemas.items():
        if "example" in schema:
            whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
            validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
            for error in validator.iter_errors(schema["example"]):
                yield name, error.message


def test_the_document_is_openapi_31_and_whole() -> None:
    assert schema_faults(DOCUMENT) == []
    assert DOCUMENT["info"]["version"] == "1"


def test_the_document_describes_every_route_and_no_other() -> None:
    told = {
        (method.upper(), path)
        for path, item in DOCUMENT["paths"].items()
        for method, said in item.items()
        if said
    }
    assert told == {(route.method, route.template) for route in ROUTES}
    for route in ROUTES:
        said = DOCUMENT["paths"][route.template][route.method.lower()]
        assert ("security" in said) is not route.open, route.template
        assert ("401" in said["responses"]) is not route.open, route.template


BROKEN: dict[str, Callable[[dict[str, Any]], None]] = {
    "OpenAPI: ": with_value(7, "info", "title"),
    "Answer is no JSON Schema": with_value(
        "number and more", *SCHEMAS, "Answer", "properties", "probability", "type"
    ),
    "nothing is Surplus": with_value({"type": "string"}, *SCHEMAS, "Surplus"),
    "#/components/schemas/Reason leads nowhere": without(*SCHEMAS, "Reason"),
    "Answer's example: ": with_value("2026", *SCHEMAS, "Answer", "example", "effective_on"),
    "version 3.0.2": with_value("3.0.2", "openapi"),
    "operationId review is there 2 times": with_value(
        "review", "paths", "/v1/reviews", "get", "operationId"
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_document_that_is_broken_is_found_out(fault: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    BROKEN[fault](document)
    assert any(said.startswith(fault) for said in schema_faults(document))
