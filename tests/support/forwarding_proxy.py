"""A proxy as nginx is with `proxy_pass` alone: it adds no header and names the service as Host."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

# As nginx writes them by default; all other headers pass through.
_REWRITTEN = re.compile(rb"\r\n(host|connection):[^\r\n]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Proxy(NamedTuple):
    """A running proxy: its URL, and every request that it received, as bytes."""

    url: str
    received: list[bytes]


@contextmanager
def run_proxy(upstream: str = "", extra: bytes = b"") -> Iterator[Proxy]:
    """Run a proxy in front of the service at `upstream`, a URL; `extra` are headers that it adds.

    Without an `upstream` it only records what it receives, and closes the connection.
    """
    received: list[bytes] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = _read_request(self.request)
            received.append(request)
            if upstream and request:
                self.request.sendall(_forward(request, upstream, extra))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield Proxy(f"http://127.0.0.1:{server.server_address[1]}", received)
        finally:
            server.shutdown()
            thread.join()


def _read_request(connection: socket.socket) -> bytes:
    connection.settimeout(5)
    request = b""
    while b"\r\n\r\n" not in request:
        piece = connection.recv(65536)
        if not piece:
            return request
        request += piece
    head, _, body = request.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _forward(request: bytes, upstream: str, extra: bytes) -> bytes:
    """Return the service's whole response to the request."""
    host, _, port = upstream.removeprefix("http://").partition(":")
    head, _, body = request.partition(b"\r\n\r\n")
    kept = _REWRITTEN.sub(b"", head)
    own = f"\r\nHost: {host}:{port}\r\nConnection: close".encode()
    with socket.create_connection((host, int(port)), timeout=30) as service:
        service.sendall(kept + own + extra + b"\r\n\r\n" + body)
        answer = b""
        while piece := service.recv(65536):
            answer += piece
    return answer
