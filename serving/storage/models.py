"""The bundles in BentoML's model store: what they are called there, and the newest of them."""

from __future__ import annotations

from pathlib import Path

import bentoml

from serving.decision.bundle import SEAL

MODEL = "limit-reduction"
# Below the folder of the BentoML model, which holds a file of BentoML's own: a bundle has no files
# but its own.
BUNDLE_FOLDER = "bundle"


class NoStoredModel(LookupError):
    """No bundle has been stored yet."""


def newest_bundle() -> Path:
    """The folder of the newest stored bundle; raises :class:`NoStoredModel` where there is none."""
    try:
        return Path(bentoml.models.get(f"{MODEL}:latest").path) / BUNDLE_FOLDER
    except bentoml.exceptions.NotFound as error:
        raise NoStoredModel("no bundle is stored; `python -m serving pack` stores one") from error


def find_bundle(digest: str) -> Path | None:
    """The folder of the stored bundle that has this digest; None where it is not stored here."""
    return stored_bundles().get(digest)


def stored_bundles() -> dict[str, Path]:
    """The folders of all stored bundles, by the digest that each states; nothing is verified here."""
    # Asked for by name, the list raises where there is none.
    folders = [
        Path(model.path) / BUNDLE_FOLDER
        for model in bentoml.models.list()
        if model.tag.name == MODEL
    ]
    return {stated_digest(folder): folder for folder in folders if (folder / SEAL).exists()}


def stated_digest(folder: Path) -> str:
    """The digest that the bundle in a folder states."""
    return (folder / SEAL).read_text().strip()
