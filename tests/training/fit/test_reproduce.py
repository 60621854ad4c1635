"""A run says how it is done again, and doing so gives the same model."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support.small_fit import CONFIGS
from tests.training.conftest import STORE_WARNINGS, Kept, copy_of
from training.__main__ import main
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.fit.bundle import BundleConfig
from training.fit.config import FitConfig
from training.fit.reproduce import fit_command, model_digest
from training.fit.run import run_fit
from training.tracking.config import as_assignments, override
from training.tracking.store import Store

pytestmark = STORE_WARNINGS


@pytest.fixture(scope="module")
def again(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, str]:
    """Another store, into which the command of the session's run was run; and its run there."""
    command = shlex.split(kept.store.client().get_run(kept.report.run).data.tags["reproduce"])
    assert command[:3] == ["python", "-m", "training"]
    store = copy_of(kept.store, tmp_path_factory.mktemp("again") / "mlruns")
    assert main([*command[3:], "--store", str(store.folder), "--quiet"]) == 0
    newest, first = store.client().search_runs(
        [store.experiment_id()], order_by=["attributes.start_time DESC"]
    )
    assert first.info.run_id == kept.report.run
    return store, str(newest.info.run_id)


def manifest(store: Store, run: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        Path(store.client().download_artifacts(run, "bundle/manifest.json", str(folder))).read_text(
            encoding="utf-8"
        )
    )
    return found


@pytest.mark.slow
def test_the_command_of_a_run_makes_the_same_bundle_in_another_store(
    kept: Kept, again: tuple[Store, str], tmp_path: Path
) -> None:
    store, run = again
    tags = [store.client().get_run(of).data.tags for of in (kept.report.run, run)]
    assert tags[0]["model.digest"] == tags[1]["model.digest"]
    assert tags[0]["reproduce"] == tags[1]["reproduce"]
    first, second = (manifest(store, of, tmp_path / of) for of in (kept.report.run, run))
    own = {first["provenance"].pop(name) for name in ("run", "version")}
    assert not own & {second["provenance"].pop(name) for name in ("run", "version")}
    assert first == second  # every file, calibration and reference


def test_the_page_of_a_run_says_on_what_and_with_what(
    kept: Kept, source: Source, tmp_path: Path
) -> None:
    client = kept.store.client()
    page = Path(
        client.download_artifacts(kept.report.run, "reproduce.md", str(tmp_path))
    ).read_text("utf-8")
    tags = client.get_run(kept.report.run).data.tags
    assert f"    {tags['reproduce']}\n" in page
    for fact in (
        source.digest,
        tags["model.digest"],
        tags["code.version"],
        tags["library.lightgbm"],
    ):
        assert fact in page
    model = Path(client.download_artifacts(kept.report.run, "bundle/model.txt", str(tmp_path)))
    assert model_digest(model.read_text("utf-8")) == tags["model.digest"]


def test_a_run_is_found_by_its_name_and_tags(kept: Kept) -> None:
    run = kept.store.client().get_run(kept.report.run)
    auc = run.data.metrics["auc"]
    assert run.info.run_name == f"fit limit-reduction v{kept.report.version} auc {auc:.3f}"
    expected = {"kind": "fit", "model.version": kept.report.version, "bundle": kept.report.bundle}
    assert {name: run.data.tags[name] for name in expected} == expected
    assert f"| auc | {auc:.4f} |" in run.data.tags["mlflow.note.content"]


def test_other_data_are_refused_before_a_run_is_begun(
    simulated: Path, source: Source, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"expected data of digest {'0' * 64}, got {source.digest}"):
        run_fit(simulated, Store(tmp_path / "mlruns"), CONFIGS, expected_digest="0" * 64)
    assert not (tmp_path / "mlruns").exists()


def test_a_command_sets_what_is_not_the_default_and_quotes_it() -> None:
    configs = (
        DataConfig(valid_share=0.1),
        FitConfig(monotone=False, learning_rate=0.1 + 0.2),
        BundleConfig(policy=Path("a b.toml")),
    )
    words = shlex.split(fit_command(Path("my data"), Path("runs"), configs, "abc"))
    assert words[3:10] == ["fit", "--data", "my data", "--store", "runs", "--data-digest", "abc"]
    settings = words[11::2]
    assert settings == as_assignments(configs)
    assert override([DataConfig(), FitConfig(), BundleConfig()], settings) == list(configs)
    assert len(settings) == 4


@pytest.mark.torture
def test_changes_that_were_never_committed_are_kept_with_the_run(
    simulated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: of a clean tree there is nothing to keep, and the page says nothing of it."""
    from training.fit import provenance
    from training.fit import run as run_module

    for patch in ("", "diff --git a/features/catalogue.py b/features/catalogue.py\n"):
        monkeypatch.setattr(
            provenance,
            "run_git",
            lambda *words, of=patch: of if words[0] == "diff" else "0" * 40 + "-dirty" * bool(of),
        )
        store = Store(tmp_path / f"mlruns{len(patch)}")
        configs = (
            DataConfig(as_of_every=6),
            FitConfig(trees=3, min_leaf=30),
            BundleConfig(reference_size=20),
        )
        run = run_module.run_fit(simulated, store, configs).run
        kept = {file.path for file in store.client().list_artifacts(run)}
        page = Path(
            store.client().download_artifacts(run, "reproduce.md", str(tmp_path))
        ).read_text("utf-8")
        assert ("uncommitted.patch" in kept, "git apply" in page) == (bool(patch), bool(patch))
