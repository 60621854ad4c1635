"""Requests and answers of decisions as JSON."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import math
import random
import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from features.limits import (
    ACCOUNT_ID_FORM,
    ACCOUNT_ID_PATTERN,
    FIRST_MONTH,
    LAST_MONTH,
    LONGEST_ACCOUNT_ID,
    MONTH_FORM,
    MONTH_PATTERN,
)
from features.schema import COLUMNS, LONGEST_WINDOW, Column, check, round_amounts, sift
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
    read_requests,
    statements_table,
)
from serving.web.errors import MAX_LISTED, ApiError, Problem
from tests.support.accounts import quiet_account
from tests.support.each import each

Json = dict[str, Any]
BodyModel = type[Request] | type[BatchRequest]
DECIDED_AT = datetime.datetime(2026, 11, 10, 9, tzinfo=datetime.UTC)
NUMBERS = [column for column in COLUMNS if column.kind in ("amount", "whole_number")]
AMOUNTS = [column for column in COLUMNS if column.kind == "amount"]


def request(**changes: Any) -> Json:
    return copy.deepcopy(examples.REQUEST) | changes


def with_statement(place: int, **changes: Any) -> Json:
    changed = request()
    changed["statements"][place] |= changes
    return changed


def parse_request(body: Json) -> Request:
    return parse(Request, json.dumps(body).encode())


def problem_of(body: str | bytes | Json, model: BodyModel = Request) -> Problem:
    """The problem of a body that is refused."""
    text = json.dumps(body) if isinstance(body, dict) else body
    content = text.encode() if isinstance(text, str) else text
    with pytest.raises(ApiError) as caught:
        parse(model, content)
    return caught.value.problem


def paths_of(body: str | bytes | Json, model: BodyModel = Request) -> list[str]:
    return [fault.path for fault in problem_of(body, model).errors]


def message_of(body: Json) -> str:
    (fault,) = problem_of(body).errors
    return fault.message


def example_answer() -> Answer:
    return Answer.model_validate_json(json.dumps(examples.ANSWER))


def test_the_examples_are_a_request_and_an_answer() -> None:
    assert parse_request(examples.REQUEST).account_id == "A-1027"
    answer = example_answer()
    assert json.loads(encode(answer)) == examples.ANSWER
    assert answer.action == "reduce"
    assert answer.reasons


# Statements


def test_a_statement_has_the_columns_of_the_schema() -> None:
    names = [column.name for column in COLUMNS if column.name not in ("account_id", "product")]
    assert list(Statement.model_fields) == names
    for field in each(Statement.model_fields.values()):
        assert field.is_required()


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: column.name)
def test_a_statement_takes_each_column_in_its_range_only(column: Column) -> None:
    number = float if column.kind == "amount" else int
    step = 0.01 if column.kind == "amount" else 1
    assert column.high is not None
    lowest = column.low if column.low is not None else step
    for value in (number(lowest), number(column.high)):
        parse_request(with_statement(1, **{column.name: value}))

    path = f"$.statements[1].{column.name}"
    below, above = number(lowest - step), number(column.high + step)
    wrong: list[object] = [below, above, str(lowest), True, [1], {}]
    for bad in wrong:
        assert paths_of(with_statement(1, **{column.name: bad})) == [path]
    template = json.dumps(with_statement(1, **{column.name: "HERE"}))
    for literal in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400):
        assert paths_of(template.replace('"HERE"', literal)) == [path]


@pytest.mark.parametrize("column", AMOUNTS, ids=lambda column: column.name)
def test_an_amount_is_rounded_as_the_training_data_are(column: Column) -> None:
    """Features divide by amounts: the quotient by a tiny one may be infinite."""
    amounts = [12.3449, 0.1 + 0.2, 1e-2]
    if column.above is None:
        amounts += [0.0, 5e-324, 5.684341886080802e-14, 0.0099]
    if column.name == "balance":
        amounts += [-0.0, -2.8e-14, -0.0149]
    rounded = round_amounts(pl.DataFrame({column.name: amounts}))[column.name]
    for amount, expected in each(zip(amounts, rounded, strict=True)):
        parsed = parse_request(with_statement(1, **{column.name: amount}))
        got = getattr(parsed.statements[1], column.name)
        assert (got, math.copysign(1, got)) == (expected, math.copysign(1, expected))
        assert abs(got - amount) <= 0.005
        assert json.loads(parsed.model_dump_json())["statements"][1][column.name] == got


def test_an_income_that_would_be_rounded_to_zero_is_refused() -> None:
    for income in (0.0, 5e-324, 0.0049, 0.0099):
        assert paths_of(with_statement(1, income=income)) == ["$.statements[1].income"]


def test_the_limits_of_account_and_month_are_those_of_the_schema() -> None:
    account = Request.model_json_schema()["properties"]["account_id"]
    assert account["pattern"] == ACCOUNT_ID_PATTERN
    assert account["maxLength"] == LONGEST_ACCOUNT_ID
    month = Statement.model_json_schema()["properties"]["month"]
    assert month["pattern"] == MONTH_PATTERN
    for day, inside in each([(FIRST_MONTH, True), (LAST_MONTH, True)]):
        assert bool(re.fullmatch(MONTH_PATTERN, f"{day:%Y-%m}")) is inside
    for text in ("1899-12", "2100-01", "26-10", "2026-13"):
        assert not re.fullmatch(MONTH_PATTERN, text)


def test_a_refused_text_is_told_its_form_in_words() -> None:
    accounts = [request(account_id=name) for name in ("账户1027", "a/1", "-1", " A-1", "A-1\n", "")]
    assert {message_of(body) for body in accounts} == {f"expected {ACCOUNT_ID_FORM}"}
    months = [
        with_statement(1, month=month)
        for month in ("2026-9", "2026-13", "2026/09", "2026-09-01", "1899-12", "2026年9月", "")
    ]
    assert {message_of(body) for body in months} == {f"expected {MONTH_FORM}"}
    # Of a name that is too long, its length is said.
    assert message_of(request(account_id="x" * 65)) == "expected 64 or fewer characters"


def test_a_refused_count_is_explained_in_words() -> None:
    statements = examples.REQUEST["statements"]
    assert message_of(request(statements=[])) == "expected 1 or more"
    assert message_of(request(statements=statements * 5)) == f"expected {LONGEST_WINDOW} or fewer"
    for count in (1.0, "1", True):
        body = with_statement(1, credit_inquiries=count)
        assert message_of(body) == "expected a whole number, written without a point"


ACCOUNT_IDS = st.one_of(
    st.from_regex(r"\A[A-Za-z0-9._:/ \u8fdd-]{0,66}\Z"),
    st.text(max_size=66),
    st.just("a\n"),
)


@given(name=ACCOUNT_IDS)
def test_training_and_service_take_the_same_account_ids(name: str) -> None:
    """An account with another id would be trained on, and could not be asked about."""
    account = quiet_account(account_id=name)
    good, _ = sift(account)
    try:
        Request.model_validate_json(json.dumps(request(account_id=name)))
    except ValidationError:
        assert good.is_empty()
    else:
        assert good.equals(check(account))


@pytest.mark.parametrize("column", NUMBERS, ids=lambda column: column.name)
def test_a_statement_takes_null_only_where_the_schema_allows_unknown(column: Column) -> None:
    body = with_statement(0, **{column.name: None})
    if column.null == "never":
        assert paths_of(body) == [f"$.statements[0].{column.name}"]
    else:
        parse_request(body)


@pytest.mark.parametrize("name", Statement.model_fields)
def test_a_missing_field_of_a_statement_is_named(name: str) -> None:
    body = request()
    del body["statements"][2][name]
    assert paths_of(body) == [f"$.statements[2].{name}"]


# Refusals

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


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_with_its_path(name: str) -> None:
    body, paths = BAD[name]
    assert paths_of(body) == paths


def test_a_syntax_error_and_a_wrong_field_have_different_statuses() -> None:
    assert problem_of(b"{").status == 400
    assert problem_of(request(currency="USD")).status == 422


def test_a_batch_refuses_a_repeated_account_at_the_second_place() -> None:
    accounts = [request(), request(account_id="b"), request()]
    assert paths_of({"accounts": accounts}, BatchRequest) == ["$.accounts[2].account_id"]


def test_a_batch_has_1_to_100_accounts() -> None:
    accounts = [request(account_id=f"a{number}") for number in range(MAX_ACCOUNTS + 1)]
    assert paths_of({"accounts": accounts}, BatchRequest) == ["$.accounts"]
    assert paths_of({"accounts": []}, BatchRequest) == ["$.accounts"]
    parse(BatchRequest, json.dumps({"accounts": accounts[:-1]}).encode())


def test_the_largest_batch_fits_its_body_limit() -> None:
    widest = dict.fromkeys(Statement.model_fields, 123456789.12) | {"month": "2026-10"}
    account = request(account_id="a" * 64, statements=[widest] * 24)
    assert len(json.dumps(account, indent=1)) < LARGEST_BODY / 10
    assert len(json.dumps({"accounts": [account] * MAX_ACCOUNTS})) < LARGEST_BATCH


def test_a_problem_counts_all_faults_and_lists_the_first() -> None:
    wrong = [
        statement | {"balance": "x", "payment": "x"} for statement in examples.REQUEST["statements"]
    ]
    problem = problem_of(request(statements=wrong * 3))
    assert problem.detail == f"36 faults; the first {MAX_LISTED} are listed"
    assert len(problem.errors) == MAX_LISTED


def test_a_problem_repeats_no_value() -> None:
    marked = request(
        account_id="marked 1",
        currency="marked",
        product="marked",
        statements=[{"month": "marked"}, "marked"],
    )
    text = problem_of(marked).model_dump_json()
    assert "$.account_id" in text
    assert "marked" not in text
    # The control: the name of a field is repeated.
    assert "marked" in problem_of(request(marked=1)).model_dump_json()


# Tables and answers


def test_the_table_has_the_statements_in_whatever_order_they_come(
    some_windows: pl.DataFrame, requests: list[Json]
) -> None:
    shuffled = copy.deepcopy(requests)
    for body in shuffled:
        random.Random(1).shuffle(body["statements"])
    batch = parse(BatchRequest, json.dumps({"accounts": shuffled}).encode())
    statements = statements_table(batch.accounts)
    assert statements.height > len(requests)
    assert_frame_equal(check(statements), check(some_windows))


EXACT_FIELDS = (
    "decision_id",
    "account_id",
    "action",
    "new_limit",
    "probability",
    "log_odds",
    "base_log_odds",
    "cut_off",
    "leaders",
)


def test_the_answer_is_the_decision_as_json(bundle: Bundle) -> None:
    statements = statements_table([parse_request(examples.REQUEST)])
    decision = decide(statements, bundle, DECIDED_AT)
    answer = json.loads(encode(make_answer(decision, bundle)))
    assert list(answer) == list(examples.ANSWER)
    assert answer["decided_at"] == "2026-11-10T09:00:00.000000Z"
    assert answer["as_of"] == "2026-10"
    assert answer["effective_on"] == str(decision.effective_on)
    for name in EXACT_FIELDS:
        assert answer[name] == getattr(decision, name), name  # floats to the last bit

    texts = [reason["text"]["zh"] for reason in answer["reasons"]]
    assert texts == [reason.text.zh for reason in decision.reasons]
    leaders = [reason["leader"] for reason in answer["reasons"]]
    assert leaders == [reason.leader for reason in decision.reasons]
    assert decision.comparison is not None
    assert answer["comparison"] == dataclasses.asdict(decision.comparison)
    contribution = answer["reasons"][0]["features"][0]["contribution"]
    assert contribution == decision.reasons[0].features[0].contribution

    assert decision.notice is not None
    assert answer["notice"] == {
        "kind": "adverse_action",
        "send_by": "2026-11-12",
        "text": {"en": decision.notice.text.en, "zh": decision.notice.text.zh},
    }
    assert answer["model"] == {
        "name": "limit-reduction",
        "version": bundle.provenance.version,
        "bundle": bundle.digest,
        "reference": bundle.reference_digest,
        "policy": bundle.policy.version,
    }


def test_only_the_answer_of_a_kept_limit_has_no_notice(
    some_windows: pl.DataFrame, bundle: Bundle
) -> None:
    for decision in each(decide_many(some_windows, bundle, DECIDED_AT)):
        answer = json.loads(encode(make_answer(decision, bundle)))
        assert list(answer) == list(examples.ANSWER)
        assert (answer["notice"] is None) == (answer["action"] == "keep")
        assert (answer["comparison"] is None) == (answer["action"] == "keep")
        assert (not answer["reasons"]) == (answer["action"] == "keep")


def test_an_answer_has_no_number_that_json_lacks() -> None:
    with pytest.raises(ValidationError):
        Answer.model_validate(example_answer().model_dump() | {"probability": math.nan})


def test_an_answer_has_the_same_bytes_alone_and_in_a_batch() -> None:
    answer = example_answer()
    alone = encode(answer)
    assert encode(BatchAnswer(decisions=[answer, answer])) == b'{"decisions":[%b,%b]}' % (
        alone,
        alone,
    )


@given(st.integers(1, 6), st.randoms())
def test_a_request_is_read_as_its_table_is(
    bundle: Bundle, months: int, draw: random.Random
) -> None:
    rows = copy.deepcopy(examples.REQUEST["statements"])[-months:]
    for row in rows:
        row["income"] = draw.choice([None, row["income"]])
        row["spend"] = draw.choice([None, 1.005, 12])
    draw.shuffle(rows)
    sent = parse(Request, json.dumps(request(statements=rows)).encode())
    read, expected = read_requests([sent]), check(statements_table([sent]))
    assert read.table.equals(expected)
    assert repr(list(read.rows())) == repr(expected.rows())
    assert decide(read, bundle, DECIDED_AT) == decide(expected, bundle, DECIDED_AT)
