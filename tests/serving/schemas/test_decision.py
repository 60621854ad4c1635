from __future__ import annotations

import copy
import datetime
import json
import math
import random
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from features.schema import COLUMNS, Column, check
from serving.auth.routes import LARGEST_BATCH, LARGEST_BODY
from serving.decision.bundle import Bundle
from serving.decision.pipeline import decide, decide_many
from serving.schemas import examples
from serving.schemas.base import encode, parse
from serving.schemas.decision import (
    MAX_ACCOUNTS,
    Answer,
    BatchAnswer,
    BatchRequest,
    Request,
    Statement,
    make_answer,
    statements_table,
)
from serving.web.errors import MAX_LISTED, ApiError, Problem

DECIDED_AT = datetime.datetime(2026, 11, 10, 9, tzinfo=datetime.UTC)
NUMBERS = [column for column in COLUMNS if column.kind in ("amount", "whole_number")]


def request(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(examples.REQUEST) | changes


def with_statement(place: int, **changes: Any) -> dict[str, Any]:
    changed = request()
    changed["statements"][place] |= changes
    return changed


def problem_of(
    body: str | bytes | dict[str, Any], model: type[Request] | type[BatchRequest] = Request
) -> Problem:
    sent = (
        body
        if isinstance(body, bytes)
        else (body if isinstance(body, str) else json.dumps(body)).encode()
    )
    with pytest.raises(ApiError) as caught:
        parse(model, sent)
    return caught.value.problem


def paths_of(
    body: str | bytes | dict[str, Any], model: type[Request] | type[BatchRequest] = Request
) -> list[str]:
    return [fault.path for fault in problem_of(body, model).errors]


def test_examples_are_requests_and_answers() -> None:
    assert parse(Request, json.dumps(examples.REQUEST).encode()).account_id == "A-1027"
    shown = Answer.model_validate_json(json.dumps(examples.ANSWER))
    assert json.loads(encode(shown)) == examples.ANSWER
    assert shown.action == "reduce"
    assert shown.reasons


def test_statement_has_the_columns_of_the_schema() -> None:
    names = [column.name for column in COLUMNS if column.name not in ("account_id", "product")]
    assert list(Statement.model_fields) == names
    assert all(field.is_required() for field in Statement.model_fields.values())


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: column.name)
def test_statement_takes_each_column_within_its_range_only(column: Column) -> None:
    number = float if column.kind == "amount" else int
    step = 0.01 if column.kind == "amount" else 1
    assert column.high is not None
    lowest = column.low if column.low is not None else step
    path = f"$.statements[1].{column.name}"
    for value in (number(lowest), number(column.high)):
        parse(Request, json.dumps(with_statement(1, **{column.name: value})).encode())
    wrong: list[object] = [
        number(lowest - step),
        number(column.high + step),
        str(lowest),
        True,
        [1],
        {},
    ]
    for bad in wrong:
        assert paths_of(with_statement(1, **{column.name: bad})) == [path]
    for literal in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400):
        sent = json.dumps(with_statement(1, **{column.name: "HERE"})).replace('"HERE"', literal)
        assert paths_of(sent) == [path]


@pytest.mark.parametrize(
    "column",
    [column for column in NUMBERS if column.kind == "amount"],
    ids=lambda column: column.name,
)
def test_statement_takes_no_amount_of_less_than_a_fen(column: Column) -> None:
    """Features divide by it: the quotient may be no number."""
    for sent in (5e-324, 1e-300, 0.0099, *((-0.0099,) if column.name == "balance" else ())):
        assert paths_of(with_statement(1, **{column.name: sent})) == [
            f"$.statements[1].{column.name}"
        ]
    for sent in (
        0.01,
        *((0.0,) if column.above is None else ()),
        *((-0.01, -0.0) if column.name == "balance" else ()),
    ):
        parse(Request, json.dumps(with_statement(1, **{column.name: sent})).encode())


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: column.name)
def test_statement_takes_null_only_where_the_schema_says_unknown(column: Column) -> None:
    changed = with_statement(0, **{column.name: None})
    if column.null == "never":
        assert paths_of(changed) == [f"$.statements[0].{column.name}"]
    else:
        parse(Request, json.dumps(changed).encode())


@pytest.mark.parametrize("name", list(Statement.model_fields))
def test_statement_names_a_missing_field(name: str) -> None:
    changed = request()
    del changed["statements"][2][name]
    assert paths_of(changed) == [f"$.statements[2].{name}"]


BAD: dict[str, tuple[Any, list[str]]] = {
    "empty": (b"", ["$"]),
    "not_json": (b"{", ["$"]),
    "not_utf8": (b'{"account_id": "\xff"}', ["$"]),
    "deep": (b"[" * 100_000, ["$"]),
    "number_of_5000_digits": (json.dumps(request()).replace("11050.0", "9" * 5000), ["$"]),
    "a_list": ("[]", ["$"]),
    "null": ("null", ["$"]),
    "extra_field": (request(segment="x"), ["$.segment"]),
    "extra_field_that_may_be_a_value": (request(**{"6222 0000 1111": 1}), ["$"]),
    "extra_in_statement": (with_statement(3, age=30), ["$.statements[3].age"]),
    "no_statement": (request(statements=[]), ["$.statements"]),
    "25_statements": (
        request(statements=[examples.REQUEST["statements"][0]] * 25),
        ["$.statements"],
    ),
    "statements_null": (request(statements=None), ["$.statements"]),
    "other_currency": (request(currency="USD"), ["$.currency"]),
    "other_product": (request(product="mortgage"), ["$.product"]),
    "product_in_statement": (with_statement(0, product="cash_loan"), ["$.statements[0].product"]),
    "number_as_account": (request(account_id=7), ["$.account_id"]),
    "empty_account": (request(account_id=""), ["$.account_id"]),
    "long_account": (request(account_id="a" * 65), ["$.account_id"]),
    "control_in_account": (request(account_id="a\n"), ["$.account_id"]),
    "month_with_day": (with_statement(0, month="2026-05-01"), ["$.statements[0].month"]),
    "month_13": (with_statement(0, month="2026-13"), ["$.statements[0].month"]),
    "month_of_year_0": (with_statement(0, month="0000-05"), ["$.statements[0].month"]),
    "month_in_other_digits": (with_statement(0, month="２０２６-05"), ["$.statements[0].month"]),
    "month_as_number": (with_statement(0, month=202605), ["$.statements[0].month"]),
    "whole_number_with_point": (
        with_statement(0, days_past_due=3.0),
        ["$.statements[0].days_past_due"],
    ),
    "field_twice": (json.dumps(request())[:-1] + ', "currency": "CNY"}', ["$.currency"]),
    "statement_field_twice": (
        json.dumps(request()).replace('"balance": 11050.0', '"balance": 1, "balance": 11050.0'),
        ["$.statements[1].balance"],
    ),
}


@pytest.mark.parametrize("name", list(BAD))
def test_parse_refuses_with_a_path(name: str) -> None:
    body, paths = BAD[name]
    assert paths_of(body) == paths


def test_parse_tells_what_is_not_json_from_what_is_wrong() -> None:
    assert problem_of(b"{").status == 400
    assert problem_of(request(currency="USD")).status == 422


def test_batch_refuses_an_account_that_stands_twice_at_the_second() -> None:
    accounts = [request(), request(account_id="b"), request()]
    assert paths_of({"accounts": accounts}, BatchRequest) == ["$.accounts[2].account_id"]


def test_batch_holds_1_to_100_accounts() -> None:
    accounts = [request(account_id=f"a{number}") for number in range(MAX_ACCOUNTS + 1)]
    assert paths_of({"accounts": accounts}, BatchRequest) == ["$.accounts"]
    assert paths_of({"accounts": []}, BatchRequest) == ["$.accounts"]
    parse(BatchRequest, json.dumps({"accounts": accounts[:-1]}).encode())


def test_largest_batch_fits_its_body_with_room() -> None:
    widest = dict.fromkeys(Statement.model_fields, 123456789.12) | {"month": "2026-10"}
    account = request(account_id="a" * 64, statements=[widest] * 24)
    assert len(json.dumps(account, indent=1)) < LARGEST_BODY / 10
    assert len(json.dumps({"accounts": [account] * MAX_ACCOUNTS})) < LARGEST_BATCH


def test_problem_counts_all_faults_and_lists_the_first() -> None:
    wrong = request(
        statements=[s | {"balance": "x", "payment": "x"} for s in examples.REQUEST["statements"]]
        * 3
    )
    problem = problem_of(wrong)
    assert problem.detail == f"36 faults; the first {MAX_LISTED} are listed"
    assert len(problem.errors) == MAX_LISTED


def test_problem_repeats_no_value() -> None:
    marked = request(account_id="marked 1", currency="marked", product="marked") | {
        "statements": [{"month": "marked"}, "marked"]
    }
    text = problem_of(marked).model_dump_json()
    assert "$.account_id" in text
    assert "marked" not in text
    # a field's name is repeated, and the search finds it
    assert "marked" in problem_of(request(marked=1)).model_dump_json()


def test_statements_are_those_sent_whatever_their_order(
    some_windows: pl.DataFrame, requests: list[dict[str, Any]]
) -> None:
    shuffled = copy.deepcopy(requests)
    for one in shuffled:
        random.Random(1).shuffle(one["statements"])
    made = statements_table(
        parse(BatchRequest, json.dumps({"accounts": shuffled}).encode()).accounts
    )
    assert made.height > len(requests)
    assert_frame_equal(check(made), check(some_windows))


def test_answer_says_what_was_decided(bundle: Bundle) -> None:
    decision = decide(
        statements_table([parse(Request, json.dumps(examples.REQUEST).encode())]),
        bundle,
        DECIDED_AT,
    )
    sent = json.loads(encode(make_answer(decision, bundle)))
    assert sent["decided_at"] == "2026-11-10T09:00:00.000000Z"
    assert sent["as_of"] == "2026-10"
    assert sent["effective_on"] == str(decision.effective_on)
    for name in (
        "decision_id",
        "account_id",
        "action",
        "new_limit",
        "probability",
        "log_odds",
        "base_log_odds",
        "cut_off",
    ):
        assert sent[name] == getattr(decision, name)  # floats to the last bit
    assert [r["text"]["zh"] for r in sent["reasons"]] == [r.text.zh for r in decision.reasons]
    assert (
        sent["reasons"][0]["features"][0]["contribution"]
        == decision.reasons[0].features[0].contribution
    )
    assert decision.notice is not None
    assert sent["notice"] == {
        "kind": "adverse_action",
        "send_by": "2026-12-10",
        "text": {"en": decision.notice.text.en, "zh": decision.notice.text.zh},
    }
    assert sent["model"] == {
        "name": "limit-reduction",
        "version": bundle.provenance.version,
        "bundle": bundle.digest,
        "reference": bundle.reference_digest,
        "policy": bundle.policy.version,
    }
    assert list(sent) == list(examples.ANSWER)


def test_answer_to_who_keeps_the_limit_has_a_null_for_a_notice(
    some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    for decision in decide_many(some_windows, bundle, DECIDED_AT):
        sent = json.loads(encode(make_answer(decision, bundle)))
        assert list(sent) == list(examples.ANSWER)
        assert (sent["notice"] is None) == (sent["action"] == "keep") == (not sent["reasons"])


def test_answer_holds_no_number_that_json_lacks() -> None:
    shown = Answer.model_validate_json(json.dumps(examples.ANSWER))
    with pytest.raises(ValidationError):
        Answer.model_validate(shown.model_dump() | {"probability": math.nan})


def test_answer_has_the_same_bytes_alone_and_in_a_batch() -> None:
    shown = Answer.model_validate_json(json.dumps(examples.ANSWER))
    assert encode(BatchAnswer(decisions=[shown, shown])) == b'{"decisions":[%b,%b]}' % (
        encode(shown),
        encode(shown),
    )
