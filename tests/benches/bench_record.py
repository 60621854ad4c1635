"""The cost of storing each decision before it is answered: the service with and without storage.

The two run at the same time and get a few requests each, alternately, because a machine has slow
seconds and a turn must be shorter than that.  The cost for one client is the median over the turns
of the difference between their medians.  Clients are raw sockets with a prepared request, since a
client library would cost more than the difference.  Each request is about another account, as a
lender's are, because the first decision on an account costs more to store than the next.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from serving.operations.client import start_service
from tests.support.paths import ROOT
from tests.support.served import local_token
from training.data import sample_request

ACCOUNT = "another-one-each-time"  # in the request, for the number of the account
SERVICES = {
    "without": "tests.benches.unrecorded_service:LimitReduction",
    "with": "serving.service:LimitReduction",
}
ALONE = 10  # requests of one client a turn
TURNS = 200
TOGETHER = 16  # clients
SECONDS = 1.0  # of their requests, a turn
TURNS_TOGETHER = 20


@pytest.fixture
def urls(
    champion_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    subprocess.run(
        [
            *(sys.executable, "-m", "serving", "pack", "--bundle", str(champion_folder)),
            *("--force", "a benchmark", "--no-bento"),
        ],
        check=True,
    )
    with contextlib.ExitStack() as stack:
        found = {}
        for name, service in SERVICES.items():
            folder = tmp_path / name
            folder.mkdir()
            url = stack.enter_context(start_service(folder / "log", service))
            found[name] = url.replace("//", f"//:{local_token(folder)}@")
        yield found


class Caller:
    """One connection that repeats a request, each time about another account."""

    _asked = itertools.count()

    def __init__(self, url: str, body: bytes) -> None:
        where = urlsplit(url)
        self._socket = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before, after = body.split(ACCOUNT.encode())
        head = (
            "POST /v1/decisions HTTP/1.1\r\n"
            f"host: {where.hostname}:{where.port}\r\n"
            f"authorization: Bearer {where.password}\r\n"
            "content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._before = head.encode() + before
        self._after = after

    def ask(self) -> float:
        """Seconds until the whole answer was received."""
        request = self._before + f"{next(self._asked):0{len(ACCOUNT)}d}".encode() + self._after
        begun = time.perf_counter()
        self._socket.sendall(request)
        answered = self._socket.recv(1 << 16)
        head, _, content = answered.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        missing = length - len(content)
        while missing > 0:
            missing -= len(self._socket.recv(1 << 16))
        took = time.perf_counter() - begun
        if b" 200 " not in head[:16]:
            raise ValueError(head.decode())
        return took

    def close(self) -> None:
        self._socket.close()


def alone(caller: Caller) -> list[float]:
    return [caller.ask() for _ in range(ALONE)]


def together(url: str, body: bytes) -> float:
    """Answers a second."""
    counts = [0] * TOGETHER
    until = time.perf_counter() + SECONDS

    def ask(place: int) -> None:
        with contextlib.closing(Caller(url, body)) as caller:
            while time.perf_counter() < until:
                caller.ask()
                counts[place] += 1

    callers = [threading.Thread(target=ask, args=(place,)) for place in range(TOGETHER)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return sum(counts) / SECONDS


def test_record(benchmark: Any, urls: dict[str, str], window: pl.DataFrame) -> None:
    body = json.dumps(sample_request.request(window) | {"account_id": ACCOUNT}).encode()
    turns: dict[str, list[list[float]]] = {name: [] for name in urls}
    rates: dict[str, list[float]] = {name: [] for name in urls}

    def all_turns() -> None:
        for _ in range(TURNS):
            for name, caller in callers.items():
                turns[name].append(alone(caller))
        for _ in range(TURNS_TOGETHER):
            for name, url in urls.items():
                rates[name].append(together(url, body))

    with contextlib.ExitStack() as stack:
        callers = {
            name: stack.enter_context(contextlib.closing(Caller(url, body)))
            for name, url in urls.items()
        }
        for _ in range(TURNS // 10):
            for caller in callers.values():
                alone(caller)
        benchmark.pedantic(all_turns, rounds=1, warmup_rounds=0)
    for name in urls:
        quantiles = statistics.quantiles([took for turn in turns[name] for took in turn], n=100)
        benchmark.extra_info |= {
            f"{name}_p50": quantiles[49],
            f"{name}_p99": quantiles[98],
            f"{name}_rate": statistics.median(rates[name]),
        }
    pairs = zip(turns["with"], turns["without"], strict=True)
    rise = statistics.median(
        statistics.median(ours) - statistics.median(bare) for ours, bare in pairs
    )
    ratio = statistics.median(
        ours / bare for ours, bare in zip(rates["with"], rates["without"], strict=True)
    )
    benchmark.extra_info |= {"clients": TOGETHER, "rise": rise, "ratio": ratio}
