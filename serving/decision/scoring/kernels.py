"""The compiled loops of :mod:`serving.decision.scoring.shapley`, over plain arrays.

The same tables in NumPy take about three to four times as long on one core, for one row and for
many (`make bench`), and numba needs no compiler at install time.  Its cost is a third of a second
for the import and less than two seconds for the compilation at a machine's first start.

Hazard: numba's cache identifies this file by its time and size and ignores everything that the file
imports.  So all constants and functions that these loops use are defined here.

Conventions
-----------
A *piece* is a part of one tree with at most 8 splits on and above it.  Each piece has one *table*.

A row's *pattern* at a piece is a byte: bit j is set if the row goes left at the piece's split j.

Line ``pattern`` of the table holds the contributions of the piece to at most 8 features, its
*slots*: 64 bytes, one line of a processor's cache.

A *column* is a feature as read by some of the splits: feature, missing type and default direction.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled

WIDTH = 8  # the most splits, and the most slots, of a table
# Rows that are looked up in a table while it is in the cache.  With fewer rows, deep models wait
# for memory.
BLOCK = 1024
TINY = 1.0000000180025095e-35  # LightGBM's zero threshold, its float 1e-35
_ZERO, _NAN = 1, 2  # missing types of a split: zero and NaN are missing, only NaN is missing


@compiled
def route_value(value: float, missing: int, left: int) -> float:
    """A number that is <= a split's threshold exactly if LightGBM sends ``value`` left.

    A missing value becomes -inf, which is below every threshold, or NaN, which is below none.  Plus
    infinity would not do, because a threshold may be infinite.  LightGBM treats a value within
    1e-35 of zero as zero, and NaN as zero at a split without missing values (NumericalDecision in
    its tree.h).
    """
    if abs(value) <= TINY:
        value = 0.0
    if (missing == _NAN and value != value) or (
        missing == _ZERO and (value != value or value == 0.0)
    ):
        return -np.inf if left else np.nan
    return 0.0 if value != value else value


@compiled
def explain_rows(  # noqa: PLR0913  # numba takes plain arrays, not an object that holds them
    matrix: Any,
    columns: Any,
    starts: Any,
    split_column: Any,
    split_threshold: Any,
    slots: Any,
    table: Any,
    out: Any,
) -> None:
    """Write the contributions of each row of ``matrix`` into ``out``, row by row.

    Every table is read as if it had 8 splits and 8 slots: a threshold of NaN is never passed, and
    the sums of slot ``features`` are discarded.  Without branches that depend on the table, a row
    takes half the time.  All lines are found before the first is read, so that the processor
    fetches several at once: between two decisions they leave its cache.
    """
    features = out.shape[1]
    pieces = len(starts) - 1
    values = np.empty(len(columns))
    lines = np.empty(pieces, np.int64)
    sums = np.empty(features + 1)
    for row in range(matrix.shape[0]):
        for column in range(len(columns)):
            values[column] = route_value(
                matrix[row, columns[column, 0]], columns[column, 1], columns[column, 2]
            )
        for feature in range(features + 1):
            sums[feature] = 0.0
        for piece in range(pieces):
            pattern = 0
            for j in range(WIDTH):
                pattern |= (values[split_column[piece, j]] <= split_threshold[piece, j]) << j
            lines[piece] = starts[piece] + pattern
        for piece in range(pieces):
            for j in range(WIDTH):
                sums[slots[piece, j]] += table[lines[piece], j]
        for feature in range(features):
            out[row, feature] = sums[feature]


@compiled
def find_patterns(  # noqa: PLR0913
    matrix: Any,
    columns: Any,
    cuts: Any,
    cut_starts: Any,
    widths: Any,
    split_column: Any,
    split_bin: Any,
    patterns: Any,
) -> None:
    """Write the patterns of a block of rows at every piece into ``patterns``, uint8 (pieces, rows).

    A value is replaced by its bin, the number of the column's cuts below it: ``value <= cuts[k]``
    is then ``bin <= k``, and one instruction compares 32 such small integers.
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
                # "not <=" and not ">", because NaN must count as above every cut.
                below[row] += np.uint16(not values[row] <= threshold)
    for piece in range(len(widths)):
        pattern = patterns[piece]
        for row in range(rows):
            pattern[row] = 0
        for j in range(widths[piece, 0]):
            below, last = bins[split_column[piece, j]], split_bin[piece, j]
            bit = np.uint8(1 << j)
            for row in range(rows):
                pattern[row] |= bit if below[row] <= last else np.uint8(0)


@compiled
def add_lines(patterns: Any, starts: Any, widths: Any, slots: Any, table: Any, out: Any) -> None:
    """Write the contributions of a block of rows into ``out``, piece by piece.

    A piece's table stays in the processor's cache for all rows.  The additions are in the order of
    :func:`explain_rows`, so that a row gets the same bits from both functions.
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


@compiled
def compare_with_leaf(new: int, old: int, conditions: Any, width: int) -> tuple[int, int]:
    """How many conditions of a leaf only the new pattern satisfies, and how many only the old one.

    Both are 0 if some condition is satisfied by neither: between two such rows the leaf is nothing.
    """
    gained, lost = 0, 0
    for j in range(width):
        in_new = (new & conditions[j, 1]) == conditions[j, 2]
        in_old = (old & conditions[j, 1]) == conditions[j, 2]
        if not (in_new or in_old):
            return 0, 0
        gained += in_new and not in_old
        lost += in_old and not in_new
    return gained, lost


@compiled
def split_changes(  # noqa: PLR0913
    now: Any,
    earlier: Any,
    starts: Any,
    widths: Any,
    conditions: Any,
    values: Any,
    weights: Any,
    out: Any,
) -> None:
    """Write the split of the change from each earlier row to today's into ``out``, row by row.

    ``now`` and ``earlier`` are patterns, uint8 (pieces, rows); the other arrays are of a
    :class:`~serving.decision.scoring.leaf_table.LeafTable` and ``change_weights``.  A leaf adds to
    the features whose conditions only today's row satisfies, and takes from those that only the
    earlier row satisfies.
    """
    out[:, :] = 0.0
    for piece in range(len(starts) - 1):
        for row in range(out.shape[0]):
            new, old = now[piece, row], earlier[piece, row]
            if new == old:
                continue
            for leaf in range(starts[piece], starts[piece + 1]):
                gained, lost = compare_with_leaf(
                    new,
                    old,
                    conditions[leaf],
                    widths[leaf],
                )
                for j in range(widths[leaf] if gained + lost else 0):
                    feature, tested, wanted = conditions[leaf, j]
                    if (new & tested) != wanted:  # only the earlier row satisfies it
                        out[row, feature] -= values[leaf] * weights[lost, gained]
                    elif (old & tested) != wanted:
                        out[row, feature] += values[leaf] * weights[gained, lost]


@compiled
def add_values(
    patterns: Any,
    starts: Any,
    values: Any,
    out: Any,
) -> None:
    """Write the sum of each row's leaves into ``out``, float64 (rows,), piece by piece.

    ``patterns`` are uint8 (pieces, rows); ``starts`` and ``values`` are of a
    :class:`~serving.decision.scoring.leaf_values.LeafValues`.
    """
    rows = out.shape[0]
    for row in range(rows):
        out[row] = 0.0
    for piece in range(len(starts)):
        pattern = patterns[piece]
        start = np.uint64(starts[piece])
        for row in range(rows):
            out[row] += values[start + pattern[row]]


@compiled
def add_up(
    base: Any,
    contributions: Any,
    log_odds: Any,
    tolerance: float,
) -> bool:
    """Whether base and contributions of each row are its log-odds; NaN is not.

    ``contributions`` is float64 (rows, features), the others are float64 (rows,).
    """
    for row in range(len(log_odds)):
        total = base[row]
        for contribution in contributions[row]:
            total += contribution
        # "not <=" and not ">", because NaN must fail too.
        if not abs(total - log_odds[row]) <= tolerance:
            return False
    return True
