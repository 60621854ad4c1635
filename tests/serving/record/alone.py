"""The service in one process, again and again: each is forked from this one, which has imported it.

BentoML takes seconds to start its two.  Run with the service's `module:name`.  A line `port folder` on standard input is a
service on that port with its record in that folder; its process id is the line that answers.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

import uvicorn

from serving.client import record_in


def serve(service: Any, port: int, folder: Path) -> None:
    os.environ.update(record_in(folder))
    uvicorn.run(service.to_asgi(), host="127.0.0.1", port=port, log_level="error", access_log=False)


def fork_for_each(lines: TextIO, named: str) -> None:
    module, name = named.split(":")
    service = getattr(importlib.import_module(module), name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who was killed is gone at once, and waited for by nobody
    for line in lines:
        port, folder = line.rstrip("\n").split(" ", 1)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve(service, int(port), Path(folder))
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    fork_for_each(sys.stdin, sys.argv[1])
