"""Names and reasons that a command records."""

from __future__ import annotations

import argparse

import pytest

from features.console import parse_line
from serving.__main__ import main
from tests.support.each import each


def test_a_line_for_the_record_has_no_control_characters() -> None:
    for text in each(("Li\x1b[31mNa", "Li\nNa", "Li\x00Na", "Li\x9bNa", "Li\u2028Na")):
        with pytest.raises(argparse.ArgumentTypeError, match="one line without control"):
            parse_line(text)
    for text in each(("Li Na", "李娜\u3000经理", "Zoë O’Neil, ticket 4711", "می\u200cخواهم")):
        assert parse_line(text) == text


@pytest.mark.parametrize(
    "arguments",
    [
        ["erase", "--expired", "--by"],
        ["erase", "--expired", "--by", "Li Na", "--why"],
        ["erase", "--tenant", "t", "--account", "a", "--by", "Li Na", "--hold-over"],
        ["activate", "--by"],
        ["pack", "--force"],
        ["portfolio", "statements", "--out", "out", "--beyond-bounds"],
    ],
)
def test_every_command_that_records_a_text_refuses_control_characters(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "a\x1b[31mb"])
    assert ended.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"argument {arguments[-1]}: expected one line without control characters" in message
    assert "\x1b" not in message
