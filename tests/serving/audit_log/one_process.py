"""The service in one process, again and again: each is forked from this one, which has imported it.

BentoML takes seconds to start its two.  Run with the service's `module:name`.  A line on standard
input names a folder: a service is started with its record there, and the line that answers has its
port and its process id.  The port is taken before the service is forked, so that nobody else can
take it meanwhile.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, TextIO

import uvicorn

from serving.operations.client import settings_for


def serve(service: Any, listening: socket.socket, folder: Path) -> None:
    os.environ.update(settings_for(folder))
    uvicorn.Server(uvicorn.Config(service.to_asgi(), log_level="error", access_log=False)).run(
        sockets=[listening]
    )


def fork_for_each(lines: TextIO, named: str) -> None:
    module, name = named.split(":")
    service = getattr(importlib.import_module(module), name)
    # who was killed is gone at once, and waited for by nobody
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in lines:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                serve(service, listening, Path(line.rstrip("\n")))
                os._exit(0)
            sys.stdout.write(f"{listening.getsockname()[1]} {child}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    fork_for_each(sys.stdin, sys.argv[1])
