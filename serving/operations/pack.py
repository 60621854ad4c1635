"""From a registered model version to a verified bundle, a BentoML model and a Bento.

The only module of serving that imports mlflow.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml

from serving import PROJECT
from serving.decision import bundle
from serving.decision.golden import load
from serving.storage.models import BUNDLE_FOLDER, MODEL, stored_models

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class PackError(ValueError):
    """A model cannot be packed: which, what was expected and what was found."""


def fetch(version_or_alias: str, tracking_uri: str, folder: Path) -> Path:
    """Download the bundle of a registered model version.

    Args:
        version_or_alias: A version ("3") or an alias ("champion").
        tracking_uri: MLflow's tracking server.
        folder: Where to put the bundle.

    Returns:
        The path of the bundle, below ``folder``.

    Raises:
        PackError: there is no such version, or its bundle is not the registered one.
        serving.decision.bundle.BundleError: the bundle is damaged.
    """
    # Imported here: a service runs without mlflow and its 165 MB.
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Both addresses: without the second, MLflow uses the registry that the process named last.
    client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found = _find_version(client, version_or_alias)
        path = download_artifacts(
            run_id=found.run_id,
            artifact_path=BUNDLE_FOLDER,
            dst_path=str(folder),
            tracking_uri=tracking_uri,
        )
    except MlflowException as error:
        raise PackError(
            f"model {MODEL!r}, version or alias {version_or_alias!r}: {error.message}"
        ) from error
    registered, digest = found.tags.get("bundle"), bundle.read(Path(path)).digest
    if registered != digest:
        raise PackError(
            f"model {MODEL!r} version {found.version}: expected bundle {registered}, "
            f"its run {found.run_id} holds {digest}"
        )
    return Path(path)


def store(folder: Path) -> str:
    """Verify a bundle and store it as a BentoML model, unless the newest model holds it already.

    Returns:
        The model's tag.

    Raises:
        serving.decision.bundle.BundleError: the bundle is damaged.
    """
    packed = load(folder)
    # Compared with the newest only: the service loads the newest, so an older equal one is no use.
    newest = max(stored_models(), key=lambda model: model.creation_time, default=None)
    if newest is not None and newest.info.metadata.get("digest") == packed.digest:
        return str(newest.tag)
    provenance = packed.provenance
    metadata = {
        "digest": packed.digest,
        "version": provenance.version,
        "policy": packed.policy.version,
        "run": provenance.run,
    }
    labels = {"model": provenance.name}
    with bentoml.models.create(MODEL, labels=labels, metadata=metadata) as model:
        shutil.copytree(folder, Path(model.path_of(BUNDLE_FOLDER)))
    return str(model.tag)


def build() -> str:
    """Build a Bento of features/, serving/, their dependencies and the newest stored model.

    pyproject.toml, ``[tool.bentoml.build]``, lists its content. Returns its tag.
    """
    return str(bentoml.bentos.build_bentofile(build_ctx=str(PROJECT)).tag)


def _find_version(client: MlflowClient, version_or_alias: str) -> ModelVersion:
    if version_or_alias.isdigit():
        return client.get_model_version(MODEL, version_or_alias)
    return client.get_model_version_by_alias(MODEL, version_or_alias)
