"""Registered models: versions, aliases, and the bundle that belongs to each version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import lightgbm as lgb
import mlflow
import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from numpy.typing import NDArray

from training.tracking.store import Store, TrackingError, fetch_run_info


def register(
    booster: lgb.Booster, example: NDArray[np.float64], name: str, requirements: list[str]
) -> str:
    """Log the native Booster with its signature and register it; returns the new version of
    ``name``.

    ``example`` is float64 (n, features).  The signature names the features: MLflow then orders a
    table's columns by name, where LightGBM would score them as they stand.
    """
    inputs = Schema([ColSpec(DataType.double, feature) for feature in booster.feature_name()])
    probability = np.asarray(booster.predict(example))
    signature = ModelSignature(
        inputs, Schema([TensorSpec(probability.dtype, (-1, *probability.shape[1:]))])
    )
    logged = mlflow.lightgbm.log_model(
        booster,
        name="model",
        signature=signature,
        pip_requirements=requirements,
        registered_model_name=name,
    )
    return str(logged.registered_model_version)


def log_bundle(folder: Path, name: str, version: str, digest: str) -> None:
    """Keep the bundle with the run as ``bundle/`` and tag the model version with its digest."""
    mlflow.log_artifacts(str(folder), "bundle")
    MlflowClient().set_model_version_tag(name, version, "bundle", digest)


def promote(store: Store, name: str, version: str | None) -> str:
    """Point the alias ``champion`` at a version (the newest that has a bundle, if none is named);
    returns it.

    The version that was champion becomes ``previous``.  No gate is asked: see
    :mod:`training.release.promote`.  Raises :class:`TrackingError` for a version that is not there
    or has no bundle.
    """
    chosen = version or newest_version(store, name)
    _with_bundle(_versions(store, name), name, chosen)
    current = find_champion(store, name)
    if current is not None and current != chosen:
        set_alias(store, name, "previous", current)
    set_alias(store, name, "champion", chosen)
    return chosen


def newest_version(store: Store, name: str) -> str:
    """The newest version that has a bundle; the newest of all where none has.

    :class:`TrackingError` where there is none.
    """
    versions = _versions(store, name)
    if not versions:
        raise TrackingError(f"no version of {name} is registered in {store.folder}; fit one first")
    # A fit that failed half-way leaves a version without a bundle: not what "the newest" means.
    whole = [number for number, found in versions.items() if "bundle" in found.tags] or list(
        versions
    )
    return max(whole, key=int)


def find_champion(store: Store, name: str) -> str | None:
    """The version that is champion; None where there is none."""
    return aliases(store, name).get("champion")


def resolve_version(store: Store, name: str, version: str | None) -> str:
    """The version that is named, else the champion; :class:`TrackingError` where there is neither."""
    found = version or find_champion(store, name)
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


def set_alias(store: Store, name: str, alias: str, version: str) -> None:
    """Point an alias at a version."""
    store.client().set_registered_model_alias(name, alias, version)


def delete_alias(store: Store, name: str, alias: str) -> None:
    """Take an alias away."""
    store.client().delete_registered_model_alias(name, alias)


def versions_with_bundle(store: Store, name: str) -> list[str]:
    """The versions that can be served, in order."""
    return sorted(
        (number for number, found in _versions(store, name).items() if "bundle" in found.tags),
        key=int,
    )


def find_run(store: Store, name: str, version: str) -> str:
    """The run that a version was fitted in; :class:`TrackingError` where it is not there or has no
    bundle.
    """
    return str(_with_bundle(_versions(store, name), name, version).run_id)


def tag_version(store: Store, name: str, version: str, tags: Mapping[str, str]) -> None:
    """Tags of a version by name, beside those that it has."""
    client = store.client()
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def fetch_bundle(store: Store, name: str, version: str, folder: Path) -> Path:
    """A copy of the version's bundle in ``folder``; returns where it is.

    Raises :class:`TrackingError` where the version is not there or has no bundle.
    """
    found = _with_bundle(_versions(store, name), name, version)
    return Path(store.client().download_artifacts(str(found.run_id), "bundle", str(folder)))


def fetch_parameters(store: Store, name: str, version: str, stage: str) -> dict[str, str]:
    """The fields of the config of a stage that the version was fitted with, as text.

    Raises :class:`TrackingError` where the version is not there or has no bundle.
    """
    return fetch_run_info(store, find_run(store, name, version)).stage(stage)


def _with_bundle(versions: Mapping[str, ModelVersion], name: str, version: str) -> ModelVersion:
    if version not in versions:
        raise TrackingError(
            f"expected a version of {name} among {sorted(versions, key=int)}, got {version}"
        )
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
