"""Bodies to models: depth, repeated fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic_core import from_json

from serving.api.reviews import OPERATIONS
from serving.schemas import examples
from serving.schemas.advice_request import AdviceRequest
from serving.schemas.base import ApiRequest, parse
from serving.schemas.decision import BatchRequest, Request
from serving.web.errors import ApiError, Problem
from tests.support.each import each

MODELS: list[type[ApiRequest]] = [
    Request,
    BatchRequest,
    AdviceRequest,
    *(operation.body for operation in OPERATIONS if operation.body is not None),
]
BRACKETS = {"[": "]", '{"a":': "}", '[{"reason":': "}]"}


ACCOUNTS = ("a", "a:b", "a:b:c", "0::::::::::::::")


def refused(model: type[ApiRequest], body: str) -> Problem:
    with pytest.raises(ApiError) as caught:
        parse(model, body.encode())
    return caught.value.problem


def nested(opening: str, levels: int) -> str:
    return opening * levels + "1" + BRACKETS[opening] * levels


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("opening", BRACKETS)
@pytest.mark.parametrize("levels", [10, 100, 190, 202, 1000, 100_000])
def test_a_deep_body_is_refused(model: type[ApiRequest], opening: str, levels: int) -> None:
    # The document itself, a document that never ends, an unknown field and each known field.
    names = ("more", *model.model_fields)
    in_fields = [f'{{"{name}":{nested(opening, levels)}}}' for name in names]
    for body in (nested(opening, levels), opening * levels, *in_fields):
        problem = refused(model, body)
        assert problem.status in (400, 422)
        if levels > 200:
            assert problem.status == 400
            assert "recursion limit" in problem.errors[0].message


def test_the_parser_for_repeated_fields_would_not_stop_by_itself() -> None:
    """The control: ``json.loads`` may only see what pydantic has accepted."""
    with pytest.raises(RecursionError):
        json.loads(nested("[", 100_000))


def schema_depth(
    schema: dict[str, Any], definitions: dict[str, Any], above: tuple[str, ...]
) -> int:
    """How many objects and arrays can be nested; fails for a schema that lets in any value."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        assert name not in above, f"{name} contains itself"
        return schema_depth(definitions[name], definitions, (*above, name))
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None:
        return max(schema_depth(option, definitions, above) for option in options)
    if "const" in schema or "enum" in schema:
        return 0
    match schema["type"]:
        case "object":
            assert schema["additionalProperties"] is False
            inner = schema["properties"].values()
            return 1 + max(schema_depth(field, definitions, above) for field in inner)
        case "array":
            return 1 + schema_depth(schema["items"], definitions, above)
    return 0


@pytest.mark.parametrize("model", MODELS)
def test_an_accepted_body_is_at_most_five_deep(model: type[ApiRequest]) -> None:
    schema = model.model_json_schema()
    assert 1 <= schema_depth(schema, schema.get("$defs", {}), ()) <= 5


@pytest.mark.parametrize(
    ("repeat", "paths"),
    [
        ('"product": "cash_loan"', ["$.product"]),
        ('"account_id": "other", "account_id": "third"', ["$.account_id"]),
        ('"statements": []', ["$.statements"]),
    ],
)
def test_a_repeated_field_is_refused_at_its_path(repeat: str, paths: list[str]) -> None:
    # The repeated field goes first: pydantic takes the last one and accepts the body.
    body = json.dumps(examples.REQUEST)
    problem = refused(Request, "{" + repeat + "," + body[1:])
    assert problem.status == 422
    assert [fault.path for fault in problem.errors] == paths
    assert {fault.message for fault in problem.errors} == {"expected each field once"}


def with_one_field_repeated(value: Any, place: int) -> tuple[str, int]:
    """The JSON of a value in which the object at ``place`` has its first field twice.

    Objects are counted in the order in which they begin; the number of those left is returned too.
    """
    if isinstance(value, dict):
        fields = []
        repeats = place == 0
        place -= 1
        for name, inner in value.items():
            text, place = with_one_field_repeated(inner, place)
            fields.append(f"{json.dumps(name)} : {text}")
        return "{" + ",".join(fields[: int(repeats)] + fields) + "}", place
    if isinstance(value, list):
        items = []
        for inner in value:
            text, place = with_one_field_repeated(inner, place)
            items.append(text)
        return "[" + ",".join(items) + "]", place
    return json.dumps(value).replace(":", "\\u003a" if place % 2 else ":"), place


@pytest.mark.parametrize("account", ACCOUNTS)
def test_a_field_repeated_anywhere_is_refused_and_colons_in_texts_are_not(account: str) -> None:
    batch = {"accounts": [examples.REQUEST | {"account_id": account + end} for end in "xy"]}
    objects = 1 + 2 * (1 + len(examples.REQUEST["statements"]))
    for place in each(range(objects)):
        body, left = with_one_field_repeated(batch, place)
        assert left < 0
        problem = refused(BatchRequest, body)
        assert [fault.message for fault in problem.errors] == ["expected each field once"]
    for place in (objects, objects + 1):
        assert parse(BatchRequest, with_one_field_repeated(batch, place)[0].encode()).accounts


def test_values_of_a_request_do_not_stay_in_memory() -> None:
    body = json.dumps(examples.REQUEST).encode()
    first, again = parse(Request, body), parse(Request, body)
    assert first.account_id == again.account_id
    assert first.account_id is not again.account_id
    # The control: by default pydantic's parser keeps the strings that it has read.
    account = json.dumps(first.account_id).encode()
    assert from_json(account) is from_json(account)
