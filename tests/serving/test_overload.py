"""Nobody waits for another: what the endpoint does with more work than it can do at once.

The torture tests compare figures of one run with each other. They need a quiet machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.auth import keys
from serving.operations.audit import open_audit_log
from serving.operations.client import SERVICE, start_service
from serving.operations.pack import store
from serving.schemas import examples
from tests.golden.remake import BUNDLE
from tests.support.http_load import Load, Sample, quantile, run_loads
from tests.support.records import settings_in
from tests.support.served import AS_DEPLOYED, FAST, local_headers

ON_LOOP = "tests.serving.on_loop_service:LimitReduction"
ONE = examples.REQUEST | {"prior": None}
BATCH = {"accounts": [ONE | {"account_id": f"b{number}"} for number in range(100)]}
DECISION, BATCHES = "/v1/decisions", "/v1/decisions/batch?advice=true"
SECONDS = 10.0  # of each load
PROBES_A_SECOND = 20.0
HOSTILE_RATE = 20.0  # requests a second
# No deadline of a busy machine.
PATIENT = AS_DEPLOYED | {"CLEARLINE_DEADLINE": "30"}


@pytest.fixture(autouse=True)
def stored(bentoml_home: Path) -> str:
    return store(BUNDLE)


def answers_during_a_batch(folder: Path, service: str) -> int:
    """How many single decisions begin and are answered while a batch with advice is decided."""
    with start_service(folder / "log", service, PATIENT) as url:
        client = httpx.Client(base_url=url, headers=local_headers(folder), timeout=60)
        statuses: list[int] = []

        def send_batch() -> None:
            with httpx.Client(headers=local_headers(folder), timeout=60) as other:
                statuses.append(other.post(f"{url}{BATCHES}", json=BATCH).status_code)

        with client:
            client.post(DECISION, json=ONE).raise_for_status()
            batch = threading.Thread(target=send_batch)
            batch.start()
            answered = 0
            while batch.is_alive():
                client.post(DECISION, json=ONE).raise_for_status()
                assert client.get("/livez").status_code == 200
                answered += batch.is_alive()
            batch.join()
    assert statuses == [200]
    return answered


@pytest.mark.slow
def test_decisions_are_answered_while_a_batch_with_advice_is_decided(tmp_path: Path) -> None:
    assert answers_during_a_batch(tmp_path, SERVICE) >= 10


@pytest.mark.slow
def test_on_the_event_loop_a_batch_would_hold_the_decisions(tmp_path: Path) -> None:
    """The control."""
    # Those before the batch has arrived, and one that waited for it.
    assert answers_during_a_batch(tmp_path, ON_LOOP) < 10


# With figures


class Served:
    """A service and its loads."""

    def __init__(self, url: str, token: str, hostile: str) -> None:
        self.url, self.token, self.hostile = url, token, hostile

    def decisions(self, connections: int, rate: float | None = None) -> Load:
        body = json.dumps(ONE)
        return Load(self.url, DECISION, connections, SECONDS, body, self.token, rate)

    def batches(self) -> Load:
        return Load(self.url, BATCHES, 1, SECONDS, json.dumps(BATCH), self.hostile)

    def hostile_decisions(self, rate: float) -> Load:
        return Load(self.url, DECISION, 64, SECONDS, json.dumps(ONE), self.hostile, rate)

    def probes(self) -> Load:
        return Load(self.url, "/livez", 4, SECONDS, rate=PROBES_A_SECOND)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with open_audit_log(settings_in(tmp_path), create=True) as log:
        polite, _ = keys.create(log.database, log.secrets, "polite", ["score"], FAST)
        terms = keys.KeyTerms(rate=HOSTILE_RATE)
        hostile, _ = keys.create(log.database, log.secrets, "hostile", ["score"], terms)
    with start_service(tmp_path / "log", settings=AS_DEPLOYED) as url:
        yield Served(url, polite, hostile)


def goodput(samples: list[Sample]) -> float:
    return sum(sample.status == 200 for sample in samples) / SECONDS


def p99(samples: list[Sample], *statuses: int) -> float:
    took = [sample.took for sample in samples if sample.status in statuses]
    assert len(took) >= 20, f"only {len(took)} answers with {statuses}"
    return quantile(took, 0.99)


@pytest.mark.torture
@pytest.mark.parametrize("connections", [128, 512])
def test_four_times_saturation_leaves_goodput_and_probes(served: Served, connections: int) -> None:
    [alone] = run_loads([served.decisions(16)])
    saturation = goodput(alone)
    load = served.decisions(connections, rate=4 * saturation)
    overload, probes = run_loads([load, served.probes()])
    assert goodput(overload) >= 0.8 * saturation
    assert p99(overload, 429, 503) <= 0.1
    assert p99(probes, 200) <= 0.1
    [after] = run_loads([served.decisions(16)])
    assert goodput(after) >= 0.9 * saturation


@pytest.mark.torture
def test_batches_with_advice_back_to_back_hold_up_no_decision(served: Served) -> None:
    [alone] = run_loads([served.decisions(1, rate=20)])
    beside, probes, batches = run_loads(
        [served.decisions(1, rate=20), served.probes(), served.batches()]
    )
    assert goodput(batches) > 0
    assert p99(beside, 200) <= 3 * p99(alone, 200)
    assert p99(probes, 200) <= 0.1


@pytest.mark.torture
def test_a_key_at_ten_times_its_rate_does_not_hold_up_another(served: Served) -> None:
    [alone] = run_loads([served.decisions(1, rate=20)])
    beside, hostile = run_loads(
        [served.decisions(1, rate=20), served.hostile_decisions(10 * HOSTILE_RATE)]
    )
    assert sum(sample.status == 429 for sample in hostile) > len(hostile) / 2
    assert p99(beside, 200) <= 2 * p99(alone, 200)
