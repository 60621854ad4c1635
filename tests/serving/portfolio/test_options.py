"""Wrong options of a run are refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from serving.__main__ import main


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--record",), "--record: expected --tenant too"),
        (("--beyond-bounds", "as agreed"), "--beyond-bounds: expected --record too"),
    ],
)
def test_an_option_without_the_one_that_it_needs_is_refused(
    more: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["portfolio", str(tmp_path), "--out", str(out), *more]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_file_is_no_place_for_decisions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pl.DataFrame().write_parquet(tmp_path / "statements.parquet")
    out = tmp_path / "out"
    out.touch()
    file = str(tmp_path / "statements.parquet")
    assert main(["portfolio", file, "--bundle", str(tmp_path), "--out", str(out)]) == 2
    message = f"{out}: expected a folder for the decisions, got a file\n"
    assert capsys.readouterr().err == message


def test_no_process_cannot_decide(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["portfolio", "statements", "--out", "out", "--workers", "0"])
    assert "--workers: expected 1 or more processes, got '0'" in capsys.readouterr().err
