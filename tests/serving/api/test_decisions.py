"""One request, one decision, one answer: over a real audit log, without HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.api.answers import Basis, answer_requests
from serving.api.decisions import Decisions
from serving.api.submission import Submission
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.rows import pack_contents
from serving.auth.caller import Caller
from serving.decision.bundle import Bundle
from serving.schemas.base import parse
from serving.schemas.decision import Request
from serving.web.errors import ApiError
from tests.support.each import each
from tests.support.records import hold_writer, settings_in
from tests.support.submissions import answer_to, answer_to_batch, submission


@pytest.fixture
def record(tmp_path: Path) -> Iterator[AuditLog]:
    audit_log = AuditLog(settings_in(tmp_path))
    yield audit_log
    audit_log.close()


def answers(decisions: Decisions, *sent: Submission[Request]) -> list[bytes]:
    """The answers to requests that are sent at once."""

    async def together() -> list[bytes]:
        return await asyncio.gather(*(answer_to(decisions, one) for one in sent))

    return asyncio.run(together())


def stored(audit_log: AuditLog) -> list[Entry]:
    return list(audit_log.reader.of_kind(["decision"]))


def test_the_answer_is_what_is_stored(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    sent = [
        submission(request, advice=place % 2 == 1) for place, request in enumerate(requests[:20])
    ]
    bodies = answers(Decisions(bundle, record), *sent)
    rows = {row.entry_id: row for row in stored(record)}
    assert len(rows) == 20
    for request, body in zip(requests[:20], bodies, strict=True):
        answer = json.loads(body)
        row = rows[answer["decision_id"]]
        assert row.response_body == body
        assert row.request_body is not None
        assert json.loads(row.request_body)["statements"] == request["statements"]
        assert (row.tenant, row.caller) == ("lender", "k1")
        assert row.metadata["action"] == answer["action"]
        assert row.metadata["model"] == answer["model"]
        assert request["account_id"] not in json.dumps(row.metadata)


def test_the_writer_need_not_pack_the_rows_of_a_batch(
    bundle: Bundle,
    record: AuditLog,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other decisions wait for the writer, and packing takes it most of its time."""
    appended: list[NewEntry] = []
    append = record.append

    async def append_seen(new: Sequence[NewEntry], deadline: float) -> list[Entry]:
        appended.extend(new)
        return await append(new, deadline)

    monkeypatch.setattr(record, "append", append_seen)
    asyncio.run(answer_to_batch(Decisions(bundle, record), requests[:3], "key-1"))
    assert len(appended) >= 3
    for entry in each(appended):
        assert entry.packed == pack_contents(replace(entry, packed=None))


def test_a_stored_request_gets_the_stored_answer_again(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    sent = [submission(request, advice=True) for request in requests[:5]]
    answers(Decisions(bundle, record), *sent)
    for row in each(stored(record)):
        assert row.request_body is not None
        endpoint, with_advice = row.metadata["door"], row.metadata["advice"]
        request = parse(Request, row.request_body)
        id_key = record.secrets.id_key
        [again] = answer_requests(endpoint, [request], with_advice, Basis(bundle, row.at, id_key))
        assert again.content == row.response_body


def test_a_key_has_one_answer_after_a_restart_and_with_another_model(
    bundle: Bundle, tmp_path: Path, requests: list[dict[str, Any]]
) -> None:
    audit_log = AuditLog(settings_in(tmp_path))
    decisions = Decisions(bundle, audit_log)
    [first] = answers(decisions, submission(requests[0], "key-1"))
    [without_key] = answers(decisions, submission(requests[0]))
    assert without_key != first, "without a key it is another decision"
    audit_log.close()
    reopened = AuditLog(settings_in(tmp_path))
    swapped = Decisions(replace(bundle, digest="0" * 64), reopened)
    assert answers(swapped, submission(requests[0], "key-1")) == [first]
    # The control: without the key the other model answers.
    [by_other_model] = answers(swapped, submission(requests[0]))
    assert json.loads(by_other_model)["model"]["bundle"] == "0" * 64
    assert len(stored(reopened)) == 3
    reopened.close()


def test_a_key_belongs_to_one_request_and_one_tenant(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    decisions = Decisions(bundle, record)
    [first] = answers(decisions, submission(requests[0], "key-1"))
    other_account = submission(requests[1], "key-1")
    other_switch = submission(requests[0], "key-1", advice=True)
    for other in (other_account, other_switch):
        with pytest.raises(ApiError) as refused:
            answers(decisions, other)
        assert refused.value.problem.status == 422
        assert [fault.path for fault in refused.value.problem.errors] == ["Idempotency-Key"]
    tenant = Caller("k2", "another lender", frozenset({"score"}))
    assert answers(decisions, submission(requests[0], "key-1", caller=tenant)) != [first]
    # Another order of the fields is the same request.
    reordered = dict(reversed(requests[0].items()))
    assert answers(decisions, submission(reordered, "key-1")) == [first]


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.torture)])
def test_simultaneous_duplicates_are_decided_once(
    count: int, bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    """So many keys, each with 50 requests at once: one row and one answer for each key."""
    # Five hundred requests wait for each other on one event loop, on a machine of unknown speed.
    record.deadline = 60.0
    decisions = Decisions(bundle, record)
    for start in range(0, count, 10):
        keys = [f"key-{number}" for number in range(start, start + 10)]
        sent = [
            submission(requests[int(key[4:]) % len(requests)], key)
            for key in keys
            for _ in range(50)
        ]
        bodies = answers(decisions, *sent)
        for place, key in enumerate(keys):
            assert len(set(bodies[50 * place : 50 * place + 50])) == 1, key
    assert len(stored(record)) == count
    assert len({row.unique_key for row in stored(record)}) == count
    assert len(decisions.key_locks) == 0


def test_duplicates_at_two_workers_are_decided_once(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    """Two workers share the audit log and nothing else."""
    workers = [Decisions(bundle, record), Decisions(bundle, record)]

    async def race(key: str, request: dict[str, Any]) -> list[bytes]:
        sent = [answer_to(worker, submission(request, key)) for worker in workers]
        return list(await asyncio.gather(*sent))

    for number in range(30):
        one, other = asyncio.run(race(f"key-{number}", requests[number]))
        assert one == other
    assert len(stored(record)) == 30


def test_a_batch_is_stored_whole_and_answered_again(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    decisions = Decisions(bundle, record)

    def batch(accounts: Sequence[dict[str, Any]]) -> bytes:
        return asyncio.run(answer_to_batch(decisions, accounts, "key-1"))

    first = batch(requests[:7])
    assert batch(requests[:7]) == first
    answered = json.loads(first)["decisions"]
    sent_ids = [request["account_id"] for request in requests[:7]]
    assert [decision["account_id"] for decision in answered] == sent_ids
    assert [row.response_body for row in stored(record)] == [
        json.dumps(decision, separators=(",", ":"), ensure_ascii=False).encode()
        for decision in answered
    ]
    with pytest.raises(ApiError):
        batch(requests[:6])


def test_after_its_deadline_nothing_is_stored_and_the_answer_says_so(
    bundle: Bundle, record: AuditLog, requests: list[dict[str, Any]]
) -> None:
    decisions = Decisions(bundle, record)
    hold = hold_writer(record)
    late = submission(requests[0], "key-1", age=record.deadline - 0.1)
    with pytest.raises(ApiError) as refused:
        answers(decisions, late)
    assert refused.value.problem.status == 503
    assert "nothing was decided or kept" in refused.value.problem.errors[0].message
    hold.set()
    [body] = answers(decisions, submission(requests[0], "key-1"))
    assert [row.response_body for row in stored(record)] == [b"of blocks", body]


def test_the_answer_of_a_write_that_missed_the_deadline_is_found_by_its_key(
    bundle: Bundle,
    record: AuditLog,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decisions = Decisions(bundle, record)
    [_] = answers(decisions, submission(requests[1]))  # loads what the first decision needs
    commit = record.writer.committer.commit

    def slow(batch: Any) -> Any:
        time.sleep(1.2)
        return commit(batch)

    monkeypatch.setattr(record.writer.committer, "commit", slow)
    late = submission(requests[0], "key-1", age=record.deadline - 1.0)
    with pytest.raises(ApiError) as refused:
        answers(decisions, late)
    assert refused.value.problem.status == 504
    assert "the same Idempotency-Key" in refused.value.problem.errors[0].message
    until = time.monotonic() + 5
    while len(stored(record)) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    again = answers(decisions, submission(requests[0], "key-1"))
    assert again == [stored(record)[1].response_body]
    assert len(stored(record)) == 2
