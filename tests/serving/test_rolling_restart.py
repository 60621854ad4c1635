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
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from serving.auth import keys
from serving.operations.audit import open_audit_log
from serving.operations.client import SERVICE, start_service_process
from serving.operations.pack import store
from serving.schemas import examples
from tests.golden.remake import BUNDLE
from tests.support.balancer import SECONDS_BETWEEN_LOOKS, Balancer, balance
from tests.support.clients import Clients
from tests.support.haproxy import HAProxy, run_haproxy
from tests.support.records import settings_in
from tests.support.served import AS_DEPLOYED, FAST
from tests.support.standstills import Standstills

ONE = json.dumps(examples.REQUEST | {"prior": None}).encode()
CLIENTS = 4
NO_ANSWER = 0  # as a status
# In which the proxy looks several times, also on a busy machine.
DRAIN = 20 * SECONDS_BETWEEN_LOOKS
Proxy = Callable[[Sequence[str], float], AbstractContextManager[Balancer | HAProxy]]
PROXIES = [balance, run_haproxy]
SECONDS = 600.0  # "hung", also on a machine that stands still for some minutes


@pytest.fixture(autouse=True)
def stored(bentoml_home: Path) -> str:
    return store(BUNDLE)


class Caller:
    """Sends one decision after the other to a proxy, and counts the statuses, also NO_ANSWER."""

    def __init__(self, url: str, key: str, standstills: Standstills) -> None:
        self.statuses: Counter[int] = Counter()
        self._url, self._standstills = url, standstills
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}

    def wait_for(self, answers: int, clients: Clients) -> None:
        """Return when there were so many answers."""
        while self.statuses.total() < answers:
            assert clients.all_send, self.statuses
            time.sleep(0.05)

    def send(self, _: int, over: threading.Event) -> None:
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=SECONDS) as client:
            while not over.is_set():
                began = time.monotonic()
                status = self._ask(client)
                if status == 200 or not self._standstills.excuse(began):
                    self.statuses[status] += 1

    def _ask(self, client: httpx.Client) -> int:
        try:
            return client.post("/v1/decisions", content=ONE).status_code
        except httpx.TransportError:
            return NO_ANSWER


def make_folders(root: Path) -> tuple[list[Path], str]:
    """Two folders with the same new record, and a key of it."""
    folders = [root / "first", root / "second"]
    folders[0].mkdir()
    with open_audit_log(settings_in(folders[0]), create=True) as log:
        key, _ = keys.create(log.database, log.secrets, "lender", ["score"], FAST)
    shutil.copytree(folders[0], folders[1])
    return folders, key


@dataclass(frozen=True)
class Restarts:
    """How often each of two services is restarted, and how many requests each restart has.

    `drain` is that of the services, and `between_looks` that of the proxy, in seconds.
    """

    rounds: int
    requests: int  # at least
    drain: float = DRAIN
    between_looks: float = SECONDS_BETWEEN_LOOKS

    @property
    def all_requests(self) -> int:
        return 2 * self.rounds * self.requests


FEW, MANY = Restarts(1, 50), Restarts(10, 2000)
# On a busy machine a service takes long to end: the proxy would see in time that it does.
UNNOTICED = Restarts(1, 50, drain=0.0, between_looks=5.0)


def restart_in_turn(root: Path, proxy: Proxy, restarts: Restarts) -> Counter[int]:
    """The statuses of all answers while each of two services is restarted so many times."""
    folders, key = make_folders(root)
    settings = AS_DEPLOYED | {"CLEARLINE_DRAIN": str(restarts.drain), "CLEARLINE_DEADLINE": "30"}

    with ExitStack() as stack:

        def start(folder: Path) -> tuple[str, subprocess.Popen[bytes]]:
            service = start_service_process(folder / "log", SERVICE, settings, SECONDS)
            return stack.enter_context(service)

        services = [start(folder) for folder in folders]
        balancer = stack.enter_context(proxy([url for url, _ in services], restarts.between_looks))
        caller = Caller(balancer.address, key, stack.enter_context(Standstills()))
        with Clients(CLIENTS, caller.send) as clients:
            for number in range(restarts.rounds * len(services)):
                place = number % len(services)
                process = services[place][1]
                process.terminate()
                process.wait(SECONDS)
                services[place] = start(folders[place])
                balancer.replace(place, services[place][0])
                caller.wait_for(restarts.requests * (number + 1), clients)
    return caller.statuses


@pytest.mark.torture
@pytest.mark.parametrize("restarts", [FEW, MANY], ids=["few", "many"])
@pytest.mark.parametrize("proxy", PROXIES)
def test_no_request_fails_while_services_are_restarted_in_turn(
    proxy: Proxy, restarts: Restarts, tmp_path: Path
) -> None:
    statuses = restart_in_turn(tmp_path, proxy, restarts)
    assert set(statuses) == {200}, statuses
    assert statuses[200] >= restarts.all_requests


@pytest.mark.torture
@pytest.mark.parametrize("proxy", PROXIES)
def test_without_a_drain_delay_some_requests_fail(proxy: Proxy, tmp_path: Path) -> None:
    """The control."""
    statuses = restart_in_turn(tmp_path, proxy, UNNOTICED)
    assert statuses[200] >= 100
    assert set(statuses) > {200}
