"""From a registered model version to a verified bundle, a BentoML model and a Bento.

The only module of serving that imports mlflow.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import bentoml

from serving import PROJECT
from serving.decision import bundle
from serving.decision.golden import load
from serving.storage.bundles.store import BUNDLE_FOLDER, MODEL, model_store, stored_models

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class PackError(ValueError):
    """A model cannot be packed: which, what was expected and what was found."""


def fetch(
    version_or_alias: str,
    tracking_uri: str,
    folder: Path,
    force: str | None = None,
) -> Path:
    """Download the bundle of a registered model version that the gates passed.

    Args:
        version_or_alias: A version ("3") or an alias ("champion").
        tracking_uri: MLflow's tracking server.
        folder: Where to put the bundle.
        force: The reason to take a version that no gate has passed; None = do not.

    Returns:
        The path of the bundle, below ``folder``.

    Raises:
        PackError: there is no such version, its bundle is not the registered one, or `promote` has
            neither passed nor forced this version with this bundle, whatever alias it has.
        serving.decision.bundle.BundleError: the bundle is damaged.
    """
    # Imported here: a service runs without mlflow and its 165 MB.
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    _check_store(tracking_uri)
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
    if force is None:
        _check_verdict(client, found, digest)
    return Path(path)


def check_reason(force: str | None) -> None:
    """Raise :class:`PackError` if the reason to pack by force is empty."""
    if force is not None and not force.strip():
        raise PackError("--force: expected a reason, got an empty text")


def store(folder: Path, force: str | None = None) -> str:
    """Verify a bundle and store it as a BentoML model, unless the newest model holds it already.

    The model's metadata hold ``force``, the reason to pack what the gates did not pass.

    Returns:
        The model's tag.

    Raises:
        serving.decision.bundle.BundleError: the bundle is damaged.
    """
    packed = load(folder)
    # Compared with the newest only: the service loads the newest, so an older equal one is no use.
    stored = stored_models()
    if stored and stored[-1].info.metadata.get("digest") == packed.digest:
        return str(stored[-1].tag)
    provenance = packed.provenance
    metadata = {
        "digest": packed.digest,
        "version": provenance.version,
        "policy": packed.policy.version,
        "run": provenance.run,
    }
    if force is not None:
        metadata["forced"] = force
    labels = {"model": provenance.name}
    with bentoml.models.create(
        MODEL,
        labels=labels,
        metadata=metadata,
        _model_store=model_store(),
    ) as model:
        shutil.copytree(folder, Path(model.path_of(BUNDLE_FOLDER)))
    return str(model.tag)


def build() -> str:
    """Build a Bento of features/, serving/, their dependencies and the newest stored model.

    pyproject.toml, ``[tool.bentoml.build]``, lists its content. Returns its tag.
    """
    return str(bentoml.bentos.build_bentofile(build_ctx=str(PROJECT)).tag)


def _check_store(tracking_uri: str) -> None:
    """Raise :class:`PackError` for a file that does not exist; MLflow would create a database."""
    scheme, _, path = tracking_uri.partition(":///")
    if scheme == "sqlite" and not Path(path).is_file():
        raise PackError(f"{path}: there is no MLflow store; `python -m training fit` makes one")


def _check_verdict(client: MlflowClient, found: ModelVersion, digest: str) -> None:
    """Raise :class:`PackError` unless a promotion of this version and bundle passed or was forced.

    The promotion's run says so, and not the alias, which anybody can move.
    """
    from mlflow.exceptions import MlflowException

    model = f"model {MODEL!r} version {found.version}"
    instead = "or give the reason to pack it all the same with --force"
    run_id = found.tags.get("promotion.run")
    if not run_id:
        raise PackError(
            f"{model}: no gate has judged it; "
            f"`python -m training promote --version {found.version}` does, {instead}"
        )
    try:
        tags = client.get_run(run_id).data.tags
    except MlflowException as error:
        raise PackError(
            f"{model}: the run of its promotion, {run_id}, is not in the store; "
            f"promote it again, {instead}"
        ) from error
    wrong = _wrong_verdict(tags, f"{MODEL} {found.version}", digest)
    if wrong:
        expected, got = wrong
        raise PackError(
            f"{model}: expected {expected}, its run {run_id} is of {got}; "
            f"promote it again, {instead}"
        )
    if tags.get("promotion.outcome") not in ("promoted", "forced"):
        refused_by = tags.get("promotion.refused_by", "")
        raise PackError(f"{model}: refused by {refused_by}; mend what refuses it, {instead}")


def _wrong_verdict(
    tags: Mapping[str, str],
    version: str,
    digest: str,
) -> tuple[str, str] | None:
    """Return what a promotion's run should be about and what it is about; None if that is right."""
    kind, about = tags.get("kind", "no kind"), tags.get("version", "no version")
    judged = tags.get("promotion.bundle", "unknown")
    if kind != "promotion":
        return "a run of kind promotion", f"kind {kind}"
    if about != version:
        return f"a promotion of {version}", about
    if judged != digest:
        return f"a promotion of bundle {digest[:12]}", f"bundle {judged[:12]}"
    return None


def _find_version(client: MlflowClient, version_or_alias: str) -> ModelVersion:
    if version_or_alias.isdigit():
        return client.get_model_version(MODEL, version_or_alias)
    return client.get_model_version_by_alias(MODEL, version_or_alias)
