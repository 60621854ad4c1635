"""Challengers that hang, raise or eat memory: ``python -m tests.support.challengers HOW BUNDLE``.

They speak as :mod:`serving.api.shadow.challenger` does, and get ready without a bundle.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from serving.api.shadow.frames import encode_frame, read_frame
from serving.api.shadow.server import (
    READY,
    follow_parent,
    limit_memory,
    serve,
    take_streams,
)

Parts = list[bytes]


def hang(_: Parts) -> Parts:
    while True:
        pass


def fail(_: Parts) -> Parts:
    raise RuntimeError("a value of the customer")


def die(_: Parts) -> Parts:
    sys.exit(1)


def eat_slowly(_: Parts) -> Parts:
    """Until the service sees it."""
    eaten = []
    while True:
        eaten.append(b"x" * (8 << 20))
        time.sleep(0.01)


def eat_at_once(_: Parts) -> Parts:
    """More than the kernel lets it have."""
    return [b"x" * (64 << 30)]


def babble(_: Parts) -> Parts:
    sys.stdout.write("a library prints this\n")
    return [b"something else"]


HOW: dict[str, Callable[[Parts], Parts]] = {
    one.__name__: one for one in (hang, fail, die, eat_slowly, eat_at_once, babble)
}


def command(how: str) -> tuple[str, ...]:
    """The command that starts one."""
    return (sys.executable, "-m", "tests.support.challengers", how)


if __name__ == "__main__":
    follow_parent()
    requests, replies = take_streams()
    read_frame(requests)
    limit_memory(1 << 30)
    replies.write(encode_frame([READY]))
    replies.flush()
    serve(HOW[sys.argv[1]], requests, replies)
