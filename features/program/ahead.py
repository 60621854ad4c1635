"""The compiled loop that runs a program for each of several months to come.

The statements to come lie before those of the window, newest first, so the window of each month is
a part of the same array.  The windows of all months are taken in blocks: a block of few windows
would cost as much as one of many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program import machine
from features.program.numba_cache import compiled_with
from features.schema import LONGEST_WINDOW

_LONGEST = LONGEST_WINDOW
_WIDTH = machine.WIDTH
_run = machine.run


@compiled_with(machine)
def _take(
    rolled: Any,
    newest: int,
    trajectory: int,
    place: int,
    block: Any,
) -> None:
    """Copy the window whose latest statement is row ``newest``; NaN before the first statement."""
    known = min(rolled.shape[1] - newest, block.shape[1])
    for column in range(block.shape[0]):
        for row in range(known):
            block[column, row, place] = rolled[column, newest + row, trajectory]
        for row in range(known, block.shape[1]):
            block[column, row, place] = np.nan


@compiled_with(machine)
def run_ahead(  # noqa: PLR0913  # numba takes plain arrays, not an object that holds them
    code: Any,
    constants: Any,
    outputs: Any,
    rolled: Any,
    observed: Any,
    products: Any,
    memory: Any,
    out: Any,
) -> None:
    """Write the features after each month to come into ``out``, (months, trajectories, features).

    Args:
        code, constants, outputs, products, memory: As for :func:`features.program.machine.run`;
            the memory is for windows of the longest kind.
        rolled: float64 (stored columns, months + history, trajectories), the newest month first.
        observed: float64 (trajectories,): the months of the history.
        out: As above; month 0 is the next.
    """
    months, trajectories = out.shape[0], out.shape[1]
    windows = months * trajectories
    longest = min(rolled.shape[1], _LONGEST)
    flat = out.reshape(windows, out.shape[2])
    width = max(min(_WIDTH, windows), 1)
    block = np.empty((rolled.shape[0], longest, width))
    after = np.empty(width)
    product = np.empty(width, np.int64)
    for first in range(0, windows, width):
        taken = min(width, windows - first)
        if taken < width:
            # Of its own size: the machine would be compiled again for a part of an array.
            block = np.empty((rolled.shape[0], longest, taken))
        for place in range(taken):
            month = (first + place) // trajectories
            trajectory = (first + place) % trajectories
            _take(rolled, months - 1 - month, trajectory, place, block)
            after[place] = min(observed[trajectory] + month + 1, _LONGEST)
            product[place] = products[trajectory]
        _run(
            code,
            constants,
            outputs,
            block,
            after[:taken],
            product[:taken],
            memory,
            flat[first : first + taken],
        )
