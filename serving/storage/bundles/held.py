"""The bundles that a process holds in memory, and which of them decides on an account.

A request takes a :class:`Choice` when it begins, and uses its bundles to the end. So a bundle that
is activated takes over between two requests: no request sees two of them.

    active    decides on every account, but for those of the canary
    canary    decides on a share of the accounts, chosen by a keyed hash
    earlier   a few bundles that decided before, for replays and reviews
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from serving.decision.bundle import Bundle, BundleError
from serving.decision.golden import load
from serving.decision.policy.control import draw
from serving.storage.bundles.store import find_bundle

LOGGER = logging.getLogger("clearline.service")
KEPT = 4  # earlier bundles; each takes some ten megabytes
_CANARY = b"canary\0"  # other accounts than those of the control arm


@dataclass(frozen=True, slots=True)
class Canary:
    """A bundle that decides on a share of the accounts, in [0, 1]."""

    bundle: Bundle
    share: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The bundles that decide on the accounts of one request, from its start to its end.

    `id_key` keys the hash of an account, as for the control arm: the same account gets the same
    bundle in every worker, every month, and without the key nobody can tell which.
    """

    active: Bundle
    canary: Canary | None = None
    id_key: bytes = b""

    @property
    def all(self) -> tuple[Bundle, ...]:
        """The bundles, the active one first."""
        return (self.active,) if self.canary is None else (self.active, self.canary.bundle)

    def of(self, account_id: str) -> Bundle:
        """Return the bundle that decides on an account.

        A larger share keeps the accounts of a smaller one.
        """
        if self.canary is None:
            return self.active
        drawn = draw(_CANARY, account_id, self.id_key)
        return self.canary.bundle if drawn < self.canary.share else self.active


class HeldBundles:
    """The bundles of one process; every method may be called on any thread.

    `kept` is how many earlier bundles stay in memory. One that is dropped is freed as soon as no
    request uses it, and is read again from the store when a review needs it.
    """

    def __init__(self, active: Bundle, kept: int = KEPT) -> None:
        self._in_use: tuple[Bundle, Canary | None] = (active, None)
        self._earlier: OrderedDict[str, Bundle] = OrderedDict()
        self._kept = kept
        self._lock = threading.Lock()

    @classmethod
    def of(cls, bundles: HeldBundles | Bundle) -> HeldBundles:
        """Return held bundles as they are, and a bundle alone as the active one."""
        return bundles if isinstance(bundles, HeldBundles) else cls(bundles)

    @property
    def active(self) -> Bundle:
        """The bundle that decides."""
        return self._in_use[0]

    @property
    def canary(self) -> Canary | None:
        """The bundle that decides on a share of the accounts, if there is one."""
        return self._in_use[1]

    def choose(self, id_key: bytes) -> Choice:
        """Return what decides on the accounts of a request that begins now."""
        active, canary = self._in_use
        return Choice(active, canary, id_key)

    def activate(self, bundle: Bundle) -> None:
        """Let a bundle decide from the next request on; the one before is kept as an earlier."""
        with self._lock:
            before, canary = self._in_use
            # One assignment: a request sees the old pair or the new one.
            self._in_use = (bundle, canary)
            self._earlier.pop(bundle.digest, None)
            self._keep(before)

    def set_canary(self, canary: Canary | None) -> None:
        """Let another bundle, or another share, decide from the next request on; None = none."""
        with self._lock:
            active, before = self._in_use
            self._in_use = (active, canary)
            if canary is not None:
                self._earlier.pop(canary.bundle.digest, None)
            if before is not None:
                self._keep(before.bundle)

    def held(self, digest: str) -> Bundle | None:
        """Return a bundle that is in memory; None if it is not."""
        active, canary = self._in_use
        if digest == active.digest:
            return active
        if canary is not None and digest == canary.bundle.digest:
            return canary.bundle
        with self._lock:
            return self._earlier.get(digest)

    def find(self, digest: str) -> Bundle | None:
        """Return a bundle, read from the store if it is not in memory; this takes a second.

        None if it is not stored here any more, or cannot be read any more.
        """
        found = self.held(digest)
        if found is None:
            found = _load_stored(digest)
        if found is not None:
            with self._lock:
                self._keep(found)
        return found

    def _keep(self, bundle: Bundle) -> None:
        """Note the latest use of an earlier bundle, and drop those beyond the bound."""
        self._earlier.pop(bundle.digest, None)
        active, canary = self._in_use
        if bundle is active or (canary is not None and bundle is canary.bundle):
            return
        self._earlier[bundle.digest] = bundle
        while len(self._earlier) > self._kept:
            self._earlier.popitem(last=False)


def _load_stored(digest: str) -> Bundle | None:
    folder: Path | None = find_bundle(digest)
    if folder is None:
        return None
    try:
        return load(folder)
    except BundleError:
        # Of an earlier format.
        return None
