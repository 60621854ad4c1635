"""The earlier decision and the arm, from the audit log to the answer: without HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from functools import cache
from typing import Any

import polars as pl
import pytest

from serving.api.answers import answer_again
from serving.api.decisions import Decisions
from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.auth.caller import Caller
from serving.decision.bundle import Bundle
from serving.decision.config.policy import ControlArm
from serving.decision.pipeline import decide, decide_many
from serving.operations.decide_again.replay import Bundles, replay
from serving.operations.export import export, line
from serving.reviews.past_decision import earlier_of
from serving.reviews.service import Reviews
from serving.schemas.base import encode
from serving.schemas.decision import make_answer
from serving.schemas.prior import Prior
from tests.support.each import each
from tests.support.paths import GOLDEN, ROOT
from tests.support.policies import cut_more
from tests.support.records import NOW
from tests.support.served import as_requests
from tests.support.submissions import answer_to, answer_to_batch, submission

Json = dict[str, Any]
STATEMENTS = ROOT / "tests" / "golden" / "answers" / "statements.parquet"
AUDITOR = Caller(
    "k2",
    "lender",
    frozenset({"score", "audit"}),
)
SOUTH = Caller("k3", "south", frozenset({"score"}))
ORDER = ErasureOrder("Li Na", "asked for", NOW, hold_over="the decisions are of a test")
MONTHS = 2  # between the two decisions


@cache
def windows() -> pl.DataFrame:
    """Forty accounts with more months than that."""
    every = pl.read_parquet(STATEMENTS)
    every = every.filter(pl.len().over("account_id") > 2 * MONTHS)
    chosen = every["account_id"].unique().sort()[:40]
    return every.filter(pl.col("account_id").is_in(chosen.implode()))


@cache
def requests() -> list[tuple[Json, Json]]:
    """For each account the request of before and that of today."""
    back = pl.col("month").cum_count(reverse=True).over("account_id")
    before = windows().sort("account_id", "month").filter(back > MONTHS)
    return list(
        zip(
            as_requests(before),
            as_requests(windows().sort("account_id")),
            strict=True,
        )
    )


def ask(decisions: Decisions, request: Json, **options: Any) -> Json:
    body = asyncio.run(answer_to(decisions, submission(request, **options)))
    answer: Json = json.loads(body)
    return answer


def rows_of(log: AuditLog) -> list[Entry]:
    return list(log.reader.of_kind(("decision",)))


def test_the_next_decision_says_what_changed(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions = Decisions(golden, record)
    with_parts = 0
    for before, now in each(requests()):
        first, second = ask(decisions, before), ask(decisions, now)
        assert first["since_last"] is None
        since = second["since_last"]
        told = [since[name] for name in ("decision_id", "action", "log_odds", "cut_off")]
        assert told == [first[name] for name in ("decision_id", "action", "log_odds", "cut_off")]
        total = sum(part["change"] for part in since["parts"])
        assert total == pytest.approx(
            second["log_odds"] - first["log_odds"],
            abs=1e-9,
        )
        with_parts += bool(since["parts"])
    assert with_parts > 20, "hardly anything changed"


def test_the_bytes_are_those_of_the_function(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions = Decisions(golden, record)
    for before, now in requests()[:10]:
        ask(decisions, before)
        ask(decisions, now)
    rows = {row.entry_id: row for row in rows_of(record)}
    later = [row for row in rows.values() if "earlier" in row.metadata]
    assert len(later) == 10
    for row in each(later):
        answer = json.loads(row.response_body or b"{}")
        stored = json.dumps(answer["prior"])
        prior = None if stored == "null" else Prior.model_validate_json(stored).to_decision()
        decision = decide(
            windows().filter(account_id=answer["account_id"]),
            golden,
            row.at,
            prior,
            record.secrets.id_key,
            earlier_of(rows[row.metadata["earlier"]]),
        )
        assert row.response_body == encode(make_answer(decision, golden))


def test_a_batch_says_the_same(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions = Decisions(golden, record)
    pairs = requests()[:5]
    for before, _ in pairs:
        ask(decisions, before)
    body = asyncio.run(
        answer_to_batch(
            decisions,
            [now for _, now in pairs],
            "key-1",
        )
    )
    first = {
        json.loads(row.request_body or b"{}")["account_id"]: row for row in rows_of(record)[:5]
    }
    for answer in each(json.loads(body)["decisions"]):
        assert answer["since_last"]["decision_id"] == first[answer["account_id"]].entry_id


def test_the_latest_decision_is_the_earlier_one(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions = Decisions(golden, record)
    before, now = requests()[0]
    ids = [ask(decisions, request)["decision_id"] for request in (before, now)]
    third = ask(decisions, now)["since_last"]
    assert third["decision_id"] == ids[1]
    assert third["parts"] == []
    assert third["change"] == third["change_to_cut_off"] == 0.0


def test_another_account_or_tenant_has_no_earlier_decision(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions = Decisions(golden, record)
    before, now = requests()[0]
    ask(decisions, before)
    assert ask(decisions, now | {"account_id": "another"})["since_last"] is None
    assert ask(decisions, now, caller=SOUTH)["since_last"] is None
    # The control.
    assert ask(decisions, now)["since_last"] is not None


def test_after_an_erasure_there_is_no_earlier_decision(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions = Decisions(golden, record)
    before, now = requests()[0]
    ask(decisions, before)
    erase_account(
        record.database,
        record.secrets,
        "lender",
        before["account_id"],
        ORDER,
    )
    assert ask(decisions, now)["since_last"] is None


def test_statements_that_are_refused_today_are_not_compared(
    golden: Bundle,
    record: AuditLog,
) -> None:
    ask(
        Decisions(golden, record),
        requests()[0][0],
    )
    [row] = rows_of(record)
    assert earlier_of(row) is not None
    request = json.loads(row.request_body or b"{}")
    del request["statements"][1]
    with_gap = dataclasses.replace(
        row,
        request_body=json.dumps(request).encode(),
    )
    assert earlier_of(with_gap) is None
    assert (
        earlier_of(
            dataclasses.replace(
                row,
                request_body=None,
                erased=True,
            )
        )
        is None
    )
    assert earlier_of(None) is None


def test_a_replay_reads_the_earlier_row(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions = Decisions(golden, record)
    for before, now in requests()[:5]:
        ask(decisions, before)
        ask(decisions, now, advice=True)
        ask(
            decisions,
            now,
            caller=AUDITOR,
            detail=True,
        )
    bundles = Bundles({golden.digest: GOLDEN})
    id_key, find = record.secrets.id_key, record.reader.by_id
    assert replay(
        rows_of(record),
        bundles,
        id_key,
        find,
    ).counts == Counter(same=15)
    # The control: without the earlier rows the later ten are answered differently.
    assert replay(
        rows_of(record),
        bundles,
        id_key,
    ).counts == Counter(same=5, different=10)


def test_the_vector_is_read_again_with_the_earlier_row(
    golden: Bundle,
    record: AuditLog,
) -> None:
    decisions, reviews = Decisions(golden, record), Reviews(golden, record, answer_again)
    before, now = requests()[0]
    ask(decisions, before)
    ask(decisions, now)
    first, second = rows_of(record)
    assert asyncio.run(reviews.queries.earlier(first)) is None
    earlier = asyncio.run(reviews.queries.earlier(second))
    assert earlier is not None
    assert earlier.entry_id == first.entry_id
    vector = reviews.full_vector(second, earlier)
    recorded = ask(
        decisions,
        now,
        caller=AUDITOR,
        detail=True,
    )
    assert vector == recorded["detail"]


def test_the_arm_is_recorded_and_told_to_auditors_only(
    golden: Bundle,
    record: AuditLog,
) -> None:
    bundle = cut_more(golden)
    policy = dataclasses.replace(bundle.policy, control=ControlArm(0.2))
    experiment = dataclasses.replace(bundle, policy=policy)
    decisions = Decisions(experiment, record)
    every = pl.read_parquet(STATEMENTS)
    # The record's key is drawn, so the accounts of the arms are found with it.
    decided = decide_many(
        every,
        experiment,
        NOW,
        id_key=record.secrets.id_key,
    )
    chosen = [one.account_id for one in decided if one.arm is not None]
    chosen += [one.account_id for one in decided if one.arm is None][:10]
    in_arms = every.filter(pl.col("account_id").is_in(chosen))
    arms: Counter[str | None] = Counter()
    for request in each(as_requests(in_arms)):
        answer = ask(
            decisions,
            request,
            caller=AUDITOR,
            detail=True,
        )
        arm = answer["detail"]["arm"]
        arms[arm] += 1
        assert "arm" not in answer
        row = record.reader.by_id(answer["decision_id"])
        assert row is not None
        assert row.metadata.get("arm") == arm
        assert ("arm" in row.metadata) == (arm is not None)
        if arm is not None:
            assert answer["action"] == ("keep" if arm == "control" else "reduce")
    assert min(arms["control"], arms["treated"]) > 0, arms
    lines = [json.loads(line(one)) for one in export(record.reader, None, None)]
    assert Counter(exported["arm"] for exported in lines) == arms
