"""Dumps of a PostgreSQL by its own programs, pg_dump and pg_restore.

The password goes to them in the environment: every user of the machine can read arguments.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from serving.operations.backup.verified import Extent
from serving.storage.errors import StorageError
from serving.storage.tables import METADATA, entries

_DUMP = ("--format=custom", "--no-owner", "--no-privileges")
_RESTORE = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
_COPY = "COPY public.entries ("


def read_extent(address: str) -> Extent:
    """How far the audit log in a database goes.

    Raises:
        StorageError: the database holds no audit log, or does not answer.
    """
    newest = sa.select(entries.c.seq, entries.c.hash, entries.c.at)
    with _connection(address) as connection:
        if not sa.inspect(connection).has_table(entries.name):
            raise StorageError(
                f"{_without_password(address)}: expected an audit log, got no table of one"
            )
        rows = connection.scalar(sa.select(sa.func.count()).select_from(entries)) or 0
        row = connection.execute(newest.order_by(entries.c.seq.desc()).limit(1)).one_or_none()
    return Extent(0) if row is None else Extent(rows, row.seq, bytes(row.hash), row.at)


def existing_tables(address: str) -> list[str]:
    """The tables of an audit log that a database has, by name."""
    with _connection(address) as connection:
        names = set(sa.inspect(connection).get_table_names())
    return sorted(names & set(METADATA.tables))


def dump(address: str, target: Path) -> None:
    """Write a dump of the database, as it is at one moment, into a file.

    Raises:
        StorageError: there is no pg_dump, or it failed; the message has its own.
    """
    _run("pg_dump", [*_DUMP, f"--file={target}", _without_password(address)], address)


def restore(source: Path, address: str) -> None:
    """Restore a dump into a database, completely or not at all.

    Raises:
        StorageError: there is no pg_restore, or it failed; the message has its own.
    """
    arguments = [*_RESTORE, f"--dbname={_without_password(address)}", str(source)]
    _run("pg_restore", arguments, address)


def read_dump(source: Path, seq: int) -> tuple[int, bytes | None]:
    """The number of rows of the log in a dump, and the hash of one of them; None = no such row."""
    program = _find("pg_restore", ["--list", str(source)])
    command = [program, "--data-only", "--table=entries", "--file=-", str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        if process.stdout is None or process.stderr is None:
            raise StorageError("pg_restore has no output")
        rows, found = _count_rows(process.stdout, seq)
        error = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise StorageError(f"{source}: expected a dump of an audit log: {error}")
    return rows, found


def _count_rows(lines: Iterator[bytes] | Sequence[bytes], seq: int) -> tuple[int, bytes | None]:
    rows, found = 0, None
    columns: list[str] | None = None
    for raw in lines:
        line = raw.decode().rstrip("\n")
        if columns is None:
            if line.startswith(_COPY):
                columns = line.removeprefix(_COPY).partition(")")[0].split(", ")
        elif line == "\\.":
            columns = None
        else:
            rows += 1
            values = dict(zip(columns, line.split("\t"), strict=True))
            if values["seq"] == str(seq):
                # bytea as hexadecimal, after a doubled backslash and an x
                found = bytes.fromhex(values["hash"].removeprefix("\\\\x"))
    return rows, found


def _run(program: str, arguments: Sequence[str], address: str) -> None:
    environment = dict(os.environ)
    url = sa.make_url(address)
    # An address may have it in its query as well.
    password = url.password or url.query.get("password")
    if isinstance(password, str):
        environment["PGPASSWORD"] = password
    command = [_find(program, arguments), *arguments]
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise StorageError(f"{program} failed: {done.stderr.strip() or done.returncode}")


def _find(program: str, arguments: Sequence[str]) -> str:
    found = shutil.which(program)
    if found is None:
        raise StorageError(
            f"expected {program}, the program of PostgreSQL, on this machine's PATH, found none: "
            f"install PostgreSQL's client programs, or run where they are: {program} "
            f"{' '.join(arguments)}"
        )
    return found


def _connection(address: str) -> closing[sa.Connection]:
    url = sa.make_url(address)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    try:
        return closing(engine.connect())
    except DBAPIError as error:
        raise StorageError(
            f"{_without_password(address)}: the database does not answer: {error.orig}"
        ) from error


def _without_password(address: str) -> str:
    url = sa.make_url(address).set(drivername="postgresql")
    # Replaced, because `set` takes None for "as before".
    bare = url._replace(password=None).difference_update_query(["password"])
    return bare.render_as_string(hide_password=False)
