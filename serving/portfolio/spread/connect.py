"""A Dask cluster as an executor of :mod:`concurrent.futures`; the only module that imports Dask.

Dask sends functions and their arguments as pickles, and a worker executes what its scheduler sends:
who reaches the scheduler executes what they like on every worker.  A cluster of this machine
therefore listens on the loopback address only, and takes only connections with a certificate that
is made for it and that no other process has.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from serving.portfolio.spread.surroundings import describe_surroundings

LOCAL = "local"  # instead of the address of a scheduler: a cluster of this machine
_LOOPBACK = "127.0.0.1"
_SECONDS_TO_CONNECT = 10
_SECONDS_WITHOUT_WORKERS = 120
_SECONDS_BETWEEN_LOOKS = 2.0
_TRIES_MORE = 2  # of a call that raised, as where a network drive did not answer
# A call that has taken so many workers with it is not tried on another one.
_DEATHS = 10
# A worker has a core: threads of libraries would only wait for each other.
_ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS"), "1")
_OWN_CLUSTER: Mapping[str, object] = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.scheduler.allowed-failures": _DEATHS,
}
# The state of some thousand simulated accounts is in the arguments of a call; Dask warns of 10 MB.
_AS_CLIENT = {"distributed.admin.large-graph-warning-threshold": "1 GB"}


class ClusterError(ValueError):
    """The cluster cannot be used; the message names the address or the worker."""


@contextmanager
def open_executor(scheduler: str, workers: int) -> Iterator[Executor]:
    """Yield an executor that calls functions on the workers of a Dask cluster.

    A call is made again, on another worker, where its worker was killed.  A worker with other code
    or libraries than this process refuses all calls.  What is not begun when the block ends is
    cancelled.

    Args:
        scheduler: The address of a scheduler, such as ``tcp://10.0.0.5:8786``, or :data:`LOCAL`.
        workers: The processes of a cluster of this machine.

    Raises:
        ClusterError: Dask is not installed, or no scheduler answers.
    """
    _check_installed()
    import dask
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_AS_CLIENT))
        place: Any = scheduler
        if scheduler == LOCAL:
            place = stack.enter_context(_open_local(workers))
        else:
            _check_scheduler(scheduler)
        client = stack.enter_context(Client(place, set_as_default=False))
        executor = _CheckedExecutor(client.get_executor(pure=False, retries=_TRIES_MORE))
        stack.callback(executor.shutdown)
        stack.enter_context(_cancel_without_workers(client, executor))
        yield executor


def result_of(future: Future[Any]) -> Any:
    """The result of a call.

    Raises:
        ClusterError: The workers that made it were killed, or the scheduler was, or it has none.
    """
    try:
        return future.result()
    except CancelledError as error:
        raise ClusterError(
            f"the scheduler has ended, or had no worker for {_SECONDS_WITHOUT_WORKERS} seconds"
        ) from error
    except Exception as error:
        if type(error).__name__ != "KilledWorker":
            raise
        raise ClusterError(
            f"a part of the work ended every worker that began it, as by a lack of memory: {error}"
        ) from error


def check_seen(*paths: Path) -> None:
    """Raise :class:`ClusterError` if this worker does not see one of these files or folders."""
    for path in paths:
        if not path.exists():
            raise ClusterError(
                f"{path}: {_name_worker()} on {os.uname().nodename} does not see it; "
                "expected files at the same path on every worker"
            )


def _name_worker() -> str:
    """The worker that this call runs on, with its address."""
    from distributed import get_worker

    return f"the worker {get_worker().address}"


@contextmanager
def _cancel_without_workers(client: Any, executor: Executor) -> Iterator[None]:
    """Cancel all calls when there was no worker for some time; Dask would wait without an end."""
    is_over = threading.Event()

    def watch() -> None:
        seen = time.monotonic()
        while not is_over.wait(_SECONDS_BETWEEN_LOOKS):
            if _has_workers(client):
                seen = time.monotonic()
            elif time.monotonic() - seen > _SECONDS_WITHOUT_WORKERS:
                executor.shutdown(wait=False)
                return

    thread = threading.Thread(target=watch, name="clearline-cluster", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _has_workers(client: Any) -> bool:
    try:
        return bool(client.scheduler_info()["workers"])
    except OSError:  # the scheduler does not answer
        return False


class _CheckedExecutor(Executor):
    """Calls functions by another executor, on workers with the same code and libraries."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        package = fn.__module__.split(".")[0]
        here = dict(describe_surroundings(package))
        return self._executor.submit(_call_checked, here, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        # Dask's executor waits for calls that are not begun too.
        self._executor.shutdown(wait=False)


def _call_checked(
    expected: Mapping[str, str],
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Any:
    here = describe_surroundings(function.__module__.split(".")[0])
    differing = [name for name in expected if here.get(name) != expected[name]]
    if differing:
        wanted = ", ".join(f"{name} {expected[name]}" for name in differing)
        got = ", ".join(f"{name} {here.get(name)}" for name in differing)
        raise ClusterError(f"{_name_worker()}: expected {wanted}, got {got}")
    return function(*args, **kwargs)


def _check_installed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ClusterError(
            "--scheduler: expected Dask, which the extra `cluster` installs: "
            "pip install 'clearline[cluster]'"
        ) from error


@contextmanager
def _open_local(workers: int) -> Iterator[Any]:
    import dask
    from distributed import LocalCluster
    from distributed.security import Security

    with (
        dask.config.set(_OWN_CLUSTER),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host=_LOOPBACK,
            protocol="tls://",
            security=Security.temporary(),
            dashboard_address=f"{_LOOPBACK}:0",
            memory_limit=None,
            silence_logs=logging.ERROR,
            env=_ONE_THREAD,
        ) as cluster,
    ):
        # Dask gives up a worker that ends while it starts; this starts another one.
        cluster.adapt(minimum=workers, maximum=workers)
        yield cluster


def _check_scheduler(address: str) -> None:
    """Raise :class:`ClusterError` if no scheduler answers; a client would wait without an end."""
    try:
        asyncio.run(asyncio.wait_for(_identify(address), _SECONDS_TO_CONNECT))
    except (OSError, ValueError, TypeError) as error:
        reason = str(error) or f"no answer in {_SECONDS_TO_CONNECT} seconds"
        raise ClusterError(
            f"--scheduler: expected the address of a Dask scheduler, got {address}: {reason}"
        ) from error


async def _identify(address: str) -> None:
    from distributed.core import rpc
    from distributed.security import Security

    settings = Security().get_connection_args("client")
    async with rpc(address, connection_args=settings) as scheduler:
        await scheduler.identity()
