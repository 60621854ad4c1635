"""Wrong options of a run are refused before anything is read."""

from __future__ import annotations

from pathlib import Path

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


def test_no_process_cannot_decide(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["portfolio", "statements", "--out", "out", "--workers", "0"])
    assert "--workers: expected 1 or more processes, got '0'" in capsys.readouterr().err
