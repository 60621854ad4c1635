"""Work that takes more than a few milliseconds, off the event loop, in turns by key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.web.fair_queue import FairQueue

_Result = TypeVar("_Result")


class WorkPool:
    """Runs functions on `threads` threads; the keys that wait get their turns by cost.

    A function that runs is not interrupted, so long work is given in pieces. All calls come from
    one event loop.
    """

    def __init__(self, threads: int = 1) -> None:
        self._executor = ThreadPoolExecutor(threads, "clearline-work")
        self._free = threads
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue()

    async def run(self, key: str, cost: float, function: Callable[[], _Result]) -> _Result:
        """Return the function's result; what it raises is raised here."""
        await self._wait_for_turn(key, cost)
        try:
            # Shielded: a thread goes on when its caller is gone, and is busy until it has finished.
            running = asyncio.get_running_loop().run_in_executor(self._executor, function)
        except BaseException:
            self._release()
            raise
        running.add_done_callback(lambda _: self._release())
        return await asyncio.shield(running)

    def close(self) -> None:
        """Start nothing more; what runs goes on."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_turn(self, key: str, cost: float) -> None:
        if self._free and not self._waiting:
            self._waiting.pass_through(key, cost)
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.push(key, cost, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not self._waiting.remove(key, turn) and not turn.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        self._free += 1
        while self._waiting and self._free:
            turn = self._waiting.pop()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
