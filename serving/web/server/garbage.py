"""What the garbage collector of a serving process looks at."""

from __future__ import annotations

import gc


def freeze_loaded() -> None:
    """Take all that is loaded by now out of the collector's sight: none of it is garbage later.

    Measured on a busy machine: a full collection that walks all of it holds every request for
    0.7 s, and for 1 ms without it.

    CPython collects in full only once the objects that came since number a quarter of those that
    the last full collection left. With the loaded ones in that number, the garbage of requests
    grows for hours before it is found. So the second collection leaves the frozen ones out.
    """
    gc.collect()
    gc.freeze()
    gc.collect()
