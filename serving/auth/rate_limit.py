"""A limit on the requests a second of each API key: token buckets in the memory of one worker."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_SAVED = 2.0  # a bucket holds the requests of this long: the largest burst


class RateLimiter:
    """A token bucket for each key; `clock` returns seconds.

    >>> limiter = RateLimiter(clock=lambda: 0.0)
    >>> [limiter.acquire("key", 1.0) for _ in range(3)]
    [0.0, 0.0, 1.0]
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # key id -> tokens at a time.  There are as many buckets as keys, so none is dropped.
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, key_id: str, rate: float) -> float:
        """Return the seconds until there is a token; 0 if there is one. It is not taken."""
        now = self._clock()
        return _seconds_until_one(self._tokens(key_id, rate, now), rate)

    def acquire(self, key_id: str, rate: float) -> float:
        """Take one token of a key that may make `rate` requests a second.

        Returns 0 if there was a token, else the seconds until there will be one.
        """
        now = self._clock()
        tokens = self._tokens(key_id, rate, now)
        seconds = _seconds_until_one(tokens, rate)
        self._buckets[key_id] = (tokens if seconds else tokens - 1.0, now)
        return seconds

    def _tokens(self, key_id: str, rate: float, now: float) -> float:
        capacity = max(1.0, rate * SECONDS_SAVED)
        tokens, since = self._buckets.get(key_id, (capacity, now))
        return min(capacity, tokens + (now - since) * rate)


def _seconds_until_one(tokens: float, rate: float) -> float:
    return max(1.0 - tokens, 0.0) / rate
