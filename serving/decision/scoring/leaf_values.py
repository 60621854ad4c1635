"""The raw log-odds of many rows by look-ups, compiled.

The search for advice scores hundreds of rows an account, and LightGBM's own prediction takes 8 us a
row for 200 trees of 16 leaves.  Here each piece of a tree has a table with the value of the leaf
for each pattern, or 0 for a leaf of another piece; a row costs one look-up a piece.

The bits are those of ``Booster.predict``: both add the same leaves in the order of the trees, and
to add 0 changes nothing.  A decision's own log-odds still come from LightGBM, so that its
prediction and our tables test each other.  The accounts of a portfolio that plainly keep their
limit have log-odds from here alone; the others of the portfolio are compared with LightGBM's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.types import Matrix, Rows, Vector
from serving.decision.scoring import kernels
from serving.decision.scoring.lightgbm_trees import Forest
from serving.decision.scoring.shapley_tables import Layout, blocks


@dataclass(frozen=True, slots=True)
class LeafValues:
    """The tables of a model; read-only.

    A tree without splits is a piece without splits here, in its place among the others.

    Attributes:
        layout: Its features, columns and cuts are used.
        widths: int32 (pieces, 2): the number of splits first.
        split_column: int32 (pieces, 8).
        split_bin: uint16 (pieces, 8).
        starts: int64 (pieces,): the line of each piece's pattern 0.
        values: float64 (lines,), in log-odds.
    """

    layout: Layout
    widths: NDArray[np.int32]
    split_column: NDArray[np.int32]
    split_bin: NDArray[np.uint16]
    starts: Rows
    values: Vector

    def predict(self, matrix: Matrix, places: Rows | None = None) -> Vector:
        """The raw score of each row of (rows, features), float64 (rows,); NaN = unknown.

        A row gets the same bits whichever other rows are in ``matrix``.  ``places`` are the columns
        of ``matrix`` that have the features, int64 (features,); None = it has them alone, in order.

        Raises:
            ValueError: The matrix has another width, or another number of features has places.
        """
        layout = self.layout
        width = matrix.shape[1] if matrix.ndim == 2 else 0
        known = width if places is None else len(places)
        if known != layout.features:
            raise ValueError(f"expected rows of {layout.features} features, got {matrix.shape}")
        columns = layout.columns
        if places is not None:
            columns = columns.copy()
            columns[:, 0] = places[columns[:, 0]]
        plain = np.require(matrix, np.float64, ["C", "W", "A"])
        out = np.empty(len(plain))
        for block, own in zip(blocks(plain), blocks(out), strict=True):
            patterns = np.empty((len(self.widths), len(block)), np.uint8)
            kernels.find_patterns(
                block,
                columns,
                layout.cuts,
                layout.cut_starts,
                self.widths,
                self.split_column,
                self.split_bin,
                patterns,
            )
            kernels.add_values(patterns, self.starts, self.values, own)
        return out


def make_leaf_values(forest: Forest, layout: Layout) -> LeafValues:
    """The tables of these trees, of which ``layout`` has the pieces; their loop is compiled."""
    lines = [_line_values(layout, piece) for piece in range(len(layout.pieces))]
    starts = layout.starts[:-1]
    single = [tree.leaf[0] for tree in forest.trees if not tree.feature]
    before = _pieces_before_single(forest, layout)
    end = int(layout.starts[-1])
    made = LeafValues(
        layout=layout,
        widths=np.insert(layout.widths, before, 0, axis=0),
        split_column=np.insert(layout.split_column, before, 0, axis=0),
        split_bin=np.insert(layout.split_bin, before, 0, axis=0),
        starts=np.insert(starts, before, end + np.arange(len(single))),
        values=np.concatenate([*lines, single]),
    )
    made.predict(np.zeros((1, layout.features)))
    return made


def _line_values(layout: Layout, piece: int) -> Vector:
    """The value of the leaf for each pattern of a piece, 0 where the leaf is of another one."""
    table = layout.leaves
    patterns = np.arange(2 ** int(layout.widths[piece, 0]))
    values = np.zeros(len(patterns))
    for leaf in range(table.starts[piece], table.starts[piece + 1]):
        conditions = table.conditions[leaf, : table.widths[leaf]]
        holds = (patterns[:, None] & conditions[:, 1]) == conditions[:, 2]
        values[holds.all(axis=1)] = table.values[leaf]
    return values


def _pieces_before_single(forest: Forest, layout: Layout) -> list[int]:
    """How many pieces the trees before each tree without splits have."""
    of_tree: dict[int, int] = {}
    for piece in layout.pieces:
        of_tree[id(piece.tree)] = of_tree.get(id(piece.tree), 0) + 1
    before, single = 0, []
    for tree in forest.trees:
        if not tree.feature:
            single.append(before)
        before += of_tree.get(id(tree), 0)
    return single
