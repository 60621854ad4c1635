"""A small fault proxy before PostgreSQL's socket: it passes everything on, and cuts a connection at
the commit when told to.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Listens in ``folder`` as PostgreSQL does, and passes on to the server in ``behind``.

    ``cut(before)``: the next commit is cut, before it reaches the server or before its answer comes
    back; ``cuts`` were made.
    """

    def __init__(self, folder: Path, behind: Path) -> None:
        self.folder, self._behind = folder, behind
        self.cuts = 0
        self._cut: str | None = None
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, before: str) -> None:
        """Cut at the next commit; ``before`` is ``server`` or ``answer``."""
        self._cut = before

    def close(self) -> None:
        """Listen no longer."""
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        silenced = threading.Event()
        with contextlib.suppress(OSError), client, server:
            server.connect(str(self._behind / SOCKET))
            threading.Thread(
                target=self._back, args=(server, client, silenced), daemon=True
            ).start()
            while sent := client.recv(1 << 16):
                if b"COMMIT" in sent and self._cut is not None:
                    before, self._cut = self._cut, None
                    self.cuts += 1
                    if before == "answer":
                        silenced.set()
                        server.sendall(sent)
                        # PostgreSQL says when it is done; nobody hears it.
                        server.settimeout(1)
                    client.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(sent)

    @staticmethod
    def _back(server: socket.socket, client: socket.socket, silenced: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while answered := server.recv(1 << 16):
                if silenced.is_set():
                    return
                client.sendall(answered)
