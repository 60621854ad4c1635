"""The compiled loops of :mod:`serving.decision.scoring.shapley`, over plain arrays.

Why numba: the same tables in NumPy take about three to four times as long on one core, for one row
and for many (`make bench`), and no compiler is needed at install time.  Its price: a third of a
second to import, and less than two to compile on a machine's first start.

Hazard: numba's cache knows this file by its time and size and nothing that it imports.  What these
functions use stands here.

Conventions ----------- A *table* belongs to a piece of one tree with at most 8 splits on and above
it.  A row's *pattern* in it is a byte: bit j is set where the row goes left at the table's split
j.  Line ``pattern`` of the table holds what the piece contributes to at most 8 features (its
*slots*): 64 bytes, one line of a processor's cache. A *column* is a feature as some splits see it:
feature, missing type and default direction.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.decision.scoring.numba_cache import compiled

WIDTH = 8  # splits and slots of a table, at most
# rows that pass a table while it is in the cache; with fewer, deep models wait for memory
BLOCK = 1024
TINY = 1.0000000180025095e-35  # LightGBM's zero: its float 1e-35
_ZERO, _NAN = 1, 2  # which values are missing, as a split says it


@compiled
def route_value(value: float, missing: int, left: int) -> float:
    """The number that is at most a split's threshold exactly where LightGBM sends ``value`` left.

    What is missing becomes -inf, which is below all thresholds, or NaN, which is not; an infinite
    threshold has all numbers on its left.  LightGBM takes a value within 1e-35 of zero for zero,
    and NaN for zero where the split knows no missing values (NumericalDecision in its tree.h).
    """
    if abs(value) <= TINY:
        value = 0.0
    if (missing == _NAN and value != value) or (
        missing == _ZERO and (value != value or value == 0.0)
    ):
        return -np.inf if left else np.nan
    return 0.0 if value != value else value


@compiled
def explain_rows(
    matrix: Any,
    columns: Any,
    starts: Any,
    split_column: Any,
    split_threshold: Any,
    slots: Any,
    table: Any,
    out: Any,
) -> None:
    """Contributions of each row of ``matrix`` into ``out``: all tables for a row, then the next
    row.

    Every table is read as if it had 8 splits and 8 slots (a threshold of NaN is never passed, slot
    ``features`` is thrown away): without branches that depend on the table a row takes half the
    time.
    """
    features = out.shape[1]
    values = np.empty(len(columns))
    sums = np.empty(features + 1)
    for row in range(matrix.shape[0]):
        for column in range(len(columns)):
            values[column] = route_value(
                matrix[row, columns[column, 0]], columns[column, 1], columns[column, 2]
            )
        for feature in range(features + 1):
            sums[feature] = 0.0
        for piece in range(len(starts) - 1):
            pattern = 0
            for j in range(WIDTH):
                pattern |= (values[split_column[piece, j]] <= split_threshold[piece, j]) << j
            line = starts[piece] + pattern
            for j in range(WIDTH):
                sums[slots[piece, j]] += table[line, j]
        for feature in range(features):
            out[row, feature] = sums[feature]


@compiled
def find_patterns(
    matrix: Any,
    columns: Any,
    cuts: Any,
    cut_starts: Any,
    widths: Any,
    split_column: Any,
    split_bin: Any,
    patterns: Any,
) -> None:
    """The patterns of a block of rows in every table, into ``patterns`` uint8 (tables, rows).

    A value becomes the number of its column's cuts that lie below it; ``value <= cuts[k]`` is then
    ``number <= k``, and 32 such small integers are compared by one instruction.
    """
    rows = matrix.shape[0]
    values = np.empty(rows)
    bins = np.empty((len(columns), rows), np.uint16)
    for column in range(len(columns)):
        feature, missing, left = columns[column, 0], columns[column, 1], columns[column, 2]
        for row in range(rows):
            values[row] = route_value(matrix[row, feature], missing, left)
        below = bins[column]
        for row in range(rows):
            below[row] = 0
        for cut in range(cut_starts[column], cut_starts[column + 1]):
            threshold = cuts[cut]
            for row in range(rows):
                below[row] += np.uint16(not values[row] <= threshold)  # also where it is NaN
    for piece in range(len(widths)):
        pattern = patterns[piece]
        for row in range(rows):
            pattern[row] = 0
        for j in range(widths[piece, 0]):
            below, last, bit = bins[split_column[piece, j]], split_bin[piece, j], np.uint8(1 << j)
            for row in range(rows):
                pattern[row] |= bit if below[row] <= last else np.uint8(0)


@compiled
def add_lines(patterns: Any, starts: Any, widths: Any, slots: Any, table: Any, out: Any) -> None:
    """Contributions of a block's rows into ``out``: all rows for a table, which stays in the cache,
    then the next table.

    Adds in the order of :func:`explain_rows`, so that a row gets the same bits from both.
    """
    rows, features = out.shape
    sums = np.zeros((features, rows))
    for piece in range(len(widths)):
        pattern = patterns[piece]
        lines = table[starts[piece] : starts[piece + 1]]
        for j in range(widths[piece, 1]):
            feature = sums[slots[piece, j]]
            for row in range(rows):
                feature[row] += lines[pattern[row], j]
    for row in range(rows):
        for place in range(features):
            out[row, place] = sums[place, row]
