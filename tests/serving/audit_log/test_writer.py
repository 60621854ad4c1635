from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from pysqlite3 import dbapi2 as sqlite

from serving.audit_log import checkpoints, writer
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.errors import Duplicate, Unavailable
from serving.audit_log.hash_chain import GENESIS, hash_of
from serving.audit_log.log import AuditLog
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from serving.storage.tables import entries

NOW = datetime.datetime(2026, 11, 25, 8, 0, tzinfo=datetime.UTC)


def settings_in(folder: Path, address: str | None = None) -> StorageSettings:
    where = f"sqlite:///{folder / 'record.db'}" if address is None else address
    return StorageSettings(where, folder / "secrets.json", folder / "checkpoints.jsonl", 2.0)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[AuditLog]:
    opened = AuditLog(settings_in(tmp_path))
    yield opened
    opened.close()


def draft(name: str, account: str | None = "acct-1", unique_key: str | None = None) -> NewEntry:
    content = f"of {name}".encode()
    return NewEntry(
        name,
        "decision",
        name,
        "lender",
        "key-1",
        NOW,
        account,
        {"door": "decisions"},
        content,
        content,
        unique_key,
        "00",
    )


def soon() -> float:
    return time.monotonic() + 5.0


def keep(record: AuditLog, *drafts: NewEntry) -> list[Entry]:
    return asyncio.run(record.keep(drafts, soon()))


def stored(record: AuditLog) -> list[sa.RowMapping]:
    return list(record.reader.rows())


def test_what_is_kept_is_found_as_it_was_and_lies_sealed(record: AuditLog) -> None:
    [kept] = keep(record, draft("d-1"))
    found = record.reader.by_id("d-1")
    assert found == kept
    assert found is not None
    assert found.request_body == b"of d-1"
    [row] = stored(record)
    assert b"of d-1" not in bytes(row["asked"]) + bytes(row["answered"])
    assert "acct-1" not in str(dict(row))


@settings(max_examples=40)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=40), st.integers(0, 2**32))
def test_whatever_comes_together_the_chain_has_each_row_once(sizes: list[int], seed: int) -> None:
    """Many threads at once, items of several rows: no gap, no row twice, an item's rows beside each
    other and in order.
    """
    names = (f"d-{number}" for number in itertools.count())
    items = [[draft(next(names), f"acct-{seed % 7}") for _ in range(size)] for size in sizes]
    with tempfile.TemporaryDirectory() as folder:
        record = AuditLog(settings_in(Path(folder)))
        futures: list[Future[list[Entry]]] = [Future() for _ in items]
        order = list(range(len(items)))
        random.Random(seed).shuffle(order)

        def submit(places: list[int]) -> None:
            for place in places:
                futures[place] = record._writer.submit(items[place], soon())

        threads = [threading.Thread(target=submit, args=(order[k::3],)) for k in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = [future.result(5) for future in futures]
        rows = stored(record)
        record.close()
    assert [row["seq"] for row in rows] == list(range(1, sum(sizes) + 1))
    before = GENESIS
    for row in rows:
        assert bytes(row["before"]) == before
        before = bytes(row["hash"])
        assert before == hash_of(row, bytes(row["before"]))
    by_seq = {row["seq"]: row["entry_id"] for row in rows}
    for item, answer in zip(items, kept, strict=True):
        assert [one.entry_id for one in answer] == [one.entry_id for one in item]
        assert [one.seq for one in answer] == list(range(answer[0].seq, answer[0].seq + len(item)))
        assert all(by_seq[one.seq] == one.entry_id for one in answer)


def test_a_unique_key_has_one_row(record: AuditLog) -> None:
    keep(record, draft("d-1", unique_key="s"))
    for _ in range(2):
        with pytest.raises(Duplicate):
            keep(record, draft("d-2", unique_key="s"))
    with pytest.raises(Duplicate):
        keep(record, draft("d-1"))
    # One row of an item whose unique key exists rejects the whole item with it; others in the same
    # batch are kept.
    futures = [
        record._writer.submit(item, soon())
        for item in ([draft("d-3"), draft("d-4", unique_key="s")], [draft("d-5")])
    ]
    with pytest.raises(Duplicate):
        futures[0].result(5)
    assert futures[1].result(5)[0].entry_id == "d-5"
    assert [row["entry_id"] for row in stored(record)] == ["d-1", "d-5"]


def test_of_two_in_one_batch_the_first_has_the_key(record: AuditLog) -> None:
    hold = hold_writer(record)
    futures = [
        record._writer.submit([draft(name, unique_key="s")], soon()) for name in ("d-1", "d-2")
    ]
    hold.set()
    assert futures[0].result(5)[0].entry_id == "d-1"
    with pytest.raises(Duplicate):
        futures[1].result(5)


@pytest.mark.parametrize("where", ["_commit", "_unkept", "_sign"])
def test_a_fault_of_ours_is_told_and_the_writer_lives(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    def refuses(*_: object) -> None:
        raise sa.exc.OperationalError("statement", {}, Exception())

    with monkeypatch.context() as broken:
        if where == "_unkept":
            broken.setattr(record._writer, "_commit", refuses)
        broken.setattr(record._writer, where, breaks)
        if where == "_sign":
            keep(record, draft("d-1"))
        else:
            with pytest.raises(ZeroDivisionError):
                keep(record, draft("d-1"))
        until = time.monotonic() + 5
        while time.monotonic() < until and record.ready:
            time.sleep(0.01)
        assert not record.ready
    assert keep(record, draft("d-2"))[0].entry_id == "d-2"
    assert record.ready


def becomes_ready(record: AuditLog) -> bool:
    until = time.monotonic() + 5
    while time.monotonic() < until and not record.ready:
        time.sleep(0.02)
    return record.ready


def hold_writer(record: AuditLog) -> threading.Event:
    """Another writer has the database until the event is set; the record's own waits for it, with
    one row of its own.
    """
    go, held = threading.Event(), threading.Event()

    def hold() -> None:
        other = Database(str(record.database.url))
        with other.writing():
            held.set()
            go.wait(10)
        other.close()

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(5)
    record._writer.submit([draft("blocks", None)], soon())
    while record._writer._rows_waiting:
        time.sleep(0.001)
    return go


def test_what_is_not_reached_by_its_deadline_leaves_nothing(record: AuditLog) -> None:
    hold = hold_writer(record)
    with pytest.raises(Unavailable, match="nothing was kept"):
        asyncio.run(record.keep([draft("late")], time.monotonic() + 0.05))
    hold.set()
    keep(record, draft("d-1"))
    assert [row["entry_id"] for row in stored(record)] == ["blocks", "d-1"]


@pytest.mark.parametrize(("expected", "begun"), [(True, 1), (False, 4)])
def test_rows_that_are_coming_go_with_the_first(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch, expected: bool, begun: int
) -> None:
    """The control: where nothing is expected the writer begins with each."""
    monkeypatch.setattr("serving.audit_log.log._SECONDS_FOR_COMPANY", 30.0)
    calls: list[int] = []
    begin = record._writer.begin

    def counted() -> None:
        calls.append(record._writer._rows_waiting)
        begin()

    monkeypatch.setattr(record._writer, "begin", counted)

    async def one(place: int) -> list[Entry]:
        with record.expecting() if expected else contextlib.nullcontext():
            for _ in range(place + 1):  # each a turn of the loop later than the one before
                await asyncio.sleep(0)
        return await record.keep([draft(f"d-{place}")], soon())

    async def four() -> list[list[Entry]]:
        return await asyncio.gather(*map(one, range(4)))

    assert [kept[0].seq for kept in asyncio.run(four())] == [1, 2, 3, 4]
    assert len(calls) == begun


def test_nobody_waits_long_for_rows_that_do_not_come(
    record: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = committed(record, monkeypatch)

    async def beside_one_that_never_ends() -> list[Entry]:
        with record.expecting():
            # sooner than the writer wakes by itself
            return await asyncio.wait_for(record.keep([draft("d-1")], soon()), 0.4)

    assert asyncio.run(beside_one_that_never_ends())[0].entry_id == "d-1"
    assert commits == [1]
    # Whatever becomes of those that were expected, the next one finds nobody to wait for.
    assert keep(record, draft("d-2"))[0].seq == 2
    assert record._beginning is None


def committed(record: AuditLog, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items each commit has, as they come."""
    sizes: list[int] = []
    commit = record._writer._commit

    def counted(batch: Any) -> Any:
        sizes.append(len(batch))
        return commit(batch)

    monkeypatch.setattr(record._writer, "_commit", counted)
    return sizes


def test_there_is_a_bound_to_what_waits(record: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "ROWS_WAITING", 3)
    hold = hold_writer(record)
    futures = [record._writer.submit([draft(f"d-{k}")], soon()) for k in range(3)]
    with pytest.raises(Unavailable, match="no room"):
        record._writer.submit([draft("d-3")], soon())
    hold.set()
    assert [future.result(5)[0].seq for future in futures] == [2, 3, 4]


# SQLite's own errors: "database or disk is full", "attempt to write a readonly database", with the
# setting that ends them.
@pytest.mark.parametrize(
    "trouble",
    [("max_page_count = 1", "max_page_count = 1000000"), ("query_only = ON", "query_only = OFF")],
)
def test_a_database_that_takes_no_writes_keeps_nothing_and_recovers_by_itself(
    tmp_path: Path, trouble: tuple[str, str]
) -> None:
    record = AuditLog(settings_in(tmp_path))
    now = [trouble[1]]

    @sa.event.listens_for(record.database.engine, "connect")
    def limit(connection: object, _: object) -> None:
        connection.execute(f"PRAGMA {now[0]}")  # type: ignore[attr-defined]

    keep(record, draft("d-1"))
    now[0] = trouble[0]
    record._writer._reopen()  # it holds a connection, which is to be one of these
    lost = [f"lost-{k}" for k in range(12)]
    for name in lost:
        with pytest.raises(Unavailable, match="nothing was kept"):
            keep(
                record,
                NewEntry(
                    name,
                    "decision",
                    name,
                    "lender",
                    "k",
                    NOW,
                    "a",
                    {},
                    bytes(20_000),
                    bytes(20_000),
                ),
            )
    assert not record.ready
    now[0] = trouble[1]
    assert becomes_ready(record)
    keep(record, draft("d-2"))
    assert [row["entry_id"] for row in stored(record)] == ["d-1", "d-2"]
    record.close()


def test_the_record_only_grows(record: AuditLog) -> None:
    keep(record, draft("d-1"))
    for statement in (entries.update().values(tenant="other"), entries.delete()):
        with (
            pytest.raises(sa.exc.DBAPIError, match="only grows"),
            record.database.writing() as connection,
        ):
            connection.execute(statement)
    assert [row["tenant"] for row in stored(record)] == ["lender"]


@pytest.mark.parametrize("older", ["TRUNCATE", "DELETE"])
def test_an_embedded_record_is_written_ahead_also_where_an_older_clearline_made_it(
    tmp_path: Path, older: str
) -> None:
    def mode(record: AuditLog) -> tuple[Any, ...]:
        with record.database.engine.connect() as connection:
            return tuple(
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous")
            )

    record = AuditLog(settings_in(tmp_path))
    assert mode(record) == ("wal", 2)  # FULL: durable at the commit and not at a checkpoint
    keep(record, draft("d-1"))
    record.close()
    with contextlib.closing(sqlite.connect(tmp_path / "record.db")) as raw:
        assert raw.execute(f"PRAGMA journal_mode = {older}").fetchone() == (older.lower(),)
    record = AuditLog(settings_in(tmp_path))
    assert mode(record) == ("wal", 2)
    keep(record, draft("d-2"))
    assert [row["entry_id"] for row in stored(record)] == ["d-1", "d-2"]
    record.close()


def test_an_embedded_record_is_its_owners_alone(record: AuditLog) -> None:
    keep(record, draft("d-1"))
    file = Path(str(record.database.url.database))
    assert {
        path.name: path.stat().st_mode & 0o077 for path in file.parent.glob("record.db*")
    }.keys() >= {"record.db"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in file.parent.glob("record.db*"))


def test_one_process_writes_an_embedded_record(tmp_path: Path) -> None:
    record = AuditLog(settings_in(tmp_path))
    with pytest.raises(StorageError, match="PostgreSQL"):
        AuditLog(settings_in(tmp_path))
    record.close()
    AuditLog(settings_in(tmp_path)).close()


def test_a_record_that_was_cut_since_its_checkpoint_does_not_open(tmp_path: Path) -> None:
    record = AuditLog(settings_in(tmp_path))
    keep(record, draft("d-1"), draft("d-2"))
    record.close()
    [checkpoint] = checkpoints.read(tmp_path / "checkpoints.jsonl", record.secrets.verifier)
    assert checkpoint.seq == 2
    # Adding to it is no cut.
    again = AuditLog(settings_in(tmp_path))
    keep(again, draft("d-3"))
    again.close()
    database = Database(settings_in(tmp_path).address)
    with database.writing() as connection:
        connection.exec_driver_sql("DROP TRIGGER entries_no_delete")
        connection.execute(entries.delete().where(entries.c.seq == 3))
    database.close()
    with pytest.raises(StorageError, match="does not agree with the checkpoint of row 3"):
        AuditLog(settings_in(tmp_path))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("mysql://host/name", "expected a record at|No module"),
        ("nothing", "address"),
        ("sqlite:////nowhere/at/all/record.db", "does not open"),
        ("postgresql://postgres@127.0.0.1:1/none", "does not open"),
    ],
)
def test_an_address_that_cannot_keep_is_refused(address: str, said: str) -> None:
    with pytest.raises(StorageError, match=said):
        Database(address)


def test_a_database_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'record.db'}"
    Database(address).close()
    database = Database(address)
    with database.writing() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 99")
    database.close()
    with pytest.raises(StorageError, match="version 99"):
        Database(address)
