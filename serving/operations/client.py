"""Asks the service over HTTP, and runs a service for as long as it is needed."""

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
from pydantic import ValidationError

from serving import PROJECT
from serving.auth.direct_client import is_loopback
from serving.auth.local_token import read_token, token_file
from serving.storage.address import sqlite_address
from serving.storage.settings import read_settings
from serving.web.errors import Problem

SERVICE = "serving.service:LimitReduction"
_SECONDS_TO_START = 60.0
_SECONDS_TO_STOP = 10.0
_SECONDS_FOR_ANSWER = 30.0
_NO_KEY = (
    "set CLEARLINE_KEY to an API key; for a service on this machine without keys, start the "
    "command in the service's folder, or set CLEARLINE_RECORD as the service has it"
)


class ServiceError(RuntimeError):
    """The service did not start, did not answer, or refused the request."""


def ask(
    url: str,
    body: bytes,
    advice: bool = False,
    key: str | None = None,
) -> bytes:
    """The service's answer to a request, as bytes.

    Args:
        url: The service's address, without a slash at the end.
        body: The request's JSON.
        advice: Whether to request advice too.
        key: The API key. By default that of the environment variable ``CLEARLINE_KEY``, or for a
            service on this machine the token beside the database that the environment names.

    Raises:
        ServiceError: the service did not answer, or refused; the message has its explanation.
    """
    parameters = {"advice": "true"} if advice else {}
    try:
        headers = _headers(url, key)
        with open_client(url, _SECONDS_FOR_ANSWER) as client:
            response = client.post(
                f"{url}/v1/decisions",
                params=parameters,
                content=body,
                headers=headers,
            )
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ServiceError(f"expected a URL such as http://127.0.0.1:3000, got {url!r}") from error
    except httpx.HTTPError as error:
        raise ServiceError(
            f"{url}: {error}; is the service running? (--start starts one)"
        ) from error
    if response.status_code != httpx.codes.OK:
        raise ServiceError(f"{url}: {_explain(response)}")
    return response.content


def _explain(response: httpx.Response) -> str:
    """A refusal in words: the faults of the problem, or the body where it is none."""
    status = f"{response.status_code} {response.reason_phrase}"
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return f"{status}: {response.text}"
    lines = [f"{fault.path}: {fault.message}" for fault in problem.errors]
    if response.status_code == httpx.codes.UNAUTHORIZED:
        lines.append(_NO_KEY)
    return "\n  ".join([f"{status}, {problem.detail}", *lines])


def open_client(url: str, timeout: float) -> httpx.Client:
    """A client of the service at this URL; ``timeout`` is in seconds.

    Its requests never pass through a proxy of the environment in readable form: a proxy is used for
    HTTPS only, where it sees ciphertext, and never for this machine.

    Raises:
        ServiceError: the environment names a proxy for HTTPS that cannot be used.
    """
    is_encrypted = httpx.URL(url).scheme == "https"
    through_proxy = is_encrypted and not _is_this_machine(url)
    try:
        return httpx.Client(timeout=timeout, trust_env=through_proxy)
    except (ImportError, ValueError) as error:
        raise ServiceError(f"{url}: a proxy of the environment cannot be used: {error}") from error


@contextlib.contextmanager
def start_service(
    log: Path,
    service: str = SERVICE,
    settings: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Run a service until the block ends; yields its URL, on a free port of 127.0.0.1.

    Args:
        log: File for the service's output; its audit log is stored in the same folder.
        service: The service's import address.
        settings: Environment variables, which take precedence.

    Raises:
        ServiceError: the service did not become ready.
    """
    with start_service_process(log, service, settings) as (url, _):
        yield url


@contextlib.contextmanager
def start_service_process(
    log: Path,
    service: str = SERVICE,
    settings: Mapping[str, str] | None = None,
    seconds_to_start: float = _SECONDS_TO_START,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Like :func:`start_service`, and also yields the server process.

    It may take `seconds_to_start` until it is ready.
    """
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", service]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    # No proxy knows of this service, so nobody has to learn that it ends.
    own = settings_for(log.absolute().parent) | {"CLEARLINE_DRAIN": "0"}
    environment = os.environ | own | dict(settings or {})
    if home := environment.get("BENTOML_HOME"):
        # The service starts in the project's folder, where a relative path means another folder.
        environment["BENTOML_HOME"] = os.path.abspath(home)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in our terminal must not reach it before `_stop`
        )
        try:
            url = f"http://127.0.0.1:{port}"
            if not _wait_until_ready(url, process, seconds_to_start):
                raise ServiceError(f"the service did not start: {_last_line(log)}")
            yield url, process
        finally:
            _stop(process)


def settings_for(folder: Path) -> dict[str, str]:
    """The environment variables of an audit log that is stored in this folder."""
    return {
        "CLEARLINE_RECORD": sqlite_address(folder / "record.db"),
        "CLEARLINE_SECRETS": str(folder / "secrets.json"),
        "CLEARLINE_CHECKPOINTS": str(folder / "checkpoints.jsonl"),
    }


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the service and all processes that it started, at once."""
    _kill(_descendants(process), process)


def free_port() -> int:
    """A port of 127.0.0.1 that no process listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_this_machine(url: str) -> bool:
    host = httpx.URL(url).host
    return host == "localhost" or is_loopback(host)


def _headers(url: str, key: str | None) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    sent = key or os.environ.get("CLEARLINE_KEY")
    if not sent and _is_this_machine(url):
        settings = read_settings()
        sent = read_token(token_file(settings))
    if sent:
        headers["authorization"] = f"Bearer {sent}"
    return headers


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], seconds: float) -> bool:
    until = time.monotonic() + seconds
    with open_client(url, timeout=1) as client:
        while time.monotonic() < until and process.poll() is None:
            if _is_ready(client, url):
                return True
            time.sleep(0.05)
    return False


def _is_ready(client: httpx.Client, url: str) -> bool:
    try:
        response = client.get(f"{url}/readyz")
    except httpx.HTTPError:
        return False
    return response.status_code == httpx.codes.OK


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace", encoding="utf-8").strip().splitlines()
    return lines[-1] if lines else "it printed nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the service and all processes that it started."""
    # Listed first: the children of a process that has ended can no longer be found.
    processes = _descendants(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.terminate()
        process.wait(_SECONDS_TO_STOP)
    _kill(processes, process)


def _descendants(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The process and its descendants.

    BentoML's workers lead process groups of their own, which a signal to ours does not reach.
    """
    try:
        leader = psutil.Process(process.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(processes: Sequence[psutil.Process], process: subprocess.Popen[bytes]) -> None:
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    # Without the leader: it is our child, so only `Popen.wait` may collect its exit status.
    psutil.wait_procs(processes[1:], timeout=_SECONDS_TO_STOP)
    process.wait()
