"""Takes over the bundle that was activated, and the canary, while a worker answers requests.

A thread looks at two files, :mod:`.active` and :mod:`.canary`.  When one has changed, it loads the
bundle beside those that decide, and lets it decide from the next request on.  If it cannot, the
bundles that decide go on, and the worker says why: in its log, and in the file that
``python -m serving activate`` reads.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from serving.decision.bundle import Bundle, BundleError
from serving.decision.config.strict_toml import ConfigError
from serving.decision.golden import load
from serving.storage.bundles.active import ActiveFolder, Served, signature_of
from serving.storage.bundles.apart import verify_apart
from serving.storage.bundles.canary import read_canary
from serving.storage.bundles.held import Canary, HeldBundles
from serving.storage.bundles.store import NoStoredModel, find_bundle, resolve, stated_digest
from serving.storage.errors import StorageError

LOGGER = logging.getLogger("clearline.service")
_SECONDS_BETWEEN_LOOKS = 0.25
_TOLD = (BundleError, ConfigError, NoStoredModel, OSError, StorageError)  # name no values
_NOT_YET = (-1,)  # no signature


class Follower:
    """Follows the activations of a folder and a canary's file, for the bundles of this process.

    `image` is as in :class:`serving.storage.bundles.active.Activation`.
    """

    def __init__(
        self,
        bundles: HeldBundles,
        folder: ActiveFolder,
        image: str = "",
        canary_file: Path | None = None,
    ) -> None:
        self._bundles, self._folder, self._canary_file = bundles, folder, canary_file
        self._image = image
        self._activation_seen: tuple[int, ...] | None = _NOT_YET
        self._canary_seen: tuple[int, ...] | None = _NOT_YET
        self._refusals = folder.outcomes().refused
        self._refused = self._why = self._why_no_canary = ""
        self._stated: Served | None = None
        self._place = folder.register()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Look at once, and from then on until :meth:`close`."""
        self.look()
        self._thread.start()

    def close(self) -> None:
        """Look no more; the file of this worker is removed."""
        self._over.set()
        self._place.close()

    def look(self) -> None:
        """Take over what has changed since the last look, and state what this worker serves.

        Raises OSError if the file of this worker cannot be written, and StorageError if that of the
        outcomes cannot be read.
        """
        signature = self._folder.signature()
        if signature != self._activation_seen:
            self._activation_seen = signature
            self._refused = ""
            self._why = _try("the activated bundle", self._take_over)
        self._log_refusals()
        if self._canary_file is not None:
            signature = signature_of(self._canary_file)
            if signature != self._canary_seen:
                self._canary_seen = signature
                self._why_no_canary = _try("the canary", self._take_canary)
        self._state()

    def _log_refusals(self) -> None:
        """Log the bundles that the command refused: what it prints may go elsewhere."""
        outcomes = self._folder.outcomes()
        if outcomes.refused > self._refusals:
            LOGGER.error(
                "%s is not activated, and what decided goes on: %s",
                outcomes.last_refused,
                outcomes.why,
            )
        self._refusals = outcomes.refused

    def _take_over(self) -> None:
        """Let the activated bundle decide, if it does not already."""
        activation = self._folder.read()
        before = self._bundles.active
        if activation is None or activation.digest == before.digest:
            return
        self._refused = activation.digest  # until it is taken over
        bundle = self._bundles.held(activation.digest)
        if bundle is None:
            # The command that activated it has verified it in a process of its own.
            bundle = _load(activation.digest)
        self._bundles.activate(bundle)
        self._refused = ""
        LOGGER.warning(
            "bundle %s decides from now on, in place of %s",
            bundle.digest[:12],
            before.digest[:12],
        )

    def _take_canary(self) -> None:
        """Let the bundle in the canary's file decide on its share, or none without the file."""
        terms = None if self._canary_file is None else read_canary(self._canary_file)
        if terms is None:
            self._bundles.set_canary(None)
            LOGGER.warning("there is no canary: %s is not there", self._canary_file)
            return
        folder = resolve(terms.bundle)
        digest = stated_digest(folder)
        bundle = self._bundles.held(digest)
        if bundle is None:
            verify_apart(folder)
            bundle = _load(digest)
        self._check_products(bundle)
        self._bundles.set_canary(Canary(bundle, terms.share))
        LOGGER.warning("bundle %s decides on %g of the accounts", digest[:12], terms.share)

    def _check_products(self, canary: Bundle) -> None:
        """Raise BundleError if the canary would refuse accounts that the active bundle answers."""
        missing = sorted(self._bundles.active.comparisons.keys() - canary.comparisons.keys())
        if missing:
            raise BundleError(f"the canary {canary.digest[:12]} has no model for {missing}")

    def _state(self) -> None:
        """State what this worker serves, if that has changed."""
        canary = self._bundles.canary
        served = Served(
            process=os.getpid(),
            digest=self._bundles.active.digest,
            image=self._image,
            refused=self._refused,
            why=self._why,
            canary="" if canary is None else canary.bundle.digest,
            share=0.0 if canary is None else canary.share,
            why_no_canary=self._why_no_canary,
        )
        if served != self._stated:
            self._place.write(served)
            self._stated = served

    def _run(self) -> None:
        failed = ""
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                self.look()
                failed = ""
            except (OSError, StorageError) as error:
                if failed != str(error):
                    failed = str(error)
                    LOGGER.error("the activations are not followed: %s", failed)


def _try(what: str, take: Callable[[], None]) -> str:
    """Return "" once it is taken, or why it is not, which is logged."""
    try:
        take()
    except Exception as error:  # noqa: BLE001  # whatever it is, the old bundle goes on
        why = str(error) if isinstance(error, _TOLD) else type(error).__name__
        LOGGER.error("%s is refused, and what decided goes on: %s", what, why)
        return why
    return ""


def _load(digest: str) -> Bundle:
    """Load a stored bundle; raises BundleError if it is not stored, or another than its name."""
    folder = find_bundle(digest)
    if folder is None:
        raise BundleError(f"the bundle {digest} is not stored here")
    bundle = load(folder)
    if bundle.digest != digest:
        raise BundleError(f"{folder}: expected the bundle {digest}, got {bundle.digest}")
    return bundle
