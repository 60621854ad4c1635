"""The bundles in BentoML's model store: their name there, and how to find one.

The store is that of ``BENTOML_HOME``, or of the project's folder without it: in a notebook as in
the commands.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml

# BentoML reads BENTOML_HOME when it is imported, and its functions take no other store than one of
# this class.
from bentoml._internal.models.model import ModelStore

from serving import MODEL_STORE
from serving.decision.bundle import SEAL, BundleError

MODEL = "limit-reduction"
# A folder below the BentoML model's own, which holds a file of BentoML's: a bundle may hold no
# files but its own.
BUNDLE_FOLDER = "bundle"


_LEAST_DIGITS = 8  # of the beginning of a digest that names a bundle


class NoStoredModel(LookupError):
    """No bundle is stored, or none by the name that was given."""


def model_store() -> ModelStore:
    """The store as BentoML's functions take it, ``_model_store``; makes the folder."""
    home = Path(os.environ.get("BENTOML_HOME") or MODEL_STORE)
    folder = home / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return ModelStore(folder)


def newest_bundle() -> Path:
    """The folder of the newest stored bundle.

    Raises:
        NoStoredModel: the store is empty.
    """
    newest = f"{MODEL}:latest"
    try:
        return Path(bentoml.models.get(newest, _model_store=model_store()).path) / BUNDLE_FOLDER
    except bentoml.exceptions.NotFound as error:
        raise NoStoredModel("no bundle is stored; `python -m serving pack` stores one") from error


def resolve(version: str | None) -> Path:
    """The folder of a stored bundle by its name; nothing is verified here.

    Args:
        version: The version of a stored model (``limit-reduction:VERSION`` or ``VERSION``), the
            digest of a bundle, or at least 8 digits of its beginning; None = the newest.

    Raises:
        NoStoredModel: no stored bundle has this name, or several begin with it.
    """
    if version is None:
        return newest_bundle()
    by_version = {
        str(model.tag.version): Path(model.path) / BUNDLE_FOLDER for model in stored_models()
    }
    name = version.removeprefix(f"{MODEL}:")
    if name in by_version:
        return by_version[name]
    by_digest = stored_bundles()
    found = [digest for digest in by_digest if _begins(digest, name)]
    if len(found) == 1:
        return by_digest[found[0]]
    problem = "is not stored" if not found else f"is the beginning of {len(found)} stored bundles"
    raise NoStoredModel(
        f"expected the version of a stored model or the beginning of its bundle's digest, "
        f"got {version!r}, which {problem}; stored are {sorted(by_version)}"
    )


def find_bundle(digest: str) -> Path | None:
    """The folder of the stored bundle with this digest; None if there is no such bundle."""
    return stored_bundles().get(digest)


def stored_models() -> list[bentoml.Model]:
    """The stored models in BentoML's form, the oldest first; empty if there are none."""
    # Filtered here, because `bentoml.models.list(MODEL)` raises if the store has no such model.
    models = bentoml.models.list(_model_store=model_store())
    ours = [model for model in models if model.tag.name == MODEL]
    return sorted(ours, key=lambda model: model.creation_time)


def stored_bundles() -> dict[str, Path]:
    """The folders of all stored bundles by stated digest. Nothing is verified here.

    Where a bundle was stored several times, its folder is that of the newest version.
    """
    folders = [Path(model.path) / BUNDLE_FOLDER for model in stored_models()]
    return {stated_digest(folder): folder for folder in folders if (folder / SEAL).exists()}


def stated_digest(folder: Path) -> str:
    """The digest that the bundle in a folder states.

    Raises:
        BundleError: the folder holds no bundle.
    """
    try:
        return (folder / SEAL).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise BundleError(f"{folder}: expected a bundle, found no {SEAL}") from None


def _begins(digest: str, name: str) -> bool:
    return len(name) >= _LEAST_DIGITS and digest.startswith(name)
