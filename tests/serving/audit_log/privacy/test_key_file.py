"""The file of secrets: what a new one holds, and that one of an earlier version still works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.audit_log.privacy.key_file import read_or_create_secrets, read_secrets
from serving.decision.ids import UNKEYED
from serving.storage.errors import StorageError

CONTENT = b"a request"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secrets.json"
    read_or_create_secrets(path)
    return path


def rewrite(file: Path, **changes: str | None) -> None:
    """Change fields of the file; None removes one."""
    fields: dict[str, Any] = json.loads(file.read_text("utf-8")) | changes
    kept = {name: value for name, value in fields.items() if value is not None}
    file.write_text(json.dumps(kept), "utf-8")


def test_another_sealing_key_leaves_the_digests_as_they_were(file: Path) -> None:
    before = read_secrets(file)
    rewrite(file, sealing_key="ab" * 32)
    after = read_secrets(file)
    assert after.sealing_key != before.sealing_key
    assert after.keyed_digest(CONTENT) == before.keyed_digest(CONTENT)


def test_another_digest_key_changes_the_digests_alone(file: Path) -> None:
    before = read_secrets(file)
    rewrite(file, digest_key="ab" * 32)
    after = read_secrets(file)
    assert after.sealing_key == before.sealing_key
    assert after.keyed_digest(CONTENT) != before.keyed_digest(CONTENT)


def test_without_a_digest_key_the_sealing_key_makes_the_digests(file: Path) -> None:
    """A file of an earlier version: digests that it made are still recognised."""
    rewrite(file, digest_key=None)
    earlier = read_secrets(file)
    rewrite(file, digest_key=earlier.sealing_key.hex(), sealing_key="ab" * 32)
    assert read_secrets(file).keyed_digest(CONTENT) == earlier.keyed_digest(CONTENT)


@pytest.mark.parametrize("field", ["account_key", "account_keys", "sealing_key", "signing_key"])
def test_a_file_without_a_required_field_is_refused(file: Path, field: str) -> None:
    rewrite(file, **{field: None})
    with pytest.raises(StorageError, match="expected the fields"):
        read_secrets(file)


def test_an_unknown_field_is_refused(file: Path) -> None:
    rewrite(file, digest_keys="ab" * 32)
    with pytest.raises(StorageError, match="expected the fields"):
        read_secrets(file)


def test_another_identity_key_changes_ids_and_unique_keys_alone(file: Path) -> None:
    before = read_secrets(file)
    rewrite(file, identity_key="ab" * 32)
    after = read_secrets(file)
    assert after.id_key != before.id_key
    assert after.unique_key(CONTENT) != before.unique_key(CONTENT)
    assert after.keyed_digest(CONTENT) == before.keyed_digest(CONTENT)


def test_without_an_identity_key_every_process_derives_the_same(file: Path) -> None:
    """A file of an earlier version: several hosts have a copy each."""
    rewrite(file, identity_key=None)
    one, other = read_secrets(file), read_secrets(file)
    assert (one.id_key, one.unique_key(CONTENT)) == (other.id_key, other.unique_key(CONTENT))
    rewrite(file, sealing_key="ab" * 32)
    assert read_secrets(file).id_key != one.id_key
    assert one.id_key not in (one.sealing_key, one.digest_key, UNKEYED)


def test_nobody_is_told_to_change_the_mode_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="expected the file of an audit log's secrets"):
        read_secrets(tmp_path)
