"""An audit log is opened with its own secrets and with no others, by the service and commands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pysqlite3 import dbapi2 as sqlite

from serving.__main__ import main
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.key_file import read_or_create_secrets
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from tests.support.each import each
from tests.support.old_record import copy_old_record
from tests.support.records import append, environment_of, new_entry, settings_in

COMMANDS = (
    "verify",
    "replay",
    "export",
    "erase --tenant lender --account acct-1 --by me",
    "keys list",
    "keys revoke 0123456789abcdef",
    "keys new --tenant lender --scopes score",
)


@pytest.fixture(params=["new", "old"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> StorageSettings:
    """A record with rows: of this version, or of an earlier one that was never opened since."""
    if request.param == "old":
        return copy_old_record(tmp_path)
    settings = settings_in(tmp_path)
    with contextlib.closing(AuditLog(settings)) as audit_log:
        append(audit_log, [new_entry("d-1")])
    return settings


def lose(file: Path) -> None:
    file.unlink()


def replace_with_others(file: Path) -> None:
    file.unlink()
    read_or_create_secrets(file)


def change(name: str) -> Callable[[Path], None]:
    """Another key in one field of the file."""

    def change_field(file: Path) -> None:
        fields: dict[str, Any] = json.loads(file.read_text("utf-8"))
        other = "ab" * 32
        fields[name] = {"a1": other} if name == "account_keys" else other
        file.write_text(json.dumps(fields), "utf-8")

    change_field.__name__ = f"change_{name}"
    return change_field


DAMAGES = (lose, replace_with_others, change("sealing_key"))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_service_refuses_other_secrets_or_none(
    written: StorageSettings, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    shutil.copy2(written.secrets, kept)
    damage(written.secrets)
    before = rows_of(written)
    for _ in range(2):  # the first refusal changes nothing, so the second is the same
        with pytest.raises(
            StorageError, match=r"secrets.* expected the file that it was made with"
        ):
            AuditLog(written)
        assert written.secrets.exists() == (damage is not lose)
    assert rows_of(written) == before
    # The control: with its own secrets it opens.
    shutil.copy2(kept, written.secrets)
    with contextlib.closing(AuditLog(written)) as audit_log:
        append(audit_log, [new_entry("d-2")])


def rows_of(settings: StorageSettings) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite.connect(settings.file)) as raw:
        return list(raw.execute("SELECT * FROM entries"))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_commands_refuse_other_secrets_or_none(
    written: StorageSettings,
    damage: Callable[[Path], None],
    bentoml_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment_of(written).items():
        monkeypatch.setenv(name, value)
    damage(written.secrets)
    before = rows_of(written)
    for command in each(COMMANDS):
        assert main(command.split()) == 2, command
        told = capsys.readouterr()
        assert "expected the file that it was made with" in told.err
        assert str(written.secrets) in told.err
        assert (told.out, len(told.err.splitlines())) == ("", 1)
        assert written.secrets.exists() == (damage is not lose)
    assert rows_of(written) == before


@pytest.mark.parametrize("name", ["signing_key", "identity_key", "account_keys"])
def test_one_key_that_differs_is_named(tmp_path: Path, name: str) -> None:
    settings = settings_in(tmp_path)
    with contextlib.closing(AuditLog(settings)) as audit_log:
        append(audit_log, [new_entry("d-1")])
    settings.checkpoints.unlink()  # they would show another signing key too
    change(name)(settings.secrets)
    with pytest.raises(StorageError, match=f"{name}.* is missing or another one"):
        AuditLog(settings)


@pytest.mark.parametrize("name", ["account_keys", "signing_key"])
def test_one_key_that_differs_is_found_in_an_old_record(tmp_path: Path, name: str) -> None:
    settings = copy_old_record(tmp_path)
    fields = json.loads(settings.secrets.read_text("utf-8"))
    if name == "account_keys":
        fields |= {"account_keys": {"b1": "ab" * 32}, "account_key": "b1"}
    else:
        fields[name] = "ab" * 32
    settings.secrets.write_text(json.dumps(fields), "utf-8")
    with pytest.raises(StorageError, match=r"account_keys\.a1 is missing|they did not sign"):
        AuditLog(settings)


def test_an_account_key_may_be_added_and_then_not_removed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    AuditLog(settings).close()
    first = json.loads(settings.secrets.read_text("utf-8"))
    added = {"a2": "cd" * 32}
    second = first | {"account_keys": first["account_keys"] | added, "account_key": "a2"}
    settings.secrets.write_text(json.dumps(second), "utf-8")
    with contextlib.closing(AuditLog(settings)) as audit_log:
        append(audit_log, [new_entry("d-1")])
    settings.secrets.write_text(json.dumps(first), "utf-8")
    with pytest.raises(StorageError, match=r"account_keys\.a2 is missing"):
        AuditLog(settings)


def test_another_digest_key_is_allowed(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    AuditLog(settings).close()
    change("digest_key")(settings.secrets)
    AuditLog(settings).close()


def test_a_record_whose_persons_have_different_secrets_is_refused_with_numbers(
    tmp_path: Path,
) -> None:
    """Two hosts of an earlier version that each made secrets."""
    settings = copy_old_record(tmp_path)
    with contextlib.closing(sqlite.connect(settings.file)) as raw:
        raw.execute(
            "UPDATE people SET sealed_key = zeroblob(60) "
            "WHERE person = (SELECT max(person) FROM people)"
        )
        raw.commit()
        [count] = raw.execute("SELECT count(*) FROM people").fetchone()
    with pytest.raises(StorageError, match=f"the keys of 1 of {count} persons"):
        AuditLog(settings)


def test_a_new_record_takes_secrets_that_exist(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    made = read_or_create_secrets(settings.secrets)
    with contextlib.closing(AuditLog(settings)) as audit_log:
        assert audit_log.secrets == made


def test_no_secrets_are_made_beside_checkpoints_of_a_record_that_is_gone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with contextlib.closing(AuditLog(settings)) as audit_log:
        append(audit_log, [new_entry("d-1")])
    for file in tmp_path.glob("record.db*"):
        file.unlink()
    settings.secrets.unlink()
    with pytest.raises(StorageError, match="there are checkpoints of one in"):
        AuditLog(settings)
    assert not settings.secrets.exists()


def test_of_two_hosts_with_one_database_the_second_without_the_secrets_is_refused(
    postgres: AuditLog, tmp_path: Path
) -> None:
    address = postgres.database.url.render_as_string(hide_password=False)
    (tmp_path / "other").mkdir()
    other = settings_in(tmp_path / "other", address)
    with pytest.raises(StorageError, match="there is no such file"):
        AuditLog(other)
    assert not other.secrets.exists()
    read_or_create_secrets(other.secrets)
    with pytest.raises(StorageError, match="do not decrypt its marker"):
        AuditLog(other)
    # The control: with a copy of the secrets the second host starts.
    shutil.copy2(settings_in(tmp_path).secrets, other.secrets)
    AuditLog(dataclasses.replace(other, deadline=1.0)).close()
