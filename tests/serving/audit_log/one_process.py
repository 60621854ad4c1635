"""Starts a service in a single process, again and again, by forking a process that imported it.

BentoML needs seconds to start its two processes. Run with the service's `module:name`. Each line on
standard input names a folder: a service starts with its audit log there, and a line on standard
output has its port and process id. The port is bound before the fork, so that no other process can
take it.
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
    config = uvicorn.Config(service.to_asgi(), log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


def fork_for_each(lines: TextIO, address: str) -> None:
    module, name = address.split(":")
    service = getattr(importlib.import_module(module), name)
    # Killed children are reaped by the system.
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
