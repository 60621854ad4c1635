"""The processes of this machine that decide: forked from a server that has imported what they need.

To import the libraries takes a process two to three seconds, as long as to decide on 100,000
accounts.  The server imports them once for all processes, while the command imports them itself.
Nothing but imports happens in it: a bundle is loaded in the process that decides, because threads
of LightGBM do not survive a fork.

This module imports none of these libraries.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker

from serving.portfolio.errors import PortfolioError
from serving.portfolio.options import count_workers

_COMMAND = "serving.portfolio.command"
_DECIDES = "serving.portfolio.spread.partition_task"
# Each process has a core: threads of libraries would only wait for each other.
_ONE_THREAD = {"POLARS_MAX_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def decide_portfolio(options: argparse.Namespace) -> None:
    """Start the server if processes will decide; then the command: see :data:`_COMMAND`."""
    if count_workers(options.workers) > 1 and options.scheduler is None:
        start_server()
    importlib.import_module(_COMMAND).decide_portfolio(options)


def start_server() -> None:
    """Start the server, unless it runs; does not wait for its imports."""
    multiprocessing.set_forkserver_preload([_DECIDES])
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    # Before the mask is set: what starts the tracker lets SIGINT through again.
    resource_tracker.ensure_running()
    os.environ.update(_ONE_THREAD)
    # The server and its processes inherit the mask: Ctrl-C is for the command, which ends them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # This process has all cores.
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def open_processes(workers: int) -> Iterator[Executor]:
    """Yield an executor with so many processes.

    Raises:
        PortfolioError: A process was killed.
    """
    start_server()
    pool = ProcessPoolExecutor(
        max_workers=workers,
        mp_context=multiprocessing.get_context("forkserver"),
        initializer=_begin,
    )
    try:
        yield pool
    except BrokenProcessPool as error:
        raise PortfolioError(
            "a process that decided was ended from outside, as by a lack of memory; "
            "the same command goes on where it stopped"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Let this process end when that of the command is killed: nobody would tell it to."""
    # The libraries stay as long as the process: the collector would look at them again and again.
    gc.freeze()
    threading.Thread(target=_wait_for_command, daemon=True).start()


def _wait_for_command() -> None:
    command = multiprocessing.parent_process()
    if command is not None:
        command.join()
        os._exit(1)
