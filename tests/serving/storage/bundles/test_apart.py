"""A bundle is verified in a process of its own, which may die of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.decision.bundle import BundleError
from serving.storage.bundles.apart import verify_apart
from serving.storage.bundles.store import stated_digest
from tests.support.bundles import seal
from tests.support.paths import GOLDEN

pytestmark = pytest.mark.integration


def test_a_bundle_that_a_start_takes_is_verified() -> None:
    assert verify_apart(GOLDEN) == stated_digest(GOLDEN)


@pytest.mark.parametrize("damage", ["unsealed", "parser"])
def test_a_bundle_is_refused_with_its_file(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(GOLDEN, folder)
    model = (folder / "model.txt").read_text("utf-8")
    # Of such a text LightGBM's parser ends the process that reads it.
    (folder / "model.txt").write_text(model.replace("tree_sizes=", "tree_sizes=9"), "utf-8")
    if damage == "parser":
        seal(folder)
    with pytest.raises(BundleError) as refused:
        verify_apart(folder)
    assert str(folder) in str(refused.value)
    expected = "model.txt: its sha256" if damage == "unsealed" else "its verification was ended by"
    assert expected in str(refused.value)


def test_a_verification_that_takes_too_long_is_ended() -> None:
    with pytest.raises(BundleError, match=r"took longer than 0\.01 s"):
        verify_apart(GOLDEN, seconds=0.01)
