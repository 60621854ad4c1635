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
from serving.auth.keys import KeyTerms, create
from serving.decision.bundle import Bundle
from serving.portfolio.errors import PortfolioError
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


def test_an_account_with_another_product_than_recorded_is_refused_or_set_aside(
    windows: pl.DataFrame, bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    names = windows["account_id"].unique(maintain_order=True)[:4].to_list()
    statements = windows.filter(pl.col("account_id").is_in(names))
    settings = settings_in(tmp_path)
    audit_log = AuditLog(settings)
    asked(Decisions(bundle, audit_log, lambda: checks.WHEN), statements, "before")
    audit_log.close()
    changed = pl.col("account_id").is_in(names[:2])
    is_pay_later = pl.col("product") == "pay_later"
    other = pl.when(is_pay_later).then(pl.lit("cash_loan")).otherwise(pl.lit("pay_later"))
    product = pl.when(changed).then(other).otherwise(pl.col("product").cast(pl.String))
    file = tmp_path / "all.parquet"
    statements.with_columns(product.alias("product")).write_parquet(file)

    order = Order(file, tmp_path / "out", bundle_folder, LATER)
    recorded = dataclasses.replace(order, record=settings, tenant=LENDER.tenant)
    with pytest.raises(PortfolioError) as caught:
        run(recorded)
    text = str(caught.value)
    assert str(file) in text
    assert "that of its earlier decisions, got" in text
    assert "and 1 more" in text

    rejects = tmp_path / "rejects.csv"
    apart = dataclasses.replace(recorded, decisions=tmp_path / "apart", rejects=rejects)
    assert run(apart).set_aside == 2
    rule = "product is that of the earlier decisions in the audit log"
    last = statements.group_by("account_id").agg(pl.col("month").max())
    expected = {(name, str(month), rule) for name, month in last.iter_rows() if name in names[:2]}
    assert set(pl.read_csv(rejects, infer_schema=False).iter_rows()) == expected
    decided = pl.read_parquet(apart.decisions / "all.parquet")
    assert decided["account_id"].to_list() == sorted(names[2:])

    # All accounts of a file, and the control: without the record there is nothing to contradict.
    pl.read_parquet(file).filter(changed).write_parquet(file)
    nothing = dataclasses.replace(
        apart, decisions=tmp_path / "nothing", rejects=tmp_path / "all.csv"
    )
    result = run(nothing)
    assert (result.set_aside, result.totals.accounts) == (2, 0)
    without = dataclasses.replace(order, decisions=tmp_path / "without")
    assert run(without).totals.accounts == 2


def test_a_lender_that_does_not_exist_is_refused_with_those_that_do(
    windows: pl.DataFrame, bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    statements = windows.filter(pl.col("account_id") == windows["account_id"][0])
    statements.write_parquet(tmp_path / "one.parquet")
    settings = settings_in(tmp_path)
    audit_log = AuditLog(settings)
    order = Order(tmp_path / "one.parquet", tmp_path / "out", bundle_folder, LATER)
    recorded = dataclasses.replace(order, record=settings)
    # A new audit log knows nobody.
    first = dataclasses.replace(recorded, decisions=tmp_path / "first", tenant="lendr")
    assert run(first).totals.accounts == 1
    asked(Decisions(bundle, audit_log, lambda: checks.WHEN), statements, "before")
    wrong = dataclasses.replace(recorded, tenant="lendr")
    with pytest.raises(StorageError, match=r"one of \['lender'\], got 'lendr'"):
        run(wrong)
    assert not order.decisions.exists()
    create(audit_log.database, audit_log.secrets, "lendr", ["score"], KeyTerms())
    audit_log.close()
    assert run(wrong).totals.accounts == 1
    local = dataclasses.replace(recorded, decisions=tmp_path / "local", tenant="local")
    assert run(local).totals.accounts == 1
