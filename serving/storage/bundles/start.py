"""Which bundle a service starts with: the one that was activated last, or else the newest stored.

A Bento brings a bundle of its own instead of the newest.  An activation holds for the Bento in
which it was made: to deploy another is to choose the bundle in it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from serving.decision.config.strict_toml import ConfigError
from serving.storage.bundles.active import Activation, ActiveFolder, folder_of
from serving.storage.bundles.canary import canary_file, fix_canary_path, read_canary
from serving.storage.bundles.store import newest_bundle, resolve, stated_digest
from serving.storage.errors import StorageError

LOGGER = logging.getLogger("clearline.service")


def choose_start(folder: Path, image: str, active: ActiveFolder) -> Path:
    """Return the folder of the bundle to start with; `folder` is that without an activation.

    The image is as in :class:`serving.storage.bundles.active.Activation`.

    Raises:
        serving.decision.bundle.BundleError: what was activated is not stored here any more.
        serving.storage.errors.StorageError: the file of the activation cannot be read.
    """
    activation = active.settle(image)
    if activation is None:
        return folder
    chosen = folder_of(activation)
    if stated_digest(folder) != activation.digest:
        LOGGER.warning("%s", _describe(activation, stated_digest(folder)))
    return chosen


def bundle_to_serve(active: ActiveFolder) -> Path:
    """Return the folder of the bundle that ``python -m serving run`` would serve.

    The raises are those of :func:`choose_start`, and
    :class:`serving.storage.bundles.store.NoStoredModel`.
    """
    activation = active.read()
    if activation is None or activation.image:
        return newest_bundle()
    return folder_of(activation)


def check_canary() -> None:
    """Refuse a start with a canary's file that cannot be read, or names no stored bundle.

    The path in the environment becomes absolute, because workers may run in another folder.

    Raises:
        serving.storage.errors.StorageError: what is wrong with the file.
        serving.storage.bundles.store.NoStoredModel: no stored bundle has the name in it.
    """
    fix_canary_path()
    file = canary_file()
    if file is None:
        return
    try:
        terms = read_canary(file)
    except ConfigError as error:
        raise StorageError(str(error)) from None
    if terms is not None:
        resolve(terms.bundle)


def _describe(activation: Activation, newest: str) -> str:
    return (
        f"the service starts with the bundle {activation.digest[:12]}, which was activated at "
        f"{activation.at}; the newest stored one, {newest[:12]}, is not active: "
        "`python -m serving activate` activates it"
    )
