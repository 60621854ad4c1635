"""Compilation with numba; no other module imports numba.

The compiled functions are kept on disk if a folder allows it, and the next process reads them from
there.  A cache that cannot be read or written never stops a service: the functions are compiled
again, as on the first start.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

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


class _TolerantCache(FunctionCache):
    """numba's cache, which treats an unusable file as a missing one."""

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
