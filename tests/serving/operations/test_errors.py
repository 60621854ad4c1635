"""Errors that the user of a command can correct: one line, which says what is wrong and where."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from serving.__main__ import AFTER_INTERRUPTION, main, make_parser
from serving.audit_log.log import AuditLog
from serving.operations.errors import error_text
from tests.support.each import each
from tests.support.records import append, environment_of, numbered_entries, settings_in


def test_a_missing_file_is_named_first_and_without_a_number(tmp_path: Path) -> None:
    missing = tmp_path / "request.json"
    with pytest.raises(OSError, match="No such file") as raised:
        missing.read_bytes()
    assert error_text(raised.value) == f"{missing}: No such file or directory"
    # The control: an error without a file keeps its own text.
    assert error_text(OSError("the pipe was closed")) == "the pipe was closed"


def test_a_damaged_database_answers_and_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_in(tmp_path)
    with contextlib.closing(AuditLog(settings)) as audit_log:
        append(audit_log, numbered_entries(0, 20))
    file = tmp_path / "record.db"
    with contextlib.closing(sqlite.connect(file)) as connection:
        [page_size] = connection.execute("PRAGMA page_size").fetchone()
        [page] = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'entries'"
        ).fetchone()
    with file.open("r+b") as content:
        content.seek((page - 1) * page_size)
        content.write(b"x" * page_size)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    assert main(["verify"]) == 2
    message = "the database cannot be read: database disk image is malformed\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("arguments", "function", "state"),
    [
        (["verify"], "serving.operations.audit.verify_audit_log", "nothing was changed"),
        (["keys", "list"], "serving.operations.commands.list_keys", AFTER_INTERRUPTION["keys"]),
    ],
)
def test_an_interrupted_command_says_what_is_left_without_a_traceback(
    arguments: list[str],
    function: str,
    state: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(function, interrupt)
    assert main(arguments) == 130
    assert capsys.readouterr().err == f"\n{arguments[0]}: interrupted; {state}\n"


def test_each_state_after_an_interruption_is_of_a_command() -> None:
    for command in each(AFTER_INTERRUPTION):
        assert f"\n    {command} " in make_parser().format_help()
