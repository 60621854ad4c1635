"""Clients of a service: threads that send until a block ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self


class Clients:
    """So many threads that each call `send(number, over)` once, which returns soon after `over`.

    What a call raised is raised at the end of the block.
    """

    def __init__(self, count: int, send: Callable[[int, threading.Event], None]) -> None:
        self._send, self._over = send, threading.Event()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]

    @property
    def all_send(self) -> bool:
        """Whether no thread has ended yet."""
        return all(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self, number: int) -> None:
        try:
            self._send(number, self._over)
        except BaseException as error:  # noqa: BLE001
            self._errors.append(error)
