"""What a run prepares for the audit log: the bytes that the endpoint would store."""

from __future__ import annotations

import dataclasses
import datetime
import hmac
import json
from typing import Any

import polars as pl
import pytest
from pydantic_core import from_json

from features.statements import Statements, read_table
from serving.audit_log.memory import read_prior
from serving.audit_log.privacy.content import pack, unpack
from serving.decision.bundle import Bundle
from serving.decision.policy.prior import Prior
from serving.portfolio.block import SCHEMA, Basis, Past, decide_block
from serving.portfolio.recorded.entries import entries_table
from serving.portfolio.recorded.keeps import keep_rows, keeps_of
from serving.schemas.decision import Request
from serving.schemas.prior import make_prior
from tests.support import checks
from tests.support.each import each
from tests.support.records import SECRETS
from tests.support.served import as_requests


@pytest.fixture(scope="module")
def statements(windows: pl.DataFrame) -> pl.DataFrame:
    names = windows["account_id"].unique(maintain_order=True)[:200]
    return windows.filter(pl.col("account_id").is_in(names.to_list()))


def stored_by_models(sent: dict[str, Any], prior: Prior | None) -> bytes:
    """The body of a request as the endpoint stores it, with the prior that was used."""
    request = Request.model_validate(sent)
    return request.model_copy(update={"prior": make_prior(prior)}).model_dump_json().encode()


def test_requests_are_packed_as_those_of_the_endpoint(
    statements: pl.DataFrame, bundle: Bundle
) -> None:
    """Before anything is in force, and when something is."""
    sent = {request["account_id"]: request for request in as_requests(statements)}
    read, first = read_table(statements), Basis(bundle, checks.WHEN)
    rows = check_rows(sent, read, first, Past())
    in_force = {
        row["account_id"]: read_prior(from_json(unpack(row["in_force"])))
        for row in rows
        if row["in_force"] is not None
    }
    priors = {name: prior for name, prior in in_force.items() if prior is not None}
    assert len(priors) > 5
    second = dataclasses.replace(first, decided_at=checks.WHEN + datetime.timedelta(days=3))
    asked = {row["account_id"] for row in check_rows(sent, read, second, Past(priors))}
    assert asked >= priors.keys()


def check_rows(
    sent: dict[str, dict[str, Any]], read: Statements, basis: Basis, past: Past
) -> list[dict[str, Any]]:
    """Compare each row with the bytes that the endpoint packs; return them."""
    block = decide_block(read, basis, past)
    rows = entries_table(block, read, basis, past, "run").to_dicts()
    answers = dict(block.table.select("account_id", "answer").iter_rows())
    for row in each(rows):
        name = row["account_id"]
        assert row["asked"] == pack(stored_by_models(sent[name], past.priors.get(name)))
        assert unpack(row["answered"]) == answers[name]
    return rows


def test_keeps_are_written_as_json(statements: pl.DataFrame, bundle: Bundle) -> None:
    block = decide_block(read_table(statements), Basis(bundle, checks.WHEN))
    keeps = keeps_of(block.table)
    odd = pl.DataFrame(
        {"account_id": ["ä", 'b"', "c%s"], "new_limit": [-0.0, None, 0.0], "cut_off": 1e22}
    )
    odd = odd.match_to_schema(SCHEMA, missing_columns="insert")
    numbers = [0.0, -0.0, 1e-4, 9.9e-5, 123456.7, 1e15, 1e16, 0.1 + 0.2, 5e-324, 1e308]
    some = keeps.head(len(numbers))
    for table in each(
        [
            pl.concat([keeps, odd]),
            some.with_columns(log_odds=pl.Series(numbers)),
            some.with_columns(log_odds=pl.Series([-0.0, 0.0] * 5)),
            odd.tail(1),
            keeps.head(0),
        ]
    ):
        check_texts(table)
    assert len(keep_rows(keeps, "run", SECRETS)) > 50


def check_texts(keeps: pl.DataFrame) -> None:
    """Each row is its salt, 16 bytes of its own, and what the library writes of it as JSON."""
    rows = keep_rows(keeps, "run", SECRETS)
    told = [
        json.dumps(row, default=str, ensure_ascii=False, separators=(",", ":")).encode()
        for row in keeps.iter_rows(named=True)
    ]
    assert [row[16:] for row in rows] == told
    salts = {
        hmac.digest(SECRETS.digest_key, f"portfolio\0run\0{name}".encode(), "sha256")[:16]
        for name in keeps["account_id"]
    }
    assert {row[:16] for row in rows} == salts
    assert len(salts) == len(told)
