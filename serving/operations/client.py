"""Asking the service: one request over HTTP, and a service of one's own for as long as it takes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

from serving import PROJECT

_READY_WITHIN = 60.0  # seconds
_STOP_WITHIN = 10.0


class ServiceError(RuntimeError):
    """The service did not answer, or not with a decision."""


def ask(url: str, body: bytes, advice: bool = False, key: str | None = None) -> bytes:
    """The answer's bytes for a request's; raises :class:`ServiceError` with the refusal as the
    service words it.

    ``advice``: with the way back beside the decision.  The API key, or the one in
    ``CLEARLINE_KEY``, goes with it.
    """
    query = "?advice=true" if advice else ""
    headers = {"content-type": "application/json"}
    if key := key or os.environ.get("CLEARLINE_KEY"):
        headers["authorization"] = f"Bearer {key}"
    try:
        response = httpx.post(
            f"{url}/v1/decisions{query}", content=body, headers=headers, timeout=30
        )
    except httpx.HTTPError as error:
        raise ServiceError(
            f"{url}: {error}; is the service running? (--start starts one)"
        ) from error
    if response.status_code != httpx.codes.OK:
        raise ServiceError(f"{url}: {response.status_code} {response.text}")
    return response.content


@contextlib.contextmanager
def start_service(
    log: Path,
    service: str = "serving.service:LimitReduction",
    settings: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The URL of a service, ours unless named, on a free port of 127.0.0.1 until the block ends.

    It leaves the log and, beside it, its record, unless ``settings`` (of the environment) name
    another.  Raises :class:`ServiceError` where it does not become ready.
    """
    with running(log, service, settings) as (url, _):
        yield url


@contextlib.contextmanager
def running(
    log: Path, service: str, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The same, with the process that leads the group of all that the service started."""
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", service]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    home = os.environ.get("BENTOML_HOME")
    # The service starts in the project's folder, where a relative path would be another one.
    environment = os.environ | ({"BENTOML_HOME": os.path.abspath(home)} if home else {})
    environment |= settings_for(log.absolute().parent) | dict(settings or {})
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            if not _ready(url, process):
                lines = log.read_text(errors="replace").strip().splitlines()
                raise ServiceError(
                    f"the service did not start: {lines[-1] if lines else 'it said nothing'}"
                )
            yield url, process
        finally:
            _stop(process)


def settings_for(folder: Path) -> dict[str, str]:
    """The settings of a record that lies in a folder, with its secrets and checkpoints."""
    return {
        "CLEARLINE_RECORD": f"sqlite:///{folder / 'record.db'}",
        "CLEARLINE_SECRETS": str(folder / "secrets.json"),
        "CLEARLINE_CHECKPOINTS": str(folder / "checkpoints.jsonl"),
    }


def _ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + _READY_WITHIN
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=1).status_code == httpx.codes.OK:
                return True
        time.sleep(0.05)
    return False


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the service and all that it started, at once."""
    _kill(_family(process), process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the service and all that it started."""
    family = _family(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.wait(_STOP_WITHIN)
    _kill(family, process)


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The process and its descendants.

    BentoML's workers lead groups of their own: no signal to ours reaches them.
    """
    try:
        leader = psutil.Process(process.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(family: Sequence[psutil.Process], process: subprocess.Popen[bytes]) -> None:
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family[1:], timeout=_STOP_WITHIN)
    process.wait()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
