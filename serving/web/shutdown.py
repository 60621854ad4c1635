"""Ends the process after SIGTERM or SIGINT: a drain delay, then the server, then a time limit.

    signal -> not ready, still answering -> the server takes no new connections -> the process ends
                    drain delay               at most SECONDS_TO_END

A proxy learns from ``/readyz`` that the process ends, and needs the drain delay to stop sending to
it. The server waits without limit for requests in progress, and Python for its threads: a client
that does not read its answer, or a query that never ends, would keep the process and its port.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from starlette.types import Message, Send

LOGGER = logging.getLogger("clearline.service")
SECONDS_TO_END = 7.0  # more than a request that is answered takes, and less than 10 s in all
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Signals reach a process, not an object, so the process has one state.
_began = threading.Event()


def has_begun() -> bool:
    """Return whether a signal has told this process to end."""
    return _began.is_set()


class Shutdown:
    """Handles the signals before the server does, from :meth:`watch` to :meth:`cancel`.

    The server gets a signal `drain` seconds later, or with the next signal. If it has not ended
    `seconds` after that, `close` runs on a thread, and the process ends.
    """

    def __init__(
        self, close: Callable[[], None], drain: float = 0.0, seconds: float = SECONDS_TO_END
    ) -> None:
        self._close, self._drain, self._seconds = close, drain, seconds
        self._before: dict[int, Any] = {}

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

    def end_without_delay(self) -> None:
        """End as after a signal, without the drain delay; may be called on any thread."""
        self._drain = 0.0
        os.kill(os.getpid(), signal.SIGTERM)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not _began.is_set():
            _began.set()
            _start_timer(self._drain + self._seconds, self._end)
            if self._drain:
                _start_timer(self._drain, self._pass_on, number)
                return
        self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None = None) -> None:
        handler = self._before.get(number)
        if callable(handler):
            handler(number, frame)

    def _end(self) -> None:
        LOGGER.error(
            "requests or queries are still running %g s after the signal: the process ends "
            "without them",
            self._drain + self._seconds,
        )
        try:
            self._close()
        finally:
            os._exit(1)


class ClosingSender:
    """An ASGI ``send``: once `is_ending` returns true, every response closes its connection.

    A client then opens its next connection to a process that goes on. Otherwise the server closes
    idle connections itself, perhaps while a request is on its way.
    """

    def __init__(self, send: Send, is_ending: Callable[[], bool] = has_begun) -> None:
        self._send, self._is_ending = send, is_ending

    async def __call__(self, message: Message) -> None:
        """Send a message; the start of a response gets the header ``Connection: close``."""
        if message["type"] == "http.response.start" and self._is_ending():
            headers = [*message.get("headers", []), (b"connection", b"close")]
            message = {**message, "headers": headers}
        await self._send(message)


def _start_timer(seconds: float, function: Callable[..., None], *arguments: Any) -> None:
    timer = threading.Timer(seconds, function, arguments)
    timer.daemon = True  # a process that ends by itself is not held up
    timer.start()
