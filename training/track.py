"""Params, tables, figures and the bundle to ``mlruns/``.  The only importer of MLflow in training.

One run holds everything of one fit.  The store is SQLite under ``mlruns/`` with the artefacts beside it; models are LightGBM's
own text, never a pickle.
"""

from __future__ import annotations

import datetime
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

# Before mlflow is imported: it reads them then.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import lightgbm as lgb
import mlflow
import numpy as np
import polars as pl
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from numpy.typing import NDArray

EXPERIMENT = "limit-reduction"
RUN_NAME, ON_TOP = (
    "mlflow.runName",
    "mlflow.note.content",
)  # tags: what a run is called, and what its page says first (Markdown)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)  # it tells of each migration of a new database


class TrackingError(LookupError):
    """A run, version or alias that is not in the store: what was asked for, and what there is."""


@dataclass(frozen=True, slots=True)
class Store:
    """Where runs are kept: a folder with MLflow's database and artefacts."""

    folder: Path

    @property
    def uri(self) -> str:
        """The tracking address, absolute: a relative one would depend on who opens it."""
        return f"sqlite:///{self.folder.resolve()}/mlflow.db"

    def exists(self) -> bool:
        """Whether anything was ever kept here: asking MLflow would make a database and migrate it."""
        return (self.folder / "mlflow.db").is_file()

    def client(self) -> MlflowClient:
        """A client of this store; PermissionError where it cannot be written: MLflow would say so late, and in SQL."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for place in (self.folder, self.folder / "mlflow.db"):
            if place.exists() and not os.access(place, os.W_OK):
                raise PermissionError(f"{place}: cannot be written")
        return MlflowClient(self.uri, self.uri)

    def experiment_id(self) -> str:
        """The experiment that runs belong to, made if it is not there: its artefacts stand beside the database."""
        client = self.client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return str(experiment.experiment_id)
        return client.create_experiment(EXPERIMENT, artifact_location=(self.folder.resolve() / "artifacts").as_uri())


@contextmanager
def run(store: Store, name: str | None = None, again: str | None = None) -> Iterator[str]:
    """A run in the store, active inside the block; gives its id.  An exception inside marks it as failed, an interruption as
    killed, and the tag ``ended_by`` says which it was.

    ``name`` is what MLflow shows it as; one of MLflow's own making if none is given.  ``again`` is a
    run to go on with; a new one where the store has no such run any more.
    """
    experiment_id = store.experiment_id()
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    if again is not None and not _is_there(store, again):
        again = None
    with mlflow.start_run(run_id=again, experiment_id=experiment_id, run_name=None if again else name) as active:
        try:
            yield str(active.info.run_id)
        except (Exception, KeyboardInterrupt) as error:
            killed = isinstance(error, KeyboardInterrupt)
            mlflow.set_tag("ended_by", "interrupted" if killed else f"{type(error).__name__}: {error}"[:500])
            mlflow.end_run("KILLED" if killed else "FAILED")
            raise


def _is_there(store: Store, run_id: str) -> bool:
    try:
        return str(store.client().get_run(run_id).info.lifecycle_stage) == "active"
    except MlflowException:
        return False


def log_tags(tags: Mapping[str, str]) -> None:
    """Tags of the active run."""
    mlflow.set_tags(dict(tags))


@dataclass(frozen=True, slots=True)
class Child:
    """A run inside another: its name, and the little that is worth keeping of it."""

    name: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Children:
    """The runs inside a run, each written whole at its end: three transactions, whatever it holds."""

    def __init__(self, store: Store, parent: str) -> None:
        self._client, self._experiment, self._parent = store.client(), store.experiment_id(), parent

    def names(self) -> set[str]:
        """Those that are there; what a killed process left unfinished is deleted."""
        inside = f"tags.`mlflow.parentRunId` = '{self._parent}'"
        found, token = set(), None
        while True:
            page = self._client.search_runs([self._experiment], inside, max_results=1000, page_token=token)
            for child in page:
                if child.info.status == "FINISHED":
                    found.add(str(child.info.run_name))
                else:
                    self._client.delete_run(child.info.run_id)
            if not (token := page.token):
                return found

    def log(self, child: Child) -> None:
        """Keep one."""
        tags = {"mlflow.parentRunId": self._parent, RUN_NAME: child.name} | dict(child.tags)
        run_id = self._client.create_run(self._experiment, tags=tags).info.run_id
        now = int(time.time() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in child.metrics.items()],
            params=[Param(name, str(value)) for name, value in child.params.items()],
        )
        self._client.set_terminated(run_id)


def log_configs(configs: Mapping[str, Any], facts: Mapping[str, str], but: Sequence[str] = ()) -> None:
    """Every field of every config as ``stage.field``, ``but`` these; facts (digests, versions) as tags."""
    parameters = {
        f"{stage}.{field.name}": getattr(config, field.name)
        for stage, config in configs.items()
        for field in fields(config)
        if f"{stage}.{field.name}" not in but
    }
    mlflow.log_params(parameters)
    mlflow.set_tags(dict(facts))


def log_tables(tables: Mapping[str, pl.DataFrame]) -> None:
    """Each table as CSV under ``tables/``."""
    for name, table in tables.items():
        mlflow.log_text(table.write_csv(), f"tables/{name}.csv")


def log_text(text: str, place: str) -> None:
    """A text of the run under that name."""
    mlflow.log_text(text, place)


def log_figures(figures: Mapping[str, Figure]) -> None:
    """Each figure as PNG under ``figures/``."""
    with drawing(figures):
        pass


@contextmanager
def drawing(figures: Mapping[str, Figure]) -> Iterator[None]:
    """Log figures while the block runs, which leaves matplotlib alone; they are kept when it ends.

    Drawing is most of what keeping a run costs, and what a fit does last are LightGBM's predictions, without the interpreter.
    """
    if (active := mlflow.active_run()) is None:
        raise TrackingError("expected a run that is active, to keep figures with; there is none")
    client, run_id = MlflowClient(), active.info.run_id

    def draw() -> None:
        # Pillow's default level takes a fifth of the drawing's time to save a twentieth of the bytes.
        how = {"dpi": 110, "pil_kwargs": {"compress_level": 1}}
        for name, figure in figures.items():
            client.log_figure(run_id, figure, f"figures/{name}.png", save_kwargs=how)

    with ThreadPoolExecutor(1, "figures") as pool:
        drawn = pool.submit(draw)
        yield
        drawn.result()


def log_metrics(metrics: Mapping[str, float]) -> None:
    """Metrics of the run by name."""
    mlflow.log_metrics(dict(metrics))


def register(booster: lgb.Booster, example: NDArray[np.float64], name: str, requirements: list[str]) -> str:
    """Log the native Booster with its signature and register it; returns the new version of ``name``.

    ``example`` is float64 (n, features).  The signature names the features: MLflow then orders a table's columns by name, where
    LightGBM would score them as they stand.
    """
    inputs = Schema([ColSpec(DataType.double, feature) for feature in booster.feature_name()])
    probability = np.asarray(booster.predict(example))
    signature = ModelSignature(inputs, Schema([TensorSpec(probability.dtype, (-1, *probability.shape[1:]))]))
    logged = mlflow.lightgbm.log_model(
        booster, name="model", signature=signature, pip_requirements=requirements, registered_model_name=name
    )
    return str(logged.registered_model_version)


def log_bundle(folder: Path, name: str, version: str, digest: str) -> None:
    """Keep the bundle with the run as ``bundle/`` and tag the model version with its digest."""
    mlflow.log_artifacts(str(folder), "bundle")
    MlflowClient().set_model_version_tag(name, version, "bundle", digest)


def promote(store: Store, name: str, version: str | None) -> str:
    """Point the alias ``champion`` at a version (the newest that has a bundle, if none is named); returns it.

    The version that was champion becomes ``previous``.  No gate is asked: see :mod:`training.promotion`.  Raises
    :class:`TrackingError` for a version that is not there or has no bundle.
    """
    chosen = version or newest(store, name)
    _with_bundle(_versions(store, name), name, chosen)
    current = champion(store, name)
    if current is not None and current != chosen:
        point(store, name, "previous", current)
    point(store, name, "champion", chosen)
    return chosen


def newest(store: Store, name: str) -> str:
    """The newest version that has a bundle; the newest of all where none has.  :class:`TrackingError` where there is none."""
    versions = _versions(store, name)
    if not versions:
        raise TrackingError(f"no version of {name} is registered in {store.folder}; fit one first")
    # A fit that failed half-way leaves a version without a bundle: not what "the newest" means.
    whole = [number for number, found in versions.items() if "bundle" in found.tags] or list(versions)
    return max(whole, key=int)


def champion(store: Store, name: str) -> str | None:
    """The version that is champion; None where there is none."""
    return aliases(store, name).get("champion")


def chosen(store: Store, name: str, version: str | None) -> str:
    """The version that is named, else the champion; :class:`TrackingError` where there is neither."""
    found = version or champion(store, name)
    if found is None:
        raise TrackingError(f"{name} has no champion; promote a version first")
    return found


def aliases(store: Store, name: str) -> dict[str, str]:
    """Alias -> version; empty where the model is not there."""
    if not store.exists():
        return {}
    try:
        found = store.client().get_registered_model(name).aliases
    except MlflowException:
        return {}
    return {alias: str(version) for alias, version in sorted(found.items())}


def point(store: Store, name: str, alias: str, version: str) -> None:
    """Point an alias at a version."""
    store.client().set_registered_model_alias(name, alias, version)


def unpoint(store: Store, name: str, alias: str) -> None:
    """Take an alias away."""
    store.client().delete_registered_model_alias(name, alias)


def versions_with_bundle(store: Store, name: str) -> list[str]:
    """The versions that can be served, in order."""
    return sorted((number for number, found in _versions(store, name).items() if "bundle" in found.tags), key=int)


def run_of(store: Store, name: str, version: str) -> str:
    """The run that a version was fitted in; :class:`TrackingError` where it is not there or has no bundle."""
    return str(_with_bundle(_versions(store, name), name, version).run_id)


def tag_version(store: Store, name: str, version: str, tags: Mapping[str, str]) -> None:
    """Tags of a version by name, beside those that it has."""
    client = store.client()
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


@dataclass(frozen=True, slots=True)
class Told:
    """What a run tells of itself: its parameters and tags by name, and who started it when (ISO 8601, UTC)."""

    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    by: str
    at: str

    def stage(self, stage: str) -> dict[str, str]:
        """The fields of the config of a stage, as text."""
        return {key.removeprefix(f"{stage}."): value for key, value in self.parameters.items() if key.startswith(f"{stage}.")}


def told(store: Store, run_id: str) -> Told:
    """What a run tells; :class:`TrackingError` where it is not in the store."""
    if not store.exists():
        raise TrackingError(f"expected a store in {store.folder}, found none")
    try:
        found = store.client().get_run(run_id)
    except MlflowException as error:
        raise TrackingError(f"no run {run_id} is in {store.folder}") from error
    began = datetime.datetime.fromtimestamp(found.info.start_time / 1000, datetime.UTC)
    return Told(found.data.params, found.data.tags, str(found.data.tags.get("mlflow.user", "")), f"{began:%Y-%m-%dT%H:%M:%SZ}")


def fetch_table(store: Store, run_id: str, name: str) -> pl.DataFrame | None:
    """A table that a run keeps; None where it keeps none of that name."""
    place = f"tables/{name}.csv"
    client = store.client()
    if place not in {file.path for file in client.list_artifacts(run_id, "tables")}:
        return None
    with scratch() as folder:
        return pl.read_csv(client.download_artifacts(run_id, place, folder))


def keep_text(store: Store, run_id: str, text: str, place: str) -> None:
    """Keep a text with a run that is over, under that name; one of before is replaced."""
    store.client().log_text(run_id, text, place)


def fetch_run_bundle(store: Store, run_id: str, folder: Path) -> Path:
    """A copy of the bundle that a run keeps, in ``folder``; returns where it is.  :class:`TrackingError` where it keeps
    none."""
    told(store, run_id)
    if not store.client().list_artifacts(run_id, "bundle"):
        raise TrackingError(f"run {run_id} keeps no bundle: it is no fit, or one that did not finish")
    return Path(store.client().download_artifacts(run_id, "bundle", str(folder)))


def fetch_bundle(store: Store, name: str, version: str, folder: Path) -> Path:
    """A copy of the version's bundle in ``folder``; returns where it is.

    Raises :class:`TrackingError` where the version is not there or has no bundle.
    """
    found = _with_bundle(_versions(store, name), name, version)
    return Path(store.client().download_artifacts(str(found.run_id), "bundle", str(folder)))


def parameters(store: Store, name: str, version: str, stage: str) -> dict[str, str]:
    """The fields of the config of a stage that the version was fitted with, as text.

    Raises :class:`TrackingError` where the version is not there or has no bundle.
    """
    return told(store, run_of(store, name, version)).stage(stage)


def _with_bundle(versions: Mapping[str, ModelVersion], name: str, version: str) -> ModelVersion:
    if version not in versions:
        raise TrackingError(f"expected a version of {name} among {sorted(versions, key=int)}, got {version}")
    if "bundle" not in versions[version].tags:
        raise TrackingError(f"version {version} of {name} has no bundle: its fit did not finish")
    return versions[version]


def _versions(store: Store, name: str) -> dict[str, ModelVersion]:
    if not store.exists():
        return {}
    try:
        return {str(v.version): v for v in store.client().search_model_versions(f"name='{name}'")}
    except MlflowException as error:
        raise TrackingError(f"{name!r} is not the name of a model: {error.message}") from error


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder for what is on its way into the store."""
    return tempfile.TemporaryDirectory(prefix="clearline-")
