"""One request, one decision, one answer: over a real record, without the web."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.api.decisions import Decisions
from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.auth.caller import Caller
from serving.decision.bundle import Bundle
from serving.api.answers import answer_requests
from serving.schemas.base import parse
from serving.schemas.decision import BatchRequest, Request
from serving.web.errors import ApiError
from tests.serving.audit_log.test_writer import hold_writer, settings_in

LENDER = Caller("k1", "lender", frozenset({"score"}))


@pytest.fixture
def record(tmp_path: Path) -> Iterator[AuditLog]:
    opened = AuditLog(settings_in(tmp_path))
    yield opened
    opened.close()


def asked(
    sent: dict[str, Any], key: str | None = None, caller: Caller = LENDER, advice: bool = False
) -> Request:
    request = parse(Request, json.dumps(sent).encode())
    request._key, request._caller, request._arrived = key, caller, time.monotonic()
    request._on = frozenset({"advice"} if advice else ())
    return request


async def content(desk: Decisions, request: Request) -> bytes:
    return bytes((await desk.answer("decisions", request, [request])).body)


def answered(desk: Decisions, *requests: Request) -> list[bytes]:
    async def together() -> list[bytes]:
        return await asyncio.gather(*(content(desk, request) for request in requests))

    return asyncio.run(together())


def kept(record: AuditLog) -> list[Entry]:
    return list(record.reader.of_kind(["decision"]))


def test_what_is_answered_is_what_is_kept(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    desk = Decisions(bundle, record)
    bodies = answered(
        desk, *(asked(sent, advice=place % 2 == 1) for place, sent in enumerate(requests[:20]))
    )
    rows = {row.entry_id: row for row in kept(record)}
    assert len(rows) == 20
    for sent, body in zip(requests, bodies, strict=False):
        row = rows[json.loads(body)["decision_id"]]
        assert row.response_body == body
        assert row.request_body is not None
        assert json.loads(row.request_body)["statements"] == sent["statements"]
        assert (row.tenant, row.caller, row.metadata["action"]) == (
            "lender",
            "k1",
            json.loads(body)["action"],
        )
        assert row.metadata["model"] == json.loads(body)["model"]
        assert sent["account_id"] not in json.dumps(row.metadata)


def test_what_was_kept_can_be_decided_again(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    desk = Decisions(bundle, record)
    answered(desk, *(asked(sent, advice=True) for sent in requests[:5]))
    for row in kept(record):
        assert row.request_body is not None
        [again] = answer_requests(
            row.metadata["door"],
            [parse(Request, row.request_body)],
            row.metadata["advice"],
            bundle,
            row.at,
        )
        assert again.content == row.response_body


def test_a_key_has_one_answer_also_after_a_restart_and_another_model(
    bundle: Bundle, tmp_path: Path, requests: list[dict[str, Any]]
) -> None:
    record = AuditLog(settings_in(tmp_path))
    [first] = answered(Decisions(bundle, record), asked(requests[0], "key-1"))
    [other] = answered(Decisions(bundle, record), asked(requests[0]))
    assert other != first, "without a key it is another decision"
    record.close()
    again = AuditLog(settings_in(tmp_path))
    swapped = replace(bundle, digest="0" * 64)
    assert answered(Decisions(swapped, again), asked(requests[0], "key-1")) == [first]
    # The control: without the key the other model answers.
    [new] = answered(Decisions(swapped, again), asked(requests[0]))
    assert json.loads(new)["model"]["bundle"] == "0" * 64
    assert len(kept(again)) == 3
    again.close()


def test_a_key_is_of_one_request_and_one_tenant(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    desk = Decisions(bundle, record)
    [first] = answered(desk, asked(requests[0], "key-1"))
    for other in (asked(requests[1], "key-1"), asked(requests[0], "key-1", advice=True)):
        with pytest.raises(ApiError) as refused:
            answered(desk, other)
        assert refused.value.problem.status == 422
        assert [fault.path for fault in refused.value.problem.errors] == ["Idempotency-Key"]
    elsewhere = Caller("k2", "another lender", frozenset({"score"}))
    assert answered(desk, asked(requests[0], "key-1", elsewhere)) != [first]
    # As sent with other blanks and another order of fields it is the same request.
    assert answered(desk, asked(dict(reversed(requests[0].items())), "key-1")) == [first]


def test_duplicates_at_once_are_decided_once(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    """50 at once of each of 100 keys: one row each, one answer."""
    # five hundred wait for each other on one loop, and how long is the machine's affair
    record.deadline = 60.0
    desk = Decisions(bundle, record)
    for start in range(0, 100, 10):
        keys = [f"key-{number}" for number in range(start, start + 10)]
        sent = [
            asked(requests[int(key[4:]) % len(requests)], key) for key in keys for _ in range(50)
        ]
        for place, own in enumerate(zip(*[iter(answered(desk, *sent))] * 50, strict=True)):
            assert len(set(own)) == 1, keys[place]
    assert len(kept(record)) == 100
    assert len({row.unique_key for row in kept(record)}) == 100
    assert not desk._turns


def test_duplicates_at_two_workers_are_decided_once(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    """Two desks know nothing of each other but the record."""
    desks = [Decisions(bundle, record), Decisions(bundle, record)]

    async def race(key: str, sent: dict[str, Any]) -> list[bytes]:
        return list(await asyncio.gather(*(content(desk, asked(sent, key)) for desk in desks)))

    for number in range(30):
        one, other = asyncio.run(race(f"key-{number}", requests[number]))
        assert one == other
    assert len(kept(record)) == 30


def test_a_batch_is_kept_whole_and_answered_again(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    desk = Decisions(bundle, record)

    def batch(accounts: Sequence[dict[str, Any]]) -> bytes:
        request = parse(BatchRequest, json.dumps({"accounts": list(accounts)}).encode())
        request._key, request._caller = "key-1", LENDER
        return bytes(asyncio.run(desk.answer("batch", request, request.accounts)).body)

    first = batch(requests[:7])
    assert batch(requests[:7]) == first
    assert [one["account_id"] for one in json.loads(first)["decisions"]] == [
        one["account_id"] for one in requests[:7]
    ]
    assert [row.response_body for row in kept(record)] == [
        json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode()
        for one in json.loads(first)["decisions"]
    ]
    with pytest.raises(ApiError):
        batch(requests[:6])


def test_past_its_deadline_nothing_is_kept_and_that_is_said(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    desk = Decisions(bundle, record)
    hold = hold_writer(record)
    late = asked(requests[0], "key-1")
    late._arrived -= record.deadline - 0.1
    with pytest.raises(ApiError) as refused:
        answered(desk, late)
    assert refused.value.problem.status == 503
    assert "nothing was decided or kept" in refused.value.problem.errors[0].message
    hold.set()
    [body] = answered(desk, asked(requests[0], "key-1"))
    assert [row.response_body for row in kept(record)] == [b"of blocks", body]


def test_what_the_record_was_writing_at_the_deadline_is_found_by_its_key(
    bundle: Bundle,
    record: AuditLog,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Decisions(bundle, record)
    commit = record._writer._commit

    def slow(batch: Any) -> Any:
        time.sleep(0.3)
        return commit(batch)

    monkeypatch.setattr(record._writer, "_commit", slow)
    late = asked(requests[0], "key-1")
    late._arrived -= record.deadline - 0.15
    with pytest.raises(ApiError) as refused:
        answered(desk, late)
    assert refused.value.problem.status == 504
    assert "the same Idempotency-Key" in refused.value.problem.errors[0].message
    until = time.monotonic() + 5
    while not kept(record) and time.monotonic() < until:
        time.sleep(0.02)
    assert answered(desk, asked(requests[0], "key-1")) == [kept(record)[0].response_body]
    assert len(kept(record)) == 1
