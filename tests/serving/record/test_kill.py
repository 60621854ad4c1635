"""kill -9 of the whole process tree under load: of all answers received, none is missing in the record."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.client import kill, running
from serving.pack import store
from serving.record.chain import GENESIS, hash_of
from serving.record.database import Database
from serving.record.reader import Reader
from serving.record.secrets import read_secrets

CLIENTS = 8
SERVICE = "serving.service:LimitReduction"
EARLY = "tests.serving.record.early_service:LimitReduction"


def load(url: str, requests: Sequence[dict[str, Any]], until: threading.Event, answers: list[tuple[str | None, bytes]]) -> None:
    """Post until the service is gone; every whole answer is noted, with its key."""
    with httpx.Client(base_url=url, timeout=10) as client:
        for number, sent in enumerate(itertools.cycle(requests)):
            if until.is_set():
                return
            key = f"{threading.get_ident()}-{time.monotonic_ns()}" if number % 2 else None
            try:
                response = client.post("/v1/decisions", json=sent, headers={} if key is None else {"Idempotency-Key": key})
            except httpx.HTTPError:
                return
            if response.status_code == httpx.codes.OK:
                answers.append((key, response.content))


def killed_under_load(
    log: Path, service: str, requests: Sequence[dict[str, Any]], after: float
) -> list[tuple[str | None, bytes]]:
    """What was answered before the service and all its processes were killed, ``after`` seconds of load."""
    answers: list[tuple[str | None, bytes]] = []
    over = threading.Event()
    with running(log, service) as (url, process):
        clients = [threading.Thread(target=load, args=(url, requests, over, answers)) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(after)
        kill(process)
        over.set()
        for client in clients:
            client.join()
    return answers


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
        kept[one.entry_id] = one.answered
    database.close()
    return sum(kept.get(json.loads(body)["decision_id"]) != body for _, body in answers)


@pytest.fixture(scope="module")
def stored(bundle_folder: Path, bentoml_home: Path) -> str:
    return store(bundle_folder)


def cycles(folder: Path, number: int, requests: Sequence[dict[str, Any]]) -> None:
    drawn = random.Random(number)
    answers: list[tuple[str | None, bytes]] = []
    for cycle in range(number):
        answered = killed_under_load(folder / "log", SERVICE, requests, drawn.uniform(0.05, 0.6))
        answers += answered
        assert missing(folder, answered) == 0, cycle
    assert missing(folder, answers) == 0
    assert len(answers) > 10 * number, "there was no load"
    # Whoever asks again with a key gets the answer of before, from a service that has started since.
    with running(folder / "log", SERVICE) as (url, _):
        for key, body in drawn.sample([answer for answer in answers if answer[0] is not None], 20):
            assert key is not None
            sent = next(request for request in requests if request["account_id"] == json.loads(body)["account_id"])
            again = httpx.post(f"{url}/v1/decisions", json=sent, headers={"Idempotency-Key": key}, timeout=10)
            assert again.content == body


@pytest.mark.xdist_group("kill")
def test_nothing_answered_is_missing_after_kill(stored: str, tmp_path: Path, requests: list[dict[str, Any]]) -> None:
    cycles(tmp_path, 20, requests)


@pytest.mark.torture
def test_nothing_answered_is_missing_after_many_kills(stored: str, tmp_path: Path, requests: list[dict[str, Any]]) -> None:
    cycles(tmp_path, 200, requests)


@pytest.mark.xdist_group("kill")
def test_a_service_that_answers_too_early_loses_some(stored: str, tmp_path: Path, requests: list[dict[str, Any]]) -> None:
    """The control: without waiting for the commit the same load loses answers."""
    lost = 0
    for cycle in range(10):
        answers = killed_under_load(tmp_path / "log", EARLY, requests, 0.3 + 0.05 * cycle)
        lost += missing(tmp_path, answers)
        if lost:
            break
    assert lost > 0
