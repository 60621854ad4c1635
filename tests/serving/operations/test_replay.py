"""Decided again, a decision has the same bytes; where it has not, the replay says which."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.__main__ import main
from serving.audit_log.entry import NewEntry
from serving.audit_log.erasure import Order, erase_account
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.operations.replay import MOST_NAMED, Bundles, replay, replay_text
from serving.storage.settings import StorageSettings
from tests.golden.remake import BUNDLE
from tests.serving.conftest import Server
from tests.support.entries import asked, kept_as
from tests.support.records import NOW, environment_of, keep, settings_in


@pytest.fixture
def bundles(golden: Bundle) -> Bundles:
    return Bundles({golden.digest: BUNDLE})


def drafts_of_every_door(golden: Bundle) -> list[NewEntry]:
    return [
        kept_as(asked("A-1"), golden),
        kept_as(asked("A-2", days_past_due=0, balance=10.0), golden, with_advice=True),
        kept_as(asked("A-3"), golden, door="batch"),
        kept_as(asked("A-4"), golden, door="batch", with_advice=True),
        kept_as(
            asked("A-5", door="advice"),
            golden,
            door="advice",
            at=NOW + datetime.timedelta(microseconds=1),
        ),
    ]


def test_every_door_decides_the_same_again(
    record: AuditLog, golden: Bundle, bundles: Bundles
) -> None:
    keep(record, drafts_of_every_door(golden))
    assert replay(record.reader.of_kind(("decision", "review")), bundles).counts == Counter(same=5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("answered", b"{}"),
        ("asked", None),
        ("facts", {"decided_at": "2026-11-25T08:00:00.000001Z"}),
        ("facts", {"advice": True}),
    ],
)
def test_what_comes_out_otherwise_is_named(
    record: AuditLog, golden: Bundle, bundles: Bundles, name: str, value: Any
) -> None:
    drafts = drafts_of_every_door(golden)
    changed = drafts[0].metadata | value if name == "facts" else value
    keep(record, [dataclasses.replace(drafts[0], **{name: changed}), *drafts[1:]])
    done = replay(record.reader.of_kind(("decision",)), bundles)
    assert done.counts == Counter(same=4, different=1)
    assert done.different == [drafts[0].entry_id]
    assert f"differs    {drafts[0].entry_id}" in replay_text(done)


def test_a_request_that_is_refused_today_differs(
    record: AuditLog, golden: Bundle, bundles: Bundles
) -> None:
    draft = kept_as(asked("A-1"), golden)
    body = json.loads(draft.request_body or b"")
    body["statements"][0]["income"] = -1.0
    keep(record, [dataclasses.replace(draft, request_body=json.dumps(body).encode())])
    assert replay(record.reader.of_kind(("decision",)), bundles).counts == Counter(different=1)


def test_only_the_first_that_differ_are_named(
    record: AuditLog, golden: Bundle, bundles: Bundles
) -> None:
    made = [kept_as(asked(f"A-{number}"), golden) for number in range(MOST_NAMED + 3)]
    keep(record, [dataclasses.replace(draft, response_body=b"{}") for draft in made])
    done = replay(record.reader.of_kind(("decision",)), bundles)
    assert (len(done.different), done.counts["different"]) == (MOST_NAMED, MOST_NAMED + 3)
    assert "and 3 more" in replay_text(done)


def test_who_was_erased_is_not_decided_again(
    record: AuditLog, golden: Bundle, bundles: Bundles
) -> None:
    keep(record, drafts_of_every_door(golden))
    erase_account(
        record.database, record.secrets, "lender", "A-3", Order("Li Na", "asked for", NOW)
    )
    assert replay(record.reader.of_kind(("decision", "erasure")), bundles).counts == Counter(
        same=4, erased=1
    )


def test_a_bundle_that_is_not_there_is_named(record: AuditLog, golden: Bundle) -> None:
    keep(record, drafts_of_every_door(golden))
    done = replay(record.reader.of_kind(("decision",)), Bundles({}))
    assert done.counts == Counter(no_bundle=5)
    assert f"no bundle  {golden.digest}: not given and not stored" in replay_text(done)


def test_a_bundle_that_is_damaged_decides_nothing(
    record: AuditLog, golden: Bundle, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in BUNDLE.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    (damaged / "policy.toml").write_text("")
    keep(record, drafts_of_every_door(golden))
    done = replay(record.reader.of_kind(("decision",)), Bundles({golden.digest: damaged}))
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
        kept_as(
            asked(f"A-{month}"),
            golden,
            at=datetime.datetime(2026, 12, month, 23, 59, tzinfo=datetime.UTC),
        )
        for month in (1, 2, 3)
    ]
    keep(record, [*made[:2], dataclasses.replace(made[2], response_body=b"{}")])
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


def test_what_the_service_answered_is_replayed_from_the_store(
    server: Server,
    requests: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.post("/v1/decisions?advice=true", json=requests[0]).status_code == 200
        assert (
            client.post("/v1/decisions/batch", json={"accounts": requests[:20]}).status_code == 200
        )
        assert client.post("/v1/advice", json=requests[1]).status_code == 200
    for name, value in environment_of(settings_in(server.log.parent)).items():
        monkeypatch.setenv(name, value)
    assert main(["replay"]) == 0
    said = capsys.readouterr().out
    assert int(said.split()[1]) >= 22
    assert said.split()[1] == said.split()[-1]  # all of them came out the same
    assert main(["verify"]) == 0
