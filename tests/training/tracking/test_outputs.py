"""A path that cannot be written is refused before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.tracking.outputs import check_output, write_page


def test_a_new_folder_is_accepted_and_nothing_is_made(tmp_path: Path) -> None:
    file = tmp_path / "new" / "page.md"
    check_output(file)
    assert not list(tmp_path.iterdir())
    write_page("# 页", file)
    assert file.read_text("utf-8") == "# 页"


def test_what_cannot_be_written_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="expected a file to write, got a folder"):
        check_output(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError, match="is a file, not a folder"):
        check_output(file / "page.md")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("this user may write to every folder")
    with pytest.raises(PermissionError, match="cannot be written"):
        check_output(tmp_path / "page.md")
