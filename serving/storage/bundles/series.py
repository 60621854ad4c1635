"""The bundles that the workers serve, as series for ``GET /metrics``."""

from __future__ import annotations

from collections import Counter

from serving.storage.bundles.active import ActiveFolder
from serving.web.telemetry.metrics import bundle_label
from serving.web.telemetry.state import bundle_text


def bundle_state(folder: ActiveFolder) -> str:
    """Return the series of all workers that share the folder, whichever of them answers.

    Raises:
        serving.storage.errors.StorageError: a file of the folder cannot be read.
    """
    workers: Counter[tuple[str, str]] = Counter()
    share = 0.0
    for served in folder.workers():
        workers[bundle_label(served.digest), "active"] += 1
        if served.canary:
            workers[bundle_label(served.canary), "canary"] += 1
            share = max(share, served.share)
    outcomes = folder.outcomes()
    counts = {"taken": outcomes.taken, "refused": outcomes.refused}
    return bundle_text(workers, share, counts)
