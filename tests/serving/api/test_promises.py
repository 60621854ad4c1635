"""The promises over HTTP, for drawn accounts, some with thin histories or unknown income."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import polars as pl
import pytest

from serving.decision.bundle import Bundle
from tests.support import checks
from tests.support.served import Server, as_requests, cut_batch

BATCH_SIZE = 100


@pytest.fixture(scope="module")
def all_accounts(windows: pl.DataFrame) -> list[pl.DataFrame]:
    return windows.partition_by("account_id", maintain_order=True)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(200, marks=pytest.mark.brief),
        pytest.param(333, marks=pytest.mark.slow),
        pytest.param(1000, marks=pytest.mark.torture),
    ],
)
def accounts(
    all_accounts: list[pl.DataFrame], request: pytest.FixtureRequest
) -> list[pl.DataFrame]:
    """So many of the accounts, evenly drawn."""
    return all_accounts[:: len(all_accounts) // request.param]


def send_one_by_one(server: Server) -> checks.Answerer:
    def answers(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
            responses = [
                client.post("/v1/decisions", json=as_requests(window)[0]) for window in windows
            ]
        return [response.raise_for_status().content for response in responses]

    return answers


def send_in_batches(server: Server) -> checks.Answerer:
    def answers(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        requests = [as_requests(window)[0] for window in windows]
        bodies: list[bytes] = []
        with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
            for start in range(0, len(requests), BATCH_SIZE):
                batch = {"accounts": requests[start : start + BATCH_SIZE]}
                response = client.post("/v1/decisions/batch", json=batch)
                bodies += cut_batch(response.raise_for_status().text)
        return bodies

    return answers


def test_the_accounts_are_of_all_kinds(accounts: list[pl.DataFrame]) -> None:
    assert len(accounts) in (200, 334, 1000)
    without_income = [account["income"].null_count() == account.height for account in accounts]
    assert sum(account.height < 6 for account in accounts) >= len(accounts) / 100
    assert sum(without_income) >= len(accounts) / 20
    assert {account["product"][0] for account in accounts} == {"pay_later", "cash_loan"}


def test_the_endpoint_gives_the_bytes_of_the_function(
    server: Server, accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    checks.check_one_is_many(
        send_one_by_one(server), accounts, bundle, server.id_key, server.recall
    )


def test_the_batch_gives_the_bytes_of_the_function(
    server: Server, accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    checks.check_one_is_many(
        send_in_batches(server), accounts, bundle, server.id_key, server.recall
    )


def test_reasons_pushed_toward_the_cut(
    server: Server, accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    for answerer in (send_one_by_one(server), send_in_batches(server)):
        assert checks.check_reasons(answerer, accounts, bundle) > len(accounts) / 20


def test_the_check_notices_a_byte(
    server: Server, accounts: list[pl.DataFrame], bundle: Bundle
) -> None:
    """The control: one digit of one answer changed."""

    def spoilt(windows: Sequence[pl.DataFrame]) -> list[bytes]:
        first, *rest = send_one_by_one(server)(windows)
        return [first.replace(b'"probability":0.', b'"probability":0.1', 1), *rest]

    with pytest.raises(AssertionError):
        checks.check_one_is_many(spoilt, accounts[:3], bundle, server.id_key, server.recall)
