"""A service ends in order, leaves no process and no port behind, and replaces a dead worker."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import pytest

from serving import PROJECT
from serving.operations.client import (
    SERVICE,
    free_port,
    settings_for,
    start_service_process,
)
from serving.operations.pack import store
from serving.schemas import examples
from tests.golden.remake import BUNDLE
from tests.support.each import each
from tests.support.served import AS_DEPLOYED, local_headers, to_be_killed

BODY = json.dumps(examples.REQUEST | {"prior": None}).encode()
# "Hung" on a busy machine.
SECONDS = 60.0
ORPHANED = "tests.serving.orphaned_service:LimitReduction"


@pytest.fixture(autouse=True)
def stored(bentoml_home: Path) -> str:
    return store(BUNDLE)


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The workers that a service has at the moment."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "_bentoml_impl.worker.service" in child.cmdline()]


def is_free(url: str) -> bool:
    """Whether another service could take the address at once."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(url.rpartition(":")[2])))
        except OSError:
            return False
    return True


def readiness(url: str) -> int:
    """The status of ``/readyz`` on a connection of its own; 0 if there is no answer."""
    try:
        # The supervising process holds the port a little longer than its workers answer.
        return httpx.get(f"{url}/readyz", timeout=1).status_code
    except httpx.HTTPError:
        return 0


def wait_for_status(url: str, status: int) -> None:
    until = time.monotonic() + SECONDS
    while readiness(url) != status:
        assert time.monotonic() < until, f"/readyz did not answer {status}"
        time.sleep(0.02)


def open_request(url: str, headers: dict[str, str]) -> socket.socket:
    """A connection on which all of a request for a decision is sent but its last byte."""
    connection = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), SECONDS)
    lines = [
        "POST /v1/decisions HTTP/1.1",
        f"host: {url.removeprefix('http://')}",
        "content-type: application/json",
        f"content-length: {len(BODY)}",
        f"authorization: {headers['authorization']}",
    ]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + BODY[:-1])
    return connection


def finish(connection: socket.socket) -> bytes:
    """Send the last byte; the answer, read until the service closes the connection."""
    connection.sendall(BODY[-1:])
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


@pytest.mark.slow
def test_a_service_that_is_told_to_end_drains_and_leaves_nothing(tmp_path: Path) -> None:
    # The test ends the delay by a second signal, when it has done what belongs into it.
    settings = AS_DEPLOYED | {"CLEARLINE_DRAIN": "1000"}
    with start_service_process(tmp_path / "log", SERVICE, settings) as (url, process):
        headers = local_headers(tmp_path) | {"content-type": "application/json"}
        [worker] = workers(process)
        process.terminate()
        wait_for_status(url, 503)
        # Until a proxy has noticed, requests arrive and are answered.
        decision = f"{url}/v1/decisions"
        late = httpx.post(decision, content=BODY, headers=headers, timeout=SECONDS)
        assert late.status_code == 200
        assert late.headers["connection"] == "close"
        with closing(open_request(url, headers)) as connection:
            worker.terminate()
            wait_for_status(url, 0)
            # The delay is over; a request that has begun is still answered.
            answer = finish(connection)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"decision_id"' in answer
        assert process.wait(SECONDS) == 0
        worker.wait(SECONDS)
        assert is_free(url)


@pytest.mark.torture
def test_without_a_drain_delay_a_late_request_finds_nobody(tmp_path: Path) -> None:
    """The control."""
    with start_service_process(tmp_path / "log", SERVICE, AS_DEPLOYED) as (url, process):
        with closing(open_request(url, local_headers(tmp_path))) as connection:
            process.terminate()
            wait_for_status(url, 0)
            assert finish(connection).startswith(b"HTTP/1.1 200")
        assert process.wait(SECONDS) == 0


def kill_supervisor(folder: Path, service: str) -> tuple[str, psutil.Process]:
    """Kill the supervising process of a service, also after its worker was replaced."""
    settings = to_be_killed(folder)
    with start_service_process(folder / "log", service, settings) as (url, process):
        [worker] = workers(process)
        worker.kill()
        worker.wait(SECONDS)
        wait_for_status(url, 200)
        [second] = workers(process)
        assert second.pid != worker.pid
        process.kill()
        process.wait(SECONDS)
    return url, second


@pytest.mark.slow
def test_a_dead_worker_is_replaced_and_none_outlives_its_supervisor(tmp_path: Path) -> None:
    url, worker = kill_supervisor(tmp_path, SERVICE)
    worker.wait(SECONDS)
    assert is_free(url)
    # One sentence for the operator, who would otherwise see that requests failed and not why.
    said = (tmp_path / "log").read_text("utf-8")
    assert len(re.findall(r"worker [0-9]+ died: another one is started", said)) == 1


@pytest.mark.torture
def test_a_worker_that_does_not_look_outlives_its_supervisor(tmp_path: Path) -> None:
    """The control."""
    url, worker = kill_supervisor(tmp_path, ORPHANED)
    try:
        with pytest.raises(psutil.TimeoutExpired):
            worker.wait(5)
        assert readiness(url) == 200
        assert not is_free(url)
    finally:
        worker.kill()
        worker.wait(SECONDS)


@pytest.mark.torture
def test_no_worker_outlives_a_supervisor_that_is_killed_during_the_start(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--port", str(port)]
    environment = os.environ | settings_for(tmp_path) | to_be_killed(tmp_path)
    with subprocess.Popen(command, cwd=PROJECT, env=environment) as process:
        until = time.monotonic() + SECONDS
        while not (started := workers(process)) and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
    for worker in each(started):
        worker.wait(SECONDS)
    assert is_free(f"http://127.0.0.1:{port}")
