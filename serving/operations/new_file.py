"""Files that a command writes: whole or not at all, for their owner only, never over the record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.storage.bundles.whole_file import whole_file
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings

# SQLite's journals of a database file, and the lock of the service that writes it.
BESIDE_RECORD = ("-wal", "-shm", "-journal", ".lock")


@contextmanager
def private_file(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """A :func:`whole_file` with the mode 0600, empty at first.

    What SQLite writes beside it is removed.

    Raises:
        StorageError: ``path`` exists and ``overwrite`` is false, or its folder does not exist, or
            cannot be written.
    """
    if not path.parent.is_dir():
        raise StorageError(f"{path}: expected a file in a folder that exists")
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    with whole_file(path, rename=Path.replace if overwrite else _rename_to_new) as unfinished:
        try:
            os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            # Its own text would name the unfinished file, which nobody asked for.
            because = f"{path}: expected a file that can be written: {error.strerror}"
            raise StorageError(because) from error
        try:
            yield unfinished
        finally:
            for suffix in BESIDE_RECORD:
                Path(f"{unfinished}{suffix}").unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before the work whose result it is to hold.

    Raises:
        StorageError: ``path`` is a folder, its folder does not exist, or one cannot be written.
    """
    if path.is_dir():
        raise StorageError(f"{path}: expected a file to write, got a folder")
    if not path.parent.is_dir():
        raise StorageError(f"{path}: expected a file in a folder that exists")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise StorageError(f"{path}: expected a file that can be written")


def write_private(path: Path, lines: Iterator[str], overwrite: bool = False) -> int:
    """Write lines to a file; returns their number.

    Without a line nothing is written, and a former file stays.

    Raises:
        StorageError: ``path`` exists and ``overwrite`` is false, or its folder does not exist.
    """
    # Before the lines, which may take minutes.
    if not overwrite and os.path.lexists(path):
        raise _exists(path)
    first = next(lines, None)
    if first is None:
        return 0
    count = 1
    with (
        private_file(path, overwrite) as unfinished,
        unfinished.open("w", encoding="utf-8") as out,
    ):
        out.write(first + "\n")
        for one in lines:
            out.write(one + "\n")
            count += 1
    return count


def check_not_of_record(path: Path, settings: StorageSettings) -> None:
    """Refuse a file that belongs to the audit log: writing it would destroy the audit log.

    Raises:
        StorageError: ``path`` is the database, one of its journals, the secrets or the checkpoints.
    """
    own = {"the secrets": settings.secrets, "the checkpoints": settings.checkpoints}
    if settings.file is not None:
        own["the database"] = settings.file
        for suffix in BESIDE_RECORD:
            own[f"the database's {suffix[1:]} file"] = Path(f"{settings.file}{suffix}")
    for what, file in own.items():
        if _is_same_file(path, file):
            raise StorageError(
                f"expected a file of its own, got {path}: it is {what} of the record"
            )


def _rename_to_new(unfinished: Path, path: Path) -> None:
    # A rename alone would overwrite a file that was made since.
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        # The file system has no hard links, as many of those that backups are kept on.
        if os.path.lexists(path):
            raise _exists(path) from None
        unfinished.rename(path)


def _is_same_file(one: Path, other: Path) -> bool:
    # Resolved, so that a link or another spelling of the path is found too.
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    if not (one.exists() and other.exists()):
        return False
    return one.samefile(other)


def _exists(path: Path) -> StorageError:
    return StorageError(f"{path} exists already: expected a new file, nothing is overwritten")
