"""What one run of one fit holds, read back with MLflow's own client, and which versions may become
champion.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightgbm as lgb
import mlflow
import numpy as np
import polars as pl
import pytest
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from PIL import Image

from features.catalogue import MODEL_FEATURES
from features.schema import PRODUCTS
from serving.decision.golden import load
from tests.support.paths import ROOT
from tests.support.small_fit import CONFIGS
from tests.training.conftest import STORE_WARNINGS, Kept
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled
from training.evaluate import figures
from training.evaluate.metrics import calibration, lift
from training.fit.bundle import BundleConfig, library_versions
from training.fit.config import FitConfig, FitError
from training.fit.fit import fit
from training.fit.run import run_fit
from training.tracking import registry, runs
from training.tracking.config import as_text
from training.tracking.new_version import log_booster, new_version
from training.tracking.registry import promote
from training.tracking.store import Store, TrackingError

pytestmark = STORE_WARNINGS
NAME = "limit-reduction"
FIGURES = {"roc", "precision_recall", "calibration", "scores", "lift", "gain"} | {
    f"shap_{name}" for name in ("beeswarm", "bar", "dependence", "waterfall")
}
TABLES = {
    "splits",
    "discrimination",
    "calibration",
    "brier",
    "lift",
    "gain",
    "folds",
    "economics",
    "reason_agreement",
    "reason_deletion",
    "reason_stability",
    "reason_sentences",
}


def point_at(store: Store) -> None:
    """MLflow finds the model behind a version's source in the store that it was told of last,
    whatever a client is of.
    """
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)


@pytest.fixture(autouse=True)
def pointed_at_the_kept_store(kept: Kept) -> None:
    point_at(kept.store)


@pytest.fixture(scope="module")
def run(kept: Kept) -> Run:
    return kept.store.client().get_run(kept.report.run)


@pytest.fixture(scope="module")
def version(kept: Kept) -> ModelVersion:
    return kept.store.client().get_model_version(NAME, kept.report.version)


@pytest.fixture(scope="module")
def artefacts(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the run holds, fetched as a stranger would."""
    return Path(
        kept.store.client().download_artifacts(
            kept.report.run, "", str(tmp_path_factory.mktemp("artefacts"))
        )
    )


@pytest.fixture(scope="module")
def booster_folder(
    kept: Kept, version: ModelVersion, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    point_at(kept.store)
    folder = tmp_path_factory.mktemp("model")
    uri = f"runs:/{version.run_id}/booster"
    found = mlflow.artifacts.download_artifacts(
        uri, dst_path=str(folder), tracking_uri=kept.store.uri, registry_uri=kept.store.uri
    )
    return Path(found)


# What a run holds


def test_a_run_holds_every_field_of_every_config(run: Run) -> None:
    data, model, bundle = CONFIGS
    stages: list[tuple[str, Any]] = [("data", data), ("fit", model), ("bundle", bundle)]
    expected = {
        f"{stage}.{field.name}": as_text(getattr(config, field.name))
        for stage, config in stages
        for field in fields(config)
    }
    assert run.data.params == expected
    assert expected["fit.trees"] == "40"


def test_a_run_holds_the_data_the_code_and_the_libraries_it_was_made_with(
    run: Run, source: Source
) -> None:
    tags = run.data.tags
    assert run.info.status == "FINISHED"
    assert tags["data.digest"] == source.digest
    assert tags["data.label"] == source.label_definition
    assert re.fullmatch(r"\d+\.\d+\.\d+", tags["code.version"])
    in_checkout = (ROOT / ".git").exists()
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?" if in_checkout else "", tags["code.commit"])
    assert {
        name: tags[f"library.{name}"] for name in ("lightgbm", "numpy", "polars")
    } == library_versions()


def test_a_run_names_its_data_by_their_digest(
    run: Run, kept: Kept, source: Source, simulated: Path
) -> None:
    assert run.inputs is not None
    by_context = {}
    for found in run.inputs.dataset_inputs:
        tags = {tag.key: tag.value for tag in found.tags}
        assert tags["digest"] == source.digest
        assert found.dataset.digest == source.digest[:36]
        assert json.loads(found.dataset.source)["uri"] == simulated.resolve().as_uri()
        rows = json.loads(str(found.dataset.profile))["num_rows"]
        by_context[tags["mlflow.data.context"]] = rows
    rows_of = kept.report.rows
    assert by_context == {
        "training": rows_of["train"],
        "validation": rows_of["valid"],
        "evaluation": rows_of["test"],
    }


def test_a_version_and_its_model_are_described(version: ModelVersion, kept: Kept, run: Run) -> None:
    about_version = str(version.description)
    assert f"version {version.version}" in about_version
    assert f"{run.data.metrics['auc']:.4f}" in about_version
    model = kept.store.client().get_registered_model(NAME)
    assert f"models:/{NAME}@champion" in str(model.description)
    assert len(version.tags) <= 8


def test_a_run_holds_each_measure_inside_its_interval(run: Run, kept: Kept) -> None:
    metrics = run.data.metrics
    for name in ("auc", "ks", "gini", "brier"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    assert metrics["gini"] == pytest.approx(2 * metrics["auc"] - 1)
    assert 0.75 < metrics["auc"] < 0.95
    assert 1 <= metrics["trees"] <= 40
    reported = {row["measure"]: row["value"] for row in kept.report.measures.iter_rows(named=True)}
    assert reported == {name: metrics[name] for name in reported}


def test_a_run_holds_the_tables(artefacts: Path, run: Run, kept: Kept) -> None:
    tables = {
        file.stem: pl.read_csv(file)
        for file in (artefacts / "tables").iterdir()
        if file.suffix == ".csv"
    }
    assert tables.keys() == TABLES
    measures = {row["measure"]: row for row in tables["discrimination"].iter_rows(named=True)}
    assert measures["auc"]["value"] == run.data.metrics["auc"]
    for name in ("calibration", "lift"):
        assert tables[name]["accounts"].sum() == kept.report.rows["test"]
    parts = tables["brier"].row(0, named=True)
    assert parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts[
        "within"
    ] == pytest.approx(run.data.metrics["brier"])
    assert set(tables["gain"]["feature"]) == set(MODEL_FEATURES)
    assert tables["folds"].columns == ["fold", "auc"]
    assert tables["folds"].is_empty()  # simulated data have a hold-out
    splits = {row["split"]: row for row in tables["splits"].iter_rows(named=True)}
    assert {split: row["rows"] for split, row in splits.items()} == kept.report.rows
    assert splits["test"]["auc"] == pytest.approx(measures["auc"]["value"], abs=1e-12)
    assert (
        splits["train"]["last_as_of"]
        < splits["test"]["first_as_of"]
        == splits["test"]["last_as_of"]
    )
    assert set(tables["economics"]["product"]) == set(PRODUCTS)
    assert set(tables["economics"]["measure"]) == {"margin", "credit_conversion"}
    agreement = tables["reason_agreement"]
    assert set(agreement["against"]) == {
        "second_sample",
        "random_samples",
        "path_dependent",
    }
    assert 0.5 < run.data.metrics["reasons_second_sample_same_set"] <= 1


def test_a_run_holds_figures_that_show_something(artefacts: Path) -> None:
    files = {file.stem: file for file in (artefacts / "figures").iterdir()}
    assert files.keys() == FIGURES
    for file in files.values():
        assert file.suffix == ".png"
        with Image.open(file) as image:
            image.load()
            assert image.format == "PNG"
            assert all(400 <= side <= 2500 for side in image.size), file
            grey = np.asarray(image.convert("L"))
        assert 0.01 < np.mean(grey < 250) < 0.6, file  # neither an empty sheet nor a filled one


def test_the_native_booster_is_kept_as_text(booster_folder: Path, artefacts: Path) -> None:
    (text,) = booster_folder.rglob("*.lgb")
    native = lgb.Booster(model_file=str(text))
    kept = lgb.Booster(model_file=str(artefacts / "bundle" / "model.txt"))
    loaded = mlflow.lightgbm.load_model(str(booster_folder))
    assert type(loaded) is lgb.Booster
    assert native.feature_name() == list(MODEL_FEATURES)
    rows = np.random.default_rng(0).normal(1, 5, (200, len(MODEL_FEATURES)))
    rows[::3, ::5] = np.nan
    expected = np.asarray(kept.predict(rows))
    assert np.ptp(expected) > 0.05
    for booster in (native, loaded):
        assert np.array_equal(np.asarray(booster.predict(rows)), expected)


def test_no_artefact_is_a_pickle(booster_folder: Path, artefacts: Path) -> None:
    assert is_pickle(b"\x80\x04N.")  # the control
    files = [
        file
        for folder in (booster_folder, artefacts)
        for file in folder.rglob("*")
        if file.is_file()
    ]
    assert len(files) > 20
    assert [file for file in files if is_pickle(file.read_bytes())] == []
    text = {"", ".csv", ".html", ".json", ".lgb", ".md", ".patch", ".toml", ".txt", ".yaml"}
    binary = {".parquet", ".png", ".sha256", ".zip"}
    assert {file.suffix for file in files} <= text | {".py"} | binary


def is_pickle(content: bytes) -> bool:
    """A whole pickle of a binary protocol; those of protocol 0 and 1 have no mark, and nothing
    writes them.
    """
    if not content.startswith(b"\x80"):
        return False
    try:
        list(pickletools.genops(io.BytesIO(content)))
    except ValueError:
        return False
    return True


def test_the_signature_names_the_features_so_that_their_order_cannot_be_mistaken(
    booster_folder: Path,
) -> None:
    signature = mlflow.models.get_model_info(str(booster_folder)).signature
    assert signature.inputs.input_names() == list(MODEL_FEATURES)
    assert set(signature.inputs.numpy_types()) == {np.dtype(np.float64)}
    rows = np.random.default_rng(1).normal(1, 5, (50, len(MODEL_FEATURES)))
    rows[::2, 3] = np.nan
    table = pl.from_numpy(rows, schema=list(MODEL_FEATURES)).to_pandas()
    model = mlflow.pyfunc.load_model(str(booster_folder))
    expected = np.asarray(mlflow.lightgbm.load_model(str(booster_folder)).predict(rows))
    assert np.array_equal(np.asarray(model.predict(table[list(MODEL_FEATURES)[::-1]])), expected)


def test_the_run_holds_the_bundle_that_the_version_is_tagged_with(
    artefacts: Path, version: ModelVersion, kept: Kept, tmp_path: Path
) -> None:
    bundle = load(artefacts / "bundle")
    assert version.run_id == kept.report.run
    assert version.tags["bundle"] == bundle.digest == kept.report.bundle
    assert (bundle.provenance.name, bundle.provenance.run, bundle.provenance.version) == (
        NAME,
        kept.report.run,
        "1",
    )
    assert load(registry.fetch_bundle(kept.store, NAME, "1", tmp_path)).digest == bundle.digest


def test_the_config_of_a_version_can_be_read_back(kept: Kept) -> None:
    fitted_with = registry.fetch_parameters(kept.store, NAME, kept.report.version, "data")
    assert fitted_with == {
        field.name: str(getattr(DataConfig(), field.name)) for field in fields(DataConfig)
    }


@pytest.mark.parametrize("accounts", [70, 90, 100, 120, 130, 250])
def test_intervals_of_bins_without_a_default_or_with_nothing_else_are_drawn(accounts: int) -> None:
    """Rounding puts some ends of Wilson's interval 1e-17 beyond the share; a fit must not fail on
    its picture.
    """
    probability = np.linspace(0.01, 0.9, accounts)
    label = (probability > 0.5).astype(np.float64)
    figures.calibration(calibration(label, probability))
    figures.lift(lift(label, probability))


# Champions


def add_version(store: Store, tags: dict[str, str]) -> str:
    """One more version of the model, of the run that there is."""
    client = store.client()
    first = client.get_model_version(NAME, "1")
    return str(
        client.create_model_version(NAME, str(first.source), first.run_id, tags=tags).version
    )


def alias(store: Store, name: str) -> str | None:
    """The version that an alias points at, by the registry's own list."""
    found = store.client().get_registered_model(NAME).aliases.get(name)
    return None if found is None else str(found)


def test_promote_takes_the_newest_or_the_one_named_and_remembers_the_one_before(
    another_store: Store,
) -> None:
    for _ in range(9):
        add_version(another_store, {"bundle": "0" * 64})
    assert registry.find_champion(another_store, NAME) is None
    assert promote(another_store, NAME, None) == "10"  # not "9", which is later in the alphabet
    assert (alias(another_store, "champion"), alias(another_store, "previous")) == ("10", None)
    assert promote(another_store, NAME, "2") == "2"
    assert (alias(another_store, "champion"), alias(another_store, "previous")) == ("2", "10")
    assert promote(another_store, NAME, "2") == "2"
    assert alias(another_store, "previous") == "10"
    assert registry.find_champion(another_store, NAME) == "2"


def test_promote_refuses_a_version_that_is_not_there_or_has_no_bundle(another_store: Store) -> None:
    assert promote(another_store, NAME, "1") == "1"
    bare = add_version(another_store, {})
    for version, words in (("7", r"among \['1', '2'\], got 7"), (bare, "no bundle")):
        with pytest.raises(TrackingError, match=words):
            promote(another_store, NAME, version)
    assert promote(another_store, NAME, None) == "1"  # the newest that has a bundle
    assert (alias(another_store, "champion"), alias(another_store, "previous")) == ("1", None)


@pytest.mark.parametrize("version", ["7", "2", "one"])
def test_only_the_bundle_of_a_finished_version_is_fetched(
    another_store: Store, version: str, tmp_path: Path
) -> None:
    add_version(another_store, {})
    with pytest.raises(TrackingError, match=f"version {version} of .* has no bundle|got {version}"):
        registry.fetch_bundle(another_store, NAME, version, tmp_path)
    with pytest.raises(TrackingError):
        registry.fetch_parameters(another_store, NAME, version, "data")


def test_an_empty_store_has_no_champion_and_asking_makes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "nothing")
    assert registry.find_champion(store, NAME) is None
    with pytest.raises(
        TrackingError,
        match=r"no version of limit-reduction is registered in .*nothing; fit one first",
    ):
        promote(store, NAME, None)
    with pytest.raises(TrackingError):
        registry.fetch_bundle(store, NAME, "1", tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["another", "limit'reduction"])
def test_a_model_that_is_not_there_is_said_to_be_none(kept: Kept, name: str) -> None:
    with pytest.raises(TrackingError, match=name):
        promote(kept.store, name, None)


# Failures


def test_an_exception_after_registering_leaves_a_failed_run_and_no_version_to_promote(
    another_store: Store, data: Labelled
) -> None:
    made = fit(data, FitConfig(trees=3))
    example = data.features.matrix(MODEL_FEATURES)[:10]
    started: list[str] = []

    def loses_power() -> None:
        with runs.start_run(another_store) as run_id:
            log_booster(made.booster, example)
            with new_version(NAME, run_id) as new:
                started.extend([run_id, new.version, new.model_id])
                raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        loses_power()
    run_id, version, model_id = started
    assert another_store.client().get_run(run_id).info.status == "FAILED"
    assert another_store.client().get_logged_model(model_id).status == "FAILED"
    assert mlflow.active_run() is None
    assert version == "2"
    with pytest.raises(TrackingError, match=r"version 2 .* did not finish"):
        promote(another_store, NAME, version)
    assert promote(another_store, NAME, None) == "1"


@pytest.mark.slow
def test_a_fit_that_fails_is_kept_as_failed_with_what_it_was_asked(
    another_store: Store, simulated: Path
) -> None:
    with pytest.raises(FitError, match="reference population"):
        run_fit(
            simulated,
            another_store,
            (DataConfig(), FitConfig(trees=3), BundleConfig(reference_size=100_000)),
        )
    client = another_store.client()
    newest, first = client.search_runs([another_store.experiment_id()])
    assert (newest.info.status, first.info.status) == ("FAILED", "FINISHED")
    assert newest.data.params["bundle.reference_size"] == "100000"
    assert [str(found.version) for found in client.search_model_versions(f"name='{NAME}'")] == ["1"]
