"""What any challenger's process does: it answers messages within limits, one after the other.

It imports little: what decides is given to :func:`serve`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import psutil

from serving.api.shadow.frames import encode_frame, read_frame

READY, DECIDED, REFUSED, FAILED = b"ready", b"decided", b"refused", b"failed"
MEMORY_VARIABLE = "CLEARLINE_SHADOW_MEMORY"  # set for this process: bytes it may take after loading
OUT_OF_MEMORY = 77  # exit code
_SECONDS_BETWEEN_LOOKS = 0.25  # at the process that started it
# The kernel ends the process then, whatever it does: long after the service has given up.
_SECONDS_TO_LIVE = 60

Decide = Callable[[list[bytes]], list[bytes]]


def serve(decide: Decide, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer messages until they end."""
    while (parts := read_frame(requests)) is not None:
        signal.alarm(_SECONDS_TO_LIVE)
        try:
            reply = decide(parts)
        except MemoryError:
            # What is whole is not known: the service starts another process.
            os._exit(OUT_OF_MEMORY)
        except Exception as error:  # noqa: BLE001
            # Whatever a bundle raises; its message may hold values.
            reply = [FAILED, type(error).__name__.encode()]
        signal.alarm(0)
        replies.write(encode_frame(reply))
        replies.flush()


def be_last_in_line() -> None:
    """Take the processor when nobody else needs it, and be the first to go for want of memory."""
    os.nice(19)
    badness = Path("/proc/self/oom_score_adj")  # Linux
    if badness.exists():
        badness.write_text("1000", encoding="utf-8")


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has; beyond them it raises MemoryError."""
    if sys.platform != "linux":
        return
    import resource

    present = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (present + more, present + more))


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return the streams of the messages; what a library prints goes to standard error from now."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return requests, replies


def follow_parent() -> None:
    """End this process when the one that started it is gone."""

    def watch(process: int) -> None:
        while os.getppid() == process:
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()
