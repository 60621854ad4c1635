"""What a challenger costs the callers: the service with and without ``CLEARLINE_SHADOW``.

They run at the same time, with another service without it as a control, and answer one client in
turns. A turn is long enough that the challenger decides most of it within the turn, and a pause
follows in which it decides the rest: so its work does not fall on the others.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.decision.bundle import Bundle
from serving.operations.client import start_service
from serving.operations.pack import store
from tests.benches.bench_http import ACCOUNT, Caller
from tests.support.other_bundles import golden_rows, write_other_bundle
from tests.support.paths import GOLDEN
from tests.support.records import golden
from tests.support.served import AS_DEPLOYED, as_requests, local_token

__all__ = ["golden"]
ALONE = 300  # requests of one client a turn
TURNS = 16
SECONDS_TO_REST = 0.5


@pytest.fixture
def urls(golden: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    folder = tmp_path / "challenger"
    challenger = write_other_bundle(golden, ("model", "policy"), folder)
    store(folder)
    store(GOLDEN)
    shadows = {"without": "", "control": "", "with": challenger.digest}
    with contextlib.ExitStack() as stack:
        found = {}
        for name, digest in shadows.items():
            own = tmp_path / name
            own.mkdir()
            settings = AS_DEPLOYED | {"CLEARLINE_SHADOW": digest}
            url = stack.enter_context(start_service(own / "log", settings=settings))
            found[name] = url.replace("//", f"//:{local_token(own)}@")
        yield found


def test_shadow(benchmark: Any, urls: dict[str, str]) -> None:
    rows, _ = golden_rows()
    body = json.dumps(as_requests(rows)[0] | {"account_id": ACCOUNT}).encode()
    turns: dict[str, list[list[float]]] = {name: [] for name in urls}

    def take_turn(name: str) -> list[float]:
        # A connection that rests is closed by the service.
        with contextlib.closing(Caller(urls[name], body)) as caller:
            return [caller.ask() for _ in range(ALONE)]

    def all_turns() -> None:
        for _ in range(TURNS):
            for name in urls:
                turns[name].append(take_turn(name))
                time.sleep(SECONDS_TO_REST)

    for name in urls:
        take_turn(name)
    benchmark.pedantic(all_turns, rounds=1, warmup_rounds=0)
    for name in urls:
        quantiles = statistics.quantiles([took for turn in turns[name] for took in turn], n=100)
        benchmark.extra_info |= {f"{name}_p50": quantiles[49], f"{name}_p99": quantiles[98]}
    for name in ("with", "control"):
        pairs = zip(turns[name], turns["without"], strict=True)
        benchmark.extra_info[f"{name}_ratio"] = statistics.median(
            statistics.median(ours) / statistics.median(bare) for ours, bare in pairs
        )
