"""A registered model version to a verified bundle, and that to a BentoML model and a Bento; here
alone serving uses mlflow.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import bentoml

from serving import PROJECT
from serving.decision import bundle
from serving.decision.golden import load
from serving.storage.models import BUNDLE_FOLDER, MODEL

ALIAS = "champion"
TRACKING_URI = f"sqlite:///{PROJECT}/mlruns/mlflow.db"


class PackError(ValueError):
    """A model that cannot be packed: which, what was expected and what was found."""


def fetch(version_or_alias: str, tracking_uri: str, folder: Path) -> Path:
    """The bundle of a registered version ("3") or alias ("champion"), downloaded into ``folder``;
    its path there.

    Raises :class:`PackError` where there is no such version or its bundle is not the one that was
    registered, :class:`serving.decision.bundle.BundleError` where it is damaged.
    """
    # Here and not above: a service has no mlflow, and does without its 165 MB.
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # not whatever registry the process last named
    client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    by_version = version_or_alias.isdigit()
    try:
        found = (client.get_model_version if by_version else client.get_model_version_by_alias)(
            MODEL, version_or_alias
        )
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(
            download_artifacts(
                run_id=found.run_id,
                artifact_path=BUNDLE_FOLDER,
                dst_path=str(folder),
                tracking_uri=tracking_uri,
            )
        )
    except MlflowException as error:
        raise PackError(
            f"model {MODEL!r}, version or alias {version_or_alias!r}: {error.message}"
        ) from error
    registered, digest = found.tags.get("bundle"), bundle.read(path).digest
    if registered != digest:
        raise PackError(
            f"model {MODEL!r} version {found.version}: expected bundle {registered}, its run {found.run_id} holds {digest}"
        )
    return path


def store(folder: Path) -> str:
    """The tag of the BentoML model that holds this bundle, verified; the newest one where that
    holds it already.

    Raises :class:`serving.decision.bundle.BundleError`.
    """
    packed = load(folder)
    newest = max(_stored(), key=lambda model: model.creation_time, default=None)
    if newest is not None and newest.info.metadata.get("digest") == packed.digest:
        return str(newest.tag)
    provenance = packed.provenance
    metadata = {
        "digest": packed.digest,
        "version": provenance.version,
        "policy": packed.policy.version,
        "run": provenance.run,
    }
    with bentoml.models.create(
        MODEL, labels={"model": provenance.name}, metadata=metadata
    ) as model:
        shutil.copytree(folder, Path(model.path_of(BUNDLE_FOLDER)))
    return str(model.tag)


def _stored() -> list[bentoml.Model]:
    # Asked for by name, the list raises where there is none.
    return [model for model in bentoml.models.list() if model.tag.name == MODEL]


def build() -> str:
    """The tag of a new Bento: the code in features/ and serving/, what they depend on, and the
    newest stored model.

    What goes in stands in pyproject.toml, ``[tool.bentoml.build]``.
    """
    return str(bentoml.bentos.build_bentofile(build_ctx=str(PROJECT)).tag)
