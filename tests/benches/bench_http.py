"""A decision over HTTP beside an empty BentoML endpoint: one client, and sixteen.

Three services run at the same time and get requests alternately, because a machine has slow seconds
and a turn must be shorter than that: an empty endpoint with BentoML's defaults, the service that
stores nothing, and the service as it is, which stores each decision before it answers (SQLite).
Each ratio is the median over the turns of the ratio within a turn.

One client is a raw socket with a prepared request, since a client library would cost more than the
difference.  Sixteen are wrk's, a program in C: a client in Python would take the core that the
service needs.  Each request is about another account, as a lender's are, because the first decision
on an account costs more to store than the next.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from serving.auth.local_token import read_token
from serving.operations.client import start_service
from tests.support.paths import ROOT
from training.data import sample_request

Turns = dict[str, list[list[float]]]  # seconds of each request, by service and turn
ACCOUNT = "another-one-each-time"  # in the request, for the number of the account
SERVICES = {
    "empty": "tests.benches.empty_service:Empty",
    "without": "tests.benches.unrecorded_service:LimitReduction",
    "with": "serving.service:LimitReduction",
}
ALONE = 10  # requests of one client a turn
TURNS = 200
TOGETHER = 16  # clients
SECONDS = 2  # of their requests, a turn
TURNS_TOGETHER = 10
# What wrk sends: the bytes of `before` and `after` stand in files, as they may hold any character.
WRK_SCRIPT = """
local function read(name)
  local file = assert(io.open(name, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end
local before, after = read("{folder}/before"), read("{folder}/after")
local number = {first}
request = function()
  number = number + 1
  return before .. string.format("%0{width}d", number) .. after
end
"""


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
            token = read_token(folder / "record.db.token")  # the empty service has none
            found[name] = url.replace("//", f"//:{token}@")
        yield found


def split_request(url: str, body: bytes) -> tuple[bytes, bytes]:
    """The bytes of a request before the account's number and after it."""
    where = urlsplit(url)
    before, after = body.split(ACCOUNT.encode())
    head = (
        "POST /v1/decisions HTTP/1.1\r\n"
        f"host: {where.hostname}:{where.port}\r\n"
        f"authorization: Bearer {where.password}\r\n"
        "content-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + before, after


class Caller:
    """One connection that repeats a request, each time about another account."""

    _asked = itertools.count()

    def __init__(self, url: str, body: bytes) -> None:
        where = urlsplit(url)
        self._socket = socket.create_connection((where.hostname or "", where.port or 0), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._before, self._after = split_request(url, body)

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


def ask_together(url: str, body: bytes, folder: Path, first: int) -> float:
    """Answers a second that sixteen clients get; their accounts' numbers begin at ``first``."""
    for name, content in zip(("before", "after"), split_request(url, body), strict=True):
        (folder / name).write_bytes(content)
    script = folder / "requests.lua"
    script.write_text(WRK_SCRIPT.format(folder=folder, first=first, width=len(ACCOUNT)), "utf-8")
    where = urlsplit(url)
    done = subprocess.run(
        [
            *("wrk", "--threads", "1", "--connections", str(TOGETHER), "--script", str(script)),
            *("--duration", f"{SECONDS}s", f"http://{where.hostname}:{where.port}/v1/decisions"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise ValueError(done.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None:
        raise ValueError(done.stdout)
    return float(found[1])


def in_turns_alone(
    urls: Mapping[str, str], body: bytes, turns: int
) -> dict[str, list[list[float]]]:
    took: Turns = {name: [] for name in urls}
    with contextlib.ExitStack() as stack:
        callers = {
            name: stack.enter_context(contextlib.closing(Caller(url, body)))
            for name, url in urls.items()
        }
        for _ in range(turns):
            for name, caller in callers.items():
                took[name].append([caller.ask() for _ in range(ALONE)])
    return took


def in_turns_together(urls: Mapping[str, str], body: bytes, folder: Path) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in urls}
    for turn in range(TURNS_TOGETHER):
        for name, url in urls.items():
            first = 10**9 * (turn + 1)  # far from those of the single client
            rates[name].append(ask_together(url, body, folder, first))
    return rates


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_http(benchmark: Any, urls: dict[str, str], window: pl.DataFrame, tmp_path: Path) -> None:
    body = json.dumps(sample_request.request(window) | {"account_id": ACCOUNT}).encode()
    in_turns_alone(urls, body, TURNS // 4)

    def all_turns() -> None:
        took = in_turns_alone(urls, body, TURNS)
        rates = in_turns_together(urls, body, tmp_path)
        benchmark.extra_info |= summary(took, rates)

    benchmark.pedantic(all_turns, rounds=1, warmup_rounds=0)


def summary(took: Turns, rates: Mapping[str, list[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {"clients": TOGETHER}
    medians = {name: [statistics.median(turn) for turn in turns] for name, turns in took.items()}
    for name, turns in took.items():
        quantiles = statistics.quantiles(itertools.chain.from_iterable(turns), n=100)
        slower = map(lambda ours, empty: ours / empty, medians[name], medians["empty"])
        faster = map(lambda ours, empty: ours / empty, rates[name], rates["empty"])
        found[name] = {
            "p50": quantiles[49],
            "p99": quantiles[98],
            "to_empty": statistics.median(slower),
            "rate": statistics.median(rates[name]),
            "rate_to_empty": statistics.median(faster),
        }
    return found
