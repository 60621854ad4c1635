"""Addresses of SQLite files in folders with any name: one file is meant, opened and locked."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.audit_log.log import AuditLog
from serving.operations.client import settings_for
from serving.storage.address import parse_address, sqlite_address
from serving.storage.database import open_database
from serving.storage.errors import StorageError
from serving.storage.settings import read_settings

ODD_FOLDERS = ("a b%2Fü[1]", "book?x=1", "100%", "a#b", "a:b@c", "a+b", "%41", "数据", "'\"", "&=")
# Without surrogates, which no text file can hold either.
NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)


@given(NAMES)
def test_an_address_means_the_file_that_it_was_made_from(name: str) -> None:
    file = Path("/folder") / f"x{name}" / "record.db"
    assert parse_address(sqlite_address(file)).database == str(file)


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_an_audit_log_is_kept_in_its_folder_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    settings = read_settings(settings_for(folder))
    assert settings.file == folder / "record.db"
    with closing(AuditLog(settings)):
        assert (folder / "record.db").stat().st_size > 0
        assert (folder / "record.db.lock").exists()
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a b%2Fü[1]", "%41", "book?x=1", "book?x"])
def test_a_pasted_path_that_would_mean_another_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    settings = {"CLEARLINE_RECORD": f"sqlite:///{folder}/record.db"}
    with pytest.raises(StorageError, match="write %"):
        open_database(read_settings(settings))
    assert [one.name for one in tmp_path.iterdir()] == [name]
    # The control: a usual name is taken as it is.
    plain = tmp_path / "plain name"
    with closing(open_database(read_settings({"CLEARLINE_RECORD": f"sqlite:///{plain}/r.db"}))):
        assert (plain / "r.db").exists()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "no database can be opened"),
        ("record.db", "no database can be opened"),
        ("mysql://lender@host/name", "expected a database at"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://host:port/name", "no database can be opened"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, words: str) -> None:
    with pytest.raises(StorageError, match=words):
        parse_address(address)


def test_a_path_is_refused_with_the_variable_and_the_address_to_write() -> None:
    with pytest.raises(StorageError) as refused:
        parse_address("/tmp/x.db")
    assert "CLEARLINE_RECORD" in str(refused.value)
    assert str(refused.value).endswith("the file /tmp/x.db is sqlite:////tmp/x.db")
    # The control: what may have a password is not repeated.
    with pytest.raises(StorageError) as refused:
        parse_address("postgresql://lender:secret@host:port/name")
    assert "secret" not in str(refused.value)


def test_a_driver_in_the_address_changes_no_file() -> None:
    settings = read_settings({"CLEARLINE_RECORD": "sqlite+pysqlite:///folder/record.db"})
    assert settings.file == Path("folder/record.db")


def test_relative_addresses_are_below_the_current_folder() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with closing(open_database(read_settings({}))):
            assert (Path(folder) / ".clearline" / "record.db").exists()
