"""Copies of a real SQLite record: made while it is written, verified, restored, refused."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from serving.__main__ import main
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from tests.support.each import each
from tests.support.paths import ROOT
from tests.support.records import (
    NOW,
    append,
    environment_of,
    new_entry,
    numbered_entries,
    settings_in,
)

Run = Callable[..., tuple[int, str, str]]
# In a process of its own: this one would keep the lock of a record that does not open.
START = """
from serving.audit_log.log import AuditLog
from serving.storage.settings import read_settings
AuditLog(read_settings()).close()
"""
OLD = ROOT / "tests" / "golden" / "record_f825547"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit code, and what it printed on stdout and stderr."""

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder for copies, with a name that addresses and patterns would misread."""
    folder = tmp_path / "a b%2Fü[1]?x"
    folder.mkdir()
    return folder


@contextlib.contextmanager
def continued(settings: StorageSettings) -> Iterator[AuditLog]:
    with contextlib.closing(AuditLog(settings)) as audit_log:
        yield audit_log


def names_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def rows_of(file: Path) -> int:
    with contextlib.closing(sqlite.connect(file)) as connection:
        [count] = connection.execute("SELECT count(*) FROM entries").fetchone()
        return int(count)


def point_to(monkeypatch: pytest.MonkeyPatch, settings: StorageSettings) -> None:
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)


def change_a_row(file: Path, seq: int) -> None:
    """Change one column of a row, as somebody would who can write the file."""
    with contextlib.closing(sqlite.connect(file)) as raw:
        raw.execute("DROP TRIGGER entries_no_update")
        raw.execute("UPDATE entries SET tenant = 'other' WHERE seq = ?", (seq,))
        raw.commit()


def test_a_copy_that_is_made_while_a_service_writes_is_whole(
    record: AuditLog, at_hand: StorageSettings, elsewhere: Path, run: Run
) -> None:
    append(record, numbered_entries(0, 200))
    stop = threading.Event()

    def write() -> None:
        begin = 200
        while not stop.is_set():
            append(record, numbered_entries(begin, begin + 5))
            begin += 5

    writing = threading.Thread(target=write)
    writing.start()
    try:
        results = [run("backup", elsewhere / f"copy-{number}.db") for number in range(5)]
    finally:
        stop.set()
        writing.join()
    sizes = []
    for number, (status, out, err) in enumerate(each(results)):
        assert status == 0, err
        assert "findings     none\n" in out
        assert "cannot be read without the secrets" in err
        sizes.append(rows_of(elsewhere / f"copy-{number}.db"))
        assert f"rows         {sizes[-1]}\n" in out
    assert sizes[0] >= 200
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0], "otherwise nothing was written meanwhile"
    assert names_in(elsewhere) == [f"copy-{number}.db" for number in range(5)]
    for file in each(elsewhere.iterdir()):
        assert file.stat().st_mode & 0o777 == 0o600


def test_in_another_folder_nothing_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CLEARLINE_RECORD", "CLEARLINE_SECRETS", "CLEARLINE_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    status, out, err = run("backup", "copy.db")
    assert (status, out) == (2, "")
    assert "there is no audit log at .clearline/record.db" in err
    assert names_in(tmp_path) == []
    # The control: SQLite by itself makes an empty copy of nothing.
    with contextlib.closing(sqlite.connect("record.db")) as nothing:
        nothing.backup(sqlite.connect("copy.db"))
    assert names_in(tmp_path) == ["copy.db", "record.db"]


@pytest.mark.parametrize(
    "target",
    [
        "record.db",
        "x/../record.db",
        "link",
        "record.db-wal",
        "secrets.json",
        "checkpoints.jsonl",
        "there",
        "left",
        "nowhere/copy.db",
        "dangling",
    ],
)
def test_a_destination_that_exists_or_is_the_record_is_refused(
    record: AuditLog, at_hand: StorageSettings, tmp_path: Path, target: str, run: Run
) -> None:
    append(record, numbered_entries(0, 20))
    record.writer.committer.sign()
    (tmp_path / "x").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "record.db")
    (tmp_path / "dangling").symlink_to(tmp_path / "new.db")
    (tmp_path / "there").write_text("something", "utf-8")
    (tmp_path / "left-wal").write_bytes(b"a journal that SQLite would take for the copy's")
    before = names_in(tmp_path)
    status, out, err = run("backup", tmp_path / target)
    assert (status, out) == (2, "")
    assert "expected" in err
    assert names_in(tmp_path) == before
    assert (tmp_path / "there").read_text("utf-8") == "something"
    assert run("verify")[0] == 0
    assert rows_of(tmp_path / "record.db") == 20


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_audit_log_is_refused(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, run: Run
) -> None:
    with continued(settings_in(tmp_path)):
        pass
    (tmp_path / "other.db").write_bytes(content)
    other = settings_in(tmp_path, f"sqlite:///{tmp_path / 'other.db'}")
    point_to(monkeypatch, other)
    status, out, err = run("backup", elsewhere / "copy.db")
    assert (status, out) == (2, "")
    assert "expected an audit log that can be read" in err
    assert names_in(elsewhere) == []


def test_a_damaged_record_makes_no_copy_unless_it_is_wanted(
    record: AuditLog, at_hand: StorageSettings, elsewhere: Path, run: Run
) -> None:
    append(record, numbered_entries(0, 20))
    assert at_hand.file is not None
    change_a_row(at_hand.file, 7)
    status, out, err = run("backup", elsewhere / "copy.db")
    assert status == 1
    assert "row 7 was changed after it was written" in out
    assert "no copy was kept" in err
    assert names_in(elsewhere) == []
    status, out, _ = run("backup", elsewhere / "copy.db", "--keep-damaged")
    assert status == 1
    assert f"copy         {elsewhere / 'copy.db'}" in out
    assert rows_of(elsewhere / "copy.db") == 20


def test_rows_that_were_cut_off_are_no_good_copy(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    settings = settings_in(tmp_path)
    with continued(settings) as audit_log:
        append(audit_log, numbered_entries(0, 20))
    with contextlib.closing(sqlite.connect(tmp_path / "record.db")) as raw:
        raw.execute("DROP TRIGGER entries_no_delete")
        raw.execute("DELETE FROM entries WHERE seq > 15")
        raw.commit()
    point_to(monkeypatch, settings)
    status, out, _ = run("backup", elsewhere / "copy.db")
    assert status == 1
    assert "row 20 is missing" in out
    assert names_in(elsewhere) == []


def test_secrets_and_checkpoints_are_copied_if_asked_for(
    record: AuditLog, at_hand: StorageSettings, elsewhere: Path, run: Run
) -> None:
    append(record, numbered_entries(0, 20))
    record.writer.committer.sign()
    keys, signed = elsewhere / "keys.json", elsewhere / "signed.jsonl"
    status, _, err = run(
        "backup", elsewhere / "copy.db", "--secrets", keys, "--checkpoints", signed
    )
    assert status == 0
    assert "whoever has both can read every request" in err
    assert "nobody who can write the database can write it" in err
    assert keys.read_bytes() == at_hand.secrets.read_bytes()
    assert signed.read_bytes() == at_hand.checkpoints.read_bytes()
    assert keys.stat().st_mode & 0o777 == 0o600
    one = elsewhere / "one"
    status, _, err = run("backup", elsewhere / "b.db", "--secrets", one, "--checkpoints", one)
    assert status == 2
    assert "a file of its own for each copy" in err
    assert not (elsewhere / "b.db").exists()


def test_without_its_secrets_a_record_is_not_copied(
    record: AuditLog, at_hand: StorageSettings, elsewhere: Path, run: Run
) -> None:
    append(record, numbered_entries(0, 20))
    at_hand.secrets.rename(at_hand.secrets.with_name("lost"))
    status, _, err = run("backup", elsewhere / "copy.db")
    assert status == 2
    assert "there are no secrets at" in err
    assert names_in(elsewhere) == []
    assert not at_hand.secrets.exists(), "no new secrets are made"


def test_an_older_schema_is_copied_as_it_is(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """A backup before an upgrade is the record of before, and verifies all the same."""
    for name in ("record.db", "secrets.json", "checkpoints.jsonl"):
        shutil.copyfile(OLD / name, tmp_path / name)
    (tmp_path / "secrets.json").chmod(0o600)
    point_to(monkeypatch, settings_in(tmp_path))
    status, out, _ = run("backup", elsewhere / "copy.db")
    assert status == 0
    assert "rows         28\n" in out
    for file in (tmp_path / "record.db", elsewhere / "copy.db"):
        with contextlib.closing(sqlite.connect(file)) as raw:
            assert raw.execute("SELECT version FROM schema_version").fetchall() == [(1,)]


# Restoring


def backed_up(
    settings: StorageSettings, copy: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """A record of 20 rows and a copy of it; the record is then gone."""
    with continued(settings) as audit_log:
        append(audit_log, numbered_entries(0, 20))
    point_to(monkeypatch, settings)
    assert run("backup", copy)[0] == 0
    assert settings.file is not None
    settings.file.unlink()


def test_a_copy_is_restored_to_what_it_was(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    settings, copy = settings_in(tmp_path), elsewhere / "copy.db"
    backed_up(settings, copy, monkeypatch, run)
    content = copy.read_bytes()
    status, out, err = run("restore", copy)
    assert (status, err) == (0, "")
    assert out.startswith("restored     20 rows, the newest of 2026-11-25T")
    assert copy.read_bytes() == content
    assert names_in(elsewhere) == ["copy.db"], "a copy may be on a medium that cannot be written"
    assert (tmp_path / "record.db").stat().st_mode & 0o777 == 0o600
    assert run("verify")[0] == 0
    with continued(settings) as audit_log:
        append(audit_log, [new_entry("d-new")])
    assert "rows         21\n" in run("verify")[1]
    # A record is never overwritten.
    status, _, err = run("restore", copy)
    assert status == 2
    assert "a record is never overwritten" in err
    assert "rows         21\n" in run("verify")[1]


def test_the_write_ahead_log_beside_a_copy_is_restored_too(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """As in a snapshot of the whole folder, taken while the service ran."""
    settings, snapshot = settings_in(tmp_path), elsewhere / "record.db"
    with continued(settings) as audit_log:
        append(audit_log, numbered_entries(0, 20))
        for suffix in ("", "-wal"):
            shutil.copy(f"{settings.file}{suffix}", f"{snapshot}{suffix}")
    for file in each(list(tmp_path.glob("record.db*"))):
        file.unlink()
    point_to(monkeypatch, settings)
    status, out, err = run("restore", snapshot)
    assert (status, err) == (0, "")
    assert out.startswith("restored     20 rows")


@pytest.mark.slow
def test_an_older_copy_says_which_checkpoints_it_does_not_reach(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    settings, copy = settings_in(tmp_path), elsewhere / "copy.db"
    backed_up(settings, copy, monkeypatch, run)
    assert run("restore", copy)[0] == 0
    for begin in (20, 27):
        with continued(settings) as audit_log:
            append(audit_log, numbered_entries(begin, begin + 7))
    (tmp_path / "record.db").unlink()
    status, out, err = run("restore", copy)
    assert status == 1
    assert "restored     20 rows" in out
    assert "not reached  2 checkpoint(s): rows 21 to 34, the last signed at 20" in out
    assert "erase them again" in err
    # The service does not write it until the operator has said how to go on.
    refused = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "does not agree with the checkpoint of row 34" in refused.stderr
    [step] = [one.split() for one in err.splitlines() if one.strip().startswith("mv ")]
    Path(step[1]).rename(step[2])
    with continued(settings) as audit_log:
        append(audit_log, [new_entry("d-new")])
    assert run("verify")[0] == 0


def test_a_lost_record_is_not_replaced_by_an_empty_one(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """A new key, and a service, would begin another record: the copy could not be restored."""
    settings, copy = settings_in(tmp_path), elsewhere / "copy.db"
    backed_up(settings, copy, monkeypatch, run)
    status, _, err = run("keys", "new", "--tenant", "lender", "--scopes", "score")
    assert status == 2
    assert "there are checkpoints of one in" in err
    assert "python -m serving restore" in err
    with pytest.raises(StorageError, match="there are checkpoints of one in"):
        AuditLog(settings)
    assert not (tmp_path / "record.db").exists()
    assert run("restore", copy)[0] == 0
    assert run("keys", "new", "--tenant", "lender", "--scopes", "score")[0] == 0


def test_a_copy_that_was_changed_is_not_restored(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    settings, copy = settings_in(tmp_path), elsewhere / "copy.db"
    backed_up(settings, copy, monkeypatch, run)
    change_a_row(copy, 3)
    before = names_in(tmp_path)
    status, out, err = run("restore", copy)
    assert status == 1
    assert "row 3 was changed after it was written" in out
    assert "nothing was restored" in err
    assert names_in(tmp_path) == before


def test_a_copy_of_another_record_is_not_restored(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    copy = elsewhere / "copy.db"
    backed_up(settings_in(here), copy, monkeypatch, run)
    with continued(settings_in(there)) as audit_log:
        append(audit_log, numbered_entries(0, 20))
    (there / "record.db").unlink()
    point_to(monkeypatch, settings_in(there))
    status, _, err = run("restore", copy)
    assert status == 1
    assert "nothing was restored" in err
    assert not (there / "record.db").exists()


def test_a_service_that_still_writes_a_deleted_file_prevents_a_restore(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    settings, copy = settings_in(tmp_path), elsewhere / "copy.db"
    backed_up(settings, copy, monkeypatch, run)
    assert run("restore", copy)[0] == 0
    with continued(settings):
        for file in each(list(tmp_path.glob("record.db*"))):
            if not file.name.endswith(".lock"):
                file.unlink()
        status, _, err = run("restore", copy)
        assert status == 2
        assert "another process writes the audit log" in err
        assert not (tmp_path / "record.db").exists()
    assert run("restore", copy)[0] == 0


def test_a_customer_erased_after_the_copy_is_back_and_can_be_erased_again(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    settings, copy = settings_in(tmp_path), elsewhere / "copy.db"
    backed_up(settings, copy, monkeypatch, run)
    assert run("restore", copy)[0] == 0
    with continued(settings) as audit_log:
        order = ErasureOrder("Li Na", "asked for", NOW)
        erased = erase_account(audit_log.database, audit_log.secrets, "lender", "acct-5", order)
        assert erased is not None
        append(audit_log, [new_entry("d-new")])
    (tmp_path / "record.db").unlink()
    status, _, err = run("restore", copy)
    assert status == 1
    assert "customers who were erased after 2026-11-25T" in err
    asked = ["erase", "--tenant", "lender", "--account", "acct-5", "--by", "Li Na"]
    assert run(*asked)[0] == 0


@pytest.mark.parametrize("content", [None, b"", b"no database at all" * 100])
def test_what_is_no_copy_is_not_restored(
    tmp_path: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    run: Run,
) -> None:
    settings = settings_in(tmp_path)
    backed_up(settings, elsewhere / "copy.db", monkeypatch, run)
    other = elsewhere / "other.db"
    if content is not None:
        other.write_bytes(content)
    status, out, err = run("restore", other)
    assert (status, out) == (2, "")
    assert "expected" in err
    assert not (tmp_path / "record.db").exists()


def test_the_commands_are_listed() -> None:
    for name in ("backup", "restore"):
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
