"""Lets a running service decide with another bundle, without a restart.

    find the stored bundle -> verify it in a process of its own -> a row in the audit log
    -> the file of the activation -> every worker takes it over -> or all go back

Whatever is refused on the way, the bundle that decided goes on.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from serving.audit_log.entry import NewEntry
from serving.audit_log.rows import insert_entries
from serving.decision.bundle import BundleError
from serving.operations.audit import OpenAuditLog, open_audit_log
from serving.operations.errors import NotActivated
from serving.storage.bundles.active import Activation, ActiveFolder, Served, active_folder
from serving.storage.bundles.apart import verify_apart
from serving.storage.bundles.store import NoStoredModel, resolve
from serving.storage.errors import StorageError
from serving.storage.settings import read_settings
from serving.storage.timestamps import encode_time

_SECONDS_BETWEEN_LOOKS = 0.1
_ALL_TENANTS = "*"  # no lender has this name
_CALLER = "operator"  # a command, which has no API key


@dataclass(frozen=True, slots=True)
class Result:
    """Which workers serve the bundle that was activated, and which do not yet."""

    activation: Activation
    serving: tuple[Served, ...]
    waiting: tuple[Served, ...]


def activate_bundle(options: argparse.Namespace) -> int:
    """Activate a stored bundle, and print which workers serve it; returns 1 unless all do."""
    result = activate(options.version, options.by, options.wait)
    sys.stdout.write(result_text(result))
    return 1 if result.waiting else 0


def activate(version: str | None, by: str, wait: float) -> Result:
    """Activate a stored bundle, and wait until every worker serves it.

    Args:
        version: As :func:`serving.storage.bundles.store.resolve` takes it; None = the newest.
        by: Who activates; it is recorded.
        wait: For how many seconds to wait for the workers.

    Raises:
        NotActivated: the bundle is refused, by its verification or by a worker; what decided goes
            on, in every worker.
        StorageError: another command activates a bundle just now.
    """
    folder = active_folder(read_settings())
    with folder.locked():
        try:
            return _activate(folder, version, by, wait)
        except (BundleError, NoStoredModel, StorageError) as error:
            name = version or "the newest stored bundle"
            why = " ".join(str(error).split())
            folder.count_refused(name, why)
            raise NotActivated(
                f"{name} is not activated, and what decided goes on: {why}"
            ) from error


def _activate(folder: ActiveFolder, version: str | None, by: str, wait: float) -> Result:
    digest = verify_apart(resolve(version))
    before, workers = folder.read(), folder.workers()
    serves = workers[0].digest if workers else ""
    decided = serves if before is None else before.digest
    activation = Activation(
        digest=digest,
        before=decided,
        image=workers[0].image if workers else "",
        by=by,
        at=encode_time(_now()),
    )
    if before is not None and before.digest == digest:
        return _wait(folder, before, wait)
    with open_audit_log() as log:
        # First: whatever happens then, no decision is by a bundle that the record does not name.
        _record(log, activation, "activated")
        folder.write(activation)
        try:
            result = _wait(folder, activation, wait)
        except BundleError:
            _go_back(folder, activation, before)
            _record(log, activation, "refused")
            raise
    folder.count_taken()
    return result


def _wait(folder: ActiveFolder, activation: Activation, wait: float) -> Result:
    """Wait until every worker serves the bundle; BundleError as soon as one refuses it."""
    until = time.monotonic() + wait
    while True:
        workers = folder.workers()
        for worker in workers:
            if worker.refused == activation.digest and worker.why:
                raise BundleError(f"worker {worker.process} refuses it: {worker.why}")
        waiting = tuple(one for one in workers if one.digest != activation.digest)
        if not waiting or time.monotonic() > until:
            serving = tuple(one for one in workers if one.digest == activation.digest)
            return Result(activation, serving, waiting)
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _go_back(folder: ActiveFolder, refused: Activation, before: Activation | None) -> None:
    """Let what decided until now decide again, also in the workers that had taken over."""
    if before is not None:
        folder.write(before)
    elif refused.before:
        back = Activation(
            digest=refused.before,
            before=refused.digest,
            image=refused.image,
            by=refused.by,
            at=encode_time(_now()),
        )
        folder.write(back)
    else:
        folder.withdraw()


def _record(log: OpenAuditLog, activation: Activation, outcome: str) -> None:
    """Append the row of an activation, and sign it."""
    entry = NewEntry(
        entry_id=str(uuid.uuid4()),
        kind="activation",
        subject=activation.digest,
        tenant=_ALL_TENANTS,
        caller=_CALLER,
        at=_now(),
        account=None,
        metadata={
            "bundle": activation.digest,
            "before": activation.before or None,
            "by": activation.by,
            "outcome": outcome,
        },
    )
    with log.database.writing() as connection:
        insert_entries(connection, [entry], log.secrets)
    log.sign_checkpoint()


def result_text(result: Result) -> str:
    """The result in words, one line a worker."""
    activation = result.activation
    lines = [f"bundle   {activation.digest}"]
    lines += _worker_lines("serves it", result.serving)
    lines += _worker_lines("does not serve it yet", result.waiting)
    if not (result.serving or result.waiting):
        lines.append("no worker runs here: the next one serves it")
    if activation.before and activation.before != activation.digest:
        lines.append(f"go back  python -m serving activate {activation.before[:12]}")
    return "\n".join(lines) + "\n"


def _worker_lines(state: str, workers: Sequence[Served]) -> list[str]:
    return [f"worker   {worker.process} {state}" for worker in workers]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
