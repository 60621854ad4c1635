"""A decision's row says what it leaves in force, so that the look-up reads no bodies."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any, cast

import pytest
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from features.months import add_months
from serving.api.decisions import Decisions
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.memory import Decided, write_prior
from serving.audit_log.privacy.data_subjects import read_subject_keys
from serving.audit_log.rows import StoredRow, is_readable
from serving.decision.bundle import Bundle
from serving.decision.policy.prior import after
from serving.storage.tables import entries
from serving.storage.timestamps import encode_time
from tests.golden.test_answers import DECIDED_AT, bodies
from tests.support.each import each
from tests.support.events import decision, outcome
from tests.support.every_route import QUIET
from tests.support.policies import cut_more
from tests.support.records import append
from tests.support.submissions import answer_to_batch

IN_FORCE = "in_force"
ACCOUNTS = 40
MONTHS = 4  # until the second decision, by which a cut is looked at


def later(day: datetime.date) -> datetime.date:
    return add_months(day, MONTHS)


def repaid(request: dict[str, Any]) -> dict[str, Any]:
    """The request some months later, of a customer who owes little."""
    statements = []
    for statement in request["statements"]:
        month = later(datetime.date.fromisoformat(f"{statement['month']}-01"))
        statements.append(statement | QUIET | {"month": f"{month:%Y-%m}"})
    return request | {"statements": statements}


def name_in(row: Entry) -> str:
    return str(json.loads(row.request_body or b"{}")["account_id"])


def facts_of(log: AuditLog) -> dict[str, Any]:
    """The stored metadata of each row, by the entry's id."""
    with log.database.reading() as connection:
        rows = connection.execute(sa.text("SELECT entry_id, facts FROM entries"))
        return {entry_id: json.loads(facts) for entry_id, facts in rows}


def check_rows(log: AuditLog, rows: list[Entry]) -> Counter[str]:
    """What the look-up finds is what the bodies of each decision say; its actions."""
    accounts = {name_in(row): row for row in rows}
    found = log.reader.memories("lender", list(accounts))
    stored = facts_of(log)
    for account, row in each(accounts.items()):
        assert IN_FORCE not in row.metadata
        assert (IN_FORCE in stored[row.entry_id]) == (row.due is not None)
        if row.due is None:
            continue
        decided = Decided.read(row)
        assert found[account].prior == after(decided.prior, decided.change), row.entry_id
        assert found[account].under_review == decided.refers
        assert found[account].newest_decision == row.entry_id
    return Counter(row.metadata["action"] for row in rows if row.due is not None)


def test_each_event_says_what_its_bodies_say(record: AuditLog, golden: Bundle) -> None:
    record.deadline = 30.0
    seen: Counter[str] = Counter()
    requests, on = bodies()[:ACCOUNTS], DECIDED_AT.date()
    for key in ("first", "second"):
        at = datetime.datetime.combine(on, DECIDED_AT.timetz())
        decisions = Decisions(cut_more(golden), record, partial(identity, at))
        asyncio.run(answer_to_batch(decisions, requests, key))
        rows = list(record.reader.of_kind(["decision"], since=encode_time(at)))
        assert len(rows) == ACCOUNTS
        seen += check_rows(record, rows)
        requests, on = [repaid(request) for request in requests], later(on)
    assert set(seen) == {"keep", "reduce", "restore", "review", "suspend"}


def identity(at: datetime.datetime) -> datetime.datetime:
    return at


CUT = decision("acct-1", "reduce", (20_000.0, 8_000.0))
OTHER = decision("acct-1", "reduce", (8_000.0, 6_000.0))


def with_in_force(entry: NewEntry) -> NewEntry:
    """The entry as the service stores it."""
    row = cast(Entry, entry)  # it has the fields of a row that are read
    decided = Decided.read(row)
    return replace(entry, in_force=write_prior(after(decided.prior, decided.change)))


@pytest.mark.parametrize("says", [True, False])
def test_bodies_are_read_only_of_rows_that_do_not_say_it(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch, says: bool
) -> None:
    """Those of an earlier version; and of an outcome, which depends on what was decided."""
    append(record, [CUT])
    expected = record.reader.priors("lender", ["acct-1"])["acct-1"]
    cut = replace(CUT, entry_id="again", account="acct-2")
    cut = with_in_force(cut) if says else cut
    reads = count_reads(monkeypatch)
    append(record, [cut])
    found = record.reader.priors("lender", ["acct-2"])["acct-2"]
    assert replace(found, decisions=expected.decisions) == expected
    assert len(reads) == (0 if says else 1)
    append(record, [outcome(cut, "amend", 15_000.0)])
    assert record.reader.priors("lender", ["acct-2"])["acct-2"].limit_in_force == 15_000.0
    assert reads


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the rows whose bodies are parsed from now on."""
    reads: list[str] = []
    read = Decided.read

    def counted(row: Entry) -> Decided:
        reads.append(row.entry_id)
        return read(row)

    monkeypatch.setattr(Decided, "read", counted)
    return reads


def test_what_is_in_force_by_another_row_is_refused(record: AuditLog) -> None:
    """Rows of one account have one key, so the key alone would not tell."""
    append(record, [with_in_force(CUT), with_in_force(OTHER)])
    with record.database.reading() as connection:
        rows = connection.execute(sa.select(entries).order_by(entries.c.seq)).mappings().all()
        keys = read_subject_keys(connection, [rows[0]["person"]], record.secrets)
    [key] = keys.values()
    genuine, other = (dict(row) for row in rows)
    swapped = genuine | {"facts": other["facts"]}
    assert is_readable(genuine, key)
    assert StoredRow(genuine, key).in_force == with_in_force(CUT).in_force
    assert not is_readable(swapped, key)
    with pytest.raises(InvalidTag):
        _ = StoredRow(swapped, key).in_force


@pytest.mark.parametrize("facts", ["", "[]", '{"in_force":1}', '{"in_force":"A"}'])
def test_damaged_metadata_are_unreadable(facts: str) -> None:
    row = {"entry_id": "d-1", "seq": 1, "kind": "decision", "subject": "d-1", "due": None}
    row |= {"person": "p-1", "asked": None, "answered": None, "facts": "{}"}
    assert is_readable(row, bytes(32))
    assert not is_readable(row | {"facts": facts}, bytes(32))
