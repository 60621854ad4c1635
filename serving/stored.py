"""The bundles in BentoML's model store: what they are called there, and the newest of them."""

from __future__ import annotations

from pathlib import Path

import bentoml

MODEL = "limit-reduction"
# Below the folder of the BentoML model, which holds a file of BentoML's own: a bundle has no files but its own.
BUNDLE_FOLDER = "bundle"


class NothingStored(LookupError):
    """No bundle has been stored yet."""


def newest() -> Path:
    """The folder of the newest stored bundle; raises :class:`NothingStored` where there is none."""
    try:
        return Path(bentoml.models.get(f"{MODEL}:latest").path) / BUNDLE_FOLDER
    except bentoml.exceptions.NotFound as error:
        raise NothingStored("no bundle is stored; `python -m serving pack` stores one") from error
