"""Ends the process some seconds after SIGTERM or SIGINT, whatever still runs in it.

The server waits without limit for requests in progress, and Python for its threads: a client that
does not read its answer, or a query that never ends, would keep the process and its port.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

LOGGER = logging.getLogger("clearline.service")
SECONDS_TO_END = 7.0  # more than a request that is answered takes, and less than 10 s in all
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Shutdown:
    """Handles the signals after the server does, from :meth:`watch` to :meth:`cancel`.

    If the time is over, `close` runs on a thread, and the process ends after it.
    """

    def __init__(self, close: Callable[[], None], seconds: float = SECONDS_TO_END) -> None:
        self._close, self._seconds = close, seconds
        self._before: dict[int, Any] = {}
        self._timer: threading.Timer | None = None

    def watch(self) -> None:
        """Wait for a signal; does nothing on a thread that gets none."""
        # Python runs handlers in its main thread only. Elsewhere another program owns the process.
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)

    def cancel(self) -> None:
        """Give the signals back to the server; a signal that came keeps its time limit."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._seconds, self._end)
            self._timer.daemon = True  # a process that ends by itself is not held up
            self._timer.start()
        handler = self._before.get(number)
        if callable(handler):
            handler(number, frame)

    def _end(self) -> None:
        LOGGER.error(
            "requests or queries are still running %g s after the signal: the process ends "
            "without them",
            self._seconds,
        )
        try:
            self._close()
        finally:
            os._exit(1)
