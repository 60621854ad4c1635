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
from types import ModuleType
from typing import Any, ClassVar, TypeVar

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    ZipCacheLocator,
)

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
    """numba's cache, which treats an unusable file as a missing one.

    A kept function is used if its module's file, and those of the modules it uses, are as they were
    when it was compiled; numba looks at the first only.
    """

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any], uses: tuple[ModuleType, ...]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        if uses:
            own = self._impl.locator.get_source_stamp()
            self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
                cache_path=self._cache_path,
                filename_base=self._impl.filename_base,
                source_stamp=(own, *map(_stamp, uses)),
            )

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
    return _compile(function, ())


def compiled_with(*uses: ModuleType) -> Callable[[Function], Function]:
    """:func:`compiled` for a function that calls compiled functions of these modules.

    Name those too that these modules use in turn: their code becomes a part of the function.
    """
    return lambda function: _compile(function, uses)


def _compile(function: Function, uses: tuple[ModuleType, ...]) -> Function:
    dispatcher: Any = numba.njit(function, nogil=True, error_model="numpy")
    with suppress(RuntimeError):  # numba's error if no folder can be written
        dispatcher._cache = _TolerantCache(function, uses)
    result: Function = dispatcher
    return result


def _stamp(module: ModuleType) -> tuple[float, int] | None:
    """What tells a module's file from an earlier one, as numba does it: its time and size.

    None in an archive, whose contents tell all its functions from earlier ones.
    """
    file = Path(module.__file__ or "")
    if not file.is_file():
        return None
    found = file.stat()
    return found.st_mtime, found.st_size
