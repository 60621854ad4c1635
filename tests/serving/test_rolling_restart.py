"""Two services behind a proxy are restarted in turn under load, and no request fails.

Each has a record of its own, because one process alone writes an SQLite file, and the same key.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from serving.auth import keys
from serving.operations.audit import open_audit_log
from serving.operations.client import SERVICE, start_service_process
from serving.operations.pack import store
from serving.schemas import examples
from tests.golden.remake import BUNDLE
from tests.support.balancer import SECONDS_BETWEEN_LOOKS, balance
from tests.support.clients import Clients
from tests.support.records import settings_in
from tests.support.served import AS_DEPLOYED, FAST

ONE = json.dumps(examples.REQUEST | {"prior": None}).encode()
CLIENTS = 4
# In which the proxy looks several times, also on a busy machine.
DRAIN = 20 * SECONDS_BETWEEN_LOOKS
SECONDS = 120.0  # "hung" on a busy machine


@pytest.fixture(autouse=True)
def stored(bentoml_home: Path) -> str:
    return store(BUNDLE)


class Caller:
    """Sends one decision after the other to a proxy, and counts the statuses."""

    def __init__(self, url: str, key: str) -> None:
        self.statuses: Counter[int] = Counter()
        self._url = url
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def wait_for(self, answers: int, clients: Clients) -> None:
        """Return when there were so many answers."""
        while self.statuses.total() < answers:
            assert clients.all_send, self.statuses
            time.sleep(0.05)

    def send(self, _: int, over: threading.Event) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=SECONDS) as client:
            while not over.is_set():
                self.statuses[client.post("/v1/decisions", content=ONE).status_code] += 1


def make_folders(root: Path) -> tuple[list[Path], str]:
    """Two folders with the same new record, and a key of it."""
    folders = [root / "first", root / "second"]
    folders[0].mkdir()
    with open_audit_log(settings_in(folders[0]), create=True) as log:
        key, _ = keys.create(log.database, log.secrets, "lender", ["score"], FAST)
    shutil.copytree(folders[0], folders[1])
    return folders, key


def restart_in_turn(root: Path, rounds: int, drain: float, requests: int = 50) -> Counter[int]:
    """The statuses of all answers while each of two services is restarted so many times.

    At least so many `requests` are answered for each restart.
    """
    folders, key = make_folders(root)
    settings = AS_DEPLOYED | {"CLEARLINE_DRAIN": str(drain), "CLEARLINE_DEADLINE": "30"}

    with ExitStack() as stack:

        def start(folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
            service = start_service_process(folder / "log", SERVICE, settings)
            return stack.enter_context(service)

        services = [start(folder) for folder in folders]
        balancer = stack.enter_context(balance([url for url, _ in services]))
        caller = Caller(balancer.address, key)
        with Clients(CLIENTS, caller.send) as clients:
            for number in range(rounds * len(services)):
                place = number % len(services)
                process = services[place][1]
                process.terminate()
                process.wait(SECONDS)
                services[place] = start(folders[place])
                balancer.urls[place] = services[place][0]
                caller.wait_for(requests * (number + 1), clients)
    return caller.statuses


@pytest.mark.torture
@pytest.mark.parametrize(("rounds", "requests"), [(1, 50), (10, 2000)])
def test_no_request_fails_while_services_are_restarted_in_turn(
    rounds: int, requests: int, tmp_path: Path
) -> None:
    statuses = restart_in_turn(tmp_path, rounds, DRAIN, requests)
    assert set(statuses) == {200}, statuses
    assert statuses[200] >= rounds * 2 * requests


@pytest.mark.torture
def test_without_a_drain_delay_some_requests_fail(tmp_path: Path) -> None:
    """The control."""
    statuses = restart_in_turn(tmp_path, 1, 0.0)
    assert statuses[200] >= 100
    assert set(statuses) > {200}
