"""A portfolio decided by Dask workers: the bytes of one process, whatever happens to them."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from serving.audit_log.log import AuditLog
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.partitions import find_partitions
from serving.portfolio.run import run
from serving.portfolio.spread import connect, partition_task, surroundings
from serving.portfolio.spread.connect import ClusterError
from tests.support import checks
from tests.support.each import each
from tests.support.records import settings_in

ACCOUNTS = 300
FILES = 6


@pytest.fixture(scope="module")
def order(
    windows: pl.DataFrame, bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Order:
    names = windows["account_id"].unique(maintain_order=True)[:ACCOUNTS]
    place = pl.col("account_id").rank("dense") % FILES
    folder = tmp_path_factory.mktemp("cluster") / "statements"
    folder.mkdir()
    statements = windows.filter(pl.col("account_id").is_in(names.to_list()))
    for part in range(FILES):
        statements.filter(place == part).write_parquet(folder / f"part-{part}.parquet")
    return Order(folder, folder.with_name("decisions"), bundle_folder, checks.WHEN)


@pytest.fixture(scope="module")
def undisturbed(order: Order) -> dict[str, bytes]:
    """The files of the run of one process."""
    run(order)
    return files_of(order.decisions)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster as a lender has one: a scheduler and two worker processes, which start again."""
    import dask
    from distributed import LocalCluster

    settings = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.scheduler.allowed-failures": 100,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
        ) as cluster,
    ):
        # As a supervisor of the lender's does with a worker that is gone.
        cluster.adapt(minimum=2, maximum=2)
        yield cluster


@pytest.fixture
def by_cluster(order: Order, cluster: Any, tmp_path: Path) -> Order:
    return dataclasses.replace(
        order, decisions=tmp_path / "decisions", scheduler=cluster.scheduler_address
    )


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != "_lock"
    }


def worker_processes(cluster: Any) -> list[int]:
    """Of the workers that have started: what is killed before, Dask gives up."""
    nannies = [nanny for nanny in cluster.workers.values() if nanny.process is not None]
    return [nanny.pid for nanny in nannies if nanny.process.status.name == "running"]


@pytest.mark.slow
def test_workers_write_the_bytes_of_one_process(
    by_cluster: Order, undisturbed: dict[str, bytes]
) -> None:
    run(by_cluster)
    assert files_of(by_cluster.decisions) == undisturbed


@pytest.mark.torture
def test_a_cluster_of_this_machine_is_not_reached_from_outside(
    order: Order, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """One worker; a client without the cluster's certificate is refused."""
    refused: list[bool] = []

    def look(*_: int) -> None:
        connections = psutil.Process().net_connections("tcp")
        listening = [one.laddr for one in connections if one.status == psutil.CONN_LISTEN]
        assert {address.ip for address in each(listening)} == {"127.0.0.1"}
        refused.extend(refuses_strangers(address.port) for address in listening)

    place = tmp_path / "decisions"
    run(dataclasses.replace(order, decisions=place, scheduler="local"), look)
    assert all(each(refused))
    assert files_of(place) == undisturbed


def refuses_strangers(port: int) -> bool:
    """Whether a connection without a certificate gets no byte of Dask's."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=3) as plain,
            context.wrap_socket(plain) as encrypted,
        ):
            return encrypted.recv(1) == b""
    except (ssl.SSLError, TimeoutError):  # a plain port waits for a plain request
        return True


class Killer:
    """Kills worker processes at drawn times while a run goes on, and counts them."""

    def __init__(self, cluster: Any, kills: int, seed: int) -> None:
        self._cluster, self._kills = cluster, kills
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.killed = 0

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while self.killed < self._kills and not self._over.wait(self._random.uniform(0.1, 1.5)):
            processes = worker_processes(self._cluster)
            # A worker that is killed again and again while it starts is given up by Dask.
            if len(self._cluster.scheduler.workers) == len(processes) == 2:
                os.kill(self._random.choice(processes), signal.SIGKILL)
                self.killed += 1


@pytest.mark.slow
def test_what_a_killed_worker_had_is_done_again(
    by_cluster: Order, cluster: Any, undisturbed: dict[str, bytes]
) -> None:
    """Killed once a partition is done: the worker that took part in it, and all others."""
    killed = []

    def kill(done: int, *_: int) -> None:
        if done == 1:
            for process in each(worker_processes(cluster)):
                os.kill(process, signal.SIGKILL)
                killed.append(process)

    run(by_cluster, kill)
    assert len(killed) >= 1
    assert files_of(by_cluster.decisions) == undisturbed


@pytest.mark.slow
def test_a_worker_that_does_not_see_a_file_is_named_with_it(
    by_cluster: Order, tmp_path: Path
) -> None:
    """A folder by its descriptor, which another process does not have."""
    descriptor = os.open(by_cluster.statements, os.O_RDONLY)
    try:
        seen_here = Path(f"/proc/self/fd/{descriptor}")
        with pytest.raises(ClusterError, match=rf"{seen_here}/part-\d.*worker tcp://127.*see it"):
            run(dataclasses.replace(by_cluster, statements=seen_here))
    finally:
        os.close(descriptor)
    assert not list(by_cluster.decisions.glob("*.parquet"))


@pytest.mark.slow
def test_what_a_worker_refuses_is_refused_as_in_one_process(
    by_cluster: Order, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(by_cluster.statements, folder)
    (folder / "part-3.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(PortfolioError, match=r"part-3\.parquet: cannot be read as Parquet"):
        run(dataclasses.replace(by_cluster, statements=folder))


@pytest.mark.slow
def test_a_worker_with_other_libraries_is_refused(
    by_cluster: Order, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = dict(surroundings.describe_surroundings("serving"))
    other = here | {"polars": "0.0.1"}
    monkeypatch.setattr(connect, "describe_surroundings", lambda package: other)
    found = rf"worker tcp://.*: expected polars 0\.0\.1, got polars {here['polars']}"
    with pytest.raises(ClusterError, match=found):
        run(by_cluster)


def test_another_bundle_than_that_of_the_run_decides_on_nothing(order: Order) -> None:
    """As where a bundle is changed after the run has begun."""
    task = partition_task.Task(order, "run", "0" * 64)
    with pytest.raises(PortfolioError, match="expected the bundle that the run began with, 0000"):
        partition_task.decide_partition(task, find_partitions(order.statements).partitions[0])


def test_a_cluster_without_dask_names_the_extra(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    wanted = dataclasses.replace(order, decisions=tmp_path / "decisions", scheduler="local")
    with pytest.raises(ClusterError, match="the extra `cluster` installs: pip install"):
        run(wanted)


def test_an_audit_log_in_a_file_is_not_read_by_other_machines(order: Order, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    AuditLog(settings).close()
    wanted = dataclasses.replace(
        order,
        decisions=tmp_path / "decisions",
        scheduler="tcp://10.255.255.1:8786",
        record=settings,
        tenant="bank",
    )
    with pytest.raises(PortfolioError, match=r"expected an audit log in PostgreSQL, got the file"):
        run(wanted)
    assert not wanted.decisions.exists()


@pytest.mark.slow
def test_a_wrong_address_is_refused_and_not_waited_for(
    order: Order, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "_SECONDS_TO_CONNECT", 2)
    encrypted = cluster.scheduler_address.replace("tcp", "tls")
    pages = f"tcp://127.0.0.1:{cluster.scheduler.http_server.port}"
    for address in each(["tcp://127.0.0.1:1", pages, encrypted, "somewhere"]):
        place = tmp_path / "decisions"
        with pytest.raises(ClusterError, match=f"address of a Dask scheduler, got {address}: "):
            run(dataclasses.replace(order, decisions=place, scheduler=address))


@pytest.mark.slow
def test_a_scheduler_without_workers_is_not_waited_for(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(connect, "_SECONDS_WITHOUT_WORKERS", 1)
    pages = "127.0.0.1:0"
    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address=pages) as empty:
        address = empty.scheduler_address
        place = tmp_path / "decisions"
        with pytest.raises(ClusterError, match="had no worker for 1 seconds"):
            run(dataclasses.replace(order, decisions=place, scheduler=address))


@pytest.mark.slow
def test_dask_is_imported_only_where_it_is_asked_for() -> None:
    program = "import sys, serving.portfolio.command; print('distributed' in sys.modules)"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout == "False\n"


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(5))
def test_kills_at_random_places_change_no_byte(
    by_cluster: Order, cluster: Any, undisturbed: dict[str, bytes], seed: int
) -> None:
    """Runs until ten workers were killed at drawn times."""
    killed = number = 0
    while killed < 10:
        number += 1
        place = by_cluster.decisions.with_name(f"decisions-{number}")
        with Killer(cluster, kills=10 - killed, seed=1000 * seed + number) as killer:
            run(dataclasses.replace(by_cluster, decisions=place))
        killed += killer.killed
        assert files_of(place) == undisturbed
    assert killed == 10
