"""Asking the service: one request over HTTP, and a service of one's own for as long as it takes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

PROJECT = Path(__file__).resolve().parent.parent
_READY_WITHIN = 60.0  # seconds
_STOP_WITHIN = 10.0


class ServiceError(RuntimeError):
    """The service did not answer, or not with a decision."""


def ask(url: str, body: bytes, advice: bool = False) -> bytes:
    """The answer's bytes for a request's; raises :class:`ServiceError` with the refusal as the service words it.

    ``advice``: with the way back beside the decision.
    """
    query = "?advice=true" if advice else ""
    headers = {"content-type": "application/json"}
    try:
        response = httpx.post(f"{url}/v1/decisions{query}", content=body, headers=headers, timeout=30)
    except httpx.HTTPError as error:
        raise ServiceError(f"{url}: {error}; is the service running? (--start starts one)") from error
    if response.status_code != httpx.codes.OK:
        raise ServiceError(f"{url}: {response.status_code} {response.text}")
    return response.content


@contextlib.contextmanager
def started(log: Path, service: str = "serving.service:LimitReduction") -> Iterator[str]:
    """The URL of a service, ours unless named, on a free port of 127.0.0.1 until the block ends; it leaves nothing but the log.

    Raises :class:`ServiceError` where it does not become ready.
    """
    port = _free_port()
    command = [sys.executable, "-m", "bentoml", "serve", service]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    home = os.environ.get("BENTOML_HOME")
    # The service starts in the project's folder, where a relative path would be another one.
    environment = os.environ | ({"BENTOML_HOME": os.path.abspath(home)} if home else {})
    with log.open("wb") as output:
        # A session of its own: killing BentoML's supervisor alone would leave its workers on the port.
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            if not _ready(url, process):
                lines = log.read_text(errors="replace").strip().splitlines()
                raise ServiceError(f"the service did not start: {lines[-1] if lines else 'it said nothing'}")
            yield url
        finally:
            _stop(process)


def _ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + _READY_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=1).status_code == httpx.codes.OK:
                return True
        time.sleep(0.05)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the service and all that it started."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.wait(_STOP_WITHIN)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
