"""A proxy in front of PostgreSQL's socket that cuts a connection at its next commit on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Listens in ``folder`` as PostgreSQL does, and forwards to the server's socket.

    ``cuts``: how many connections were cut.
    """

    def __init__(self, folder: Path, server_folder: Path) -> None:
        self.folder, self._server_folder = folder, server_folder
        self.cuts = 0
        self._cut_before: str | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, before: str) -> None:
        """Cut the connection of the next commit.

        ``before`` is ``server`` (the commit never reaches it) or ``answer`` (the commit succeeds,
        its confirmation is lost).
        """
        self._cut_before = before

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        silenced = threading.Event()
        with contextlib.suppress(OSError), client, server:
            server.connect(str(self._server_folder / SOCKET))
            answering = threading.Thread(
                target=self._forward_answers, args=(server, client, silenced), daemon=True
            )
            answering.start()
            while sent := client.recv(1 << 16):
                if b"COMMIT" in sent and self._cut_before is not None:
                    before, self._cut_before = self._cut_before, None
                    self.cuts += 1
                    if before == "answer":
                        silenced.set()
                        server.sendall(sent)
                        # PostgreSQL confirms the commit; the confirmation is not forwarded.
                        server.settimeout(1)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(sent)

    @staticmethod
    def _forward_answers(
        server: socket.socket, client: socket.socket, silenced: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while answered := server.recv(1 << 16):
                if silenced.is_set():
                    return
                client.sendall(answered)
