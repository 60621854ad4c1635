"""Copies of an SQLite file by SQLite itself, while a service writes it.

Not a copy of the file's bytes: the latest commits are in the write-ahead log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy.exc import DBAPIError

from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.verify import VerificationReport
from serving.operations.backup.verified import Extent, verify_with
from serving.storage.errors import StorageError
from serving.storage.tables import migrate

_SECONDS_FOR_WRITERS = 5.0
_EXTENT = "SELECT (SELECT count(*) FROM entries), seq, hash, at FROM entries ORDER BY seq DESC"
# rw      recovers what a crash has left, and never makes a file
# ro      changes nothing
Mode = Literal["rw", "ro"]


def read_extent(file: Path, mode: Mode) -> Extent:
    """How far the audit log in a file goes.

    Raises:
        StorageError: the file holds no audit log.
    """
    with _errors(file), closing(_connect(file, mode)) as connection:
        row = connection.execute(f"{_EXTENT} LIMIT 1").fetchone()
    return Extent(0) if row is None else Extent(*row)


def hash_at(file: Path, seq: int) -> bytes | None:
    """The hash of a row; None if there is no such row."""
    with _errors(file), closing(_connect(file, "ro")) as connection:
        row = connection.execute("SELECT hash FROM entries WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else bytes(row[0])


def copy_database(source: Path, mode: Mode, target: Path) -> None:
    """Copy a database into an empty file, as it is at one moment; writers go on meanwhile.

    Raises:
        StorageError: the source cannot be read, or the target not be written.
    """
    with (
        _errors(source),
        closing(_connect(source, mode)) as reading,
        closing(_connect(target, "rw")) as writing,
    ):
        # All pages in one step: between steps every commit would make the copy begin again.
        reading.backup(writing)


def verify_copy(file: Path, secrets: Secrets, checkpoint_lines: bytes) -> VerificationReport:
    """Verify a copy; the file stays as it is, also if its schema is an older one."""
    engine = sa.create_engine(
        "sqlite://",
        module=sqlite,
        creator=lambda: _connect(file, "rw"),
        poolclass=sa.pool.NullPool,
    )
    with _errors(file), engine.connect() as connection:
        # What migrates the copy for the verification is rolled back.
        connection.exec_driver_sql("BEGIN")
        try:
            migrate(connection)

            @contextmanager
            def reading() -> Iterator[sa.Connection]:
                yield connection

            return verify_with(reading, secrets, checkpoint_lines)
        finally:
            connection.exec_driver_sql("ROLLBACK")


def _connect(file: Path, mode: Mode) -> Any:
    # As an address, because a path alone would make a missing file. `as_uri` quotes ? and %.
    address = f"{file.absolute().as_uri()}?mode={mode}"
    if mode == "ro" and not _has_journal(file):
        # Otherwise SQLite makes a write-ahead log beside the file, and fails where it cannot.
        address += "&immutable=1"
    return sqlite.connect(
        address,
        uri=True,
        isolation_level=None,
        timeout=_SECONDS_FOR_WRITERS,
    )


def _has_journal(file: Path) -> bool:
    """Return whether a journal beside the file has commits that the file lacks."""
    journals = [Path(f"{file}{suffix}") for suffix in ("-wal", "-journal")]
    return any(journal.exists() and journal.stat().st_size > 0 for journal in journals)


@contextmanager
def _errors(file: Path) -> Iterator[None]:
    """Convert SQLite's errors to StorageError, with the file."""
    try:
        yield
    except DBAPIError as error:
        raise StorageError(
            f"{file}: expected an audit log that can be read: {error.orig}"
        ) from error
    except sqlite.Error as error:
        raise StorageError(f"{file}: expected an audit log that can be read: {error}") from error
