"""Workers find the files of the process that starts them, whatever their own folder is."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.storage.settings import fix_paths, read_settings

NAMES = {
    "CLEARLINE_RECORD": "sqlite:///loans%20/record.db",
    "CLEARLINE_SECRETS": "kept/secrets.json",
    "CLEARLINE_CHECKPOINTS": "checkpoints.jsonl",
}


@pytest.mark.parametrize("given", [{}, NAMES])
def test_relative_paths_mean_the_same_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before, variables = read_settings(given), dict(given)
    fix_paths(before, variables)
    assert before.file is not None
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    fixed = read_settings(variables)
    assert fixed.file == tmp_path / before.file
    assert fixed.secrets == tmp_path / before.secrets
    assert fixed.checkpoints == tmp_path / before.checkpoints
    # The control: without it they are others.
    assert before.file.absolute() != fixed.file


def test_the_address_of_a_server_stays() -> None:
    variables = {"CLEARLINE_RECORD": "postgresql://lender@db/clearline?host=/run"}
    before = dict(variables)
    fix_paths(read_settings(variables), variables)
    assert variables["CLEARLINE_RECORD"] == before["CLEARLINE_RECORD"]
