"""The file with the token of local callers: who can read it, and who writes it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.auth.local_token import LocalToken, discard_token, read_token, token_file
from serving.storage.errors import StorageError
from serving.storage.settings import read_settings


def test_a_token_is_written_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "record.db.token"
    LocalToken(file).create()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(str(read_token(file))) >= 43
    assert [one.name for one in file.parent.iterdir()] == [file.name], "a draft is left behind"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_token_that_others_can_read_is_replaced(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "token"
    file.write_text("local_known-to-everybody", encoding="utf-8")
    file.chmod(mode)
    assert read_token(file) is None
    token = LocalToken(file)
    token.create()
    assert not token.matches("local_known-to-everybody")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "\n", " \n"])
def test_an_empty_file_is_no_token(tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content, encoding="utf-8")
    file.chmod(0o600)
    token = LocalToken(file)
    assert not token.matches("")
    assert not token.matches(content)
    assert token.matches(str(read_token(file)))


def test_workers_share_one_token_and_the_next_start_has_another(tmp_path: Path) -> None:
    file = tmp_path / "token"
    earlier: set[str] = set()
    for _ in range(20):
        discard_token(file)
        workers = [LocalToken(file) for _ in range(8)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(LocalToken.create, workers))
        token = str(read_token(file))
        assert all(worker.matches(token) for worker in workers)
        assert not any(worker.matches(old) for worker in workers for old in earlier)
        earlier.add(token)
    assert len(earlier) == 20
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_a_running_service_takes_the_token_of_a_second_one_with_the_same_file(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    first = LocalToken(file)
    first.create()
    discard_token(file)
    LocalToken(file).create()
    assert first.matches(str(read_token(file)))


def test_a_file_system_without_hard_links_holds_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    first, second = LocalToken(tmp_path / "token"), LocalToken(tmp_path / "token")
    first.create()
    second.create()
    token = str(read_token(tmp_path / "token"))
    assert first.matches(token)
    assert second.matches(token)
    assert [one.name for one in tmp_path.iterdir()] == ["token"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"file/token"):
        LocalToken(tmp_path / "file" / "token").create()


def test_a_postgresql_has_its_token_beside_the_secrets() -> None:
    settings = read_settings(
        {"CLEARLINE_RECORD": "postgresql://lender@host/name", "CLEARLINE_SECRETS": "/etc/c/s.json"}
    )
    assert token_file(settings) == Path("/etc/c/s.json.token")
