"""Encrypts the rows of the audit log in other processes, while earlier ones are stored.

Only one process stores rows, because each row has the hash of the one before.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from itertools import chain, islice
from pathlib import Path

from serving.portfolio.order import Order
from serving.portfolio.recorded.batches import Batch, Sealer
from serving.portfolio.spread.processes import open_processes
from serving.portfolio.worker import Done, entries_files
from serving.storage.settings import StorageSettings

_FILES_AHEAD = 2  # a process


def seal_all(found: Sequence[Done], order: Order) -> Iterator[tuple[Done, Iterator[Batch] | None]]:
    """Each partition with its batches, in this order; None if only this process works.

    Raises:
        PortfolioError: A process was killed.
        StorageError: The audit log cannot be read.
    """
    settings = order.record
    if settings is None:
        raise ValueError("expected an order with an audit log, got one without")
    if order.workers == 1:
        for done in found:
            yield done, None
        return
    # One core is for the process that stores.
    processes = order.workers - 1
    files = [file for done in found for file in entries_files(done, order.decisions)]
    with open_processes(processes) as pool:
        sealed = _seal_ahead(pool, files, settings, order.tenant, processes * _FILES_AHEAD)
        for done in found:
            own = islice(sealed, len(done.decisions))
            batches = chain.from_iterable(own)
            yield done, batches
            # Of a partition that is stored already, nothing was taken.
            deque(own, maxlen=0)


def _seal_ahead(
    pool: Executor,
    files: Sequence[Path],
    settings: StorageSettings,
    tenant: str,
    ahead: int,
) -> Iterator[list[Batch]]:
    """The batches of each file; so many files are in memory at once."""
    waiting: deque[Future[list[Batch]]] = deque()
    for file in files:
        if len(waiting) == ahead:
            yield waiting.popleft().result()
        waiting.append(pool.submit(_seal_file, settings, tenant, file))
    while waiting:
        yield waiting.popleft().result()


def _seal_file(settings: StorageSettings, tenant: str, file: Path) -> list[Batch]:
    return list(_open_sealer(settings, tenant).seal(file))


@functools.lru_cache(maxsize=1)  # a process seals many files of one run, and then ends
def _open_sealer(settings: StorageSettings, tenant: str) -> Sealer:
    return Sealer.open(settings, tenant)
