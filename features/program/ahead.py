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
    first: int,
    block: Any,
) -> None:
    """Copy the windows from the position ``first`` on; NaN before the first statement.

    The last month comes first, as in ``rolled``.  So the windows of the next month back lie as many
    places further in each row as there are trajectories, and a row of a block is one piece of
    memory.
    """
    trajectories, width = rolled.shape[2], block.shape[2]
    end = rolled.shape[1] * trajectories
    for column in range(block.shape[0]):
        statements = rolled[column].reshape(end)
        for row in range(block.shape[1]):
            start = row * trajectories + first
            known = max(min(end - start, width), 0)
            own = block[column, row]
            for place in range(known):
                own[place] = statements[start + place]
            for place in range(known, width):
                own[place] = np.nan


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
        out: As above; the last month is first, and the next one last.
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
        _take(rolled, first, block)
        for place in range(taken):
            month = months - 1 - (first + place) // trajectories
            trajectory = (first + place) % trajectories
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
