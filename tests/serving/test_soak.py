"""Hours of a light load of everything: memory and file handles stay, and every answer is right.

It needs no quiet machine, and may be stopped for some minutes.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import json
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import psutil
import pytest
from scipy.stats import theilslopes

from serving.api.answers import Basis, answer_requests
from serving.audit_log.privacy.key_file import read_secrets
from serving.audit_log.reader import Reader
from serving.auth import keys
from serving.auth.caller import SCOPES
from serving.decision.golden import load
from serving.decision.ids import UNKEYED
from serving.operations.audit import open_audit_log
from serving.operations.client import SERVICE, start_service_process
from serving.operations.pack import store
from serving.schemas.decision import Request
from serving.storage.database import Database
from tests.golden.remake import BUNDLE
from tests.support.clients import Clients
from tests.support.each import each
from tests.support.mixed_load import Expected, Json, MixedLoad
from tests.support.paths import ROOT
from tests.support.records import settings_in
from tests.support.served import AS_DEPLOYED, as_requests

LOGGER = logging.getLogger("tests.figures")  # pytest --log-cli-level=INFO shows them
LEAKING = "tests.serving.leaking_service:LimitReduction"
ANSWERS = ROOT / "tests" / "golden" / "answers"
CLIENTS = 4
RATE = 4.0  # requests a second and client
# In the first half of the warm-up: every thread and connection that the service may have is used.
FIRST_RATE = 16.0
SECONDS_TO_START = 600.0  # on a machine that stands still for some minutes
HOUR = 3600.0


@dataclass(frozen=True)
class Soak:
    """How long it takes, and how much memory may grow. Times in seconds."""

    seconds: float  # after the warm-up
    warm_up: float
    between: float  # two samples
    megabytes_an_hour: float


# The first minutes of a service, in which it takes what it then keeps.
SHORT = Soak(seconds=90, warm_up=30, between=3, megabytes_an_hour=150)
LONG = Soak(seconds=2 * HOUR, warm_up=600, between=30, megabytes_an_hour=1)


@dataclass(frozen=True)
class Sample:
    """Supervisor and worker together, at a moment without requests. Memory in MB."""

    at: float  # seconds
    rss: float
    pss: float
    anonymous: float
    handles: int
    threads: int


@dataclass(frozen=True)
class Slope:
    """The median slope through all pairs of samples (Theil and Sen), with its 95 % interval."""

    an_hour: float
    low: float
    high: float


def slope(samples: Sequence[Sample], name: str) -> Slope:
    values = [float(getattr(one, name)) for one in samples]
    hours = [one.at / HOUR for one in samples]
    found = theilslopes(values, hours, 0.95)
    return Slope(float(found.slope), float(found.low_slope), float(found.high_slope))


class Processes:
    """A supervisor and its worker."""

    def __init__(self, supervisor: int) -> None:
        whole = psutil.Process(supervisor)
        children = whole.children(recursive=True)
        [worker] = [one for one in children if "_bentoml_impl.worker.service" in one.cmdline()]
        self.both = [whole, worker]

    def sample(self, at: float) -> Sample:
        memory = [memory_of(process) for process in self.both]
        return Sample(
            at,
            rss=sum(one["Rss"] for one in memory),
            pss=sum(one["Pss"] for one in memory),
            anonymous=sum(one["Anonymous"] for one in memory),
            handles=sum(one.num_fds() for one in self.both),
            threads=sum(one.num_threads() for one in self.both),
        )


def memory_of(process: psutil.Process) -> dict[str, float]:
    """What Linux states of the process' memory, in MB."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii")
    fields = dict(line.split(":") for line in rollup.splitlines()[1:])
    return {name: int(kilobytes.removesuffix("kB")) / 1024 for name, kilobytes in fields.items()}


def golden_accounts() -> list[tuple[Json, Expected]]:
    """Requests with the golden bundle's decisions: all that are not kept, and some that are."""
    bodies = as_requests(pl.read_parquet(ANSWERS / "statements.parquet"))
    requests = [Request.model_validate_json(json.dumps(body)) for body in bodies]
    basis = Basis(load(BUNDLE), datetime.datetime.now(datetime.UTC), UNKEYED)
    answered = answer_requests("decisions", requests, False, basis)
    answers = [json.loads(one.content) for one in answered]
    expected = [Expected(*(one[name] for name in Expected._fields)) for one in answers]
    accounts = list(zip(bodies, expected, strict=True))
    cut = [one for one in accounts if one[1].action != "keep"]
    kept = [one for one in accounts if one[1].action == "keep"]
    assert len(cut) >= 20
    return cut + kept[: 2 * len(cut)]


def soak(folder: Path, service: str, plan: Soak) -> list[Sample]:
    """Run a service under the load; the samples after the warm-up.

    Every answer is as expected, and the record has each decision as it was answered, and no other.
    """
    with open_audit_log(settings_in(folder), create=True) as log:
        terms = keys.KeyTerms(rate=200.0)
        key, _ = keys.create(log.database, log.secrets, "lender", SCOPES, terms)
    settings = AS_DEPLOYED | {"CLEARLINE_DEADLINE": "60"}
    with start_service_process(folder / "log", service, settings, SECONDS_TO_START) as running:
        url, supervisor = running
        load = MixedLoad(url, key, golden_accounts(), FIRST_RATE)
        with Clients(CLIENTS, load.send) as clients:
            samples = take_samples(Processes(supervisor.pid), load, clients, plan)
    write_samples(folder / "samples.jsonl", samples)
    LOGGER.info("%s, sent again: %d", dict(load.statuses), load.interrupted)
    assert len(load.statuses) > 10
    assert load.interrupted <= CLIENTS * len(stops(samples, plan))
    check_record(folder, load.decided)
    return [one for one in samples if one.at >= plan.warm_up]


def take_samples(
    processes: Processes, load: MixedLoad, clients: Clients, plan: Soak
) -> list[Sample]:
    began = time.monotonic()
    samples: list[Sample] = []
    while not samples or samples[-1].at < plan.warm_up + plan.seconds:
        time.sleep(plan.between)
        assert clients.all_send, "a client has failed"
        with load.paused():
            time.sleep(0.5)  # until the service has closed the connections
            samples.append(processes.sample(time.monotonic() - began))
        if samples[-1].at > plan.warm_up / 2:
            load.rate = RATE
        LOGGER.info("%s, %d answers", samples[-1], load.statuses.total())
    return samples


def stops(samples: Sequence[Sample], plan: Soak) -> list[float]:
    """The moments before which the machine stood still."""
    pairs = itertools.pairwise(samples)
    return [after.at for before, after in pairs if after.at - before.at > plan.between + 15]


def write_samples(file: Path, samples: Sequence[Sample]) -> None:
    lines = [json.dumps(asdict(one)) for one in samples]
    file.write_text("\n".join(lines), encoding="utf-8")


def check_record(folder: Path, decided: dict[str, bytes]) -> None:
    """The record has each answered decision to the byte, and no other."""
    with closing(Database(settings_in(folder).address)) as database:
        reader = Reader(database, read_secrets(folder / "secrets.json"))
        rows = {one.entry_id: digest(one.response_body) for one in reader.of_kind(["decision"])}
    assert len(rows) == len(decided)
    assert rows == decided


def digest(content: bytes | None) -> bytes:
    assert content is not None
    return hashlib.sha256(content).digest()


@pytest.fixture(autouse=True)
def stored(bentoml_home: Path, caplog: pytest.LogCaptureFixture) -> str:
    caplog.set_level(logging.WARNING, "httpx")  # else a line a request
    return store(BUNDLE)


@pytest.mark.torture
@pytest.mark.parametrize("plan", [SHORT, LONG], ids=["short", "long"])
def test_memory_and_handles_stay_under_a_mixed_load(plan: Soak, tmp_path: Path) -> None:
    samples = soak(tmp_path, SERVICE, plan)
    for name in each(["rss", "anonymous"]):
        found = slope(samples, name)
        LOGGER.info("%s: %s MB an hour", name, found)
        assert found.high <= plan.megabytes_an_hour, f"{name}: {found}"
    third = len(samples) // 3
    first, last = samples[:third], samples[-third:]
    before, after = (max(one.handles for one in part) for part in (first, last))
    assert after <= before, f"at most {before} file handles at first, {after} at last"


@pytest.mark.torture
def test_a_leak_is_found(tmp_path: Path) -> None:
    """The control."""
    samples = soak(tmp_path, LEAKING, SHORT)
    for name in each(["rss", "anonymous"]):
        found = slope(samples, name)
        assert found.low > SHORT.megabytes_an_hour, f"{name}: {found}"
    assert samples[-1].handles > samples[0].handles
