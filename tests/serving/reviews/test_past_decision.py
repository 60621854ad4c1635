"""A recorded decision as the earlier one of the next."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from serving.audit_log.entry import Entry
from serving.decision.bundle import Bundle
from serving.reviews.past_decision import earlier_of
from serving.schemas.base import parse
from serving.schemas.decision import Request, read_requests
from tests.golden.test_answers import bodies
from tests.support.each import each
from tests.support.entries import decision_entry

Json = dict[str, Any]


def test_the_statements_are_those_of_the_validated_request(golden: Bundle) -> None:
    """The request is the oracle: its types are validated, which those of a row are not again."""
    for body in each(bodies()[::40]):
        body["statements"].reverse()
        request = parse(Request, json.dumps(body).encode())
        expected = read_requests([request])
        before = earlier_of(cast(Entry, decision_entry(request, golden)))
        assert before is not None
        found = before.statements
        assert type(found) is type(expected)
        assert found.account_ids == expected.account_ids
        assert (found.products, found.as_of) == (expected.products, expected.as_of)
        assert np.array_equal(found.window.stored, expected.window.stored, equal_nan=True)


def without_a_column(statement: Json) -> None:
    del statement["spend"]


def with_another_column(statement: Json) -> None:
    statement["score"] = 1.0


def out_of_range(statement: Json) -> None:
    statement["credit_limit"] = -1.0


@pytest.mark.parametrize("change", [without_a_column, with_another_column, out_of_range])
def test_a_row_with_other_columns_or_values_than_today_is_not_compared(
    golden: Bundle, change: Callable[[Json], None]
) -> None:
    request = parse(Request, json.dumps(bodies()[0]).encode())
    row = cast(Entry, decision_entry(request, golden))
    assert earlier_of(row) is not None
    stored = json.loads(row.request_body or b"{}")
    change(stored["statements"][0])
    assert earlier_of(replace(row, request_body=json.dumps(stored).encode())) is None
