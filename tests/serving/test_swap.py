"""A service that runs takes bundle after bundle, under load, and no request notices.

Every answer is computed again, offline, by the bundle that it names, to the byte.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import pytest

from features import schema
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.operations.audit import open_audit_log
from serving.operations.client import SERVICE, settings_for, start_service_process
from serving.operations.decide_again.replay import recompute
from serving.operations.errors import NotActivated
from serving.operations.pack import store
from serving.operations.serve.activate import Result, activate
from serving.storage.bundles.active import ActiveFolder, active_folder
from serving.storage.bundles.store import resolve
from serving.storage.settings import read_settings
from tests.golden.remake import BUNDLE
from tests.support.bundles import DAMAGES, delete_stored, store_damaged, write_variant
from tests.support.clients import Clients
from tests.support.each import each
from tests.support.served import AS_DEPLOYED, local_headers
from tests.support.standstills import Standstills

SECONDS = 600.0  # "hung", also on a machine that stands still for some minutes
CLIENTS = 3
PATIENT = {"CLEARLINE_DEADLINE": "30"}
_PAUSE = 0.05  # seconds: answers of some minutes are computed again within one
_MB = 2**20
_TOLD_APART = 5  # answers


class Answered(NamedTuple):
    """What a client got; `body` is one decision."""

    status: int
    body: bytes


def golden_requests() -> list[dict[str, Any]]:
    """The accounts of the golden rows, as a lender sends them; nothing is in force for them."""
    content = json.loads((BUNDLE / "golden.json").read_text("utf-8"))
    requests: dict[str, dict[str, Any]] = {}
    for row in content["statements"]:
        statement = dict(zip(schema.NAMES, row, strict=True))
        account, product = statement.pop("account_id"), statement.pop("product")
        statement["month"] = statement["month"][:7]
        first = {"account_id": account, "product": product, "currency": "CNY", "prior": None}
        requests.setdefault(account, first | {"statements": []})["statements"].append(statement)
    return list(requests.values())


class Running(NamedTuple):
    """A service that runs, and what belongs to it."""

    url: str
    process: subprocess.Popen[bytes]
    place: Path
    folder: ActiveFolder

    @property
    def worker(self) -> psutil.Process:
        """Its worker."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        [worker] = [one for one in children if "_bentoml_impl.worker.service" in one.cmdline()]
        return worker

    @property
    def log(self) -> str:
        """What it wrote until now."""
        return (self.place / "log").read_text("utf-8")

    def stated(self) -> str:
        """The digest that ``/readyz`` states."""
        response = httpx.get(f"{self.url}/readyz", timeout=SECONDS).raise_for_status()
        return response.headers["clearline-bundle"]

    def ask(self) -> str:
        """The digest of the bundle that decides."""
        headers = local_headers(self.place)
        answer = httpx.post(
            f"{self.url}/v1/decisions", json=golden_requests()[0], headers=headers, timeout=SECONDS
        )
        digest: str = answer.raise_for_status().json()["model"]["bundle"]
        return digest


class Caller:
    """Sends decisions and batches, and keeps the answers.

    What was not answered because all stood still is left out: the service closes a connection that
    rests, and answers nothing after its deadline.
    """

    def __init__(
        self, running: Running, requests: list[dict[str, Any]], standstills: Standstills
    ) -> None:
        self.answers: list[Answered] = []
        self._url, self._requests, self._standstills = running.url, requests, standstills
        local = local_headers(running.place)
        self._headers = local | {"content-type": "application/json"}

    def send(self, seed: int, over: threading.Event) -> None:
        drawn = random.Random(seed)
        with httpx.Client(
            base_url=self._url, headers=self._headers, timeout=SECONDS, trust_env=False
        ) as client:
            while not over.wait(_PAUSE):
                began = time.monotonic()
                try:
                    answers = self._send_one(client, drawn)
                except httpx.TransportError:
                    if not self._standstills.excuse(began):
                        raise
                    continue
                if answers[0].status == 200 or not self._standstills.excuse(began):
                    self.answers += answers

    def _send_one(self, client: httpx.Client, drawn: random.Random) -> list[Answered]:
        if drawn.random() < 0.1:
            return self._send_batch(client)
        response = client.post("/v1/decisions", json=drawn.choice(self._requests))
        return [Answered(response.status_code, response.content)]

    def _send_batch(self, client: httpx.Client) -> list[Answered]:
        response = client.post("/v1/decisions/batch", json={"accounts": self._requests})
        content = response.content.removeprefix(b'{"decisions":[').removesuffix(b"]}")
        if response.status_code != 200:
            return [Answered(response.status_code, content)]
        decisions = response.json()["decisions"]
        assert len({one["model"]["bundle"] for one in decisions}) == 1, "a batch has two bundles"
        answers = []
        for one in decisions:
            start = content.index(b'{"decision_id":"' + one["decision_id"].encode())
            body = json.JSONDecoder().raw_decode(content[start:].decode())[1]
            whole = content[start:].decode()[:body].encode()
            answers.append(Answered(response.status_code, whole))
        return answers


@pytest.fixture
def running(
    bentoml_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    store(BUNDLE)
    for name, value in (settings_for(tmp_path) | AS_DEPLOYED).items():
        monkeypatch.setenv(name, value)
    with start_service_process(tmp_path / "log", SERVICE, PATIENT, SECONDS) as service:
        yield Running(*service, tmp_path, active_folder(read_settings()))


def store_variants(place: Path, count: int) -> list[str]:
    """Store bundles with other margins; their digests."""
    digests = []
    for number in range(count):
        folder = place / f"variant-{number}"
        digests.append(write_variant(folder, round(0.002 + 0.006 * number, 4)))
        store(folder)
    return digests


@dataclass(frozen=True)
class Swaps:
    """How many bundles are activated, and how many damaged ones between them."""

    taken: int
    refused: int


class Activator:
    """Activates bundles; `repeated` counts those whose verification all stood still in."""

    def __init__(self, standstills: Standstills) -> None:
        self.repeated = 0
        self._standstills = standstills

    def activate(self, digest: str) -> Result:
        began = time.monotonic()
        try:
            return activate(digest, "test", SECONDS)
        except NotActivated:
            if not self._standstills.excuse(began):
                raise
        self.repeated += 1
        return self.activate(digest)


def swap(running: Running, digests: list[str], swaps: Swaps, activator: Activator) -> list[int]:
    """Activate one bundle after the other, and damaged ones between; memory after each, in MB."""
    damaged = [
        store_damaged(running.place / f"damaged-{number}", DAMAGES[number % len(DAMAGES)])
        for number in range(swaps.refused)
    ]
    stored = set(damaged)
    memory = []
    for number in range(swaps.taken):
        digest = digests[number % len(digests)]
        result = activator.activate(digest)
        assert [one.digest for one in result.serving] == [digest]
        assert result.waiting == ()
        assert running.ask() == digest
        assert running.stated() == digest
        if number % max(swaps.taken // swaps.refused, 1) == 0 and damaged:
            with pytest.raises(NotActivated):
                activate(damaged.pop(), "test", SECONDS)
            assert running.ask() == digest
        memory.append(running.worker.memory_info().rss // _MB)
    assert damaged == []
    for digest in each(stored):
        # Other tests serve the newest stored one.
        delete_stored(digest)
    return memory


def check_answers(answers: list[Answered]) -> Counter[str]:
    """Compute every answer again by the bundle that it names; the number of answers by bundle."""
    by_bundle: Counter[str] = Counter()
    bundles: dict[str, Bundle] = {}
    other_differs = 0
    with open_audit_log() as log:
        for answered in each(answers):
            named = json.loads(answered.body)
            digest = named["model"]["bundle"]
            if digest not in bundles:
                bundles[digest] = load(resolve(digest))
            row = log.reader.by_id(named["decision_id"])
            assert row is not None, "an answer is not in the record"
            again = recompute(row, bundles[digest], log.secrets.id_key, log.reader.by_id)
            assert again == answered.body
            by_bundle[digest] += 1
            if other_differs < _TOLD_APART:
                other_differs += is_told_apart(row, bundles, digest, log)
    # The control: another bundle would not have given these answers, but for its name.
    assert other_differs == _TOLD_APART
    return by_bundle


def is_told_apart(row: Any, bundles: dict[str, Bundle], digest: str, log: Any) -> bool:
    """Whether another of the bundles decides otherwise: in more than the names of the model."""
    other = next((one for name, one in bundles.items() if name != digest), None)
    if other is None:
        return False
    again = recompute(row, other, log.secrets.id_key, log.reader.by_id)
    mine, others = json.loads(row.response_body), json.loads(again or b"{}")
    return {**mine, "model": None} != {**others, "model": None}


def replace_worker(running: Running) -> None:
    """Kill the worker, and wait for the next."""
    killed = running.worker
    killed.kill()
    killed.wait(SECONDS)
    until = time.monotonic() + SECONDS
    while not (served := running.folder.workers()) or served[0].process == killed.pid:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    "swaps",
    [
        pytest.param(Swaps(2, 1), marks=pytest.mark.slow),
        pytest.param(Swaps(100, 10), marks=pytest.mark.torture),
    ],
    ids=["few", "many"],
)
def test_bundles_are_taken_over_under_load(running: Running, swaps: Swaps) -> None:
    first = running.ask()
    digests = store_variants(running.place, min(swaps.taken - 1, 7))
    with Standstills() as standstills:
        activator = Activator(standstills)
        caller = Caller(running, golden_requests(), standstills)
        with Clients(CLIENTS, caller.send):
            memory = swap(running, [*digests, first], swaps, activator)
    statuses = Counter(answered.status for answered in caller.answers)
    assert set(statuses) == {200}, statuses
    by_bundle = check_answers(caller.answers)
    assert set(by_bundle) >= {first, *digests}
    outcomes = running.folder.outcomes()
    assert (outcomes.taken, outcomes.refused) == (swaps.taken, swaps.refused + activator.repeated)
    assert running.log.count("decides from now on") == swaps.taken
    # Eight bundles in turn, of which five stay: once they do, nothing grows by another swap.
    figures = {"answers": len(caller.answers), "megabytes": memory}
    (running.place / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    assert memory[-1] - memory[len(memory) // 5] < 30

    # A worker that dies serves afterwards what is active, not what it started with.
    active = activate(digests[0], "test", SECONDS).activation.digest
    replace_worker(running)
    assert running.ask() == active
    # By the command, and by the signal, which activates the newest stored bundle.
    command = [sys.executable, "-m", "serving", "activate", first[:12], "--by", "Li Na"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert "serves it" in done.stdout
    assert running.ask() == first
    newest = write_variant(running.place / "newest", 0.06)
    store(running.place / "newest")
    os.kill(running.process.pid, signal.SIGHUP)
    until = time.monotonic() + SECONDS
    while running.ask() == first:
        assert time.monotonic() < until
        time.sleep(0.2)
    activation = running.folder.read()
    assert activation is not None
    assert (running.ask(), activation.by) == (newest, "SIGHUP")
