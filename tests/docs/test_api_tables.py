"""The tables of docs/service/api.md have the fields, values and nulls of the schemas."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import BaseModel

from serving import PROJECT
from serving.schemas.advice import Advice
from serving.schemas.decision import Answer, Notice, Statement
from serving.schemas.lists import ListedDecision
from serving.schemas.reason import FeatureDetail, Reason, SinceLast
from tests.support.each import each

PAGE = PROJECT / "docs" / "service" / "api.md"
_CODE = re.compile(r"`([^`]+)`")
_SEPARATE = frozenset({"advice", "detail"})  # of an answer: sections of their own

# The text that stands before each table, and the schema of its rows.
TABLES: dict[str, tuple[str, type[BaseModel]]] = {
    "answer": ("## Answer", Answer),
    "reason": ("**A reason** has", Reason),
    "notice": ("**A notice** is", Notice),
    "listed": ("## The decisions on an account", ListedDecision),
    "since_last": ("## What changed", SinceLast),
    "detail": ("`detail.features` has", FeatureDetail),
    "advice": ("## Advice", Advice),
    "statement": ("Every field of a statement", Statement),
}


def read_table(after: str) -> dict[str, list[str]]:
    """The cells of the first table of fields after a text, by each field that a row names."""
    page = PAGE.read_text("utf-8")
    lines = iter(page[page.index(after) :].splitlines())
    rows = {}
    for line in lines:
        if line.startswith("| field"):
            next(lines)  # the line below the header
            break
    for line in lines:
        if not line.startswith("|"):
            break
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows.update(dict.fromkeys(_CODE.findall(names), cells))
    return rows


def properties(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The schema of each field, without those that have a section of their own."""
    schema = model.model_json_schema(mode="serialization")["properties"]
    return {name: field for name, field in schema.items() if name not in _SEPARATE}


def is_nullable(field: dict[str, Any]) -> bool:
    return {"type": "null"} in field.get("anyOf", ())


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_the_fields_of_its_schema(name: str) -> None:
    after, model = TABLES[name]
    assert set(read_table(after)) == set(properties(model))


@pytest.mark.parametrize("name", sorted(TABLES.keys() - {"since_last", "notice"}))
def test_a_table_says_which_fields_may_be_null(name: str) -> None:
    after, model = TABLES[name]
    rows = read_table(after)
    for field, schema in each(properties(model).items()):
        cell = rows[field][-1]
        assert (cell not in ("", "never")) == is_nullable(schema), field


def test_the_tables_name_every_value_of_the_enumerations() -> None:
    for name, field in each([("answer", "action"), ("notice", "kind")]):
        after, model = TABLES[name]
        told = _CODE.findall(read_table(after)[field][0])
        assert set(properties(model)[field]["enum"]) <= set(told), name


def test_the_control_is_a_schema_with_a_field_more() -> None:
    class Longer(Notice):
        language: str | None

    assert set(read_table("**A notice** is")) < set(properties(Longer))
    assert is_nullable(properties(Longer)["language"])
    assert not is_nullable(properties(Longer)["kind"])
