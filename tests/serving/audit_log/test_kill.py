"""kill -9 of the service under load: every answer that was received is in the audit log."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
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
from serving.audit_log.hash_chain import GENESIS, hash_row
from serving.audit_log.privacy.key_file import read_secrets
from serving.audit_log.reader import Reader
from serving.operations.client import kill, start_service_process
from serving.operations.pack import store
from serving.storage.database import Database
from serving.storage.triggers.lists import find_wrong_rows
from tests.support.each import each
from tests.support.served import local_headers, to_be_killed

CLIENTS = 8
MIN_ANSWERS = 8  # before a kill: on a busy machine some seconds alone are no load
SERVICE = "serving.service:LimitReduction"
EARLY = "tests.serving.audit_log.early_service:LimitReduction"

Answers = list[tuple[str | None, bytes]]  # idempotency key and body
# Runs a service: yields its URL and the function that kills it.
Serving = Callable[[], AbstractContextManager[tuple[str, Callable[[], None]]]]


def post_until_killed(
    http: httpx.Client,
    requests: Sequence[dict[str, Any]],
    over: threading.Event,
    answers: Answers,
) -> None:
    """Post requests until the service is gone; adds every complete answer to ``answers``."""
    with http as client:
        for number, sent in enumerate(itertools.cycle(requests)):
            if over.is_set():
                return
            # The first has a key: on a slow machine there may be no second before the kill.
            key = None if number % 2 else f"{threading.get_ident()}-{time.monotonic_ns()}"
            headers = {} if key is None else {"Idempotency-Key": key}
            try:
                response = client.post("/v1/decisions", json=sent, headers=headers)
            except httpx.HTTPError:
                return
            if response.status_code == httpx.codes.OK:
                answers.append((key, response.content))


def client_of(url: str, folder: Path) -> httpx.Client:
    """A client of a service whose audit log is in this folder."""
    return httpx.Client(base_url=url, headers=local_headers(folder), timeout=10)


def kill_under_load(
    serving: Serving,
    folder: Path,
    requests: Sequence[dict[str, Any]],
    seconds: float,
) -> Answers:
    """The answers before the service was killed, after so many seconds and some answers."""
    answers: Answers = []
    over = threading.Event()
    with serving() as (url, kill_it):
        clients = [
            threading.Thread(
                target=post_until_killed, args=(client_of(url, folder), requests, over, answers)
            )
            for _ in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        time.sleep(seconds)
        until = time.monotonic() + 20
        while len(answers) < MIN_ANSWERS and time.monotonic() < until:
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
        settings = to_be_killed(folder)
        with start_service_process(folder / "log", service, settings) as (url, process):
            yield url, lambda: kill(process)

    return serving


def supervisor_alone(folder: Path) -> Serving:
    """The same; only the supervisor is killed, and its worker has to end by itself."""

    @contextmanager
    def serving() -> Iterator[tuple[str, Callable[[], None]]]:
        settings = to_be_killed(folder)
        with start_service_process(folder / "log", SERVICE, settings) as (url, process):

            def kill_supervisor() -> None:
                workers = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                _, alive = psutil.wait_procs(each(workers), timeout=60)
                assert alive == [], "a worker outlives its supervisor"

            yield url, kill_supervisor

    return serving


@contextmanager
def forking(folder: Path, service: str = SERVICE) -> Iterator[subprocess.Popen[str]]:
    """A process that imported the service and forks a child for each line, see one_process.py."""
    command = [sys.executable, "-m", "tests.serving.audit_log.one_process", service]
    with subprocess.Popen(
        command,
        cwd=PROJECT,
        env=os.environ | to_be_killed(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def single_process(folder: Path, forking: subprocess.Popen[str]) -> Serving:
    """The same app in one process, which starts within a second, as nothing is imported again."""

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
            service.wait(60)  # a process within an fsync ends once the disk has answered

    return serving


def wait_until_ready(url: str, service: psutil.Process) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and service.is_running():
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=10).status_code == httpx.codes.OK:
                return
        time.sleep(0.02)
    pytest.fail("the service did not become ready")


def count_missing(folder: Path, answers: Answers) -> int:
    """The number of answers that the audit log does not hold byte for byte; its chain is whole."""
    with contextlib.closing(Database(f"sqlite:///{folder / 'record.db'}")) as database:
        reader = Reader(database, read_secrets(folder / "secrets.json"))
        before = GENESIS
        for row in reader.rows():
            assert bytes(row["before"]) == before
            before = bytes(row["hash"])
            assert hash_row(row, bytes(row["before"])) == before
        stored = {entry.entry_id: entry.response_body for entry in reader.of_kind(["decision"])}
    return sum(stored.get(json.loads(body)["decision_id"]) != body for _, body in answers)


def with_and_without_prior(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each request as it is, and once of another account, decided with what the record has."""
    both: list[dict[str, Any]] = []
    for request in requests:
        without = {name: value for name, value in request.items() if name != "prior"}
        both += [request, without | {"account_id": f"{request['account_id']}-known"}]
    return both


def check_memory(folder: Path) -> None:
    """No account was cut twice for one thing: each change follows from the one before it."""
    with contextlib.closing(Database(f"sqlite:///{folder / 'record.db'}")) as database:
        reader = Reader(database, read_secrets(folder / "secrets.json"))
        events: dict[str | None, list[Any]] = {}
        for row in reader.of_kind(["decision"]):
            if row.due is not None and row.metadata["prior"] == "record":
                prior = json.loads(row.request_body or b"{}")["prior"]
                events.setdefault(row.data_subject, []).append(prior)
        with database.reading() as connection:
            assert find_wrong_rows(connection) == []
    # After few kills there may be none.
    for priors in events.values():
        assert priors[0] is None
        lengths = [len(prior["decisions"]) for prior in priors[1:] if prior is not None]
        assert lengths == list(range(1, len(priors)))


@pytest.fixture(scope="module")
def stored(bundle_folder: Path, bentoml_home: Path) -> str:
    return store(bundle_folder)


def check_kills(
    folder: Path,
    serving: Serving,
    kills: int,
    requests: Sequence[dict[str, Any]],
    min_seconds: float = 0.05,
) -> None:
    """Kill so many times; no answer is missing, and a repeated key gets its first answer."""
    drawn = random.Random(kills)
    requests = with_and_without_prior(requests)
    answers: Answers = []
    for number in range(kills):
        new = kill_under_load(serving, folder, requests, min_seconds + drawn.uniform(0.0, 0.55))
        answers += new
        assert count_missing(folder, new) == 0, number
    assert count_missing(folder, answers) == 0
    check_memory(folder)
    with_key = [(key, body) for key, body in answers if key is not None]
    assert len(with_key) > 3 * kills, "there was no load"
    by_account = {request["account_id"]: request for request in requests}
    # The service that answers now was started after the kills.
    with serving() as (url, _), client_of(url, folder) as client:
        for key, body in each(drawn.sample(with_key, min(len(with_key), 20))):
            sent = by_account[json.loads(body)["account_id"]]
            response = client.post("/v1/decisions", json=sent, headers={"Idempotency-Key": key})
            assert response.content == body


# In CI seven kills: six, and one of the next test.
@pytest.mark.parametrize("kills", [3, pytest.param(6, marks=pytest.mark.torture)])
def test_no_answer_is_missing_after_a_kill(
    kills: int,
    stored: str,
    tmp_path: Path,
    requests: list[dict[str, Any]],
) -> None:
    with forking(tmp_path) as process:
        check_kills(tmp_path, single_process(tmp_path, process), kills, requests)


@pytest.mark.slow
def test_no_answer_is_missing_after_a_kill_of_the_whole_tree(
    stored: str,
    tmp_path: Path,
    requests: list[dict[str, Any]],
) -> None:
    check_kills(tmp_path, whole_tree(tmp_path), 1, requests, 0.5)


# Of one such kill, test_lifecycle.py shows in CI that no worker outlives it.
@pytest.mark.torture
@pytest.mark.parametrize("kills", [25])
def test_no_answer_is_missing_after_a_kill_of_the_supervisor_alone(
    kills: int,
    stored: str,
    tmp_path: Path,
    requests: list[dict[str, Any]],
) -> None:
    check_kills(tmp_path, supervisor_alone(tmp_path), kills, requests, 0.5)


@pytest.mark.torture
def test_no_answer_is_missing_after_many_kills(
    stored: str,
    tmp_path: Path,
    requests: list[dict[str, Any]],
) -> None:
    check_kills(tmp_path, whole_tree(tmp_path), 200, requests)


@pytest.mark.slow
def test_a_service_that_answers_before_the_commit_loses_answers(
    stored: str,
    tmp_path: Path,
    requests: list[dict[str, Any]],
) -> None:
    """The control: the same load and the same count find what is missing."""
    with forking(tmp_path, EARLY) as process:
        answers = kill_under_load(single_process(tmp_path, process), tmp_path, requests, 0.2)
    assert count_missing(tmp_path, answers) > 0
