"""The compiled loop that checks the numbers of one account's statements and lays them out.

Hazard: numba's cache identifies this file by its time and size and ignores everything that the file
imports.  So all constants that the loop uses are defined here.
"""

from __future__ import annotations

from typing import Any

from features.program.numba_cache import compiled

# Where a column may have unknown values: in no row, in any, or in all rows or none.
NEVER, ANY, WHOLE = 0, 1, 2
BROKEN = -1  # a number breaks a rule


@compiled
def check_numbers(  # numba takes plain arrays, not an object that holds them
    numbers: Any,
    low: Any,
    high: Any,
    nulls: Any,
    stored: Any,
    unknown: Any,
) -> int:
    """Lay out the rows in ``stored``; return how many numbers are unknown, or ``BROKEN``.

    Args:
        numbers: float64 (columns, rows), the earliest month first; NaN = unknown.
        low: float64 (columns,): the least number of each column.
        high: float64 (columns,): the largest.
        nulls: int64 (columns,): ``NEVER``, ``ANY`` or ``WHOLE``.
        stored: float64 (columns, rows, 1), the latest month first; overwritten.
        unknown: int64 (columns * rows,): overwritten with the places of the unknown numbers:
            column * rows + row.
    """
    columns, rows = numbers.shape
    found = 0
    for column in range(columns):
        before = found
        for row in range(rows):
            value = numbers[column, row]
            stored[column, rows - 1 - row, 0] = value
            if value != value:
                unknown[found] = column * rows + row
                found += 1
            elif value < low[column] or value > high[column]:
                return BROKEN
        count = found - before
        is_allowed = nulls[column] == ANY or (nulls[column] == WHOLE and count == rows)
        if count > 0 and not is_allowed:
            return BROKEN
    return found
