"""When this process and all beside it stood still, as a suspended or stopped machine does."""

from __future__ import annotations

import threading
import time
from typing import Self

_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS = 5.0  # between two looks: longer than a busy machine takes


class Standstills:
    """A clock that is watched until the block ends.

    A time of more than ``seconds`` between two looks at it is a standstill.
    """

    def __init__(self, seconds: float = _SECONDS) -> None:
        self._seconds = seconds
        self._ends: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def excuse(self, began: float) -> bool:
        """Whether all stood still since then, on ``time.monotonic``'s clock."""
        self._over.wait(2 * _SECONDS_BETWEEN_LOOKS)  # until the end of one was seen
        return any(end > began for end in self._ends)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            now = time.monotonic()
            if now - looked > self._seconds:
                self._ends.append(now)
            looked = now
