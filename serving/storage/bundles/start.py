"""Which bundle a service starts with: the one that was activated last, or else the newest stored.

A Bento brings a bundle of its own instead of the newest.  An activation holds for the Bento in
which it was made: to deploy another is to choose the bundle in it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from serving.decision.config.strict_toml import ConfigError
from serving.storage.bundles.active import Activation, ActiveFolder, folder_of
from serving.storage.bundles.canary import canary_file, fix_canary_path, read_canary
from serving.storage.bundles.store import newest_bundle, resolve, stated_digest
from serving.storage.errors import StorageError

LOGGER = logging.getLogger("clearline.service")
_SECONDS_BETWEEN_LOOKS = 2.0  # at the store


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


def read_follow(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the service activates by itself what is stored: ``CLEARLINE_FOLLOW=latest``.

    Raises:
        StorageError: the variable has another value.
    """
    text = environment.get("CLEARLINE_FOLLOW", "")
    if text not in ("", "latest"):
        raise StorageError(f"CLEARLINE_FOLLOW: expected latest, or nothing, got {text!r}")
    return text == "latest"


class StoreFollower:
    """Activates the newest stored bundle whenever there is another one than at the last look.

    `known` are the digests that are not activated: that of the bundle which decides, and the one
    that somebody went back from. `activate` begins the activation, and returns at once.
    """

    def __init__(self, known: Iterable[str], activate: Callable[[], None]) -> None:
        self._activate = activate
        self._known, self._seen = set(known), ""

    def start(self) -> None:
        """Look every two seconds, on a thread, for as long as this process lives."""
        threading.Thread(target=self._run, daemon=True).start()

    def look(self) -> None:
        """Activate the newest bundle, if it is new and was the newest at the last look too.

        A bundle is tried once, be it refused or not.
        """
        newest = stated_digest(newest_bundle())
        # The store copies file by file: a bundle that has just appeared may not be whole.
        is_whole = newest == self._seen
        self._seen = newest
        if is_whole and newest not in self._known:
            self._known.add(newest)
            self._activate()

    def _run(self) -> None:
        while True:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  # of a store that is being written
                LOGGER.warning("the store is not followed at the moment: %s", error)


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
