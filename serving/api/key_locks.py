"""One request at a time for an idempotency key, within one worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serving.audit_log.errors import Unavailable


class KeyLocks:
    """A lock for each key in use; its length is the number of keys in use.

    The coroutines run in one event loop.
    """

    def __init__(self) -> None:
        # key -> its lock, and the number of requests that hold it or wait for it
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def hold(self, key: str, deadline: float) -> AsyncIterator[None]:
        """Hold the lock of a key during the block.

        Raises :class:`Unavailable` if it is not free by `deadline`, on ``time.monotonic``'s clock.
        """
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            await _acquire(lock, deadline)
            try:
                yield
            finally:
                lock.release()
        finally:
            # The last user removes the lock: keys come from clients and are without number.
            _, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = lock, users - 1


async def _acquire(lock: asyncio.Lock, deadline: float) -> None:
    seconds = max(deadline - time.monotonic(), 0.0)
    try:
        await asyncio.wait_for(lock.acquire(), seconds)
    except TimeoutError:
        raise Unavailable("the first request with this key is not answered yet") from None
