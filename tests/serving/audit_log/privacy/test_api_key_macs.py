"""Whoever can write the database, without the secrets, cannot make a key that is answered.

`verify` finds what was tried. The control of each attack is the same key before it.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import logging
import secrets
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from serving.__main__ import main
from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.rows import insert_entries
from serving.audit_log.verify import VerificationReport, verify
from serving.auth.key_cache import KeyCache
from serving.auth.keys import KeyRefused, KeyTerms, adopt, create, find_key, list_keys, revoke
from serving.storage.settings import StorageSettings
from serving.storage.tables import api_keys
from tests.support.each import each
from tests.support.old_record import copy_old_record
from tests.support.records import SECRETS, environment_of

Row = dict[str, Any]
NOW = datetime.datetime(2026, 11, 27, 13, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


class Attacked:
    """A record with a live key and a revoked one, and what an attacker does to its database."""

    def __init__(self, audit_log: AuditLog, checkpoints: Path) -> None:
        self.log, self._checkpoints = audit_log, checkpoints
        database, own = audit_log.database, audit_log.secrets
        terms = KeyTerms(owner="Li Na")
        self.live_text, self.live = create(database, own, "lender", ["score"], terms, NOW)
        self.revoked_text, revoked = create(database, own, "lender", ["audit"], now=NOW)
        self.before_revocation = self.row(revoked.key_id)
        self.revoked = revoke(database, own, revoked.key_id, NOW)

    def row(self, key_id: str) -> Row:
        with self.log.database.reading() as connection:
            query = sa.select(api_keys).where(api_keys.c.key_id == key_id)
            return dict(connection.execute(query).mappings().one())

    def write(self, row: Row) -> None:
        """Insert a row, instead of the one with its id."""
        with self.log.database.writing() as connection:
            connection.execute(api_keys.delete().where(api_keys.c.key_id == row["key_id"]))
            connection.execute(api_keys.insert().values(row))

    def delete(self, key_id: str) -> None:
        with self.log.database.writing() as connection:
            connection.execute(api_keys.delete().where(api_keys.c.key_id == key_id))

    def append_entry(self, row: Row) -> None:
        """Append an entry about a key to the chain, which needs no secret."""
        entry = NewEntry(
            entry_id=str(uuid.uuid4()),
            kind="key_created",
            subject=row["key_id"],
            tenant=row["tenant"],
            caller="operator",
            at=NOW,
            account=None,
            metadata={"mac": row["mac"]},
        )
        with self.log.database.writing() as connection:
            insert_entries(connection, [entry], SECRETS)

    def authenticates(self, text: str) -> bool:
        known = {key.key_id: key for key in list_keys(self.log.database, self.log.secrets)}
        return find_key(text, known, NOW) is not None

    def verify(self) -> VerificationReport:
        return verify(self.log.database.reading, self.log.secrets, self._checkpoints)

    def found(self) -> list[str]:
        return [finding.text for finding in self.verify().findings]


@pytest.fixture(params=["record", "postgres"])
def attacked(request: pytest.FixtureRequest, tmp_path: Path) -> Attacked:
    audit_log: AuditLog = request.getfixturevalue(request.param)
    return Attacked(audit_log, tmp_path / "checkpoints.jsonl")


def own_row(attacked: Attacked, mac: str | None) -> tuple[str, Row]:
    """A key whose secret the attacker chose, as a row of the table."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    row = attacked.row(attacked.live.key_id) | {"key_id": key_id, "hash": digest, "mac": mac}
    return f"clk_{key_id}_{secret}", row


def test_a_genuine_log_has_no_findings(attacked: Attacked) -> None:
    assert attacked.authenticates(attacked.live_text)
    assert not attacked.authenticates(attacked.revoked_text)
    report = attacked.verify()
    assert (report.rows, report.count, report.not_adopted) == (3, 0, 0)


@pytest.mark.parametrize("with_entry", [False, True])
@pytest.mark.parametrize("mac", [None, "", "00" * 32])
def test_a_key_that_is_slipped_in_is_refused_and_found(
    attacked: Attacked, mac: str | None, with_entry: bool
) -> None:
    text, row = own_row(attacked, mac)
    attacked.write(row)
    if with_entry:
        attacked.append_entry(row)
    assert not attacked.authenticates(text)
    [finding] = attacked.found()
    assert row["key_id"] in finding
    assert ("was changed" if with_entry else "was slipped in") in finding


def test_a_key_with_the_mac_of_another_is_refused_and_found(attacked: Attacked) -> None:
    text, row = own_row(attacked, attacked.row(attacked.live.key_id)["mac"])
    attacked.write(row)
    attacked.append_entry(row)
    assert not attacked.authenticates(text)
    assert len(attacked.found()) == 1


CHANGES: Row = {
    "tenant": "other",
    "scopes": "admin audit review score",
    "hash": hashlib.sha256(b"chosen").hexdigest(),
    "rate": 10_000.0,
    "created_at": "2026-01-01T00:00:00.000000Z",
    "expires_at": "2099-01-01T00:00:00.000000Z",
    "revoked_at": "2099-01-01T00:00:00.000000Z",
    "owner": "Wang Lei",
    "mac": "00" * 32,
}


@pytest.mark.parametrize("column", [*CHANGES])
def test_a_key_that_is_changed_is_refused_and_found(attacked: Attacked, column: str) -> None:
    own = attacked.row(attacked.live.key_id)
    assert own.keys() == CHANGES.keys() | {"key_id"}
    attacked.write(own | {column: CHANGES[column]})
    assert not attacked.authenticates(attacked.live_text)
    [finding] = attacked.found()
    assert f"API key {attacked.live.key_id} was changed" in finding
    attacked.write(own)  # the control
    assert attacked.authenticates(attacked.live_text)
    assert attacked.found() == []


def test_a_row_as_it_was_before_it_was_revoked_is_refused_and_found(attacked: Attacked) -> None:
    """Its MAC is valid, but the log has a newer one."""
    attacked.write(attacked.before_revocation)
    assert not attacked.authenticates(attacked.revoked_text)
    [finding] = attacked.found()
    assert f"API key {attacked.revoked.key_id} was changed" in finding


def test_a_key_that_is_removed_is_found(attacked: Attacked) -> None:
    attacked.delete(attacked.revoked.key_id)
    [finding] = attacked.found()
    assert f"API key {attacked.revoked.key_id} was removed" in finding


def test_a_key_that_was_changed_can_be_revoked(attacked: Attacked) -> None:
    own = attacked.row(attacked.live.key_id)
    attacked.write(own | {"expires_at": CHANGES["expires_at"]})
    database, its = attacked.log.database, attacked.log.secrets
    assert revoke(database, its, attacked.live.key_id, NOW).problem is None
    attacked.write(own)
    assert not attacked.authenticates(attacked.live_text)


def test_the_log_tells_of_a_key_and_not_of_its_owner(attacked: Attacked) -> None:
    with attacked.log.database.reading() as connection:
        rows = connection.execute(sa.text("SELECT kind, subject, facts FROM entries")).all()
    kinds = [(row.kind, row.subject) for row in rows]
    live, revoked = attacked.live.key_id, attacked.revoked.key_id
    assert kinds == [("key_created", live), ("key_created", revoked), ("key_revoked", revoked)]
    for row in each(rows):
        assert '"scopes":' in row.facts
        assert "Li Na" not in row.facts


def test_a_running_service_refuses_a_key_that_is_slipped_in_and_logs_it_once(
    record: AuditLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    attacked = Attacked(record, tmp_path / "checkpoints.jsonl")
    text, row = own_row(attacked, "00" * 32)
    reads = 0

    def read() -> Any:
        nonlocal reads
        reads += 1
        return list_keys(record.database, record.secrets)

    with caplog.at_level(logging.ERROR), contextlib.closing(KeyCache(read, 0.01)) as cache:
        cache.wait()
        attacked.write(row)
        target = reads + 20
        while reads < target:
            assert cache.find(text) is None
        assert cache.find(attacked.live_text) is not None
    messages = [one.getMessage() for one in caplog.records]
    assert messages == [
        f"the API key {row['key_id']} is refused: it was slipped in: the log has no entry of it"
    ]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[tuple[AuditLog, StorageSettings]]:
    settings = copy_old_record(tmp_path)
    with contextlib.closing(AuditLog(settings)) as opened:
        yield opened, settings


def change_expiry(connection: sa.Connection, key_id: str) -> None:
    connection.exec_driver_sql("UPDATE api_keys SET rate = 9999 WHERE key_id = ?", (key_id,))


def copy_under_another_id(connection: sa.Connection, key_id: str) -> None:
    connection.exec_driver_sql(
        "INSERT INTO api_keys SELECT 'f00d', tenant, scopes, hash, rate, created_at, expires_at, "
        "revoked_at, owner, mac FROM api_keys WHERE key_id = ?",
        (key_id,),
    )


@pytest.mark.parametrize("attack", [change_expiry, copy_under_another_id])
def test_what_changed_after_the_first_start_cannot_be_adopted(
    old: tuple[AuditLog, StorageSettings], attack: Callable[[sa.Connection, str], None]
) -> None:
    audit_log, settings = old
    key = list_keys(audit_log.database, audit_log.secrets)[0]
    with audit_log.database.writing() as connection:
        attack(connection, key.key_id)
    attacked_id = "f00d" if attack is copy_under_another_id else key.key_id
    with pytest.raises(KeyRefused, match=f"not adopted, got '{attacked_id}'"):
        adopt(audit_log.database, audit_log.secrets, [attacked_id])
    report = verify(audit_log.database.reading, audit_log.secrets, settings.checkpoints)
    [finding] = report.findings
    assert finding.text.startswith(f"API key {attacked_id} was slipped in")


def test_the_commands_show_and_adopt_keys_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = copy_old_record(tmp_path)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 3
    for line in each(listed):
        assert line.startswith("refused ")
        assert line.endswith("(was made by an earlier version and is not adopted)")
    key_id = listed[0].split()[1]
    assert main(["verify"]) == 0
    assert "not adopted  3 API key(s)" in capsys.readouterr().out
    assert main(["keys", "adopt", key_id, "nobody"]) == 2
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out.count("refused ") == 3  # all or none
    assert main(["keys", "adopt", key_id]) == 0
    assert main(["keys", "adopt", key_id]) == 2
    assert main(["keys", "list"]) == 0
    assert f"live    {key_id}" in capsys.readouterr().out
    assert main(["verify"]) == 0


def test_with_other_secrets_no_key_is_made_or_read(record: AuditLog) -> None:
    create(record.database, record.secrets, "lender", ["score"])
    with pytest.raises(InvalidTag):
        create(record.database, SECRETS, "lender", ["score"])
    with pytest.raises(InvalidTag):
        list_keys(record.database, SECRETS)
    assert len(list_keys(record.database, record.secrets)) == 1
