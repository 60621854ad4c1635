"""A file that gets its name when it is whole, and is durable then."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_RANDOM_BYTES = 8  # processes of several machines write into one folder


@contextmanager
def whole_file(
    path: Path,
    ending: str = "",
    rename: Callable[[Path, Path], object] = Path.replace,
) -> Iterator[Path]:
    """Yield a path beside ``path`` to write a file to, which becomes ``path`` after the block.

    After an error nothing is left, and a former ``path`` is as it was.

    Args:
        path: In a folder that exists.
        ending: Of the hidden name that the file has until then.
        rename: Takes that name and ``path``; by default a former ``path`` is replaced.

    Raises:
        OSError: It cannot be written or renamed, or the block wrote no file.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}{ending}")
    try:
        yield unfinished
        # The content first: after a power failure the name must not be that of an empty file.
        _sync(unfinished)
        rename(unfinished, path)
        _sync(path.parent)
    finally:
        # Not unlink(missing_ok): of a name that is too long it would raise in place of the error.
        if os.path.lexists(unfinished):
            unfinished.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
