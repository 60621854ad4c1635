"""How often a key may ask: a bucket of tokens for each, filled at the key's rate, in the memory of
one worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_SAVED = 2.0  # of requests that were not made, that may come at once


class RateLimiter:
    """The buckets of all keys; ``clock`` in seconds.

    >>> rates = RateLimiter(clock=lambda: 0.0)
    >>> [rates.wait("key", 1.0) for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Of each key: how many requests it may make, and when that was so.  There are as many as
        # there are keys.
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, key_id: str, rate: float) -> float:
        """Take one request of a key with ``rate`` a second: 0 where it may go on, else the seconds
        until one may.
        """
        now = self._clock()
        room = max(1.0, rate * SECONDS_SAVED)
        tokens, since = self._buckets.get(key_id, (room, now))
        tokens = min(room, tokens + (now - since) * rate)
        goes_on = tokens >= 1.0
        self._buckets[key_id] = (tokens - goes_on, now)
        return 0.0 if goes_on else (1.0 - tokens) / rate
