"""A service whose database file is deleted, moved or replaced answers 503, never 200."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.audit_log.errors import Unavailable
from serving.audit_log.log import AuditLog
from serving.operations.client import start_service
from serving.operations.pack import store
from serving.storage.database import Database
from serving.storage.open_file import FileMovedError, OpenFiles
from tests.golden.remake import BUNDLE
from tests.support.records import append, new_entry, settings_in
from tests.support.served import AS_DEPLOYED, local_headers

Attack = Callable[[Path], None]


def delete(file: Path) -> None:
    file.unlink()


def move(file: Path) -> None:
    file.rename(file.with_name("moved.db"))


def replace_with_a_copy(file: Path) -> None:
    copy = file.with_name("copy.db")
    shutil.copyfile(file, copy)
    os.replace(copy, file)


def delete_the_wal(file: Path) -> None:
    file.with_name(file.name + "-wal").unlink()


def delete_the_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


ATTACKS = (delete, move, replace_with_a_copy, delete_the_wal, delete_the_folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "record").mkdir()
    return tmp_path / "record" / "record.db"


@pytest.fixture
def opened(file: Path) -> Iterator[AuditLog]:
    with contextlib.closing(AuditLog(settings_in(file.parent))) as audit_log:
        append(audit_log, [new_entry("d-1")])
        yield audit_log


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_is_stored_in_a_file_that_is_not_at_its_path(
    opened: AuditLog, file: Path, attack: Attack
) -> None:
    append(opened, [new_entry("d-2")])  # the control
    assert opened.ready
    attack(file)
    before = file.exists()
    for number in range(3):
        with pytest.raises(Unavailable):
            append(opened, [new_entry(f"lost-{number}")])
        assert not opened.ready
    opened.close()
    assert file.exists() == before  # no empty one was made


def test_a_file_that_is_put_back_is_written_again(opened: AuditLog, file: Path) -> None:
    move(file)
    with pytest.raises(Unavailable):
        append(opened, [new_entry("lost")])
    file.with_name("moved.db").rename(file)
    until = time.monotonic() + 20
    while not opened.ready and time.monotonic() < until:
        time.sleep(0.05)
    append(opened, [new_entry("d-2")])
    assert opened.reader.by_id("d-2") is not None
    assert opened.reader.by_id("lost") is None


def test_a_file_that_is_moved_during_a_commit_is_found_after_it(file: Path) -> None:
    with contextlib.closing(Database(f"sqlite:///{file}")) as database:
        with pytest.raises(FileMovedError) as found, database.writing():
            file.unlink()
        assert found.value.committed
        with pytest.raises(FileMovedError) as found, database.writing():
            pass
        assert not found.value.committed


def test_files_are_told_apart_by_their_inodes_and_not_by_their_content(tmp_path: Path) -> None:
    file = tmp_path / "record.db"
    file.write_bytes(b"content")
    files = OpenFiles.at(file)
    files.check()
    replace_with_a_copy(file)
    with pytest.raises(FileMovedError, match=r"record\.db was deleted, moved or replaced"):
        files.check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [delete, pytest.param(delete_the_wal, marks=pytest.mark.torture)],
    ids=lambda attack: attack.__name__,
)
def test_a_service_whose_file_is_deleted_answers_503(
    tmp_path: Path, bentoml_home: Path, requests: list[dict[str, Any]], attack: Attack
) -> None:
    store(BUNDLE)
    file = tmp_path / "record.db"
    settings = AS_DEPLOYED | {"CLEARLINE_DEADLINE": "10"}
    with start_service(tmp_path / "log", settings=settings) as url:
        headers = local_headers(tmp_path)
        with httpx.Client(base_url=url, headers=headers, timeout=20) as client:

            def post() -> int:
                return client.post("/v1/decisions", json=requests[0]).status_code

            assert post() == httpx.codes.OK  # the control
            assert client.get("/readyz").status_code == httpx.codes.OK
            attack(file)
            if attack is delete:  # the other is found at the next write
                assert client.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE
            statuses = [post() for _ in range(5)]
            assert set(statuses) == {httpx.codes.SERVICE_UNAVAILABLE}
            assert client.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert "was deleted, moved or replaced" in (tmp_path / "log").read_text("utf-8")
