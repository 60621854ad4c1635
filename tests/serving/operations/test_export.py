"""The export of the decisions of a period."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.build import build
from features.schema import check
from serving.__main__ import main
from serving.audit_log.entry import Kind, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.decision.bundle import Bundle
from serving.operations import export as module
from serving.operations.export import (
    ExportedDecision,
    ExportedReason,
    ExportedRequest,
    ExportedReview,
    export,
    line,
)
from serving.schemas.decision import statements_table
from serving.storage.settings import StorageSettings
from tests.support.entries import decision_entry, example_request
from tests.support.every_route import EveryRoute
from tests.support.paths import ROOT
from tests.support.records import NOW, append
from training.release.monitor.records import read_records

PAGE = ROOT / "docs" / "service" / "audit_log.md"
ORDER = ErasureOrder("Li Na", "asked for", NOW, hold_over="the decisions are of a test")
LATER = NOW + datetime.timedelta(days=3)


def about(
    decision: NewEntry,
    kind: Kind,
    name: str,
    facts: dict[str, Any],
    said: dict[str, Any] | None = None,
) -> NewEntry:
    """An entry about a decision, as the service appends it."""
    content = None if said is None else json.dumps(said).encode()
    return NewEntry(
        name,
        kind,
        decision.entry_id,
        decision.tenant,
        "key-1",
        LATER,
        decision.account,
        facts,
        content,
    )


def notification(
    decision: NewEntry,
    name: str,
    sent_at: str,
    channel: str = "app",
) -> NewEntry:
    return about(
        decision, "notification", name, {"sent_at": sent_at, "channel": channel, "language": "zh"}
    )


def exported(record: AuditLog, **chosen: str) -> list[dict[str, Any]]:
    period = chosen.get("since"), chosen.get("until")
    decisions = export(record.reader, *period, chosen.get("tenant"))
    return [json.loads(line(one)) for one in decisions]


@pytest.mark.parametrize("endpoint", ["decisions", "advice"])
def test_a_decision_is_exported_as_it_was_answered(
    record: AuditLog,
    golden: Bundle,
    endpoint: Any,
) -> None:
    draft = decision_entry(example_request("A-1", endpoint=endpoint), golden, endpoint=endpoint)
    [row] = append(record, [draft])
    answer = json.loads(draft.response_body or b"")
    answer = answer["decision"] if endpoint == "advice" else answer
    [one] = exported(record)
    for name in (
        "decision_id",
        "decided_at",
        "as_of",
        "action",
        "credit_limit",
        "new_limit",
        "probability",
    ):
        assert one[name] == answer[name]
    assert (one["tenant"], one["product"], one["person"], one["erased"]) == (
        "lender",
        "pay_later",
        row.data_subject,
        False,
    )
    assert one["reasons"] == [
        {
            "rank": r["rank"],
            "code": r["code"],
            "cause": r["cause"],
            "en": r["text"]["en"],
            "zh": r["text"]["zh"],
        }
        for r in answer["reasons"]
    ]
    assert one["reasons"]
    model = answer["model"]
    assert [one[name] for name in ("model", "version", "bundle", "reference", "policy")] == list(
        model.values()
    )
    assert (one["send_by"], one["notified_at"], one["notice_days"], one["reviews"]) == (
        answer["notice"]["send_by"],
        None,
        None,
        [],
    )


def test_the_first_notification_counts(record: AuditLog, golden: Bundle) -> None:
    draft = decision_entry(example_request("A-1"), golden)
    append(
        record,
        [
            draft,
            notification(draft, "n-1", "2026-11-27T20:00:00Z", "letter"),
            notification(draft, "n-2", "2026-11-27T11:00:00Z"),
        ],
    )
    [one] = exported(record)
    # Decided on the 25th at 8:00: two days and three hours.
    assert (one["notified_at"], one["channel"], one["language"], one["notice_days"]) == (
        "2026-11-27T11:00:00Z",
        "app",
        "zh",
        2.12,
    )


def test_reviews_are_exported_with_their_outcomes(record: AuditLog, golden: Bundle) -> None:
    draft = decision_entry(example_request("A-1"), golden)
    rows = [
        about(draft, "review", "r-1", {"decide_by": "2026-12-25"}, {"reason": "wrong"}),
        about(draft, "started", "s-1", {"review": "r-1"}, {"reviewer": "Li Na"}),
        about(
            draft,
            "resolution",
            "x-1",
            {"review": "r-1", "outcome": "amend"},
            {"reviewer": "Li Na", "new_limit": 20000.0},
        ),
        about(draft, "review", "r-2", {"decide_by": "2026-12-26"}, {"reason": "wrong"}),
        about(draft, "withdrawal", "w-2", {"review": "r-2"}, {}),
    ]
    append(record, [draft, *rows])
    [one] = exported(record)
    at = "2026-11-28T08:00:00.000000Z"
    assert [tuple(review.values()) for review in one["reviews"]] == [
        ("r-1", "resolved", at, "2026-12-25", at, "amend", 20000.0),
        ("r-2", "withdrawn", at, "2026-12-26", None, None, None),
    ]


def test_an_erased_decision_is_exported_without_personal_data(
    record: AuditLog, golden: Bundle
) -> None:
    draft = decision_entry(example_request("A-1"), golden)
    append(
        record,
        [
            draft,
            notification(draft, "n-1", "2026-11-27T11:00:00Z"),
            about(draft, "review", "r-1", {"decide_by": "2026-12-25"}, {}),
            about(
                draft,
                "resolution",
                "x-1",
                {"review": "r-1", "outcome": "amend"},
                {"reviewer": "Li Na", "new_limit": 20000.0},
            ),
        ],
    )
    [before] = exported(record)
    erase_account(record.database, record.secrets, "lender", "A-1", ORDER)
    [after] = exported(record)
    assert after == before | {
        "erased": True,
        "credit_limit": None,
        "new_limit": None,
        "suspended": None,
        "limit_before_cut": None,
        "review_on": None,
        "probability": None,
        "reasons": None,
        "reviews": [before["reviews"][0] | {"limit": None}],
    }
    assert before["reviews"][0]["limit"] == 20000.0
    [asked_for] = export(record.reader, None, None, with_request=True)
    assert asked_for.asked is None


def test_an_export_can_be_limited_to_a_period_and_a_tenant(
    record: AuditLog,
    golden: Bundle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DECISIONS_PER_QUERY", 2)
    days = [NOW + datetime.timedelta(days=day) for day in range(5)]
    made = [
        decision_entry(
            example_request(f"A-{day}"),
            golden,
            at=at,
            tenant=("a", "b")[day % 2],
        )
        for day, at in enumerate(days)
    ]
    append(record, [*made, notification(made[3], "n-3", "2026-11-29T11:00:00Z")])
    ids = [draft.entry_id for draft in made]
    assert [one["decision_id"] for one in exported(record)] == ids
    assert [
        one["decision_id"] for one in exported(record, since="2026-11-26", until="2026-11-29")
    ] == ids[1:4]
    assert [one["decision_id"] for one in exported(record, tenant="b")] == [ids[1], ids[3]]
    assert [one["notified_at"] for one in exported(record)] == [
        None,
        None,
        None,
        "2026-11-29T11:00:00Z",
        None,
    ]


def test_no_account_and_no_statement_is_exported(record: AuditLog, golden: Bundle) -> None:
    append(record, [decision_entry(example_request("A-7319", income=73190.0), golden)])
    [one] = export(record.reader, None, None)
    assert "7319" not in line(one).replace(one.decision_id, "").replace(str(one.person), "")


@pytest.mark.parametrize("endpoint", ["decisions", "advice"])
def test_the_request_is_exported_on_demand(
    record: AuditLog,
    golden: Bundle,
    endpoint: Any,
) -> None:
    request = example_request("A-7319", endpoint=endpoint, income=73190.0)
    append(record, [decision_entry(request, golden, endpoint=endpoint)])
    [one] = export(record.reader, None, None, with_request=True)
    requested = json.loads(line(one))["asked"]
    body = json.loads(request.model_dump_json())
    assert requested == {"account_id": "A-7319", "statements": body["statements"]}
    assert requested["statements"][-1]["income"] == 73190.0
    [without] = export(record.reader, None, None)
    assert without.asked is None


def test_what_was_in_force_is_exported(record: AuditLog, golden: Bundle) -> None:
    """Before and after each decision, from which limit, and where that was known from."""
    routes = EveryRoute(record, golden)
    first, second = routes.decide("A-1"), routes.decide("A-1")
    lines = exported(record)
    assert [one["credit_limit"] for one in lines] == [first["credit_limit"], first["new_limit"]]
    assert [one["new_limit"] for one in lines] == [first["new_limit"], second["new_limit"]]
    assert [one["suspended"] for one in lines] == [first["suspended"], second["suspended"]]
    assert [one["limit_before_cut"] for one in lines] == [None, first["credit_limit"]]
    assert [one["review_on"] for one in lines] == [first["review_on"], second["review_on"]]
    assert [one["prior"] for one in lines] == ["record", "record"]
    assert first["review_on"] is not None


def test_every_field_is_documented() -> None:
    described = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    kinds = (ExportedDecision, ExportedRequest, ExportedReason, ExportedReview)
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert fields <= described


def test_the_command_writes_a_line_a_decision(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append(record, [decision_entry(example_request(f"A-{number}"), golden) for number in range(3)])
    period = ["--since", "2026-01-01", "--until", "2026-12-31"]
    assert main(["export", *period, "--tenant", "lender"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(one) for one in lines] == exported(record)
    assert main(["export", *period, "--out", str(tmp_path / "out.jsonl")]) == 0
    assert (tmp_path / "out.jsonl").read_text("utf-8").splitlines() == lines
    assert "decisions 3" in capsys.readouterr().out
    assert main(["export", *period, "--asked"]) == 0
    named = [json.loads(one)["asked"]["account_id"] for one in capsys.readouterr().out.splitlines()]
    assert named == ["A-0", "A-1", "A-2"]
    # The monitor reads the decisions and computes the features they were made from.
    assert main(["export", *period, "--asked", "--out", str(tmp_path / "asked.jsonl")]) == 0
    capsys.readouterr()
    records = read_records(tmp_path / "asked.jsonl", golden.digest)
    assert records.rows["account_id"].sort().to_list() == named
    [month] = records.months
    there = build(check(statements_table([example_request(name) for name in named])))
    assert np.array_equal(records.build_features(month).values, there.values, equal_nan=True)
    assert (tmp_path / "asked.jsonl").stat().st_mode & 0o777 == 0o600
    assert main(["export", *period, "--tenant", "nobody"]) == 2
    assert "one of ['lender'], got 'nobody'" in capsys.readouterr().err


def test_an_export_that_leaves_something_out_ends_with_1(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append(record, [decision_entry(example_request(f"A-{number}"), golden) for number in range(3)])
    out = tmp_path / "out.jsonl"
    assert main(["export", "--out", str(out)]) == 0
    whole = out.read_text("utf-8")
    again = ["export", "--out", str(out), "--overwrite"]
    assert main([*again, "--since", "2030-01-01"]) == 1
    assert "no decision was exported" in capsys.readouterr().err
    assert out.read_text("utf-8") == whole, "an export of nothing replaces no file"
    erase_account(record.database, record.secrets, "lender", "A-1", ORDER)
    said = "left out: the content of 1 of 3 decisions, because their customers were erased\n"
    assert main(again) == 1
    assert capsys.readouterr().err == said
    assert main([*again, "--allow-erased"]) == 0
    assert capsys.readouterr().err == said
    assert len(out.read_text("utf-8").splitlines()) == 3


def test_an_export_replaces_no_file_unless_told_to(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append(record, [decision_entry(example_request("A-1"), golden)])
    out = tmp_path / "last-month.jsonl"
    out.write_text("the only copy of last month\n", "utf-8")
    assert main(["export", "--out", str(out)]) == 2
    assert f"{out} exists already: expected a new file" in capsys.readouterr().err
    assert out.read_text("utf-8") == "the only copy of last month\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".last")] == []
    assert main(["export", "--out", str(out), "--overwrite"]) == 0
    assert len(out.read_text("utf-8").splitlines()) == 1


@pytest.mark.parametrize("spelt", ["{}", "./x/../{}", "link-to-{}"])
def test_an_export_never_replaces_a_file_of_the_record(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    tmp_path: Path,
    spelt: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    append(record, [decision_entry(example_request("A-1"), golden)])
    record.writer.committer.sign()
    (tmp_path / "x").mkdir()
    for name in (
        "record.db",
        "record.db-wal",
        "record.db.lock",
        "secrets.json",
        "checkpoints.jsonl",
    ):
        assert (tmp_path / name).exists()
        (tmp_path / f"link-to-{name}").symlink_to(tmp_path / name)
        assert main(["export", "--out", f"{tmp_path}/{spelt.format(name)}"]) == 2, name
        assert "of the record" in capsys.readouterr().err
        assert (tmp_path / f"link-to-{name}").is_symlink()
    assert main(["verify"]) == 0
    assert "rows         1\n" in capsys.readouterr().out


def test_an_export_that_breaks_off_leaves_the_former_file(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second decision has other bytes than were encrypted."""
    made = [decision_entry(example_request(f"A-{number}"), golden) for number in range(300)]
    append(record, made)
    with record.database.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER entries_no_update")
        changed = "UPDATE entries SET answered = zeroblob(length(answered)) WHERE seq = 300"
        connection.exec_driver_sql(changed)
    out = tmp_path / "out.jsonl"
    out.write_text("the former file", encoding="utf-8")
    assert main(["export", "--out", str(out), "--overwrite"]) == 2
    assert "a row could not be decrypted" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "the former file"
    assert not list(tmp_path.glob(".out.jsonl*"))
