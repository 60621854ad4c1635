"""Files of a command are refused by their own name, and before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.__main__ import main
from serving.operations.new_file import check_writable, private_file
from serving.storage.errors import StorageError

TOO_LONG = "x" * 250  # with what an unfinished file has more, longer than file systems allow


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / TOO_LONG
    with pytest.raises(StorageError) as refused, private_file(path):
        pass
    assert str(refused.value).startswith(f"{path}: expected a file that can be written: ")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "none" / "answer.json"):
        with pytest.raises(StorageError, match="expected a file"):
            check_writable(wrong)
    check_writable(tmp_path / "answer.json")
    assert not list(tmp_path.iterdir())


def test_nothing_is_asked_if_the_answer_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request, out = tmp_path / "request.json", tmp_path / "none" / "answer.json"
    request.write_text("{}", encoding="utf-8")
    ask = ["ask", str(request), "--url", "http://127.0.0.1:9"]
    assert main(ask) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err  # the control: it is asked, and nobody is there
    assert main([*ask, "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"{out}: expected a file in a folder that exists")
