"""A notebook finds the models that the commands store, with and without BENTOML_HOME."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.decision.bundle import BundleError
from serving.decision.golden import load
from serving.operations import pack
from serving.storage import models
from tests.support.paths import GOLDEN


@pytest.mark.integration
def test_the_store_is_the_project_s_or_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "MODEL_STORE", tmp_path / "project")
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    pack.store(GOLDEN)
    assert load(models.newest_bundle()).digest == models.stated_digest(GOLDEN)
    assert models.newest_bundle().is_relative_to(tmp_path / "project")

    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "another"))
    with pytest.raises(models.NoStoredModel):
        models.newest_bundle()
    assert models.stored_bundles() == {}


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as refused:
        models.stated_digest(tmp_path)
    assert str(refused.value) == f"{tmp_path}: expected a bundle, found no bundle.sha256"
