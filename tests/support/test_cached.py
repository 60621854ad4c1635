"""Folders under ``.cache/tests``: made once, by one process, completely or not at all."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from tests.support import cached
from tests.support.cached import cached_folder, digest_of
from tests.support.each import each


def write_slowly(folder: Path) -> None:
    folder.mkdir()
    time.sleep(0.05)
    (folder / "maker").write_text(str(os.getpid()), encoding="utf-8")


def first_line(cache: Path) -> str:
    return (cached_folder("thing", write_slowly, cache) / "maker").read_text(encoding="utf-8")


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        folder.mkdir()

    first = cached_folder("thing", make, tmp_path)
    assert cached_folder("thing", make, tmp_path) == first
    assert len(made) == 1
    assert first.is_dir()


@pytest.mark.integration
def test_processes_share_one_folder(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        makers = pool.map(first_line, [tmp_path] * 3)
    assert len(set(makers)) == 1


def test_what_failed_is_made_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        folder.mkdir()
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cached_folder("thing", fail, tmp_path)
    folder = cached_folder("thing", write_slowly, tmp_path)
    assert [file.name for file in each(folder.iterdir())] == ["maker"]


def test_other_code_gets_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cached_folder("thing", write_slowly, tmp_path)
    monkeypatch.setattr(cached, "code_digest", lambda: "f" * 64)
    after = cached_folder("thing", write_slowly, tmp_path)
    assert before != after
    assert before.exists()  # it comes back with the code's earlier state


def test_folders_that_nobody_used_for_a_week_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = cached_folder("thing", write_slowly, tmp_path)
    week_ago = time.time() - cached.KEPT_FOR - 1
    os.utime(tmp_path / f"{old.name}.used", (week_ago, week_ago))
    monkeypatch.setattr(cached, "code_digest", lambda: "f" * 64)
    cached_folder("thing", write_slowly, tmp_path)
    assert not old.exists()


def test_the_digest_sees_names_and_contents(tmp_path: Path) -> None:
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("x = 1", encoding="utf-8")
    before = digest_of([file], ["numpy 2"])
    assert before == digest_of([file], ["numpy 2"])
    assert before != digest_of([file], ["numpy 3"])
    file.rename(other)
    assert before != digest_of([other], ["numpy 2"])
    file.write_text("x = 2", encoding="utf-8")
    assert before != digest_of([file], ["numpy 2"])
