"""The features of a window by the machine; programs are traced and laid out in memory once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from features.catalogue.feature import Feature
from features.program.memory import Layout, lay_out_memory
from features.program.trace import trace
from features.schema import LONGEST_WINDOW
from features.types import Matrix, Rows
from features.window import Stored, Values, Window

Number = TypeVar("Number", bound=np.generic)
_MOST_PROGRAMS = 1024  # of a process: the catalogue, and each amount of the sentences by itself


@dataclass(frozen=True, slots=True)
class _Traced:
    """``features`` are kept, because a program is found by their identity."""

    features: tuple[Feature, ...]
    layout: Layout


class Programs:
    """The programs of a process, by the identity of their features.

    Not by equality: to hash a catalogue takes longer than to evaluate it for an account.
    """

    def __init__(self, most: int = _MOST_PROGRAMS) -> None:
        """``most`` programs are kept; the next one lets go of all others."""
        self._most = most
        self._traced: dict[tuple[int, ...], _Traced] = {}
        # By the identity of a tuple of features: that of each of them takes longer to look at.
        self._of_tuple: dict[int, _Traced] = {}

    def layout(self, features: Sequence[Feature]) -> Layout:
        """The program of these features, traced at the first call.

        Raises:
            TraceError: An expression does what has no compiled form.
        """
        of_tuple = self._of_tuple.get(id(features))
        if of_tuple is not None and of_tuple.features is features:
            return of_tuple.layout
        key = tuple(map(id, features))
        known = self._traced.get(key)
        if known is None:
            known = _Traced(tuple(features), lay_out_memory(trace(features)))
            if len(self._traced) >= self._most:
                self._traced.clear()
                self._of_tuple.clear()
            self._traced[key] = known
        if known.features is features:
            self._of_tuple[id(features)] = known
        return known.layout

    def __len__(self) -> int:
        return len(self._traced)


PROGRAMS = Programs()


def evaluate(
    window: Window,
    features: Sequence[Feature],
    programs: Programs | None = None,
) -> Matrix:
    """The features of a window's accounts, float64 (accounts, features), NaN = unknown.

    The first call of a process loads the machine, or compiles it where no cache keeps it.  It
    releases the GIL.

    Raises:
        TraceError: An expression does what has no compiled form.
    """
    run, width = _machine()
    layout = (PROGRAMS if programs is None else programs).layout(features)
    _, months, accounts = window.stored.shape
    memory = np.empty((layout.slots, months * min(width, accounts)))
    out = np.empty((accounts, len(features)))
    run(
        layout.code,
        layout.constants,
        layout.outputs,
        plain_array(window.stored),
        plain_array(window.months_observed),
        plain_array(window.products),
        memory,
        out,
    )
    return out


def evaluate_ahead(
    rolled: Stored,
    observed: Values,
    products: Rows,
    months: int,
    features: Sequence[Feature],
) -> NDArray[np.float64]:
    """The features after each of the months to come, float64 (months, trajectories, features).

    They are those of :func:`evaluate` for the windows after each month, at most ``LONGEST_WINDOW``
    statements each.  Month 0 is the next; the array is a view whose last month lies first.

    Args:
        rolled: float64 (stored columns, months + history, trajectories), the newest month first:
            the statements to come, then those of the windows.
        observed: float64 (trajectories,): the statements of each window.
        products: int64 (trajectories,), positions in :data:`features.schema.PRODUCTS`.
        months: The number of months to come.
        features: As for :func:`evaluate`.

    Raises:
        TraceError: An expression does what has no compiled form.
    """
    _, width = _machine()
    layout = PROGRAMS.layout(features)
    trajectories = rolled.shape[2]
    longest = min(rolled.shape[1], LONGEST_WINDOW)
    memory = np.empty((layout.slots, longest * min(width, months * trajectories)))
    out = np.empty((months, trajectories, len(features)))
    _run_ahead()(
        layout.code,
        layout.constants,
        layout.outputs,
        plain_array(rolled),
        plain_array(observed),
        plain_array(products),
        memory,
        out,
    )
    return out[::-1]


def plain_array(array: NDArray[Number]) -> NDArray[Number]:
    """The array, writable and in row order.

    numba would compile the loops again for another kind of array, during a request.
    """
    flags = array.flags
    if flags.c_contiguous and flags.writeable and flags.aligned:
        return array
    return np.array(array, order="C")


@cache
def _machine() -> tuple[Callable[..., None], int]:
    """The machine's loop, and the accounts that it takes together."""
    # Only now: what lays out data and evaluates nothing must not wait for numba.
    from features.program.machine import WIDTH, run

    return run, WIDTH


@cache
def _run_ahead() -> Callable[..., None]:
    from features.program.ahead import run_ahead

    return run_ahead
