"""Whether the SQLite files that a process has open are still those at their paths.

SQLite goes on writing to a file that was deleted or moved away, and to its write-ahead log: what it
commits there is gone at the next start. The files are compared by device and inode, which takes
some microseconds, around each transaction.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

_WAL = "-wal"  # what SQLite adds to the name of its write-ahead log
Identity = tuple[int, int] | None  # device and inode; None = there is no file


class FileMovedError(SQLAlchemyError):
    """The file at the path is not the open one.

    ``committed`` is true if it was found after a commit, which may be in a file without a name.
    """

    def __init__(self, path: Path, committed: bool) -> None:
        super().__init__(
            f"{path} was deleted, moved or replaced while the service has it open: put the same "
            "file back, or stop the service and restore a copy"
        )
        self.committed = committed


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """A database file and its write-ahead log, with their identities when they were opened."""

    database: Path
    identities: tuple[Identity, Identity]

    @classmethod
    def at(cls, database: Path) -> OpenFiles:
        """The files that are at these paths now."""
        return cls(database, (_identify(database), _identify(_wal_of(database))))

    def check(self, committed: bool = False) -> None:
        """Raise :class:`FileMovedError` if other files are there now, or none."""
        for path, identity in zip(self._paths, self.identities, strict=True):
            # Without a write-ahead log there was none to lose.
            if identity is not None and _identify(path) != identity:
                raise FileMovedError(path, committed)

    def check_database(self) -> None:
        """As :meth:`check`, for the database file alone: its log is another after a reconnect."""
        if _identify(self.database) != self.identities[0]:
            raise FileMovedError(self.database, committed=False)

    @property
    def _paths(self) -> tuple[Path, Path]:
        return self.database, _wal_of(self.database)


def _wal_of(database: Path) -> Path:
    return database.with_name(database.name + _WAL)


def _identify(path: Path) -> Identity:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
