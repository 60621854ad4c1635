"""An audit log that an earlier version wrote is read, verified, replayed and continued.

`tests/golden/record_f825547` was written by the code of commit f825547 with the golden bundle:
decisions of every endpoint, reviews in every state, notifications, an erased person, API keys and
checkpoints. `expected.json` holds the requests that were sent and what that code answered and read:
answers as zlib in base64, stored bodies as SHA-256. The record's format may not change, so these
files are never made again. `bundle` is the one that decided, of an earlier format: this version
reads the answers, and only the version that wrote them can decide again.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from pysqlite3 import dbapi2 as sqlite

from serving.api.decisions import Decisions
from serving.api.review_answers import decision_answer
from serving.audit_log.entry import Entry, Kind
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.api_key_macs import NOT_ADOPTED
from serving.audit_log.verify import VerificationReport, verify
from serving.auth.keys import adopt, find_key, list_keys
from serving.decision.bundle import Bundle
from serving.operations.decide_again.replay import Bundles, replay
from serving.operations.export import export, line
from serving.reviews.due import all_due
from serving.reviews.workflow import decision_in, limit_of, reviews_of
from serving.schemas.base import encode
from serving.storage.settings import StorageSettings
from serving.storage.tables import MIGRATIONS
from serving.web.errors import ApiError
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.entries import decision_entry, example_request
from tests.support.old_record import ERASED_ACCOUNT, OLD, copy_old_record, read_expected, send
from tests.support.records import append

OLD_BUNDLE = OLD / "bundle"
# Of later versions.
NEW_KINDS = {"key_created", "key_adopted", "key_revoked", "shadow", "activation", "portfolio"}
ALL_KINDS = [kind for kind in get_args(Kind) if kind not in NEW_KINDS]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return read_expected()


@pytest.fixture
def old_settings(tmp_path: Path) -> StorageSettings:
    """A copy of the old files."""
    return copy_old_record(tmp_path)


@pytest.fixture
def old(old_settings: StorageSettings) -> Iterator[AuditLog]:
    with contextlib.closing(AuditLog(old_settings)) as opened:
        yield opened


def decisions_of(audit_log: AuditLog) -> list[Entry]:
    return list(audit_log.reader.of_kind(("decision",)))


def verify_old(audit_log: AuditLog, settings: StorageSettings) -> VerificationReport:
    return verify(audit_log.database.reading, audit_log.secrets, settings.checkpoints)


def plain(value: Any) -> Any:
    """As JSON has it: times as text, bodies as their SHA-256."""
    if isinstance(value, bytes):
        return f"sha256:{hashlib.sha256(value).hexdigest()}"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value


def test_the_bundle_that_decided_is_kept(expected: dict[str, Any]) -> None:
    seal = (OLD_BUNDLE / "bundle.sha256").read_text("utf-8")
    assert seal.strip() == expected["bundle"]


def test_it_verifies(old: AuditLog, old_settings: StorageSettings) -> None:
    report = verify_old(old, old_settings)
    assert (report.rows, report.checkpoints, report.newest) == (28, 2, 28)
    assert report.findings == ()


@pytest.mark.parametrize("column", ["answered", "asked", "facts", "at"])
def test_one_flipped_bit_is_found(old_settings: StorageSettings, column: str) -> None:
    """The control."""
    with contextlib.closing(sqlite.connect(old_settings.file)) as raw:
        raw.execute("DROP TRIGGER entries_no_update")
        [value] = raw.execute(f"SELECT {column} FROM entries WHERE seq = 1").fetchone()
        content = bytearray(value.encode() if isinstance(value, str) else value)
        content[len(content) // 2] ^= 1
        changed = content.decode() if isinstance(value, str) else bytes(content)
        raw.execute(f"UPDATE entries SET {column} = ? WHERE seq = 1", (changed,))
        raw.commit()
    with contextlib.closing(AuditLog(old_settings)) as audit_log:
        report = verify_old(audit_log, old_settings)
    assert {finding.row for finding in report.findings} == {1}


def test_every_entry_is_read_as_it_was(old: AuditLog, expected: dict[str, Any]) -> None:
    entries = list(old.reader.of_kind(ALL_KINDS))
    assert [plain(dataclasses.asdict(entry)) for entry in entries] == expected["entries"]
    assert {entry.kind for entry in entries} == set(ALL_KINDS)


def test_a_replay_says_which_format_its_bundle_has(old: AuditLog, expected: dict[str, Any]) -> None:
    bundles = Bundles({expected["bundle"]: OLD_BUNDLE})
    done = replay(decisions_of(old), bundles, old.secrets.id_key)
    assert done.counts == Counter(no_bundle=11, erased=1)
    [why] = done.bundles.values()
    assert "got 6; fit the model again" in why
    assert not done.succeeded(allow_erased=True)
    # It was the same to the byte for the version that wrote it.
    assert Counter(expected["replay"]) == Counter(same=11, erased=1)


def test_an_answer_is_read_as_it_was_given(old: AuditLog) -> None:
    """Its reasons have effects, which later answers do not have."""
    shown = 0
    for entry in each(decisions_of(old)):
        if entry.erased:
            continue
        stored = decision_in(entry)
        answer = decision_answer(old.reader.about(entry.entry_id))
        assert json.loads(encode(answer))["decision"] == stored
        shown += any("effect" in reason for reason in stored["reasons"])
    assert shown > 3


def test_the_erased_person_stays_erased(old: AuditLog, expected: dict[str, Any]) -> None:
    subject = expected["erased"]["data_subject"]
    erased = [entry for entry in old.reader.of_kind(ALL_KINDS) if entry.data_subject == subject]
    assert len(erased) == expected["erased"]["rows"]
    for entry in each(erased):
        assert (entry.erased, entry.request_body, entry.response_body) == (True, None, None)


def test_reviews_have_the_same_states_and_limits(old: AuditLog, expected: dict[str, Any]) -> None:
    reviews, limits = [], {}
    for decision in each(decisions_of(old)):
        about = old.reader.about(decision.entry_id)
        reviews += [plain(dataclasses.asdict(review)) for review in reviews_of(about)]
        if not decision.erased:
            limits[decision.entry_id] = limit_of(about)
    assert reviews == expected["reviews"]
    assert limits == expected["limits"]
    states = {(review["state"], review["asked_by"]) for review in reviews}
    assert {"open", "in_review", "resolved", "withdrawn"} == {state for state, _ in states}
    assert ("withdrawn", "policy") in states  # a customer's review has replaced it


def test_the_same_notices_are_due(old: AuditLog, expected: dict[str, Any]) -> None:
    first, last = datetime.date(1970, 1, 1), datetime.date(9999, 12, 31)
    due = [
        entry.entry_id
        for tenant in old.reader.tenants()
        for entry in old.reader.due_notices(tenant, first, last, 100)
    ]
    # The code that wrote the record listed the erased person's notice too, and left it out later.
    erased = {entry["entry_id"] for entry in expected["entries"] if entry["erased"]}
    assert due == [entry_id for entry_id in expected["untold"] if entry_id not in erased]
    assert len(due) == len(expected["untold"]) - 1


def test_the_api_keys_are_found_once_they_are_adopted(
    old: AuditLog, old_settings: StorageSettings, expected: dict[str, Any]
) -> None:
    written_at = datetime.datetime(2026, 11, 27, 13, tzinfo=datetime.UTC)
    score, audit, revoked = expected["api_keys"]
    stored = {key.key_id: key for key in list_keys(old.database, old.secrets)}
    assert {key.problem for key in each(stored.values())} == {NOT_ADOPTED}
    assert [find_key(one["text"], stored, written_at) for one in (score, audit)] == [None, None]
    assert verify_old(old, old_settings).not_adopted == 3
    adopt(old.database, old.secrets, [one["key_id"] for one in (score, audit, revoked)])
    by_id = {key.key_id: key for key in list_keys(old.database, old.secrets)}
    live = [find_key(one["text"], by_id, written_at) for one in expected["api_keys"]]
    found = [key and [key.key_id, key.tenant, sorted(key.scopes)] for key in live]
    live_keys = [[one["key_id"], one["tenant"], one["scopes"]] for one in (score, audit)]
    assert found == [*live_keys, None]  # the third was revoked
    report = verify_old(old, old_settings)
    assert (report.rows, report.count, report.not_adopted) == (31, 0, 0)


def test_repeated_idempotency_keys_get_the_first_bytes(
    old: AuditLog,
    golden: Bundle,
    expected: dict[str, Any],
) -> None:
    decisions = Decisions(golden, old)
    count = len(decisions_of(old))
    with_key = [one for one in expected["answered"] if one["idempotency_key"]]
    assert {one["endpoint"] for one in with_key} == {"decisions", "batch", "advice"}
    assert {one["advice"] for one in with_key} == {False, True}
    for one in each(with_key):
        if one["body"].get("account_id") == ERASED_ACCOUNT:
            with pytest.raises(ApiError) as refused:
                send(decisions, one)
            assert refused.value.problem.status == HTTPStatus.GONE
            continue
        answer = base64.b64decode(one["response_zlib"])
        assert send(decisions, one) == zlib.decompress(answer)
    assert len(decisions_of(old)) == count


def test_it_can_be_continued(
    old: AuditLog,
    old_settings: StorageSettings,
    golden: Bundle,
    expected: dict[str, Any],
) -> None:
    [stored] = append(old, [decision_entry(example_request("new-1"), golden)])
    assert stored.seq == len(expected["entries"]) + 1
    assert old.reader.by_id(stored.entry_id) == stored
    # An account that the old code knew is still the same data subject.
    account = expected["answered"][0]["body"]["account_id"]
    known = decision_entry(example_request(account), golden, tenant="north")
    [again] = append(old, [known])
    first = old.reader.by_id(expected["entries"][0]["entry_id"])
    assert first is not None
    assert again.data_subject == first.data_subject
    assert verify_old(old, old_settings).findings == ()


def test_an_account_that_the_old_version_cut_has_its_prior(old: AuditLog, golden: Bundle) -> None:
    """From the row of the cut, which has none itself; the next decision goes on from there."""
    cuts: dict[tuple[str, str], Entry] = {}
    for row in each(decisions_of(old)):
        if not row.erased and row.metadata["action"] in ("reduce", "suspend"):
            cuts[row.tenant, decision_in(row)["account_id"]] = row
    found = 0
    for (tenant, account), row in each(cuts.items()):
        memory = old.reader.memories(tenant, [account])[account]
        answer, prior = decision_in(row), memory.prior
        if memory.newest_event != row.seq:
            continue  # another decision came later, or the outcome of a review
        assert prior is not None
        assert prior.limit_before == answer["credit_limit"]
        assert (prior.limit_in_force, prior.log_odds) == (answer["new_limit"], answer["log_odds"])
        assert prior.review_on == datetime.date.fromisoformat(answer["review_on"])
        assert prior.suspended == (answer["action"] == "suspend")
        listed = [one.account_id for one in all_due(old.reader, tenant, prior.review_on)]
        assert account in listed
        found += 1
    assert found >= 2


def test_a_decision_goes_on_from_the_cut_of_the_old_version(old: AuditLog, golden: Bundle) -> None:
    body = json.loads(example_request("A-1027").model_dump_json())
    [known] = old.reader.priors("north", ["A-1027"]).values()
    sent = {"tenant": "north", "endpoint": "decisions", "idempotency_key": None, "advice": False}
    answer = json.loads(send(Decisions(golden, old), sent | {"body": body}))
    assert answer["prior"]["decisions"] == list(known.decisions)
    assert answer["credit_limit"] == known.limit_in_force
    [row] = [row for row in decisions_of(old) if row.entry_id == answer["decision_id"]]
    assert json.loads(row.request_body or b"{}")["prior"] == answer["prior"]
    bundles = Bundles({golden.digest: BUNDLE})
    done = replay([row], bundles, old.secrets.id_key, old.reader.by_id)
    assert done.counts == Counter(same=1)


def test_the_export_names_every_decision(old: AuditLog, expected: dict[str, Any]) -> None:
    lines = [json.loads(line(one)) for one in export(old.reader, None, None, with_request=True)]
    decisions = [entry for entry in expected["entries"] if entry["kind"] == "decision"]
    assert [one["decision_id"] for one in lines] == [entry["entry_id"] for entry in decisions]
    assert [one["person"] for one in lines] == [entry["data_subject"] for entry in decisions]
    assert [one["asked"] is None for one in lines] == [entry["erased"] for entry in decisions]


def test_the_schema_is_brought_up_to_date(old: AuditLog) -> None:
    with old.database.reading() as connection:
        version = connection.scalar(sa.text("SELECT version FROM schema_version"))
    assert version == len(MIGRATIONS) > 1


def test_the_owner_of_an_old_key_is_unknown(old: AuditLog) -> None:
    for key in each(list_keys(old.database, old.secrets)):
        assert key.owner is None
