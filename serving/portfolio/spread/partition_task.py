"""One partition, decided by a process that decides on others too."""

from __future__ import annotations

import functools
import hashlib
import hmac
import threading
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import MANIFEST, Order
from serving.portfolio.partitions import Partition
from serving.portfolio.spread.connect import check_seen
from serving.portfolio.worker import Decider, Done
from serving.storage.settings import read_settings

_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Task:
    """What a process needs to decide on any partition of a run.

    Attributes:
        order: What was asked for.
        run: The id of the run.
        bundle: The digest of the bundle that the run began with.
        audit_log: Of a run on a cluster, the digest of the audit log's key; the environment of each
            worker says where the audit log is, because its address may have a password.
    """

    order: Order
    run: str
    bundle: str
    audit_log: str | None = None


def decide_partition(task: Task, partition: Partition) -> Done:
    """Decide on a partition; the bundle is loaded once a process.

    Raises:
        PortfolioError: As :meth:`serving.portfolio.worker.Decider.decide`, or this process has
            another bundle or another audit log.
    """
    order = task.order
    if task.audit_log is not None:
        order = replace(order, record=read_settings())
    bundle = load_verified(order.bundle, task.bundle)
    with closing(Decider(order, task.run, bundle)) as decider:
        if task.audit_log is not None and key_digest(decider.id_key) != task.audit_log:
            raise PortfolioError("expected the audit log of the run, got another one")
        return decider.decide(partition)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a partition is refused; trying again would not help."""

    message: str


def decide_on_worker(task: Task, partition: Partition) -> Done | Refusal:
    """Decide on a partition on a Dask worker.

    Raises:
        ClusterError: The worker does not see a file or folder of the run.
        PortfolioError: A file could not be read or written, which may go better in another try.
    """
    check_seen(partition.path, task.order.bundle, task.order.decisions / MANIFEST)
    try:
        return decide_partition(task, partition)
    except PortfolioError as error:
        if _is_of_system(error):
            raise
        return Refusal(str(error))


def _is_of_system(error: BaseException) -> bool:
    """Whether an error of the operating system led to it, such as of a drive that is away."""
    cause = error.__cause__
    return cause is not None and (isinstance(cause, OSError) or _is_of_system(cause))


def load_verified(folder: Path, digest: str) -> Bundle:
    """The bundle of a folder, loaded once a process.

    Raises:
        PortfolioError: It is another bundle than that with this digest.
        BundleError: It is damaged.
    """
    with _LOADING:  # a process of Dask may have several threads
        return _load_verified(folder, digest)


@functools.lru_cache(maxsize=1)
def _load_verified(folder: Path, digest: str) -> Bundle:
    bundle = load(folder)
    if bundle.digest != digest:
        raise PortfolioError(
            f"{folder}: expected the bundle that the run began with, {digest[:16]}, "
            f"got {bundle.digest[:16]}"
        )
    return bundle


def key_digest(id_key: bytes) -> str:
    """What tells whether two processes use the same audit log, without telling its key."""
    return hmac.digest(id_key, b"portfolio on a cluster", hashlib.sha256).hex()
