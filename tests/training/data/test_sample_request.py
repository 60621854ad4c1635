"""What ``training request`` writes is what the service takes."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.schema import COLUMNS, StatementError, check, round_amounts
from serving.schemas.base import parse
from serving.schemas.decision import Request, statements_table
from serving.web.errors import ApiError
from tests.support.accounts import quiet_account, window
from training.data.sample_request import request

AMOUNTS = [column.name for column in COLUMNS if column.kind == "amount"]


@given(drawn=window(account_id="a.1:x"), remainder=st.sampled_from([0.0, 5.7e-14, 0.004, 1e-9]))
def test_the_service_takes_the_request_and_decides_on_the_same_amounts(
    drawn: pl.DataFrame, remainder: float
) -> None:
    statements = drawn.with_columns(pl.col(AMOUNTS) + remainder)
    content = request(statements)
    parsed = parse(Request, json.dumps(content).encode())
    expected = check(round_amounts(statements))
    assert check(statements_table([parsed])).equals(expected)


@given(name=st.text(max_size=66))
def test_no_request_is_written_for_an_account_that_the_service_refuses(name: str) -> None:
    account = quiet_account(account_id=name)
    try:
        content = request(account)
    except StatementError:
        body = {**request(quiet_account()), "account_id": name}
        with pytest.raises(ApiError) as caught:
            parse(Request, json.dumps(body).encode())
        assert [fault.path for fault in caught.value.problem.errors] == ["$.account_id"]
    else:
        parse(Request, json.dumps(content).encode())
