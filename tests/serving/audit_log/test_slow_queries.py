"""Queries that take long: they end, they hold up nobody else, and the process ends without them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from serving.audit_log.errors import Unavailable
from serving.audit_log.log import AuditLog
from serving.audit_log.reader import Reader
from serving.operations.client import start_service_process
from serving.operations.pack import store
from serving.storage import read_pools
from serving.storage.database import Database
from serving.storage.read_pools import THREADS, ReadPools
from tests.support.each import each
from tests.support.endless import count_without_end
from tests.support.records import append, new_entry, settings_in
from tests.support.served import AS_DEPLOYED, local_headers

SLOW = "tests.serving.audit_log.slow_service:LimitReduction"
SECONDS_TO_END = 10.0


def test_an_endless_query_ends_with_an_error(tmp_path: Path) -> None:
    address = settings_in(tmp_path).address
    with contextlib.closing(Database(address, query_seconds=0.2)) as database:
        with pytest.raises(sa.exc.OperationalError, match="interrupted"):
            count_without_end(database)
        # The same connection serves the next query.
        with database.reading() as connection:
            assert connection.scalar(sa.text("SELECT 7")) == 7


def test_an_endless_query_ends_in_postgresql(postgres: AuditLog) -> None:
    address = postgres.database.url.render_as_string(hide_password=False)
    with contextlib.closing(Database(address, query_seconds=0.2)) as database:
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            count_without_end(database)
        with database.reading() as connection:
            assert connection.scalar(sa.text("SELECT 7")) == 7


def test_a_writer_has_no_such_limit(tmp_path: Path) -> None:
    """The control: without the limit the query goes on."""
    counting = sa.text(
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 300000) "
        "SELECT max(x) FROM c"
    )
    with contextlib.closing(Database(settings_in(tmp_path).address, query_seconds=0.0)) as database:
        with database.writing() as connection:
            assert connection.scalar(counting) == 300_000
        with pytest.raises(sa.exc.OperationalError), database.reading() as connection:
            connection.scalar(counting)


def test_the_end_of_the_process_ends_queries(tmp_path: Path) -> None:
    address = settings_in(tmp_path).address
    with contextlib.closing(Database(address)) as database, ThreadPoolExecutor(1) as threads:
        running = threads.submit(count_without_end, database)
        time.sleep(0.1)
        assert not running.done()
        database.end_queries()
        assert isinstance(running.exception(60), sa.exc.OperationalError)


def test_slow_lists_hold_up_no_other_read(record: AuditLog) -> None:
    append(record, [new_entry("d-1")])
    over = threading.Event()

    async def read_beside_slow_lists() -> list[Any]:
        slow = [
            asyncio.create_task(record.read(lambda _: over.wait(60), "lists"))
            for _ in range(THREADS)
        ]
        await asyncio.sleep(0.05)
        found = [
            await record.read(lambda reader: reader.by_id("d-1"), "single"),
            *await record.read(lambda reader: reader.by_unique_keys(["none"]), "decisions"),
        ]
        # The control: the threads of the lists are all taken.
        record.deadline = 0.2
        with pytest.raises(Unavailable):
            await record.read(lambda reader: reader.by_id("d-1"), "lists")
        over.set()
        await asyncio.gather(*slow)
        return found

    [found] = asyncio.run(read_beside_slow_lists())
    assert found.entry_id == "d-1"


def test_a_read_that_was_given_up_before_it_began_never_runs() -> None:
    pools, over, ran = ReadPools(), threading.Event(), threading.Event()

    async def give_up() -> None:
        taken = [
            asyncio.create_task(pools.run("lists", lambda: over.wait(60), 60))
            for _ in range(THREADS)
        ]
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await pools.run("lists", ran.set, 0.05)
        over.set()
        await asyncio.gather(*taken)
        await pools.run("lists", lambda: None, 60)

    asyncio.run(give_up())
    assert not ran.is_set()
    assert pools.close(60)


async def threads_of_short_reads(audit_log: AuditLog, count: int, seconds: float) -> list[bool]:
    """Whether each of some reads, which take so long, ran on the thread of the event loop."""

    def read(_: Reader) -> int:
        time.sleep(seconds)
        return threading.get_ident()

    own = threading.get_ident()
    return [await audit_log.read_short(read, "decisions") == own for _ in range(count)]


def test_short_reads_run_on_the_event_loop_until_one_is_long(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine stops a thread for longer than a short read takes.
    monkeypatch.setattr(read_pools, "LONG_SECONDS", 0.5)
    assert asyncio.run(threads_of_short_reads(record, 3, 0.0)) == [True, True, True]
    # Of a disk that is slow, one read alone holds up the others.
    assert asyncio.run(threads_of_short_reads(record, 3, 0.6)) == [True, False, False]
    assert asyncio.run(threads_of_short_reads(record, 1, 0.0)) == [False]
    monkeypatch.setattr(read_pools, "SECONDS_ON_THREADS", 0.0)
    assert asyncio.run(threads_of_short_reads(record, 1, 0.0)) == [True]


def test_a_long_read_that_fails_counts_too(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_pools, "LONG_SECONDS", 0.0)

    def fail(_: Reader) -> None:
        raise sa.exc.OperationalError("SELECT", None, Exception("disk I/O error"))

    with pytest.raises(Unavailable):
        asyncio.run(record.read_short(fail, "decisions"))
    assert asyncio.run(threads_of_short_reads(record, 1, 0.0)) == [False]


def test_no_read_of_postgresql_runs_on_the_event_loop(postgres: AuditLog) -> None:
    assert asyncio.run(threads_of_short_reads(postgres, 2, 0.0)) == [False, False]


@pytest.mark.slow
def test_an_audit_log_closes_although_a_read_never_ends(tmp_path: Path) -> None:
    over = threading.Event()
    audit_log = AuditLog(settings_in(tmp_path))
    audit_log.deadline = 0.1

    async def read() -> None:
        with pytest.raises(Unavailable):
            await audit_log.read(lambda _: over.wait(60), "lists")

    asyncio.run(read())
    audit_log.close()
    # It has closed while the read was running.
    assert not over.is_set()
    over.set()


@pytest.fixture
def slow_service(
    bundle_folder: Path, bentoml_home: Path, tmp_path: Path
) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """A client of the service with endless lists, and its process."""
    store(bundle_folder)
    with start_service_process(tmp_path / "log", SLOW, AS_DEPLOYED) as (url, process):
        headers = local_headers(tmp_path)
        limits = httpx.Limits(max_connections=32)
        with httpx.Client(base_url=url, headers=headers, limits=limits, timeout=60) as client:
            yield client, psutil.Process(process.pid)


@pytest.mark.slow
def test_slow_lists_hold_up_no_decision_and_no_end(
    slow_service: tuple[httpx.Client, psutil.Process], requests: list[dict[str, Any]]
) -> None:
    client, process = slow_service
    family = [process, *process.children(recursive=True)]
    with ThreadPoolExecutor(8) as threads:
        lists = [threads.submit(client.get, f"/v1/{name}") for name in ("notices", "reviews") * 4]
        time.sleep(0.5)
        for number in range(5):
            headers = {"Idempotency-Key": f"key-{number}"}
            sent = client.post("/v1/decisions", json=requests[number], headers=headers)
            assert sent.status_code == httpx.codes.OK
            read = client.get(f"/v1/decisions/{sent.json()['decision_id']}")
            assert read.status_code == httpx.codes.OK
        assert client.get("/readyz").status_code == httpx.codes.OK
        for answer in each(lists):
            assert answer.result().status_code in (503, 504)
        # Both kinds run when the signal comes.
        for name in ("notices", "reviews"):
            threads.submit(client.get, f"/v1/{name}")
        time.sleep(0.5)
        began = time.monotonic()
        process.terminate()
        _, alive = psutil.wait_procs(family, timeout=60)
        seconds = time.monotonic() - began
    assert not alive
    # A sleeping thread costs no CPU: a busy machine delays this by little.
    assert seconds < SECONDS_TO_END, seconds
