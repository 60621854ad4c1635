"""A disk that is full: an error that names the file, nothing half written, and the run goes on."""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import polars as pl
import pytest

from serving.audit_log.log import AuditLog
from serving.audit_log.verify import verify
from serving.portfolio.errors import PortfolioError
from serving.portfolio.order import Order
from serving.portfolio.run import run
from serving.storage.errors import StorageError
from tests.support import checks
from tests.support.each import each
from tests.support.records import settings_in
from tests.support.submissions import LENDER

ACCOUNTS = 150
MANIFEST = "_run.json"
KILOBYTES = (8, 20, 40, 60, 80, 100, 120, 150, 200, 250, 300, 400, 600)
RECORDS_AT = 150  # kB that an empty audit log takes at least


@pytest.fixture
def order(windows: pl.DataFrame, bundle_folder: Path, tmp_path: Path) -> Order:
    """Of a portfolio of two files, not recorded."""
    names = windows["account_id"].unique(maintain_order=True)[:ACCOUNTS]
    statements = windows.filter(pl.col("account_id").is_in(names.to_list()))
    folder = tmp_path / "statements"
    folder.mkdir()
    place = pl.col("account_id").rank("dense") % 2
    for part in range(2):
        statements.filter(place == part).write_parquet(folder / f"part-{part}.parquet")
    return Order(folder, tmp_path / "decisions", bundle_folder, checks.WHEN)


def recorded_in(folder: Path, order: Order, decisions: Path) -> Order:
    """The order, stored in an audit log in a folder; all of them have the same secrets."""
    folder.mkdir(exist_ok=True)
    settings = settings_in(folder)
    shared = order.statements.with_name("secrets.json")
    if shared.exists():
        shutil.copy(shared, settings.secrets)
    AuditLog(settings).close()
    shutil.copy(settings.secrets, shared)
    return dataclasses.replace(
        order, decisions=decisions, record=settings, tenant=LENDER.tenant, records=True
    )


@contextmanager
def no_file_beyond(kilobytes: int) -> Iterator[None]:
    """No file of this process grows beyond that, as if the disk were full."""
    former, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (former, most))


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """A disk of its own of that size at a folder; it has room when the block ends."""
    folder.mkdir(exist_ok=True)
    size = f"size={kilobytes}k"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("only an administrator mounts disks")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_room(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


def contents(order: Order) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(order.decisions.glob("*.parquet"))}


def is_finished(order: Order) -> bool:
    place = order.decisions / MANIFEST
    return place.exists() and json.loads(place.read_text("utf-8"))["state"] == "finished"


def check_stored_once(order: Order, whole: dict[str, bytes]) -> None:
    """The run, gone on with, is that of an undisturbed one, and each decision is stored once."""
    assert [file for file in order.decisions.rglob(".*") if file.is_file()] == []
    if not is_finished(order):
        run(order)
    assert contents(order) == whole
    if order.record is None:
        return
    with closing(AuditLog(order.record)) as log:
        rows = list(log.reader.of_kind(["decision"]))
        assert len(rows) == len({row.data_subject for row in rows}) == stored_decisions(whole)
        assert verify(log.database.reading, log.secrets, order.record.checkpoints).count == 0


def stored_decisions(whole: dict[str, bytes]) -> int:
    tables = [pl.read_parquet(content, columns=["decision_id"]) for content in whole.values()]
    count = pl.concat(tables)["decision_id"].count()
    assert count > 0
    return count


def test_decisions_that_cannot_be_written_are_named_and_the_run_goes_on(order: Order) -> None:
    undisturbed = dataclasses.replace(order, decisions=order.decisions.with_name("whole"))
    run(undisturbed)
    cannot = r"part-0\.parquet: cannot be written: File too large; when it can be, the same command"
    with no_file_beyond(4), pytest.raises(PortfolioError, match=cannot):
        run(order)
    assert not list(order.decisions.glob("*.parquet"))
    check_stored_once(order, contents(undisturbed))


def test_an_audit_log_that_cannot_be_written_is_named_and_the_run_goes_on(
    order: Order, tmp_path: Path
) -> None:
    undisturbed = recorded_in(tmp_path / "first", order, tmp_path / "whole")
    run(undisturbed)
    disturbed = recorded_in(tmp_path / "second", order, order.decisions)
    with no_file_beyond(64), pytest.raises(StorageError, match=r"the audit log at .*record\.db: "):
        run(disturbed)
    assert not is_finished(disturbed)
    check_stored_once(disturbed, contents(undisturbed))


@pytest.mark.torture
@pytest.mark.parametrize("where", ["decisions", "audit log"])
def test_a_disk_of_any_size_is_told_of_and_nothing_is_lost(
    order: Order, tmp_path: Path, where: str
) -> None:
    whole = recorded_in(tmp_path / "first", order, tmp_path / "whole")
    run(whole)
    refused: list[str] = []
    for kilobytes in each(KILOBYTES):
        disk, other = tmp_path / f"disk-{kilobytes}", tmp_path / f"other-{kilobytes}"
        is_small = where == "audit log" and kilobytes < RECORDS_AT
        size = kilobytes + RECORDS_AT if is_small else kilobytes
        with small_disk(disk, size):
            record, decisions = (disk, other) if where == "audit log" else (other, disk / "out")
            try:
                disturbed = recorded_in(record, order, decisions)
            except StorageError:
                continue  # no room for an empty audit log
            try:
                run(disturbed)
            except (PortfolioError, StorageError) as error:
                refused.append(str(error))
            make_room(disk)
            check_stored_once(disturbed, contents(whole))
    assert 2 <= len(refused) < len(KILOBYTES)
    for text in each(refused):
        assert "No space left" in text or "disk is full" in text
