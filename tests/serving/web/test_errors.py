"""What a refused body reads: what was expected, in the same words everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from features.schema import StatementError, check
from serving.schemas import examples
from serving.schemas.decision import Request, statements_table
from serving.web.errors import statement_error, validation_error
from tests.support.each import each

STATEMENTS = examples.REQUEST["statements"]


def message_of(**changed: Any) -> str:
    """The message on a request whose first statement has these fields."""
    statements = [STATEMENTS[0] | changed, *STATEMENTS[1:]]
    with pytest.raises(ValidationError) as refused:
        Request.model_validate(examples.REQUEST | {"statements": statements})
    [fault] = validation_error(refused.value).problem.errors
    return fault.message


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"balance": "12"}, "expected a number"),
        ({"balance": None}, "expected a number"),
        ({"credit_limit": -1.0}, "expected 0 or more"),
        ({"credit_limit": 2e9}, "expected 1,000,000,000 or less"),
        ({"income": 0.0}, "expected 0.01 or more"),
        ({"days_past_due": 3.5}, "expected a whole number, written without a point"),
        ({"month": 5}, "expected a text"),
    ],
)
def test_a_message_says_what_was_expected(changed: dict[str, Any], message: str) -> None:
    assert message_of(**changed) == message


def missing(*gone: str) -> list[str]:
    """The messages on a request without the statements of these months."""
    left = [statement for statement in STATEMENTS if statement["month"] not in gone]
    request = Request.model_validate(examples.REQUEST | {"statements": left})
    with pytest.raises(StatementError) as broken:
        check(statements_table([request]))
    account = examples.REQUEST["account_id"]
    months = {account: [statement["month"] for statement in left]}
    error = statement_error(broken.value, months, {account: "$"})
    return [fault.message for fault in error.problem.errors]


def test_a_gap_names_the_months_that_are_missing() -> None:
    assert missing("2026-07") == ["expected: no month is missing; 2026-07 is not there"]
    [two] = missing("2026-07", "2026-08")
    assert two.endswith("; 2026-07 to 2026-08 is not there")
    one, other = missing("2026-06", "2026-09")
    assert one.endswith("; 2026-06 is not there")
    assert other.endswith("; 2026-09 is not there")


def test_no_month_that_was_sent_is_named() -> None:
    """The control: a message repeats no value of the request."""
    sent = {statement["month"] for statement in STATEMENTS} - {"2026-07"}
    for message in each(missing("2026-07")):
        assert not any(month in message for month in sent)
