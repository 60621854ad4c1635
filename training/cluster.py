"""Work of the training commands, spread over the workers of a Dask cluster.

    with use_cluster("tls://scheduler.internal:8786"):
        simulate("data/simulated")

Within the block, workers compute the blocks of a simulation, the months of a labelled frame and the
futures of an examination.  Results have the same bits, whatever the number of workers.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from serving.portfolio.spread.connect import check_seen, open_executor, result_of

__all__ = ["check_seen", "is_used", "map_in_order", "use_cluster"]

Result = TypeVar("Result")
_EXECUTOR: ContextVar[Executor | None] = ContextVar("cluster", default=None)


@contextmanager
def use_cluster(scheduler: str | None, workers: int | None = None) -> Iterator[None]:
    """Let a cluster compute what :func:`map_in_order` is asked for within the block.

    Args:
        scheduler: The address of a Dask scheduler; "local" for a cluster of this machine; None =
            this process computes.
        workers: The processes of a cluster of this machine; None = one a core.

    Raises:
        ClusterError: Dask is not installed, or no scheduler answers.
    """
    if scheduler is None:
        yield
        return
    with open_executor(scheduler, workers or os.cpu_count() or 1) as executor:
        token = _EXECUTOR.set(executor)
        try:
            yield
        finally:
            _EXECUTOR.reset(token)


def is_used() -> bool:
    """Whether a cluster computes what :func:`map_in_order` is asked for."""
    return _EXECUTOR.get() is not None


def map_in_order(function: Callable[..., Result], *iterables: Iterable[Any]) -> Iterator[Result]:
    """The results of calls, in their order; of a cluster where one is used, else of this process.

    On a cluster the function is one of a module of the project, and every call is made from the
    beginning; its arguments travel to the worker, and its result back.

    >>> list(map_in_order(max, [1, 5], [2, 3]))
    [2, 5]
    """
    executor = _EXECUTOR.get()
    if executor is None:
        yield from map(function, *iterables)
        return
    calls = zip(*iterables, strict=False)  # one of them may repeat a value without end
    waiting: deque[Future[Result]] = deque(executor.submit(function, *call) for call in calls)
    try:
        while waiting:
            yield result_of(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()
