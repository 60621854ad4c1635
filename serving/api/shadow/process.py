"""The challenger's process as the service sees it: started, asked within limits, and ended."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import psutil

import serving
from serving.api.shadow.frames import FrameError, decode_frames, encode_frame
from serving.api.shadow.server import FAILED, MEMORY_VARIABLE, OUT_OF_MEMORY, READY

COMMAND = (sys.executable, "-m", "serving.api.shadow.challenger")
Why: TypeAlias = Literal["slow", "memory", "ended"]
_MS_BETWEEN_LOOKS = 50  # at the memory of a process that is deciding
_SECONDS_BETWEEN_LOOKS = 0.5  # of one that answers at once
_SECONDS_TO_END = 1.0  # after its output has ended
_BYTES_AT_ONCE = 1 << 16
_PROJECT = Path(serving.__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the challenger may take.

    `memory` is in bytes: of the whole process, and again what it may take after it has loaded its
    bundle. `pause` are the seconds before it is started again, at least and at most; the pause
    doubles until it has decided something again.
    """

    seconds: float = 2.0  # for a decision
    # It loads for some seconds, with the least priority: on a busy machine for some minutes.
    seconds_to_start: float = 300.0
    memory: int = 1 << 30
    queue: int = 8 << 20  # bytes of requests that wait
    pause: tuple[float, float] = (1.0, 60.0)


class ChallengerGone(RuntimeError):
    """The challenger's process was ended, or has ended; `why` says by what."""

    def __init__(self, why: Why, text: str) -> None:
        super().__init__(text)
        self.why: Why = why


class ChallengerProcess:
    """A process that holds the challenger's bundle. It is asked on one thread, and ended on any.

    Raises :class:`ChallengerGone` if it does not get ready.
    """

    def __init__(
        self,
        folder: Path,
        digest: str,
        id_key: bytes,
        limits: Limits,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._limits = limits
        to_read, self._requests = os.pipe()
        self._replies, to_write = os.pipe()
        # A process that does not read must not hold the thread that writes.
        os.set_blocking(self._requests, False)
        self._process = subprocess.Popen(
            command,
            stdin=to_read,
            stdout=to_write,
            stderr=subprocess.DEVNULL,  # a traceback may hold values
            env=_environment(limits),
        )
        os.close(to_read)
        os.close(to_write)
        self._received = b""
        self._looked_at = time.monotonic()
        first = [os.fsencode(folder), digest.encode(), id_key]
        try:
            kind, *rest = self.ask(first, limits.seconds_to_start)
        except ChallengerGone:
            self.close()
            raise
        if kind != READY:
            self.close()
            text = rest[0].decode() if kind == FAILED and rest else "no reply that is known"
            raise ChallengerGone("ended", text)

    def ask(self, parts: Sequence[bytes], seconds: float | None = None) -> list[bytes]:
        """Return the reply to a message.

        Raises :class:`ChallengerGone` if there is none in time, the process takes too much memory,
        or has ended; it is ended then.
        """
        until = time.monotonic() + (self._limits.seconds if seconds is None else seconds)
        try:
            reply = self._exchange(encode_frame(parts), until)
            if time.monotonic() - self._looked_at > _SECONDS_BETWEEN_LOOKS:
                self._look_at_memory()
        except ChallengerGone:
            self.end()
            raise
        except (OSError, FrameError, psutil.Error, subprocess.TimeoutExpired) as error:
            self.end()
            raise ChallengerGone("ended", type(error).__name__) from None
        return reply

    def end(self) -> None:
        """Kill the process, if it is still there."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Kill the process and release its pipes; only on the thread that asks."""
        self.end()
        os.close(self._requests)
        os.close(self._replies)

    def _exchange(self, frame: bytes, until: float) -> list[bytes]:
        """Write a message and read one reply, whichever can be done."""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        poll.register(self._requests, select.POLLOUT)
        while True:
            if time.monotonic() > until:
                raise ChallengerGone("slow", "it did not reply in time")
            ready = poll.poll(_MS_BETWEEN_LOOKS)
            if not ready:
                self._look_at_memory()
            for stream, _ in ready:
                if stream == self._replies:
                    replies = self._read()
                    if replies:
                        return replies[0]
                elif frame:
                    frame = frame[os.write(self._requests, frame) :]
                    if not frame:
                        poll.unregister(self._requests)

    def _read(self) -> list[list[bytes]]:
        received = os.read(self._replies, _BYTES_AT_ONCE)
        if not received:
            code = self._process.wait(_SECONDS_TO_END)
            why: Why = "memory" if code == OUT_OF_MEMORY else "ended"
            raise ChallengerGone(why, f"its process has ended with {code}")
        replies, self._received = decode_frames(self._received + received)
        return replies

    def _look_at_memory(self) -> None:
        self._looked_at = time.monotonic()
        taken = psutil.Process(self._process.pid).memory_info().rss
        if taken > self._limits.memory:
            raise ChallengerGone("memory", f"it took {taken >> 20} MiB")


def _environment(limits: Limits) -> dict[str, str]:
    """The variables of the process: it takes one thread of each library, and finds this project."""
    path = os.environ.get("PYTHONPATH")
    own = {
        MEMORY_VARIABLE: str(limits.memory),
        "PYTHONPATH": os.pathsep.join([str(_PROJECT), *([path] if path else [])]),
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
    }
    return os.environ | own
