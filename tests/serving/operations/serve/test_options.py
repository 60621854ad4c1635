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


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_option_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
