"""Compilation with numba; no other module imports numba.

The compiled functions are kept on disk if a folder allows it, and the next process reads them from
there.  A cache that cannot be read or written never stops a service: the functions are compiled
again, as on the first start.

A model that MLflow downloads brings its code as an archive, each time in another folder.  Its
compiled functions are kept in the user's cache, under the archive's contents.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, ZipCacheLocator

Function = TypeVar("Function", bound=Callable[..., Any])
# Raised for a folder that is full or belongs to another user, and by pickle for a file that is cut
# short or has other contents.
_CACHE_ERRORS = (
    OSError,
    EOFError,
    pickle.PickleError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
)


class _ArchiveLocator(ZipCacheLocator):
    """Where the functions of an archive are kept: one folder for the same contents, wherever the
    archive is.
    """

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)  # type: ignore[no-untyped-call]
        # Of the whole archive: a compiled function has the constants of other modules in it.
        status = os.stat(self._zip_path)
        contents = _digest(self._zip_path, status.st_mtime_ns, status.st_size)
        inside = Path(self._internal_path).parent
        name = hashlib.sha256(f"{contents}/{inside}".encode()).hexdigest()
        self._cache_path = str(Path(self._cache_path).with_name(f"{inside.name}_{name[:40]}"))


@functools.lru_cache(maxsize=16)
def _digest(file: str, modified: int, size: int) -> str:
    """SHA-256 of a file; its time and size tell one state of it from another."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


class _Implementation(CompileResultCacheImpl):
    _locator_classes: ClassVar = [  # type: ignore[misc]
        _ArchiveLocator if locator is ZipCacheLocator else locator
        for locator in CompileResultCacheImpl._locator_classes
    ]


class _TolerantCache(FunctionCache):
    """numba's cache, which treats an unusable file as a missing one."""

    _impl_class = _Implementation

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        # Replaces numba's own guard of loading and saving, which ignores errors only on Windows.
        try:
            yield
        except _CACHE_ERRORS:
            # Without its index the cache is empty, so the next process writes a whole one.
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]


def compiled(function: Function) -> Function:
    """``function``, compiled at its first call; it releases the GIL."""
    dispatcher: Any = numba.njit(function, nogil=True, error_model="numpy")
    with suppress(RuntimeError):  # numba's error if no folder can be written
        dispatcher._cache = _TolerantCache(function)  # type: ignore[no-untyped-call]
    result: Function = dispatcher
    return result
