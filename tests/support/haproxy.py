"""HAProxy in front of several services, with what a lender has to set and its defaults else."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.operations.client import free_port
from tests.support.balancer import SECONDS_BETWEEN_LOOKS

_SECONDS = 600.0  # "hung", also on a machine that stands still for some minutes
_RUNNING = "2"  # of srv_op_state
_CONFIGURATION = """
global
    stats socket {folder}/admin level admin
defaults
    mode http
    timeout check 10s
    timeout connect 10s
    timeout client 150s
    timeout server 150s
frontend lender
    bind {address}
    default_backend clearline
backend clearline
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter {milliseconds}ms fall 1 rise 1
"""


class HAProxy:
    """A running HAProxy, at `address`; its servers may be replaced while it runs."""

    def __init__(self, folder: Path, address: str) -> None:
        self.address = f"http://{address}"
        self._admin = folder / "admin"

    def replace(self, place: int, url: str) -> None:
        """Send to this service instead of that at the place; returns once it is sent to."""
        host, port = _host_and_port(url)
        answer = self._command(f"set server clearline/s{place} addr {host} port {port}")
        assert "IP changed" in answer or "port changed" in answer, answer
        _wait_for(lambda: self._is_up(place), "HAProxy does not find the service ready")

    def _is_up(self, place: int) -> bool:
        table = self._command("show servers state clearline").splitlines()
        names = table[1].removeprefix("# ").split()
        rows = [dict(zip(names, row.split(), strict=True)) for row in table[2:] if row]
        [state] = [row["srv_op_state"] for row in rows if row["srv_name"] == f"s{place}"]
        return state == _RUNNING

    def _command(self, line: str) -> str:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(60)
            admin.connect(str(self._admin))
            admin.sendall(f"{line}\n".encode())
            return admin.makefile().read()


@contextmanager
def run_haproxy(
    urls: Sequence[str], between_looks: float = SECONDS_BETWEEN_LOOKS
) -> Iterator[HAProxy]:
    """Run HAProxy in front of these services, which it looks at so often, in seconds.

    The test is skipped where it is not installed.
    """
    program = shutil.which("haproxy", path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("HAProxy is not installed")
    # A short path: a socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="clearline-haproxy") as name:
        folder, address = Path(name), f"127.0.0.1:{free_port()}"
        configuration = folder / "haproxy.cfg"
        configuration.write_text(
            _configuration(folder, address, urls, between_looks), encoding="utf-8"
        )
        process = subprocess.Popen([program, "-db", "-f", configuration])
        try:
            _wait_for(lambda: _listens(address, process), "HAProxy does not listen")
            yield HAProxy(folder, address)
        finally:
            process.terminate()
            process.wait(60)


def _configuration(folder: Path, address: str, urls: Sequence[str], between_looks: float) -> str:
    milliseconds = round(1000 * between_looks)
    head = _CONFIGURATION.format(folder=folder, address=address, milliseconds=milliseconds)
    hosts = [":".join(_host_and_port(url)) for url in urls]
    servers = [f"    server s{place} {host}\n" for place, host in enumerate(hosts)]
    return head + "".join(servers)


def _listens(address: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "HAProxy ended"
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _wait_for(is_so: Callable[[], bool], else_say: str) -> None:
    until = time.monotonic() + _SECONDS
    while not is_so():
        assert time.monotonic() < until, else_say
        time.sleep(0.05)


def _host_and_port(url: str) -> tuple[str, str]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, port
