"""The address of a database: a URL, in which the path of a SQLite file is percent-encoded."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from serving.storage.errors import StorageError

_KINDS = ("sqlite", "postgresql")


def sqlite_address(file: Path) -> str:
    """Return the address of a SQLite file.

    >>> sqlite_address(Path("loans 40%?/record.db"))
    'sqlite:///loans 40%25%3F/record.db'
    """
    return sa.URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)


def parse_address(address: str) -> sa.URL:
    """Return the parts of an address, with the driver that the service uses.

    Raises:
        StorageError: it is none, of another kind of database, or of a SQLite database without a
            file; or its path may mean two files.

    >>> parse_address("sqlite:///loans 40%25%3F/record.db").database
    'loans 40%?/record.db'
    """
    try:
        url = sa.make_url(address)
    except (ArgumentError, ValueError) as error:
        raise StorageError(
            f"no database can be opened at this address: {_expected(address)}"
        ) from error
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    kind = url.get_backend_name()
    if kind not in _KINDS:
        raise StorageError(
            f"expected a database at sqlite:///... or postgresql://..., got {kind}",
        )
    if kind == "sqlite":
        _check_file(address, url)
    return url


def _expected(address: str) -> str:
    """What CLEARLINE_RECORD may be.  A path is repeated; a URL may have a password and is not."""
    forms = f"{sqlite_address(Path('/folder/record.db'))} or postgresql://user@host/name"
    expected = f"expected CLEARLINE_RECORD as {forms}"
    if not address or ":" in address:
        return expected
    return f"{expected}; the file {address} is {sqlite_address(Path(address))}"


def _check_file(address: str, url: sa.URL) -> None:
    """StorageError unless the address names one file for certain."""
    if url.database in (None, "", ":memory:"):
        raise StorageError("expected a database file, got a database in memory, which loses data")
    path = address.partition(":///")[2]
    if "?" in path:
        raise StorageError(f"{address}: expected a path only; write %3F for a question mark in it")
    # A path with a percent sign that somebody pasted: the file would be made in another folder.
    if path != url.database and Path(path).parent.is_dir():
        raise StorageError(
            f"{address}: this means the file {url.database}, but there is a folder "
            f"{Path(path).parent}; write %25 for a percent sign"
        )
