from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.api.decisions import Decisions
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.portfolio.order import Order
from serving.portfolio.run import run
from serving.storage.errors import StorageError
from tests.support import checks
from tests.support.each import each
from tests.support.records import settings_in
from tests.support.served import as_requests
from tests.support.submissions import LENDER, answer_to_batch

LATER = checks.WHEN + datetime.timedelta(days=3)


def asked(decisions: Decisions, statements: pl.DataFrame, key: str) -> dict[str, Any]:
    """The service's answer on each account, which states no prior."""
    requests = as_requests(statements)
    for request in requests:
        del request["prior"]
    body = asyncio.run(answer_to_batch(decisions, requests, key))
    return {answer["account_id"]: answer for answer in json.loads(body)["decisions"]}


def test_what_the_audit_log_has_is_taken_into_account_as_the_endpoint_does(
    windows: pl.DataFrame, bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    names = windows["account_id"].unique(maintain_order=True)[:90]
    statements = windows.filter(pl.col("account_id").is_in(names.to_list()))
    early = statements.filter(pl.col("account_id").is_in(names[:60].to_list()))
    settings = settings_in(tmp_path)
    audit_log = AuditLog(settings)
    before = asked(Decisions(bundle, audit_log, lambda: checks.WHEN), early, "before")
    assert {"keep", "reduce", "suspend", "review"} >= {one["action"] for one in before.values()}

    (tmp_path / "statements").mkdir()
    statements.write_parquet(tmp_path / "statements" / "all.parquet")
    order = Order(tmp_path / "statements", tmp_path / "out", bundle_folder, LATER)
    recorded = dataclasses.replace(order, record=settings, tenant=LENDER.tenant)
    recorded = dataclasses.replace(recorded, with_all_answers=True)
    run(recorded)
    answers = dict(
        pl.read_parquet(recorded.decisions / "all.parquet")
        .select("account_id", "answer")
        .iter_rows()
    )
    # The service decides last, so that it decides from the same record.
    online = asked(Decisions(bundle, audit_log, lambda: LATER), statements, "online")
    audit_log.close()
    for name, answer in each(online.items()):
        assert json.loads(answers[name]) == answer
    with_past = [one for one in online.values() if one["prior"] or one["since_last"]]
    assert len(with_past) == 60
    assert any(one["prior"] for one in with_past)

    # The control: without the record the answers are others.
    without = dataclasses.replace(order, decisions=tmp_path / "without", with_all_answers=True)
    run(without)
    others = pl.read_parquet(without.decisions / "all.parquet")
    assert others["answer"].to_list() != list(answers.values())


def test_without_an_audit_log_there_is_nothing_to_look_up(
    windows: pl.DataFrame, bundle_folder: Path, tmp_path: Path
) -> None:
    windows[:5].write_parquet(tmp_path / "one.parquet")
    order = Order(tmp_path / "one.parquet", tmp_path / "out", bundle_folder, LATER)
    nowhere = settings_in(tmp_path / "nowhere")
    by_two = dataclasses.replace(order, record=nowhere, tenant="lender", workers=2)
    with pytest.raises(StorageError, match="there is no audit log at"):
        run(by_two)
    assert not (tmp_path / "nowhere").exists()
    assert not order.decisions.exists()
