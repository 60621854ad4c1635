"""Threads that read: some for each kind of call, so that slow lists hold up no decision.

A call that is not answered in time is given up. If it has not begun, it never runs.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Literal, TypeVar, get_args

# "decisions": the rows of an idempotency key. "single": the rows about one decision. "lists":
# pages of many.
Pool = Literal["decisions", "single", "lists"]

THREADS = 2  # of each pool: a page is read while another is decrypted
LONG_SECONDS = 0.003  # sixteen such calls in a turn of the event loop still let a probe through
SECONDS_ON_THREADS = 5.0  # after a long call

_Result = TypeVar("_Result")


class ReadPools:
    """The threads of one audit log, until :meth:`close`."""

    def __init__(self) -> None:
        self._executors = {
            pool: ThreadPoolExecutor(THREADS, thread_name_prefix=f"record-{pool}")
            for pool in get_args(Pool)
        }
        self._running: set[Future[Any]] = set()
        self._long_at = -math.inf  # when a call on the event loop was long

    async def run(self, pool: Pool, call: Callable[[], _Result], seconds: float) -> _Result:
        """Return the result of `call`, which runs on a thread of `pool`.

        Raises
        ------
        TimeoutError
            If there is no result after `seconds`.
        """
        future = self._executors[pool].submit(call)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return await asyncio.wait_for(asyncio.wrap_future(future), seconds)

    async def run_short(self, pool: Pool, call: Callable[[], _Result], seconds: float) -> _Result:
        """As :meth:`run`, for calls that take a tenth of a millisecond: on the event loop.

        Two threads that hand the interpreter's lock to each other take longer than such a call.
        After a long one, of a disk that is cold or slow, all are run on threads for some seconds.
        """
        began = time.monotonic()
        if began - self._long_at < SECONDS_ON_THREADS:
            return await self.run(pool, call, seconds)
        try:
            return call()
        finally:
            ended = time.monotonic()
            if ended - began > LONG_SECONDS:
                self._long_at = ended

    def close(self, seconds: float) -> bool:
        """Drop the calls that have not begun, and wait for the others.

        Returns whether all have ended within `seconds`.
        """
        for executor in self._executors.values():
            executor.shutdown(wait=False, cancel_futures=True)
        _, running = wait(self._running.copy(), timeout=seconds)
        return not running
