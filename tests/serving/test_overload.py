"""Nobody waits for another: what the endpoint does with more work than it can do at once.

The torture tests compare figures of one run with each other. They need a quiet machine.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
import sqlalchemy as sa

from serving.auth import keys
from serving.operations.audit import open_audit_log
from serving.operations.client import SERVICE, start_service, start_service_process
from serving.operations.pack import store
from serving.schemas import examples
from serving.storage.database import Database
from serving.storage.tables import entries
from tests.golden.remake import BUNDLE
from tests.support.http_load import Load, Sample, beside_the_load, quantile, run_loads
from tests.support.records import settings_in
from tests.support.served import AS_DEPLOYED, FAST, local_headers

LOGGER = logging.getLogger("tests.figures")  # pytest --log-cli-level=INFO shows them
ON_LOOP = "tests.serving.on_loop_service:LimitReduction"
UNRECORDED = "tests.benches.unrecorded_service:LimitReduction"
UNLIMITED = "tests.serving.unlimited_service:LimitReduction"
ONE = examples.REQUEST | {"prior": None}
BATCH = {"accounts": [ONE | {"account_id": f"b{number}"} for number in range(100)]}
DECISION, BATCHES = "/v1/decisions", "/v1/decisions/batch?advice=true"
SECONDS = 10.0  # of each load
PROBES_A_SECOND = 20.0
HOSTILE_RATE = 100.0  # requests a second; what a key has by default
POLITE_RATE = 50.0
# No deadline of a busy machine.
PATIENT = AS_DEPLOYED | {"CLEARLINE_DEADLINE": "30"}


@pytest.fixture(autouse=True)
def stored(bentoml_home: Path) -> str:
    return store(BUNDLE)


def answers_during_a_batch(folder: Path, service: str) -> int:
    """How many single decisions begin and are answered while a batch with advice is decided."""
    content = json.dumps(BATCH).encode()
    sent = threading.Event()

    def batch_in_one_part() -> Iterator[bytes]:
        yield content
        sent.set()

    with start_service(folder / "log", service, PATIENT) as url:
        client = httpx.Client(base_url=url, headers=local_headers(folder), timeout=60)
        statuses: list[int] = []

        def send_batch() -> None:
            described = {"content-type": "application/json", "content-length": str(len(content))}
            with httpx.Client(headers=local_headers(folder) | described, timeout=60) as other:
                response = other.post(f"{url}{BATCHES}", content=batch_in_one_part())
                statuses.append(response.status_code)

        with client:
            client.post(DECISION, json=ONE).raise_for_status()
            batch = threading.Thread(target=send_batch)
            batch.start()
            # What is answered before the service has the whole batch says nothing.
            assert sent.wait(60)
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


@pytest.mark.torture
def test_on_the_event_loop_a_batch_would_hold_the_decisions(tmp_path: Path) -> None:
    """The control."""
    # Those before the batch is read, and one that waited for it.
    assert answers_during_a_batch(tmp_path, ON_LOOP) < 10


# With figures


class Served:
    """A service, its loads, and the process that answers."""

    def __init__(self, folder: Path, tokens: tuple[str, str], url: str, supervisor: int) -> None:
        self.folder, self.url = folder, url
        self.token, self.hostile = tokens
        [self._worker] = [
            child
            for child in psutil.Process(supervisor).children(recursive=True)
            if "_bentoml_impl.worker.service" in child.cmdline()
        ]

    def decisions(
        self, connections: int, rate: float | None = None, seconds: float = SECONDS
    ) -> Load:
        body = json.dumps(ONE)
        return Load(self.url, DECISION, connections, seconds, body, self.token, rate)

    def batches(self) -> Load:
        return Load(self.url, BATCHES, 1, SECONDS, json.dumps(BATCH), self.hostile)

    def hostile_decisions(self, rate: float) -> Load:
        return Load(self.url, DECISION, 128, SECONDS, json.dumps(ONE), self.hostile, rate)

    def probes(self) -> Load:
        return Load(self.url, "/livez", 4, SECONDS, rate=PROBES_A_SECOND)

    def saturation(self) -> float:
        """Answers a second to 16 clients that each send as soon as they are answered."""
        run_loads([self.decisions(16, seconds=1)])
        [alone] = run_loads([self.decisions(16)])
        return goodput(alone)

    def megabytes(self) -> float:
        """The memory of the process that answers."""
        return float(self._worker.memory_info().rss) / 2**20


@contextmanager
def serve(
    folder: Path, service: str = SERVICE, settings: Mapping[str, str] = AS_DEPLOYED
) -> Iterator[Served]:
    folder.mkdir(exist_ok=True)
    with open_audit_log(settings_in(folder), create=True) as log:
        polite, _ = keys.create(log.database, log.secrets, "polite", ["score"], FAST)
        terms = keys.KeyTerms(rate=HOSTILE_RATE)
        hostile, _ = keys.create(log.database, log.secrets, "hostile", ["score"], terms)
    with ExitStack() as stack:
        with beside_the_load():
            running = start_service_process(folder / "log", service, settings)
            url, process = stack.enter_context(running)
        yield Served(folder, (polite, hostile), url, process.pid)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path) as running:
        yield running


def goodput(samples: list[Sample], seconds: float = SECONDS) -> float:
    return sum(sample.status == 200 for sample in samples) / seconds


def p99(samples: list[Sample], *statuses: int) -> float:
    took = [sample.took for sample in samples if sample.status in statuses]
    assert len(took) >= 20, f"only {len(took)} answers with {statuses}"
    return quantile(took, 0.99)


class Overload(NamedTuple):
    """What happened under four times the saturation, beside it and after it.

    Rates are a second, times in seconds, memory in MB; `refused_p99` is 0 if none was refused.
    `late` are the refused that were taken first and not answered in time.
    """

    saturation: float
    offered: float
    answered: float
    refused: float
    refused_p99: float
    late: float
    probes_p99: float
    grown: float
    after: float  # answers a second, from 5 seconds after the load on


def overload(served: Served, connections: int) -> Overload:
    saturation = served.saturation()
    before = served.megabytes()
    load = served.decisions(connections, rate=4 * saturation)
    samples, probes = run_loads([load, served.probes()])
    grown = served.megabytes() - before
    [after] = run_loads([served.decisions(16, seconds=5 + SECONDS)])
    refused = [sample for sample in samples if sample.status in (429, 503)]
    found = Overload(
        saturation,
        len(samples) / SECONDS,
        goodput(samples),
        len(refused) / SECONDS,
        p99(refused, 429, 503) if refused else 0.0,
        sum(not sample.was_refused_at_once for sample in refused) / SECONDS,
        p99(probes, 200),
        grown,
        goodput([sample for sample in after if sample.began >= 5]),
    )
    LOGGER.info("%d connections: %s", connections, found)
    return found


# With 0.5 seconds of which half may be waited, most are refused; with 2, clients that wait for
# their answers cannot send much more than is answered.
@pytest.mark.torture
@pytest.mark.parametrize(("connections", "deadline"), [(128, "2"), (512, "2"), (512, "0.5")])
def test_four_times_saturation_leaves_goodput_and_probes(
    connections: int, deadline: str, tmp_path: Path
) -> None:
    with serve(tmp_path, settings=AS_DEPLOYED | {"CLEARLINE_DEADLINE": deadline}) as served:
        found = overload(served, connections)
    assert found.answered >= 0.8 * found.saturation
    assert found.refused_p99 <= 0.1
    assert found.probes_p99 <= 0.1
    assert found.grown <= 20
    assert found.after >= 0.9 * found.saturation
    if deadline == "0.5":
        assert found.offered >= 3 * found.saturation
        assert found.refused > found.answered


@pytest.mark.torture
def test_without_a_bound_four_times_saturation_leaves_neither(tmp_path: Path) -> None:
    """The control."""
    with serve(tmp_path, ON_LOOP, AS_DEPLOYED | {"CLEARLINE_DEADLINE": "0.5"}) as served:
        found = overload(served, 512)
    assert found.answered < 0.8 * found.saturation
    assert found.probes_p99 > 0.1


@pytest.mark.torture
@pytest.mark.parametrize("seconds", [30, 180, 600])
def test_at_half_of_saturation_all_is_answered_and_recorded(seconds: int, tmp_path: Path) -> None:
    with serve(tmp_path) as served:
        rate = served.saturation() / 2
        before = recorded(served)
        [samples] = run_loads([served.decisions(64, rate, seconds)])
        took = [sample.took for sample in samples]
        p50, late = quantile(took, 0.5), quantile(took, 0.99)
        LOGGER.info("%.0f/s, %d answers, p50 %.5f s, p99 %.5f s", rate, len(samples), p50, late)
        assert {sample.status for sample in samples} == {200}
        assert len(samples) >= 0.99 * rate * seconds, "the load was not sent"
        assert recorded(served) - before == len(samples)
        assert late <= 5 * p50


@pytest.mark.torture
def test_a_service_that_records_nothing_has_fewer_rows_than_answers(tmp_path: Path) -> None:
    """The control."""
    with serve(tmp_path, UNRECORDED) as served:
        before = recorded(served)
        [samples] = run_loads([served.decisions(64, 100)])
        assert goodput(samples) > 0
        assert recorded(served) == before


def recorded(served: Served) -> int:
    """How many decisions the record has."""
    count = sa.select(sa.func.count()).select_from(entries).where(entries.c.kind == "decision")
    settings = settings_in(served.folder)
    with closing(Database(settings.address)) as database, database.reading() as connection:
        return int(connection.scalar(count) or 0)


@pytest.mark.torture
def test_batches_with_advice_back_to_back_hold_up_no_decision(served: Served) -> None:
    [alone] = run_loads([served.decisions(1, rate=20)])
    beside, probes, batches = run_loads(
        [served.decisions(1, rate=20), served.probes(), served.batches()]
    )
    assert goodput(batches) > 0
    assert p99(beside, 200) <= 3 * p99(alone, 200)
    assert p99(probes, 200) <= 0.1


def times_beside_a_hostile_key(served: Served) -> tuple[float, float]:
    """How many times longer the p99 of one key is while another sends ten times its rate, and how
    many requests a second that one sends.
    """
    polite = served.decisions(4, rate=POLITE_RATE)
    [alone] = run_loads([polite])
    beside, hostile = run_loads([polite, served.hostile_decisions(10 * HOSTILE_RATE)])
    assert {sample.status for sample in [*alone, *beside]} == {200}
    refused = sum(sample.status == 429 for sample in hostile)
    before, after = p99(alone, 200), p99(beside, 200)
    sent = len(hostile)
    LOGGER.info("p99 %.5f s, beside %.5f s; %d of %d refused", before, after, refused, sent)
    return after / before, sent / SECONDS


@pytest.mark.torture
def test_a_key_at_ten_times_its_rate_does_not_hold_up_another(served: Served) -> None:
    times, sent = times_beside_a_hostile_key(served)
    assert sent >= 9 * HOSTILE_RATE, "the load was not sent"
    assert times <= 2


@pytest.mark.torture
def test_without_rates_a_key_at_ten_times_its_rate_holds_up_another(tmp_path: Path) -> None:
    """The control."""
    with serve(tmp_path, UNLIMITED) as served:
        times, _ = times_beside_a_hostile_key(served)
    assert times > 2
