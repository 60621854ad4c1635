"""The bundles in BentoML's model store: their name there, and how to find one."""

from __future__ import annotations

from pathlib import Path

import bentoml

from serving.decision.bundle import SEAL

MODEL = "limit-reduction"
# A folder below the BentoML model's own, which holds a file of BentoML's: a bundle may hold no
# files but its own.
BUNDLE_FOLDER = "bundle"


class NoStoredModel(LookupError):
    """No bundle has been stored yet."""


def newest_bundle() -> Path:
    """The folder of the newest stored bundle.

    Raises:
        NoStoredModel: the store is empty.
    """
    try:
        return Path(bentoml.models.get(f"{MODEL}:latest").path) / BUNDLE_FOLDER
    except bentoml.exceptions.NotFound as error:
        raise NoStoredModel("no bundle is stored; `python -m serving pack` stores one") from error


def find_bundle(digest: str) -> Path | None:
    """The folder of the stored bundle with this digest; None if there is no such bundle."""
    return stored_bundles().get(digest)


def stored_models() -> list[bentoml.Model]:
    """The stored models in BentoML's form; empty if there are none."""
    # Filtered here, because `bentoml.models.list(MODEL)` raises if the store has no such model.
    return [model for model in bentoml.models.list() if model.tag.name == MODEL]


def stored_bundles() -> dict[str, Path]:
    """The folders of all stored bundles by stated digest. Nothing is verified here."""
    folders = [Path(model.path) / BUNDLE_FOLDER for model in stored_models()]
    return {stated_digest(folder): folder for folder in folders if (folder / SEAL).exists()}


def stated_digest(folder: Path) -> str:
    """The digest that the bundle in a folder states."""
    return (folder / SEAL).read_text(encoding="utf-8").strip()
