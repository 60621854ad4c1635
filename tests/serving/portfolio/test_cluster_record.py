"""A recorded run on a lender's cluster: the bytes and the audit log of one process with SQLite."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import polars as pl
import psutil
import pytest

from serving.audit_log.entry import Entry
from serving.audit_log.log import AuditLog
from serving.audit_log.verify import verify
from serving.portfolio.order import Order
from serving.portfolio.recorded.proof import check_run
from serving.portfolio.run import run
from serving.storage.settings import StorageSettings
from tests.support import checks
from tests.support.each import each
from tests.support.paths import ROOT
from tests.support.records import environment_of, settings_in
from training.data.simulate.config import SimulationConfig
from training.data.simulate.output import simulate

pytestmark = pytest.mark.torture
ACCOUNTS = 20_000
SIMULATED = SimulationConfig(accounts=26_000, seed=31)  # some have closed by the last month
FILES = 16
WORKERS = 2
_SECONDS_TO_START = 120


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files with 20,000 accounts."""
    everything = pl.concat(block.statements for block in simulate(SIMULATED))
    last = everything.filter(pl.col("month") == everything["month"].max())
    names = last["account_id"].sort()[:ACCOUNTS]
    assert len(names) == ACCOUNTS
    some = everything.filter(pl.col("account_id").is_in(names.implode()))
    place = pl.col("account_id").hash(seed=7) % FILES
    folder = tmp_path_factory.mktemp("lender") / "statements"
    folder.mkdir()
    for part in range(FILES):
        some.filter(place == part).write_parquet(folder / f"part-{part:02}.parquet")
    return folder


class Runs(NamedTuple):
    """The same run, of one process with SQLite and of a cluster with PostgreSQL."""

    alone: Order
    by_cluster: Order


@pytest.fixture
def runs(
    statements: Path,
    bundle_folder: Path,
    postgres: AuditLog,
    tmp_path: Path,
) -> Iterator[Runs]:
    address = postgres.database.url.set(drivername="postgresql")
    of_cluster = settings_in(tmp_path, address.render_as_string(hide_password=False))
    place = tmp_path / "alone"
    place.mkdir()
    settings = settings_in(place)
    # The ids of decisions are the same by the same secrets.
    shutil.copy(of_cluster.secrets, settings.secrets)
    AuditLog(settings).close()
    alone = Order(
        statements=statements,
        decisions=place / "decisions",
        bundle=bundle_folder,
        decided_at=checks.WHEN,
        record=settings,
        tenant="bank",
        records=True,
        beyond_bounds="drawn accounts",
    )
    folder = tmp_path / "cluster"
    folder.mkdir()
    with start_cluster(folder, environment_of(of_cluster)) as scheduler:
        by_cluster = dataclasses.replace(
            alone,
            decisions=folder / "decisions",
            record=of_cluster,
            scheduler=scheduler,
            workers=WORKERS,
        )
        yield Runs(alone, by_cluster)


def test_a_cluster_with_postgresql_records_what_one_process_records(runs: Runs) -> None:
    """Twenty thousand accounts; the decisions, the audit logs and their proofs."""
    run(runs.alone)
    run(runs.by_cluster)
    assert files_of(runs.by_cluster.decisions) == files_of(runs.alone.decisions)
    expected = rows_of(runs.alone)
    kinds = Counter(row.kind for row in expected)
    assert kinds["decision"] > ACCOUNTS / 20
    assert kinds["review"] > 10
    assert kinds["portfolio"] == FILES
    assert rows_of(runs.by_cluster) == expected
    for order in runs:
        assert list(check_run(order.decisions, settings_of(order))) == []


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a run has written, but for how the rows of its audit log were packed."""
    files = each(file for file in folder.rglob("*") if file.is_file() and file.name != "_lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def settings_of(order: Order) -> StorageSettings:
    assert order.record is not None
    return order.record


def rows_of(order: Order) -> list[Entry]:
    """All rows of an audit log that verifies, but for what it draws itself, in an order of theirs.

    Rows stand in the order of the partitions, which is the same; a row of a review and that of a
    partition have drawn ids.
    """
    settings = settings_of(order)
    with closing(AuditLog(settings)) as log:
        assert verify(log.database.reading, log.secrets, settings.checkpoints).count == 0
        rows = list(log.reader.of_kind(["decision", "review", "portfolio"]))
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    found = []
    for row in each(rows):
        is_drawn = row.kind != "decision"
        entry_id = "drawn" if is_drawn else row.entry_id
        found.append(dataclasses.replace(row, entry_id=entry_id, data_subject="drawn"))
    return found


@contextmanager
def start_cluster(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """A scheduler and its workers as docs/service/portfolio.md starts them; yields the address."""
    place = folder / "scheduler.json"
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    on_disk = ["--local-directory", str(folder), "--scheduler-file", str(place)]
    worker = ["worker", "--nworkers", "1", "--nthreads", "1", "--no-nanny", *local, *on_disk]
    scheduler = ["scheduler", "--port", "0", *local, "--scheduler-file", str(place)]
    own = dict(os.environ) | environment | {"POLARS_MAX_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        for arguments in (scheduler, *[worker] * WORKERS):
            command = [sys.executable, "-m", "dask", *arguments]
            log = stack.enter_context((folder / "dask.log").open("ab"))
            process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=log, stderr=log)
            stack.callback(_end, process)
            if arguments is scheduler:
                _wait_for(place)
        yield _address_in(place)


def _wait_for(place: Path) -> None:
    until = time.monotonic() + _SECONDS_TO_START
    while not (place.exists() and place.read_text("utf-8").endswith("}")):
        assert time.monotonic() < until, f"{place} was not written"
        time.sleep(0.05)


def _address_in(place: Path) -> str:
    address: str = json.loads(place.read_text("utf-8"))["address"]
    return address


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        psutil.Process(process.pid).kill()
        process.wait()
