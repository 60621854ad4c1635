from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pysqlite3 import dbapi2 as sqlite

from serving.audit_log import checkpoints, log, writer
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.errors import Duplicate, Unavailable
from serving.audit_log.hash_chain import GENESIS, hash_row
from serving.audit_log.log import AuditLog
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.tables import entries
from tests.support.each import each
from tests.support.records import append, hold_writer, new_entry, settings_in, soon, submit


def ids(audit_log: AuditLog) -> list[str]:
    """The ids of all stored entries, in order."""
    return [row["entry_id"] for row in audit_log.reader.rows()]


def test_an_entry_is_read_as_it_was_appended_and_stored_encrypted(record: AuditLog) -> None:
    [stored] = append(record, [new_entry("d-1")])
    assert record.reader.by_id("d-1") == stored
    assert stored.request_body == b"of d-1"
    [row] = record.reader.rows()
    assert b"of d-1" not in bytes(row["asked"]) + bytes(row["answered"])
    assert "acct-1" not in str(dict(row))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.integers(0, 2**32))
def test_concurrent_appends_make_one_chain_without_gaps(sizes: list[int], seed: int) -> None:
    """Three threads, items of several rows: no gap, no row twice, an item's rows side by side."""
    numbers = itertools.count()
    items = [
        [new_entry(f"d-{next(numbers)}", f"acct-{seed % 7}") for _ in range(size)] for size in sizes
    ]
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder)) as audit_log:
        stored = submit_from_threads(audit_log, items, seed)
        rows = list(audit_log.reader.rows())
    assert [row["seq"] for row in rows] == list(range(1, sum(sizes) + 1))
    before = GENESIS
    for row in each(rows):
        assert bytes(row["before"]) == before
        before = bytes(row["hash"])
        assert before == hash_row(row, bytes(row["before"]))
    by_seq = {row["seq"]: row["entry_id"] for row in rows}
    for item, answer in each(zip(items, stored, strict=True)):
        first = answer[0].seq
        assert [one.entry_id for one in answer] == [one.entry_id for one in item]
        assert [one.seq for one in answer] == list(range(first, first + len(item)))
        assert all(by_seq[one.seq] == one.entry_id for one in answer)


def submit_from_threads(
    audit_log: AuditLog,
    items: list[list[NewEntry]],
    seed: int,
) -> list[list[Entry]]:
    """The stored entries of each item; three threads submit them in random order."""
    futures: list[Future[list[Entry]]] = [Future() for _ in items]
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)

    def submit_all(places: list[int]) -> None:
        for place in places:
            futures[place] = submit(audit_log, items[place])

    threads = [threading.Thread(target=submit_all, args=(order[k::3],)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [future.result(10) for future in futures]


def test_a_unique_key_has_one_entry(record: AuditLog) -> None:
    append(record, [new_entry("d-1", unique_key="s")])
    for _ in range(2):
        with pytest.raises(Duplicate):
            append(record, [new_entry("d-2", unique_key="s")])
    with pytest.raises(Duplicate):
        append(record, [new_entry("d-1")])
    # An existing unique key refuses the whole item; other items of the batch are stored.
    refused = submit(record, [new_entry("d-3"), new_entry("d-4", unique_key="s")])
    stored = submit(record, [new_entry("d-5")])
    with pytest.raises(Duplicate):
        refused.result(5)
    assert stored.result(5)[0].entry_id == "d-5"
    assert ids(record) == ["d-1", "d-5"]


def test_the_first_of_a_batch_has_the_unique_key(record: AuditLog) -> None:
    release = hold_writer(record)
    first, second = (submit(record, [new_entry(name, unique_key="s")]) for name in ("d-1", "d-2"))
    release.set()
    assert first.result(5)[0].entry_id == "d-1"
    with pytest.raises(Duplicate):
        second.result(5)


def test_the_callers_of_one_commit_go_on_together(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    futures: list[Future[list[Entry]]] = []
    woken: list[object] = []
    queue = record.writer.submit

    def note_future(entries: Sequence[NewEntry], deadline: float) -> Future[list[Entry]]:
        futures.append(queue(entries, deadline))
        return futures[-1]

    async def append_five() -> None:
        loop = asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe

        def note_wake(*args: Any) -> asyncio.Handle:
            woken.append(args)
            return wake(*args)

        release = hold_writer(record)
        monkeypatch.setattr(record.writer, "submit", note_future)
        monkeypatch.setattr(loop, "call_soon_threadsafe", note_wake)
        appends = [record.append([new_entry(f"d-{k}")], soon()) for k in range(5)]
        tasks = [asyncio.ensure_future(one) for one in appends]
        while len(futures) < len(tasks):
            await asyncio.sleep(0)
        release.set()
        # Meanwhile the loop is busy with something else.
        wait(futures, 10)
        stored = await asyncio.gather(*tasks)
        assert [one.entry_id for [one] in stored] == [f"d-{k}" for k in range(5)]

    asyncio.run(append_five())
    # Twice if the loop goes on before the writer has noted the last one.
    assert 1 <= len(woken) <= 2


@pytest.mark.parametrize("where", ["commit", "find_committed", "sign_if_due"])
def test_a_bug_reaches_the_caller_and_the_writer_goes_on(
    record: AuditLog,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    committer = record.writer.committer

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    def refuse(*_: object) -> None:
        raise sa.exc.OperationalError("statement", {}, Exception())

    with monkeypatch.context() as broken:
        if where == "find_committed":
            broken.setattr(committer, "commit", refuse)
        broken.setattr(committer, where, fail)
        if where == "sign_if_due":
            append(record, [new_entry("d-1")])
        else:
            with pytest.raises(ZeroDivisionError):
                append(record, [new_entry("d-1")])
        assert becomes(lambda: not record.ready)
    assert append(record, [new_entry("d-2")])[0].entry_id == "d-2"
    assert record.ready


def becomes(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until and not condition():
        time.sleep(0.01)
    return condition()


def test_a_lost_confirmation_is_answered_with_the_stored_entry(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit succeeds and its confirmation is lost: the entry is read back, complete."""
    committer = record.writer.committer
    commit = committer.commit

    def lose_confirmation(items: Any) -> Any:
        commit(items)
        raise sa.exc.OperationalError("statement", {}, Exception())

    with monkeypatch.context() as broken:
        broken.setattr(committer, "commit", lose_confirmation)
        [answered] = append(record, [new_entry("d-1")])
    assert answered == record.reader.by_id("d-1")
    assert answered.data_subject is not None
    assert ids(record) == ["d-1"]


def test_an_append_past_its_deadline_stores_nothing(record: AuditLog) -> None:
    release = hold_writer(record)
    with pytest.raises(Unavailable, match="nothing was stored"):
        asyncio.run(record.append([new_entry("late")], time.monotonic() + 0.05))
    release.set()
    append(record, [new_entry("d-1")])
    assert ids(record) == ["blocks", "d-1"]


@pytest.mark.parametrize(("expected", "wakes"), [(True, 1), (False, 4)])
def test_expected_appends_share_one_batch(
    record: AuditLog,
    monkeypatch: pytest.MonkeyPatch,
    expected: bool,
    wakes: int,
) -> None:
    """The control: without `expecting` the writer wakes with each append."""
    monkeypatch.setattr(log, "SECONDS_FOR_OTHERS", 30.0)
    calls: list[int] = []
    wake = record.writer.wake

    def count_and_wake() -> None:
        calls.append(record.writer.rows_waiting)
        wake()

    monkeypatch.setattr(record.writer, "wake", count_and_wake)

    async def append_one(place: int) -> list[Entry]:
        with record.expecting() if expected else contextlib.nullcontext():
            for _ in range(place + 1):  # each one turn of the event loop later than the previous
                await asyncio.sleep(0)
        return await record.append([new_entry(f"d-{place}")], soon())

    async def append_four() -> list[list[Entry]]:
        return await asyncio.gather(*map(append_one, range(4)))

    assert [stored[0].seq for stored in asyncio.run(append_four())] == [1, 2, 3, 4]
    assert len(calls) == wakes


def test_an_append_does_not_wait_long_for_others_that_never_come(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = count_items(record, monkeypatch)

    async def append_while_another_is_expected() -> list[Entry]:
        with record.expecting():
            # Sooner than the writer wakes by itself.
            return await asyncio.wait_for(record.append([new_entry("d-1")], soon()), 0.4)

    assert asyncio.run(append_while_another_is_expected())[0].entry_id == "d-1"
    assert sizes == [1]
    # The expectation has ended: the next append wakes at once, without a timer.
    monkeypatch.setattr(log, "SECONDS_FOR_OTHERS", 30.0)
    assert append(record, [new_entry("d-2")])[0].seq == 2


def count_items(audit_log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of items of each commit, filled as commits happen."""
    sizes: list[int] = []
    committer = audit_log.writer.committer
    commit = committer.commit

    def count_and_commit(items: Any) -> Any:
        sizes.append(len(items))
        return commit(items)

    monkeypatch.setattr(committer, "commit", count_and_commit)
    return sizes


def test_the_queue_is_bounded(record: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_ROWS_WAITING", 3)
    release = hold_writer(record)
    futures = [submit(record, [new_entry(f"d-{k}")]) for k in range(3)]
    with pytest.raises(Unavailable, match="full"):
        submit(record, [new_entry("d-3")])
    release.set()
    assert [future.result(5)[0].seq for future in futures] == [2, 3, 4]


# SQLite's own errors: "database or disk is full", "attempt to write a readonly database", each with
# the setting that ends it.
@pytest.mark.parametrize(
    "trouble",
    [("max_page_count = 1", "max_page_count = 1000000"), ("query_only = ON", "query_only = OFF")],
)
def test_a_database_that_refuses_writes_stores_nothing_and_recovers(
    record: AuditLog, trouble: tuple[str, str]
) -> None:
    broken, working = trouble
    current = [working]

    @sa.event.listens_for(record.database.engine, "connect")
    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA {current[0]}")

    append(record, [new_entry("d-1")])
    current[0] = broken
    record.writer.committer.reopen()  # drops the held connection: the next one has the trouble
    for number in range(12):
        with pytest.raises(Unavailable, match="nothing was stored"):
            append(record, [large_entry(f"lost-{number}")])
    assert not record.ready
    current[0] = working
    assert becomes(lambda: record.ready)
    append(record, [new_entry("d-2")])
    assert ids(record) == ["d-1", "d-2"]


def large_entry(entry_id: str) -> NewEntry:
    return NewEntry(
        entry_id=entry_id,
        kind="decision",
        subject=entry_id,
        tenant="lender",
        caller="k",
        at=new_entry(entry_id).at,
        account="a",
        # Nothing in it can be compressed.
        request_body=random.randbytes(20_000),
        response_body=random.randbytes(20_000),
    )


def test_rows_cannot_be_updated_or_deleted(record: AuditLog) -> None:
    append(record, [new_entry("d-1")])
    for statement in (entries.update().values(tenant="other"), entries.delete()):
        with (
            pytest.raises(sa.exc.DBAPIError, match="only grows"),
            record.database.writing() as connection,
        ):
            connection.execute(statement)
    assert [row["tenant"] for row in record.reader.rows()] == ["lender"]


@pytest.mark.parametrize("older", ["TRUNCATE", "DELETE"])
def test_sqlite_uses_a_write_ahead_log_even_if_an_older_clearline_did_not(
    tmp_path: Path, older: str
) -> None:
    with opened(tmp_path) as audit_log:
        assert journal_of(audit_log) == ("wal", 2)  # FULL: durable at the commit
        append(audit_log, [new_entry("d-1")])
    with contextlib.closing(sqlite.connect(tmp_path / "record.db")) as raw:
        assert raw.execute(f"PRAGMA journal_mode = {older}").fetchone() == (older.lower(),)
    with opened(tmp_path) as audit_log:
        assert journal_of(audit_log) == ("wal", 2)
        append(audit_log, [new_entry("d-2")])
        assert ids(audit_log) == ["d-1", "d-2"]


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[AuditLog]:
    with contextlib.closing(AuditLog(settings_in(folder))) as audit_log:
        yield audit_log


def journal_of(audit_log: AuditLog) -> tuple[Any, Any]:
    with audit_log.database.engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        return mode, connection.exec_driver_sql("PRAGMA synchronous").scalar()


def test_a_clean_stop_empties_the_write_ahead_log(tmp_path: Path) -> None:
    """Another connection is open, as that of the cache of API keys: SQLite leaves the log then."""
    wal = tmp_path / "record.db-wal"
    with contextlib.closing(Database(settings_in(tmp_path).address)) as beside:
        with beside.reading() as connection:
            connection.execute(sa.select(entries)).all()
        with opened(tmp_path) as audit_log:
            append(audit_log, [new_entry("d-1")])
            assert wal.stat().st_size > 0
        assert wal.stat().st_size == 0
        # A copy of the one file has the row.
        (tmp_path / "copy.db").write_bytes((tmp_path / "record.db").read_bytes())
        with contextlib.closing(sqlite.connect(tmp_path / "copy.db")) as copy:
            assert copy.execute("SELECT entry_id FROM entries").fetchall() == [("d-1",)]


def test_a_reader_does_not_hold_up_a_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    address = settings_in(tmp_path).address
    with contextlib.closing(Database(address)) as beside, opened(tmp_path) as audit_log:
        append(audit_log, [new_entry("d-1")])
        with beside.reading() as connection:
            connection.execute(sa.select(entries)).all()
            append(audit_log, [new_entry("d-2")])
            audit_log.close()
    assert "a reader holds up the write-ahead log" in caplog.text


def test_only_the_owner_can_read_the_files(record: AuditLog) -> None:
    append(record, [new_entry("d-1")])
    file = Path(str(record.database.url.database))
    files = list(file.parent.glob("record.db*"))
    assert file in files
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_one_process_writes_a_sqlite_file(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StorageError, match="PostgreSQL"):
        AuditLog(settings_in(tmp_path))
    AuditLog(settings_in(tmp_path)).close()


def test_a_log_that_was_cut_after_its_checkpoint_does_not_open(tmp_path: Path) -> None:
    with opened(tmp_path) as audit_log:
        append(audit_log, [new_entry("d-1"), new_entry("d-2")])
        verifier = audit_log.secrets.verifier
    [checkpoint] = checkpoints.read(tmp_path / "checkpoints.jsonl", verifier)
    assert checkpoint.seq == 2
    # Rows that were added since the checkpoint do not contradict it.
    with opened(tmp_path) as again:
        append(again, [new_entry("d-3")])
    address = settings_in(tmp_path).address
    with contextlib.closing(Database(address)) as database, database.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER entries_no_delete")
        connection.execute(entries.delete().where(entries.c.seq == 3))
    with pytest.raises(StorageError, match="does not agree with the checkpoint of row 3"):
        AuditLog(settings_in(tmp_path))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://host/name", "expected a database at|No module"),
        ("nothing", "address"),
        ("sqlite:////nowhere/at/all/record.db", "does not open"),
        ("postgresql://postgres@127.0.0.1:1/none", "does not open"),
    ],
)
def test_an_unusable_address_is_refused(address: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        Database(address)


def test_a_database_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    address = settings_in(tmp_path).address
    with contextlib.closing(Database(address)) as database, database.writing() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    with pytest.raises(StorageError, match="version 99"):
        Database(address)
