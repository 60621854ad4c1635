"""Wrong options of the commands are refused before anything is read."""

from __future__ import annotations

import pytest

from serving.__main__ import main

WRONG = [
    (("activate", "--by", " "), "--by: expected the name of who activates, got a blank one"),
    (("activate", "--wait", "-1"), "--wait: expected 0 or more seconds, got '-1'"),
    (("activate", "--wait", "soon"), "--wait: expected 0 or more seconds, got 'soon'"),
    (("activate", "--wait", "nan"), "--wait: expected 0 or more seconds, got 'nan'"),
]

# What an option belongs to is missing, or something else was asked for.
IGNORED = [
    ("deliver --forget app --keep-days 1", "--keep-days: expected none with --forget"),
    ("deliver --forget app --endpoints e.toml", "--endpoints: expected none with --forget"),
    ("deliver --new-secret --keep-days 1", "--keep-days: expected none with --new-secret"),
    ("deliver --refused --keep-days 1", "--keep-days: expected none with --refused"),
    ("deliver --again --keep-days 1", "--keep-days: expected none with --again"),
    ("export --overwrite", "--overwrite: expected --out too"),
    ("backfill --bundle b --overwrite", "--overwrite: expected --out too"),
    ("shadow --overwrite", "--overwrite: expected --out too"),
    ("replay --decision d --shadow", "--shadow: expected none with --decision"),
    (
        "pack --bundle b --force because --tracking-uri sqlite:///a.db",
        "--tracking-uri: expected none with --bundle",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_option_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), IGNORED)
def test_an_option_that_would_be_ignored_is_refused(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments.split()) == 2
    assert capsys.readouterr().err.startswith(message)
