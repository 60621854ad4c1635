"""Replay: the same bytes, or the decisions that differ are named."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.__main__ import main
from serving.api.answers import Basis, answer_requests
from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.decision.bundle import Bundle
from serving.operations.decide_again.replay import MAX_NAMED, Bundles, period, replay, replay_text
from serving.schemas.decision import Request
from serving.schemas.statement import AS_STORED
from serving.storage.settings import StorageSettings
from tests.golden.remake import BUNDLE
from tests.support.entries import decision_entry, example_request
from tests.support.records import NOW, append, environment_of, settings_in
from tests.support.served import Server

ORDER = ErasureOrder("Li Na", "asked for", NOW, hold_over="the decisions are of a test")


@pytest.fixture
def bundles(golden: Bundle) -> Bundles:
    return Bundles({golden.digest: BUNDLE})


def entries_of_every_endpoint(golden: Bundle) -> list[NewEntry]:
    return [
        decision_entry(example_request("A-1"), golden),
        decision_entry(
            example_request("A-2", days_past_due=0, balance=10.0), golden, with_advice=True
        ),
        decision_entry(example_request("A-3"), golden, endpoint="batch"),
        decision_entry(example_request("A-4"), golden, endpoint="batch", with_advice=True),
        decision_entry(
            example_request("A-5", endpoint="advice"),
            golden,
            endpoint="advice",
            at=NOW + datetime.timedelta(microseconds=1),
        ),
    ]


def test_every_endpoint_replays_the_same(
    record: AuditLog,
    golden: Bundle,
    bundles: Bundles,
) -> None:
    append(record, entries_of_every_endpoint(golden))
    entries = record.reader.of_kind(("decision", "review"))
    assert replay(entries, bundles, record.secrets.id_key).counts == Counter(same=5)


def test_a_keyed_id_replays_with_its_key_only(
    record: AuditLog,
    golden: Bundle,
    bundles: Bundles,
) -> None:
    request = example_request("A-1")
    draft = decision_entry(request, golden)
    id_key = record.secrets.id_key
    [answered] = answer_requests("decisions", [request], False, Basis(golden, draft.at, id_key))
    keyed_id = answered.decision.decision_id
    assert keyed_id != draft.entry_id
    keyed = dataclasses.replace(draft, entry_id=keyed_id, subject=keyed_id)
    append(record, [draft, dataclasses.replace(keyed, response_body=answered.content)])
    decisions = list(record.reader.of_kind(("decision",)))
    assert replay(decisions, bundles, id_key).counts == Counter(same=2)
    other = replay(decisions, bundles, b"another key")
    assert other.counts == Counter(same=1, different=1)
    assert other.different == [keyed_id]


def test_amounts_of_an_earlier_version_are_replayed_as_they_decided(
    record: AuditLog,
    golden: Bundle,
    bundles: Bundles,
) -> None:
    """Earlier versions did not round to whole fen; today's would give the decision another id."""
    body = example_request("A-1").model_dump()
    amounts = {"balance": 18600.123456, "payment": 0.1 + 0.2}
    body["statements"][-1] |= amounts
    stored = Request.model_validate(body, context=AS_STORED)
    assert stored.model_dump()["statements"][-1]["balance"] == amounts["balance"]
    append(record, [decision_entry(stored, golden)])
    entries = record.reader.of_kind(("decision",))
    assert replay(entries, bundles, record.secrets.id_key).counts == Counter(same=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_body", b"{}"),
        ("request_body", None),
        ("metadata", {"decided_at": "2026-11-25T08:00:00.000001Z"}),
        ("metadata", {"advice": True}),
    ],
)
def test_a_decision_that_differs_is_named(
    record: AuditLog,
    golden: Bundle,
    bundles: Bundles,
    name: str,
    value: Any,
) -> None:
    drafts = entries_of_every_endpoint(golden)
    changed = drafts[0].metadata | value if name == "metadata" else value
    append(record, [dataclasses.replace(drafts[0], **{name: changed}), *drafts[1:]])
    done = replay(record.reader.of_kind(("decision",)), bundles, record.secrets.id_key)
    assert done.counts == Counter(same=4, different=1)
    assert done.different == [drafts[0].entry_id]
    assert f"differs    {drafts[0].entry_id}" in replay_text(done)


def test_a_request_that_is_refused_today_differs(
    record: AuditLog,
    golden: Bundle,
    bundles: Bundles,
) -> None:
    draft = decision_entry(example_request("A-1"), golden)
    body = json.loads(draft.request_body or b"")
    body["statements"][0]["income"] = -1.0
    append(record, [dataclasses.replace(draft, request_body=json.dumps(body).encode())])
    entries = record.reader.of_kind(("decision",))
    assert replay(entries, bundles, record.secrets.id_key).counts == Counter(different=1)


def test_only_the_first_that_differ_are_named(
    record: AuditLog,
    golden: Bundle,
    bundles: Bundles,
) -> None:
    made = [
        decision_entry(example_request(f"A-{number}"), golden) for number in range(MAX_NAMED + 3)
    ]
    append(record, [dataclasses.replace(draft, response_body=b"{}") for draft in made])
    done = replay(record.reader.of_kind(("decision",)), bundles, record.secrets.id_key)
    assert (len(done.different), done.counts["different"]) == (MAX_NAMED, MAX_NAMED + 3)
    assert "and 3 more" in replay_text(done)


def test_an_erased_decision_is_not_replayed(
    record: AuditLog,
    golden: Bundle,
    bundles: Bundles,
) -> None:
    append(record, entries_of_every_endpoint(golden))
    erase_account(record.database, record.secrets, "lender", "A-3", ORDER)
    entries = record.reader.of_kind(("decision", "erasure"))
    done = replay(entries, bundles, record.secrets.id_key)
    assert done.counts == Counter(same=4, erased=1)


def test_a_missing_bundle_is_named(record: AuditLog, golden: Bundle) -> None:
    append(record, entries_of_every_endpoint(golden))
    entries = record.reader.of_kind(("decision",))
    done = replay(entries, Bundles({}), record.secrets.id_key)
    assert done.counts == Counter(no_bundle=5)
    assert f"no bundle  {golden.digest}: not given and not stored" in replay_text(done)


def test_a_damaged_bundle_replays_nothing(
    record: AuditLog,
    golden: Bundle,
    tmp_path: Path,
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in BUNDLE.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (damaged / "policy.toml").write_text("", encoding="utf-8")
    append(record, entries_of_every_endpoint(golden))
    done = replay(
        record.reader.of_kind(("decision",)),
        Bundles({golden.digest: damaged}),
        record.secrets.id_key,
    )
    assert done.counts == Counter(no_bundle=5)
    assert "policy.toml" in done.bundles[golden.digest]


def test_the_command_replays_a_period_or_a_decision(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    bentoml_home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = [
        decision_entry(
            example_request(f"A-{month}"),
            golden,
            at=datetime.datetime(2026, 12, month, 23, 59, tzinfo=datetime.UTC),
        )
        for month in (1, 2, 3)
    ]
    append(record, [*made[:2], dataclasses.replace(made[2], response_body=b"{}")])
    given = ["--bundle", str(BUNDLE)]
    assert main(["replay", "--since", "2026-12-02", "--until", "2026-12-02", *given]) == 0
    assert "decisions  1\n  the same bytes: 1\n" in capsys.readouterr().out
    assert main(["replay", *given]) == 1
    assert (
        f"the same bytes: 2\n  other bytes: 1\ndiffers    {made[2].entry_id}"
        in capsys.readouterr().out
    )
    assert main(["replay", "--decision", made[0].entry_id, *given]) == 0
    assert "the same bytes: 1\n" in capsys.readouterr().out
    assert main(["replay", "--decision", "none", *given]) == 2
    assert "expected the id of a decision" in capsys.readouterr().err
    assert main(["replay", "--decision", "none", "--since", "2026-12-02", *given]) == 2
    assert "expected --decision, or --since and --until, got both" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("bentoml_home")
def test_a_decision_that_is_left_out_ends_the_command_with_1(
    record: AuditLog,
    golden: Bundle,
    at_hand: StorageSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The store of the session may have the bundle, from another test.
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "empty"))
    append(record, entries_of_every_endpoint(golden))
    given = ["replay", "--bundle", str(BUNDLE)]
    assert main(given) == 0  # the control
    assert main(["replay"]) == 1
    assert "not replayed, because the bundle is missing: 5" in capsys.readouterr().out
    erase_account(record.database, record.secrets, "lender", "A-3", ORDER)
    assert main(given) == 1
    assert f"{ERASED}: 1" in capsys.readouterr().out
    assert main([*given, "--allow-erased"]) == 0
    assert main(["replay", "--allow-erased"]) == 1
    capsys.readouterr()
    assert main([*given, "--since", "2030-01-01"]) == 1, "nothing was replayed"
    assert capsys.readouterr().out == "decisions  0\n"


def test_a_period_ends_after_it_begins(
    at_hand: StorageSettings, bentoml_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("replay", "export"):
        assert main([command, "--since", "2026-12-02", "--until", "2026-12-01"]) == 1
        assert capsys.readouterr().err == (
            "expected --since on or before --until, got 2026-12-02 and 2026-12-01: no day lies "
            "between them\n"
        )
    assert period(datetime.date(2026, 12, 2), datetime.date(2026, 12, 2)) == (
        "2026-12-02",
        "2026-12-03",
    )
    assert period(None, datetime.date.max) == (None, None)


@pytest.mark.slow
def test_answers_of_the_service_are_replayed_from_the_stored_bundle(
    server: Server,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ids = []
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=30) as client:
        for path, body in (
            ("/v1/decisions?advice=true", requests[0]),
            ("/v1/decisions/batch", {"accounts": requests[:20]}),
            ("/v1/advice", requests[1]),
        ):
            answer = client.post(path, json=body).raise_for_status().json()
            decisions = answer.get("decisions", [answer.get("decision", answer)])
            ids += [decision["decision_id"] for decision in decisions]
    for name, value in environment_of(settings_in(server.log.parent)).items():
        monkeypatch.setenv(name, value)
    assert len(ids) == 22
    for decision_id in (ids[0], ids[1], ids[-1]):  # one of each endpoint
        assert main(["replay", "--decision", decision_id]) == 0
        assert "the same bytes: 1\n" in capsys.readouterr().out
    # Other tests share this service: some of its decisions may have been erased, none may differ.
    assert main(["replay", "--allow-erased"]) == 0
    counts = replay_counts(capsys.readouterr().out)
    assert counts["decisions"] >= 22
    assert counts["decisions"] == counts["the same bytes"] + counts.get(ERASED, 0)
    assert main(["verify"]) == 0


ERASED = "not replayed, because they were erased"


def replay_counts(text: str) -> dict[str, int]:
    """The counts that `replay` prints, by their labels."""
    counts = re.findall(r"^ *(\D+?):? +(\d+)$", text, re.MULTILINE)
    return {label: int(count) for label, count in counts}
