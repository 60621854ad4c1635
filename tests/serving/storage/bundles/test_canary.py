"""The file of the canary is read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.decision.config.strict_toml import ConfigError
from serving.storage.bundles.canary import CanaryTerms, fix_canary_path, read_canary
from serving.storage.bundles.start import check_canary
from serving.storage.errors import StorageError

BAD = {
    "share = 0.1": "'bundle'",
    'bundle = "2f"': "'share'",
    'bundle = ""\nshare = 0.1': "bundle: expected a text",
    'bundle = "2f"\nshare = 1.5': "share: expected a number from 0 to 1, got 1.5",
    'bundle = "2f"\nshare = true': "share: expected a number from 0 to 1",
    'bundle = "2f"\nshare = 0.1\nshares = 2': "unknown key 'shares'",
    "share": "expected TOML",
}


def test_the_terms_are_read(tmp_path: Path) -> None:
    file = tmp_path / "canary.toml"
    assert read_canary(file) is None
    file.write_text('bundle = "2f00"\nshare = 0.05\n', encoding="utf-8")
    assert read_canary(file) == CanaryTerms("2f00", 0.05)


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_is_refused_with_its_key(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "canary.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read_canary(file)
    assert str(file) in str(refused.value)
    assert BAD[text] in str(refused.value)
    # So is the start of a service.
    monkeypatch.setenv("CLEARLINE_CANARY", str(file))
    with pytest.raises(StorageError) as start:
        check_canary()
    assert str(start.value) == str(refused.value)


def test_the_path_is_that_of_the_folder_of_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"CLEARLINE_CANARY": "canary.toml"}
    fix_canary_path(variables)
    assert variables["CLEARLINE_CANARY"] == str(Path.cwd() / "canary.toml")
