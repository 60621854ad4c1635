"""Compiling with numba; nothing else imports it.

What was compiled is kept on disk where some folder allows it, and read from there by the next
process.  A cache that cannot be read or written must never stop a service: then the functions are
compiled anew, as on the first start.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

Function = TypeVar("Function", bound=Callable[..., Any])
# A folder that is full or not ours, and what pickle raises on a file that ends too soon or holds
# something else.
_LOST = (
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


class _LossyCache(FunctionCache):
    """numba's cache, for which a file that cannot be used is one that is not there."""

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        # numba's own guard of loading and saving, which forgives nothing but on Windows.
        try:
            yield
        except _LOST:
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]  # so that the next process finds none, and writes a whole one


def compiled(function: Function) -> Function:
    """``function`` compiled at its first call."""
    made: Any = numba.njit(function, nogil=True, error_model="numpy")
    with suppress(RuntimeError):  # numba's, where no folder can be written
        made._cache = _LossyCache(function)  # type: ignore[no-untyped-call]
    kept: Function = made
    return kept
