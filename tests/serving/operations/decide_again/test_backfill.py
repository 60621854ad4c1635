"""Backfill over a record: what is compared, what is left out, and what the command writes."""

from __future__ import annotations

import dataclasses
import datetime
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from serving.__main__ import main
from serving.api.answers import Basis, answer_requests
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.decision.bundle import Bundle
from serving.operations.decide_again.attribution import STEPS, changed_by, state_of
from serving.operations.decide_again.backfill import Backfill, Compared
from serving.operations.decide_again.mixing import PARTS
from serving.operations.decide_again.replay import Bundles
from serving.operations.decide_again.summary import Money, Summary, summary_text
from serving.schemas.base import parse
from serving.schemas.decision import Request
from serving.storage.settings import StorageSettings
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.entries import decision_entry, example_request, stored_entry
from tests.support.other_bundles import golden_rows, other_bundle, write_other_bundle
from tests.support.records import NOW, append
from tests.support.served import as_requests

ORDER = ErasureOrder("Li Na", "asked for", NOW, hold_over="the decisions are of a test")


@pytest.fixture(scope="module")
def other(golden: Bundle) -> Bundle:
    return other_bundle(golden, PARTS)


@pytest.fixture(scope="module")
def drafts(golden: Bundle) -> list[NewEntry]:
    """Decisions on accounts that are kept, cut, suspended and referred, of every endpoint."""
    rows, at = golden_rows()
    requests = [parse(Request, json.dumps(body).encode()) for body in as_requests(rows)]
    made = [decision_entry(request, golden, at=at) for request in requests]
    later = at + datetime.timedelta(days=1)
    made[0] = decision_entry(requests[0], golden, endpoint="batch", with_advice=True, at=later)
    advice = example_request("A-5", endpoint="advice")
    return [*made, decision_entry(advice, golden, endpoint="advice")]


def backfill_of(record: AuditLog, new: Bundle, **options: Any) -> Backfill:
    stored = Bundles({}) if options.pop("no_old", False) else Bundles({GOLDEN: BUNDLE})
    reader = record.reader
    return Backfill(new, stored, record.secrets.id_key, reader.by_id, **options)


GOLDEN = (BUNDLE / "bundle.sha256").read_text("utf-8").strip()


def compared(record: AuditLog, new: Bundle, **options: Any) -> list[Compared]:
    entries = record.reader.of_kind(("decision", "review"))
    return list(backfill_of(record, new, **options).compare_all(entries))


def summed(rows: list[Compared]) -> Summary:
    summary = Summary()
    for one in rows:
        summary.add(one)
    return summary


def test_each_decision_is_compared_with_the_one_under_the_other_bundle(
    record: AuditLog, other: Bundle, drafts: list[NewEntry]
) -> None:
    append(record, drafts)
    rows = compared(record, other)
    assert [one.decision_id for one in rows] == [draft.entry_id for draft in drafts]
    for draft, one in zip(drafts, rows, strict=True):
        body = json.loads(draft.request_body or b"")
        body.pop("choices", None)
        request = parse(Request, json.dumps(body).encode())
        basis = Basis(other, draft.at, record.secrets.id_key)
        [answered] = answer_requests("decisions", [request], False, basis)
        assert one.states[-1] == state_of(json.loads(answered.content))
        assert one.result == "attributed"
    changing = {step for one in rows for steps in changed_by(one.states).values() for step in steps}
    assert changing == set(PARTS)


def test_the_same_bundle_changes_nothing(
    record: AuditLog, golden: Bundle, drafts: list[NewEntry]
) -> None:
    """Advice and batches too: only what decides is compared."""
    append(record, drafts)
    rows = compared(record, golden, no_old=True)
    assert len(rows) == len(drafts)
    assert [changed_by(one.states) for one in each(rows)] == [{}] * len(drafts)


def test_the_prior_and_the_earlier_decision_of_then_are_used(
    record: AuditLog, golden: Bundle, other: Bundle, drafts: list[NewEntry]
) -> None:
    """The summary of a decision with an earlier one: a replay of it has the recorded bytes."""
    append(record, drafts)
    prior = _prior(drafts)
    body = json.loads(example_request("A-9").model_dump_json()) | {"prior": prior}
    request = parse(Request, json.dumps(body).encode())
    append(record, [decision_entry(request, golden)])
    row = compared(record, other)[-1]
    without = parse(Request, json.dumps(body | {"prior": None}).encode())
    basis = Basis(other, NOW, record.secrets.id_key)
    [with_prior] = answer_requests("decisions", [request], False, basis)
    [control] = answer_requests("decisions", [without], False, basis)
    assert row.states[0] == row.states[1]
    assert row.states[-1] == state_of(json.loads(with_prior.content))
    assert row.states[-1] != state_of(json.loads(control.content))


def _prior(drafts: list[NewEntry]) -> dict[str, Any]:
    limit = 60_000.0
    return {
        "limit_before": limit,
        "balance_before": 100.0,
        "first_cut_on": "2026-08-01",
        "last_cut_on": "2026-08-01",
        "log_odds": 1.0,
        "limit_after": 30_000.0,
        "limit_in_force": 30_000.0,
        "in_force_from": "2026-08-04",
        "suspended": True,
        "restored_on": None,
        "referred_on": None,
        "review_on": "2026-11-01",
        "decisions": [drafts[0].entry_id],
    }


def test_money_adds_up_by_product_and_action(
    record: AuditLog, other: Bundle, drafts: list[NewEntry]
) -> None:
    append(record, drafts)
    rows = compared(record, other)
    summary = summed(rows)
    assert sum(group.decisions for group in summary.groups.values()) == len(drafts)
    moved = Decimal(0)
    for group in each(summary.groups.values()):
        for money in (group.in_force, group.if_confirmed):
            assert sum(money.parts.values()) + money.unattributed == money.change
            moved += abs(money.change)
    assert moved > 0
    whole = sum((group.in_force.change for group in summary.groups.values()), Decimal(0))
    assert whole == sum(
        Decimal(repr(one.states[-1].new_limit)) - Decimal(repr(one.states[0].new_limit))
        for one in rows
        if one.states[0] is not None and one.states[-1] is not None
    )


def test_what_is_left_out_is_counted_and_named(
    record: AuditLog, golden: Bundle, other: Bundle, drafts: list[NewEntry]
) -> None:
    body = json.loads(drafts[1].request_body or b"")
    body["statements"][0]["income"] = -1.0
    broken = dataclasses.replace(drafts[1], request_body=json.dumps(body).encode())
    append(record, [drafts[0], broken, drafts[2]])
    erase_account(record.database, record.secrets, "lender", str(drafts[2].account), ORDER)
    summary = summed(compared(record, other))
    assert summary.counts == Counter(attributed=1, refused=1, erased=1)
    text = summary_text(summary)
    assert f"left out      {broken.entry_id}: ValidationError" in text
    assert f"left out      {drafts[2].entry_id}: erased" in text
    assert not summary.is_whole(allow_erased=True)


def test_without_the_old_bundle_changes_are_not_attributed(
    record: AuditLog, other: Bundle, drafts: list[NewEntry]
) -> None:
    append(record, drafts)
    rows = compared(record, other, no_old=True)
    assert {one.result for one in rows} == {"unattributed"}
    assert all(one.states[1:-1] == (None,) * 4 for one in each(rows))
    summary = summed(rows)
    moved = sum((group.in_force.unattributed for group in summary.groups.values()), Decimal(0))
    assert moved != 0
    assert f"unattributed  {GOLDEN}: bundle {GOLDEN}: not given" in summary_text(summary)
    assert not summary.is_whole(allow_erased=False)
    # The last state is the same with and without the old bundle.
    assert [one.states[-1] for one in rows] == [one.states[-1] for one in compared(record, other)]


def test_accounts_are_chosen(record: AuditLog, other: Bundle, drafts: list[NewEntry]) -> None:
    append(record, drafts)
    chosen = {str(drafts[0].account), "A-5"}
    rows = compared(record, other, accounts=chosen)
    assert [one.decision_id for one in rows] == [drafts[0].entry_id, drafts[-1].entry_id]


def test_decisions_are_not_gathered(other: Bundle, golden: Bundle) -> None:
    """One comparison is made for each that is taken, and none before."""
    taken = 0

    def entries() -> Iterator[Entry]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield stored_entry(decision_entry(example_request(f"A-{number}"), golden))

    backfill = Backfill(other, Bundles({GOLDEN: BUNDLE}), b"k", lambda _: None)
    rows = backfill.compare_all(entries())
    next(rows), next(rows)
    assert taken == 2


def test_a_summary_does_not_grow(record: AuditLog, other: Bundle, drafts: list[NewEntry]) -> None:
    append(record, drafts)
    rows = compared(record, other)
    summary = summed(rows)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(1000):
        for one in rows:
            summary.add(one)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20_000
    assert Money() == Money()


@pytest.fixture
def other_folder(golden: Bundle, tmp_path: Path) -> Path:
    folder = tmp_path / "other"
    write_other_bundle(golden, PARTS, folder)
    return folder


@pytest.mark.usefixtures("bentoml_home")
def test_the_command_writes_the_same_rows_in_both_formats(
    record: AuditLog,
    at_hand: StorageSettings,
    drafts: list[NewEntry],
    other_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append(record, drafts)
    rows_before = list(record.reader.rows())
    given = ["backfill", "--bundle", str(other_folder), "--old", str(BUNDLE)]
    lines, table = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    assert main([*given, "--since", "2025-05-28", "--out", str(lines)]) == 0
    printed = capsys.readouterr().out
    assert main([*given, "--since", "2025-05-28", "--out", str(table)]) == 0
    assert capsys.readouterr().out == printed
    assert f"compared, each change attributed: {len(drafts)}\n" in printed
    written = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    assert pl.read_parquet(table).to_dicts() == written
    assert all(list(one["new_limit"]) == list(STEPS) for one in each(written))
    assert lines.stat().st_mode & 0o777 == table.stat().st_mode & 0o777 == 0o600
    # It reads only, and leaves no other file.
    assert list(record.reader.rows()) == rows_before
    assert not list(tmp_path.glob(".out*"))
    assert main([*given, "--since", "2030-01-01", "--out", str(table)]) != 0
    assert pl.read_parquet(table).height == len(drafts)


@pytest.mark.usefixtures("bentoml_home")
def test_the_command_ends_with_1_if_anything_is_left_out(
    record: AuditLog,
    at_hand: StorageSettings,
    drafts: list[NewEntry],
    other_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append(record, drafts)
    given = ["backfill", "--bundle", str(other_folder), "--old", str(BUNDLE)]
    assert main(given) == 0  # the control
    capsys.readouterr()
    assert main([*given, "--account", "nobody"]) == 1
    none = "the audit log has no such decision, so nothing was compared\n"
    unknown = "expected a decision on each --account, found none on nobody\n"
    assert capsys.readouterr().err == none + unknown
    assert main([*given, "--account", "A-5", "--account", "nobody"]) == 1
    assert capsys.readouterr().err == unknown
    assert main([*given, "--tenant", "lendr"]) == 2
    message = "expected a tenant of the audit log, one of ['lender'], got 'lendr'\n"
    assert capsys.readouterr().err == message
    assert main([*given, "--out", str(tmp_path / "out.txt")]) == 1
    assert "expected a name that ends with .jsonl or .parquet" in capsys.readouterr().err
    erase_account(record.database, record.secrets, "lender", "A-5", ORDER)
    assert main(given) == 1
    assert main([*given, "--allow-erased"]) == 0
    assert "left out, because they were erased: 1\n" in capsys.readouterr().out
