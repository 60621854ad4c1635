"""bounds.toml is read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import ROOT
from training.release.monitor.bounds import read_bounds

OWN = (ROOT / "training" / "release" / "monitor" / "bounds.toml").read_text("utf-8")


def test_a_copy_of_the_project_s_own_bounds_is_read(tmp_path: Path) -> None:
    file = tmp_path / "bounds.toml"
    file.write_text(OWN, encoding="utf-8")
    assert read_bounds(file) == read_bounds()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OWN.replace("auc_drop", "auc_dorp"), "auc_drop"),
        (OWN + "more = 1\n", "unknown key"),
        (OWN.replace("feature_psi = 0.25", "feature_psi = -1"), "Bounds.feature_psi"),
        (OWN.replace("feature_psi = 0.25", "feature_psi = true"), "a finite number"),
        ("[", "expected TOML"),
    ],
    ids=["misspelt", "unknown", "negative", "boolean", "not TOML"],
)
def test_an_invalid_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert text != OWN
    file = tmp_path / "bounds.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_bounds(file)
