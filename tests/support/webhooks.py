"""An app that takes events: a real HTTP server on the loopback, which stores before it answers."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serving.storage.settings import StorageSettings

SECRET = b"s" * 32
NEW_SECRET = b"n" * 32
_PORTS = 10_000, 16_000
# What the app answers to an event: its status, after whatever it does with the time.
Answering = Callable[["Received"], int]


@dataclass(frozen=True)
class Received:
    """An event as the app stored it; ``valid`` has the number of secrets that verify it."""

    event_id: str
    body: str
    valid: int

    @property
    def content(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self.body)
        return read


def verifies(secret: bytes, headers: Any, body: bytes) -> bool:
    """As the specification tells an app to verify, written apart from what signs."""
    signed = b".".join(
        [headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body]
    )
    own = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    is_recent = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    sent = headers["webhook-signature"].split(" ")
    return is_recent and any(hmac.compare_digest(one, f"v1,{own}") for one in sent)


def free_port() -> int:
    """A port below those that the system gives to clients.

    A client that connects to a free port of its own range may connect to itself, and then no
    server can have the port.
    """
    while True:
        port = random.randrange(*_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def make_app(port: int, file: Path, answering: Answering) -> ThreadingHTTPServer:
    """The server of an app that appends each genuine event to a file, and then answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            secrets = SECRET, NEW_SECRET
            valid = sum(verifies(secret, self.headers, body) for secret in secrets)
            if not valid:
                # Also what is cut off: the deliverer was killed before it had sent the body.
                self.answer(400)
                return
            received = Received(self.headers["webhook-id"], body.decode(), valid)
            line = json.dumps([received.event_id, received.body, received.valid]) + "\n"
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, line.encode())
            os.close(descriptor)
            self.answer(answering(received))

        def answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None:
            """A client that left."""

    return Server(("127.0.0.1", port), Handler)


@contextmanager
def running_app(
    file: Path, answering: Answering = lambda _: 204, port: int | None = None
) -> Iterator[int]:
    """An app on a thread; yields its port."""
    server = make_app(port or free_port(), file, answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def write_endpoints(settings: StorageSettings, port: int, tenant: str) -> Path:
    """The file of an endpoint ``app`` at this port, where ``deliver`` looks for it."""
    file = settings.secrets.with_name("events.toml")
    lines = (
        "[endpoints.app]",
        f'tenant = "{tenant}"',
        f'secrets = ["whsec_{base64.b64encode(SECRET).decode()}"]',
        f'url = "http://127.0.0.1:{port}/hooks"',
    )
    file.write_text("\n".join(lines), "utf-8")
    file.chmod(0o600)
    return file


def read_received(file: Path) -> list[Received]:
    """The events that an app has stored, in order; none if there is no file."""
    if not file.exists():
        return []
    return [Received(*json.loads(line)) for line in file.read_text("utf-8").splitlines()]
