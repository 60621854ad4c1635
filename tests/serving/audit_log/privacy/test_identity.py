"""Who has the database and not the secrets cannot find a customer in it, nor an erased one.

The attack knows everything else: the code, the bundle, the statements of every candidate and the
idempotency keys that a client may use. Its control is the record of commit f825547, where it finds
the account that was erased.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pysqlite3 import dbapi2 as sqlite

from serving.api.answers import answer_again
from serving.api.decisions import Decisions
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.auth.caller import Caller
from serving.auth.request_context import RequestContext
from serving.decision.bundle import Bundle
from serving.decision.ids import UNKEYED, decision_ids
from serving.reviews.service import Reviews
from serving.schemas.base import parse
from serving.schemas.decision import Request, read_requests
from serving.schemas.review import ReviewRequest
from tests.golden.test_answers import bodies
from tests.support.each import each
from tests.support.entries import decision_entry
from tests.support.old_record import ERASED_ACCOUNT, copy_old_record, read_expected, send
from tests.support.records import NOW, append, new_entry, settings_in

Json = dict[str, Any]
TENANTS = ("north", "south")
KEYS = ("order-1", "order-2", "month-end", "advice-1", "order-gone", "last", "order-2026-11-25")
SMALLEST_CROWD = 2  # accounts with content of the same lengths


def requests_of(sent: Iterable[Json]) -> Iterator[Json]:
    for one in sent:
        yield from one["body"].get("accounts", [one["body"]])


def raw_rows(file: Path, table: str) -> list[Json]:
    with contextlib.closing(sqlite.connect(file)) as raw:
        raw.row_factory = sqlite.Row
        return [dict(row) for row in raw.execute(f"SELECT * FROM {table}")]


def guess_ids(file: Path, candidates: Iterable[Json]) -> Iterator[tuple[str, str]]:
    """The id that each candidate's decision would have at the time of each row, without a key."""
    decided = [json.loads(row["facts"]) for row in raw_rows(file, "entries") if row["asked"]]
    times = {
        (facts["decided_at"], facts["model"]["bundle"]) for facts in decided if "model" in facts
    }
    for body in candidates:
        fields = {name: body[name] for name in Request.model_fields if name in body}
        request = parse(Request, json.dumps(fields).encode())
        statements = read_requests([request])
        for decided_at, digest in times:
            at = datetime.datetime.fromisoformat(decided_at)
            [decision_id] = decision_ids(statements.texts(), digest, at, UNKEYED, {})
            yield body["account_id"], decision_id


def guess_hashes(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """A name as it is, and its plain hashes, with each tenant or alone."""
    for name in names:
        yield name, name
        for text in (name, *(f"{tenant}\0{name}" for tenant in TENANTS)):
            yield name, hashlib.sha256(text.encode()).hexdigest()


def attack(file: Path, candidates: list[Json]) -> set[str]:
    """The accounts and idempotency keys of which a readable column or byte tells."""
    accounts = [body["account_id"] for body in candidates]
    guesses = [*guess_ids(file, candidates), *guess_hashes([*accounts, *KEYS])]
    around = [path for path in file.parent.iterdir() if path.name != "secrets.json"]
    stored = b"\0".join(path.read_bytes() for path in sorted(around))
    return {name for name, guess in guesses if guess.encode() in stored}


@pytest.fixture(scope="module")
def expected() -> Json:
    return read_expected()


@pytest.fixture(scope="module")
def candidates(expected: Json) -> list[Json]:
    """Every account of the requests, and as many others that were never customers."""
    customers = {body["account_id"]: body for body in requests_of(expected["answered"])}
    never = [body | {"account_id": f"never-{place}"} for place, body in enumerate(bodies()[:10])]
    return [*customers.values(), *never]


@pytest.fixture
def attacked(tmp_path: Path, golden: Bundle, expected: Json) -> Path:
    """A new record of the same requests, with a review; the same account is erased."""
    with contextlib.closing(AuditLog(settings_in(tmp_path))) as audit_log:
        decisions = Decisions(golden, audit_log)
        answers = [send(decisions, one) for one in expected["answered"]]
        reviews = Reviews(golden, audit_log, answer_again)
        open_review(reviews, json.loads(answers[0]), expected["answered"][0]["body"])
        order = ErasureOrder("Li Na", "asked for", NOW, hold_over="it has a review")
        arguments = audit_log.database, audit_log.secrets, "north", ERASED_ACCOUNT, order
        assert erase_account(*arguments) is not None
    return tmp_path / "record.db"


def open_review(reviews: Reviews, answer: Json, asked: Json) -> None:
    """A customer asks for a review, with corrected statements."""
    caller = Caller("another-key", "north", frozenset({"review"}))
    context = RequestContext(caller, time.monotonic())
    raw = json.dumps({"reason": "the income is wrong", "statements": asked["statements"]})
    body = parse(ReviewRequest, raw.encode())
    asyncio.run(reviews.open(answer["decision_id"], body, context))


def test_the_attack_finds_nothing(attacked: Path, candidates: list[Json]) -> None:
    assert attack(attacked, candidates) == set()


def test_the_attack_finds_the_erased_account_of_the_old_scheme(
    tmp_path: Path, candidates: list[Json]
) -> None:
    """The control."""
    file = copy_old_record(tmp_path).file
    assert file is not None
    found = attack(file, candidates)
    assert ERASED_ACCOUNT in found
    assert {"order-gone", "month-end"} <= found
    assert not any(name.startswith("never-") for name in found)


def test_an_old_row_keeps_its_id_and_no_new_row_gets_one_of_that_kind(
    tmp_path: Path, golden: Bundle, expected: Json, candidates: list[Json]
) -> None:
    settings = copy_old_record(tmp_path)
    with contextlib.closing(AuditLog(settings)) as audit_log:
        old_ids = {entry["entry_id"] for entry in expected["entries"]}
        decisions = Decisions(golden, audit_log)
        for place, one in enumerate(expected["answered"]):
            send(decisions, one | {"idempotency_key": f"new-{place}"})
    rows = raw_rows(tmp_path / "record.db", "entries")
    guessed = {decision_id for _, decision_id in guess_ids(tmp_path / "record.db", candidates)}
    found = {row["entry_id"] for row in rows} & guessed
    assert found
    assert found <= old_ids <= {row["entry_id"] for row in rows}


@pytest.mark.slow
def test_the_length_of_content_tells_no_account_from_all_others(
    record: AuditLog, golden: Bundle, tmp_path: Path
) -> None:
    requests = [parse(Request, json.dumps(body).encode()) for body in bodies()]
    entries = [decision_entry(request, golden) for request in requests]
    append(record, entries)
    rows = raw_rows(tmp_path / "record.db", "entries")
    stored = Counter((len(row["asked"]), len(row["answered"])) for row in rows)
    assert stored.total() == len(entries) == 1000
    assert min(stored.values()) >= SMALLEST_CROWD
    # The control: most accounts have a request and an answer of their own lengths.
    plain = Counter(
        (len(one.request_body or b""), len(one.response_body or b"")) for one in entries
    )
    alone = sum(count == 1 for count in plain.values())
    assert alone > 700


def test_padding_is_taken_off_again(record: AuditLog) -> None:
    for place, content in each(enumerate((b"", b"x", b"x" * 5000, b"{}\0"))):
        entry = new_entry(f"d-{place}")
        [stored] = append(record, [dataclasses.replace(entry, response_body=content)])
        read = record.reader.by_id(stored.entry_id)
        assert read is not None
        assert read.response_body == content
