"""A notebook finds the models that the commands store, with and without BENTOML_HOME."""

from __future__ import annotations

import shutil
from pathlib import Path

import bentoml
import pytest

from serving.decision.bundle import BundleError
from serving.decision.golden import load
from serving.operations import pack
from serving.storage.bundles import store
from serving.storage.bundles.store import MODEL
from tests.support.each import each
from tests.support.paths import GOLDEN


@pytest.mark.integration
def test_the_store_is_the_project_s_or_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MODEL_STORE", tmp_path / "project")
    monkeypatch.delenv("BENTOML_HOME", raising=False)
    pack.store(GOLDEN)
    assert load(store.newest_bundle()).digest == store.stated_digest(GOLDEN)
    assert store.newest_bundle().is_relative_to(tmp_path / "project")

    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "another"))
    with pytest.raises(store.NoStoredModel):
        store.newest_bundle()
    assert store.stored_bundles() == {}


@pytest.mark.integration
def test_a_stored_bundle_is_found_by_its_version_and_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    tag, digest = pack.store(GOLDEN), store.stated_digest(GOLDEN)
    version = tag.partition(":")[2]
    folder = store.resolve(version)
    assert store.stated_digest(folder) == digest
    for name in each([None, tag, digest, digest[:12]]):
        assert store.resolve(name) == folder
    for name in each(["", digest[:7], "0" * 64, f"{MODEL}:none"]):
        with pytest.raises(store.NoStoredModel, match="is not stored; stored are"):
            store.resolve(name)


@pytest.mark.integration
def test_a_bundle_that_was_stored_again_is_found_in_its_newest_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    # BentoML lists versions by their names, which it draws.
    for version in each(["bbb", "aaa", "ccc"]):
        with bentoml.models.create(f"{MODEL}:{version}", _model_store=store.model_store()) as model:
            shutil.copytree(GOLDEN, Path(model.path_of(store.BUNDLE_FOLDER)))
        folder = store.resolve(version)
        assert store.resolve(store.stated_digest(GOLDEN)) == folder
        assert store.resolve(None) == folder


def test_a_folder_without_a_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as refused:
        store.stated_digest(tmp_path)
    assert str(refused.value) == f"{tmp_path}: expected a bundle, found no bundle.sha256"
