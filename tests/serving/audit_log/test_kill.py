"""kill -9 of the whole process tree under load: of all answers received, none is missing in the
record.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving import PROJECT
from serving.audit_log.hash_chain import GENESIS, hash_of
from serving.audit_log.privacy.key_file import read_secrets
from serving.audit_log.reader import Reader
from serving.operations.client import kill, running
from serving.operations.pack import store
from serving.storage.database import Database

CLIENTS = 8
LEAST_ANSWERS = 8  # before a kill: on a busy machine a time alone is no load
SERVICE = "serving.service:LimitReduction"
EARLY = "tests.serving.audit_log.early_service:LimitReduction"


def load(
    url: str,
    requests: Sequence[dict[str, Any]],
    until: threading.Event,
    answers: list[tuple[str | None, bytes]],
) -> None:
    """Post until the service is gone; every whole answer is noted, with its key."""
    with httpx.Client(base_url=url, timeout=10) as client:
        for number, sent in enumerate(itertools.cycle(requests)):
            if until.is_set():
                return
            # The first with a key: a machine may be slow enough that there is no second before the
            # kill.
            key = None if number % 2 else f"{threading.get_ident()}-{time.monotonic_ns()}"
            try:
                response = client.post(
                    "/v1/decisions",
                    json=sent,
                    headers={} if key is None else {"Idempotency-Key": key},
                )
            except httpx.HTTPError:
                return
            if response.status_code == httpx.codes.OK:
                answers.append((key, response.content))


Answers = list[tuple[str | None, bytes]]
# a service's URL, and how it is killed
Serving = Callable[[], AbstractContextManager[tuple[str, Callable[[], None]]]]


def killed_under_load(
    serving: Serving, requests: Sequence[dict[str, Any]], after: float
) -> Answers:
    """What was answered before the service and all its processes were killed, ``after`` seconds of
    load, or more until there was some."""
    answers: Answers = []
    over = threading.Event()
    with serving() as (url, kill_it):
        clients = [
            threading.Thread(target=load, args=(url, requests, over, answers))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(after)
        until = time.monotonic() + 20
        while len(answers) < LEAST_ANSWERS and time.monotonic() < until:
            time.sleep(0.002)
        kill_it()
        over.set()
        for client in clients:
            client.join()
    return answers


def whole_tree(folder: Path, service: str = SERVICE) -> Serving:
    """BentoML's supervisor and its worker, as `make serve` starts them."""

    @contextmanager
    def serving() -> Iterator[tuple[str, Callable[[], None]]]:
        with running(folder / "log", service) as (url, process):
            yield url, lambda: kill(process)

    return serving


@contextmanager
def forking(service: str = SERVICE) -> Iterator[subprocess.Popen[str]]:
    """A process that has imported the service and forks one for each line, see alone.py."""
    command = [sys.executable, "-m", "tests.serving.audit_log.one_process", service]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def alone(folder: Path, forking: subprocess.Popen[str]) -> Serving:
    """The same app in one process, which starts within a second: imports are most of what a start
    takes.
    """

    @contextmanager
    def serving() -> Iterator[tuple[str, Callable[[], None]]]:
        assert forking.stdin is not None
        assert forking.stdout is not None
        forking.stdin.write(f"{folder}\n")
        forking.stdin.flush()
        port, process_id = forking.stdout.readline().split()
        service = psutil.Process(int(process_id))
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", service)
            yield f"http://127.0.0.1:{port}", service.kill
        finally:
            with suppress(psutil.NoSuchProcess):
                service.kill()
            service.wait(60)  # who is in the middle of an fsync goes when the disk has answered

    return serving


def wait_until_ready(url: str, service: psutil.Process) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and service.is_running():
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=10).status_code == httpx.codes.OK:
                return
        time.sleep(0.02)
    pytest.fail("the service did not become ready")


def missing(folder: Path, answers: Sequence[tuple[str | None, bytes]]) -> int:
    """How many of these answers the record does not hold to the byte; its chain is whole."""
    database = Database(f"sqlite:///{folder / 'record.db'}")
    reader = Reader(database, read_secrets(folder / "secrets.json"))
    before, kept = GENESIS, dict[str, bytes | None]()
    for row in reader.rows():
        assert bytes(row["before"]) == before
        before = bytes(row["hash"])
        assert hash_of(row, bytes(row["before"])) == before
    for one in reader.of_kind(["decision"]):
        kept[one.entry_id] = one.response_body
    database.close()
    return sum(kept.get(json.loads(body)["decision_id"]) != body for _, body in answers)


@pytest.fixture(scope="module")
def stored(bundle_folder: Path, bentoml_home: Path) -> str:
    return store(bundle_folder)


def survives(
    folder: Path,
    serving: Serving,
    number: int,
    requests: Sequence[dict[str, Any]],
    least_seconds: float = 0.05,
) -> None:
    """So many kills, and after each nothing that was answered is missing."""
    drawn = random.Random(number)
    answers: Answers = []
    for cycle in range(number):
        answered = killed_under_load(serving, requests, least_seconds + drawn.uniform(0.0, 0.55))
        answers += answered
        assert missing(folder, answered) == 0, cycle
    assert missing(folder, answers) == 0
    with_key = [answer for answer in answers if answer[0] is not None]
    assert len(with_key) > 3 * number, "there was no load"
    # Whoever asks again with a key gets the answer of before, from a service that has started
    # since.
    with serving() as (url, _), httpx.Client(base_url=url, timeout=10) as client:
        for key, body in drawn.sample(with_key, min(len(with_key), 20)):
            assert key is not None
            sent = next(
                request
                for request in requests
                if request["account_id"] == json.loads(body)["account_id"]
            )
            assert (
                client.post("/v1/decisions", json=sent, headers={"Idempotency-Key": key}).content
                == body
            )


# Twenty kills: these, and the next test's one.
def test_nothing_answered_is_missing_after_kill(
    stored: str, tmp_path: Path, requests: list[dict[str, Any]]
) -> None:
    with forking() as process:
        survives(tmp_path, alone(tmp_path, process), 19, requests)


def test_nor_where_the_whole_tree_is_killed(
    stored: str, tmp_path: Path, requests: list[dict[str, Any]]
) -> None:
    survives(tmp_path, whole_tree(tmp_path), 1, requests, 0.5)


@pytest.mark.torture
def test_nothing_answered_is_missing_after_many_kills(
    stored: str, tmp_path: Path, requests: list[dict[str, Any]]
) -> None:
    survives(tmp_path, whole_tree(tmp_path), 200, requests)


def test_a_service_that_answers_too_early_loses_some(
    stored: str, tmp_path: Path, requests: list[dict[str, Any]]
) -> None:
    """The control: without waiting for the commit the same load loses answers."""
    lost = 0
    with forking(EARLY) as process:
        for cycle in range(40):
            answers = killed_under_load(alone(tmp_path, process), requests, 0.2 + 0.01 * cycle)
            lost += missing(tmp_path, answers)
            if lost:
                break
    assert lost > 0
