"""Registered models: versions, aliases, and the bundle of each version."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from serving.decision.bundle import SEAL
from training.tracking.store import Store, TrackingError, fetch_run_info


def promote(store: Store, name: str, version: str | None) -> str:
    """Make a version ``champion``, and the champion before it ``previous``; return the version.

    ``version`` None = the newest with a bundle.  Gates are evaluated by
    :mod:`training.release.promote`, not here.

    Raises :class:`TrackingError` for a version that does not exist or has no bundle.
    """
    chosen = version or newest_version(store, name)
    _version_with_bundle(store, name, chosen)
    current = find_champion(store, name)
    if current is not None and current != chosen:
        set_alias(store, name, "previous", current)
    set_alias(store, name, "champion", chosen)
    return chosen


def newest_version(store: Store, name: str) -> str:
    """Return the newest version with a bundle; the newest of all if none has one.

    Raises :class:`TrackingError` if no version is registered.
    """
    versions = _versions(store, name)
    if not versions:
        raise TrackingError(f"no version of {name} is registered in {store.folder}; fit one first")
    # A fit that failed half-way leaves a version without a bundle.
    with_bundle = [number for number, version in versions.items() if _has_bundle(version)]
    return max(with_bundle or versions, key=int)


def find_champion(store: Store, name: str) -> str | None:
    """Return the version that is champion; None if there is no champion."""
    return aliases(store, name).get("champion")


def resolve_version(store: Store, name: str, version: str | None) -> str:
    """Return ``version``, or the champion if it is None; :class:`TrackingError` without either."""
    resolved = version or find_champion(store, name)
    if resolved is None:
        raise TrackingError(f"{name} has no champion; promote a version first")
    return resolved


def aliases(store: Store, name: str) -> dict[str, str]:
    """Return the versions by alias; empty if no such model is registered."""
    if not store.exists():
        return {}
    try:
        by_alias = store.client().get_registered_model(name).aliases
    except MlflowException:
        # No such model, or no possible name of one: either has no aliases.
        return {}
    return {alias: str(version) for alias, version in sorted(by_alias.items())}


def set_alias(
    store: Store,
    name: str,
    alias: str,
    version: str,
) -> None:
    """Set an alias to a version."""
    store.client().set_registered_model_alias(name, alias, version)


def delete_alias(store: Store, name: str, alias: str) -> None:
    """Delete an alias."""
    store.client().delete_registered_model_alias(name, alias)


def versions_with_bundle(store: Store, name: str) -> list[str]:
    """Return the versions that can be served, oldest first."""
    numbers = []
    for number, version in _versions(store, name).items():
        if _has_bundle(version):
            numbers.append(number)
    # As numbers: as texts, 10 would come before 9.
    return sorted(numbers, key=int)


def find_run(store: Store, name: str, version: str) -> str:
    """Return the id of the run that fitted a version.

    Raises :class:`TrackingError` if there is no such version, or if it has no bundle.
    """
    return str(_version_with_bundle(store, name, version).run_id)


def tag_version(
    store: Store,
    name: str,
    version: str,
    tags: Mapping[str, str],
) -> None:
    """Add tags to a version."""
    # One by one: MLflow has no call that sets several tags of a version.
    client = store.client()
    for key, value in tags.items():
        client.set_model_version_tag(name, version, key, value)


def fetch_bundle(
    store: Store,
    name: str,
    version: str,
    folder: Path,
) -> Path:
    """Copy the bundle of a version into ``folder``; return its path.

    Raises :class:`TrackingError` if there is no such version, if it has no bundle, or if its run
    holds another bundle than it was registered with.
    """
    found = _version_with_bundle(store, name, version)
    copied = Path(store.client().download_artifacts(str(found.run_id), "bundle", str(folder)))
    digest = (copied / SEAL).read_text("utf-8").strip()
    registered = found.tags["bundle"]
    if digest != registered:
        raise TrackingError(
            f"version {version} of {name}: expected bundle {registered}, "
            f"its run {found.run_id} holds {digest}"
        )
    return copied


def bundle_digest(store: Store, name: str, version: str) -> str:
    """Return the digest of the bundle that a version was registered with.

    Raises :class:`TrackingError` if there is no such version, or if it has no bundle.
    """
    return str(_version_with_bundle(store, name, version).tags["bundle"])


def fetch_parameters(
    store: Store,
    name: str,
    version: str,
    stage: str,
) -> dict[str, str]:
    """Return the config fields of a stage that a version was fitted with, as text.

    Raises :class:`TrackingError` if there is no such version, or if it has no bundle.
    """
    run_id = find_run(store, name, version)
    info = fetch_run_info(store, run_id)
    return info.stage(stage)


def _version_with_bundle(store: Store, name: str, version: str) -> ModelVersion:
    versions = _versions(store, name)
    if version not in versions:
        raise TrackingError(
            f"expected a version of {name} among {sorted(versions, key=int)}, got {version}"
        )
    if not _has_bundle(versions[version]):
        raise TrackingError(f"version {version} of {name} has no bundle: its fit did not finish")
    return versions[version]


def _has_bundle(version: ModelVersion) -> bool:
    return "bundle" in version.tags


def _versions(store: Store, name: str) -> dict[str, ModelVersion]:
    if not store.exists():
        return {}
    try:
        found = store.client().search_model_versions(f"name='{name}'")
    except MlflowException as error:
        raise TrackingError(f"{name!r} is not the name of a model: {error.message}") from error
    return {str(version.version): version for version in found}
