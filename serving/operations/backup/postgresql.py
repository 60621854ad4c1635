"""Dumps of a PostgreSQL by its own programs, pg_dump and pg_restore.

The password goes to them in the environment: every user of the machine can read arguments.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from serving.operations.backup.verified import Extent
from serving.storage.errors import StorageError
from serving.storage.tables import METADATA, entries

_DUMP = ("--format=custom", "--no-owner", "--no-privileges")
_RESTORE = ("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction")
# What pg_restore prints: COPY public.entries (seq, ...) FROM stdin; the rows; and the end.
_COPY = "COPY public.entries ("
_END_OF_ROWS = "\\."
_BYTES = "\\\\x"  # hexadecimal digits follow


def read_extent(address: str) -> Extent:
    """How far the audit log in a database goes.

    Raises:
        StorageError: the database holds no audit log, or does not answer.
    """
    newest_first = entries.c.seq.desc()
    columns = (
        entries.c.seq,
        entries.c.hash,
        entries.c.at,
    )
    newest = sa.select(*columns).order_by(newest_first).limit(1)
    count = sa.select(sa.func.count()).select_from(entries)
    with _connection(address) as connection:
        if not sa.inspect(connection).has_table(entries.name):
            shown = _without_password(address)
            raise StorageError(f"{shown}: expected an audit log, got no table of one")
        rows = connection.scalar(count) or 0
        row = connection.execute(newest).one_or_none()
    if row is None:
        return Extent(0)
    return Extent(
        rows,
        row.seq,
        bytes(row.hash),
        row.at,
    )


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
    arguments = [
        *_DUMP,
        f"--file={target}",
        _without_password(address),
    ]
    _run("pg_dump", arguments, address)


def restore(source: Path, address: str) -> None:
    """Restore a dump into a database, completely or not at all.

    Raises:
        StorageError: there is no pg_restore, or it failed; the message has its own.
    """
    arguments = [
        *_RESTORE,
        f"--dbname={_without_password(address)}",
        str(source),
    ]
    _run("pg_restore", arguments, address)


def read_dump(source: Path, seq: int) -> tuple[int, bytes | None]:
    """The number of rows of the log in a dump, and the hash of one of them; None = no such row."""
    arguments = [
        "--data-only",
        "--table=entries",
        "--file=-",
        str(source),
    ]
    command = [_find("pg_restore", arguments), *arguments]
    # Into a file and not a pipe: with two pipes the one that is not read could fill up.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        ) as process:
            rows, found = _count_rows(process.stdout or (), seq)
        if process.returncode:
            errors.seek(0)
            said = errors.read().strip()
            raise StorageError(f"{source}: expected a dump of an audit log: {said}")
    return rows, found


def _count_rows(lines: Iterable[str], seq: int) -> tuple[int, bytes | None]:
    """Read what pg_restore prints: the columns, a line a row with tabs between, and a last line."""
    rows = 0
    found: bytes | None = None
    columns: list[str] = []
    for raw in lines:
        line = raw.rstrip("\n")
        if not columns:
            columns = _copied_columns(line)
            continue
        if line == _END_OF_ROWS:
            columns = []
            continue
        rows += 1
        texts = line.split("\t")
        values = dict(zip(columns, texts, strict=True))
        if values["seq"] == str(seq):
            digits = values["hash"].removeprefix(_BYTES)
            found = bytes.fromhex(digits)
    return rows, found


def _copied_columns(line: str) -> list[str]:
    if not line.startswith(_COPY):
        return []
    names, _, _ = line.removeprefix(_COPY).partition(")")
    return names.split(", ")


def _run(program: str, arguments: Sequence[str], address: str) -> None:
    command = [_find(program, arguments), *arguments]
    environment = dict(os.environ)
    url = sa.make_url(address)
    # An address may have it in its query as well.
    password = url.password or url.query.get("password")
    if isinstance(password, str):
        environment["PGPASSWORD"] = password
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = done.stderr.strip() or done.returncode
        raise StorageError(f"{program} failed: {said}")


def _find(program: str, arguments: Sequence[str]) -> str:
    found = shutil.which(program)
    if found is None:
        command = " ".join([program, *arguments])
        raise StorageError(
            f"expected {program}, the program of PostgreSQL, on this machine's PATH, found none: "
            f"install PostgreSQL's client programs, or run where they are: {command}"
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
        shown = _without_password(address)
        raise StorageError(f"{shown}: the database does not answer: {error.orig}") from error


def _without_password(address: str) -> str:
    url = sa.make_url(address)
    # Replaced, because `set` takes None for "as before".
    bare = url._replace(drivername="postgresql", password=None)
    return bare.difference_update_query(["password"]).render_as_string()
