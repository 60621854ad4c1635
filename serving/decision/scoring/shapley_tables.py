"""Tables of Shapley values: one look-up gives the contributions of a piece of a tree.

A row reaches a leaf if it satisfies the conditions of each feature on the leaf's path.  Let x be
the row, z a row of the reference population, A the set of features whose conditions only x
satisfies and B the set of those that only z satisfies.  If neither satisfies the conditions of some
feature, the leaf contributes nothing between the two.  Otherwise, with v the leaf's value, a = |A|
and b = |B|, its exact interventional Shapley values are (Lundberg et al. 2020, arXiv 1905.04610)

    i in A:  + v (a - 1)! b! / (a + b)!        i in B:  - v a! (b - 1)! / (a + b)!

They depend on x and z only through the two sets of satisfied conditions, and a leaf with d features
on its path has 2^d such sets.  So the mean over the reference is taken once, here, as 2^d
frequencies; the result is a table of 2^d lines (the idea of FastTreeSHAP, arXiv 2109.09847, and of
WOODELF, AAAI 2026).  Leaves whose paths share splits share one table: a tree is cut into the
largest pieces with at most 8 splits on and above them, and one bit per split gives the line.

:mod:`serving.decision.scoring.kernels` defines the words *piece*, *pattern*, *slot* and *column*.
A *code* is the same for a leaf as a pattern for a piece: bit i is set if the conditions of the
leaf's i-th feature are satisfied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from features.types import Matrix, Vector
from serving.decision.scoring import kernels
from serving.decision.scoring.kernels import WIDTH
from serving.decision.scoring.leaf_table import LeafTable, make_leaf_table
from serving.decision.scoring.lightgbm_trees import Forest, Tree, TreeError

MAX_BYTES = 2**30  # of the tables of one reference population
MAX_CUTS = 2**16 - 1  # of a column: a bin is two bytes
# The conditions of one feature on a leaf's path: for each of its splits, the position among the
# piece's splits and whether the row must go left.
Condition = tuple[tuple[int, bool], ...]
# Feature, missing type and default direction.
Column = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of a piece.

    Attributes:
        value: The value in log-odds.
        slots: The slots of the features on the path, in order.
        conditions: The conditions of each of these features.
        cover: For each of these features, the share of training rows that its splits sent towards
            the leaf; NaN if the model does not say.
    """

    value: float
    slots: tuple[int, ...]
    conditions: tuple[Condition, ...]
    cover: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a tree with one table: the splits on and above it, their features, its leaves."""

    tree: Tree
    splits: tuple[int, ...]
    features: tuple[int, ...]
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The pieces of a forest and the positions of their tables, the same for every reference.

    Attributes:
        features: The number of features.
        constant: The sum of the leaves of trees without splits.
        pieces: The pieces of all trees.
        columns: int32 (columns, 3): feature, missing type and default direction.
        cuts: float64: the thresholds of all columns, sorted within each column.
        cut_starts: int64 (columns + 1): the first cut of each column.
        starts: int64 (pieces + 1): the first line of each table.
        widths: int32 (pieces, 2): the number of splits and of slots.
        split_column: int32 (pieces, 8).
        split_threshold: float64 (pieces, 8), NaN after the last split.
        split_bin: uint16 (pieces, 8): the threshold's position among the column's cuts.
        slots: int32 (pieces, 8): the features, or ``features`` after the last one.
        leaves: The leaves of the pieces.
    """

    features: int
    constant: float
    pieces: tuple[Piece, ...]
    columns: NDArray[np.int32]
    cuts: Vector
    cut_starts: NDArray[np.int64]
    starts: NDArray[np.int64]
    widths: NDArray[np.int32]
    split_column: NDArray[np.int32]
    split_threshold: Matrix
    split_bin: NDArray[np.uint16]
    slots: NDArray[np.int32]
    leaves: LeafTable


def flatten_trees(forest: Forest) -> Layout:
    """The pieces of all trees and the positions of their tables.

    Raises:
        TreeError: The tables would take more than 1 GiB, or a feature has more than 65,535
            thresholds.
    """
    pieces: list[Piece] = []
    for tree in forest.trees:
        if tree.feature:
            pieces += _split_tree(tree)
    lines = np.cumsum([0, *(2 ** len(piece.splits) for piece in pieces)])
    _check_size(int(lines[-1]), len(forest.trees))
    cuts = _cuts_by_column(forest)
    widths = [(len(piece.splits), len(piece.features)) for piece in pieces]
    shape = (len(pieces), WIDTH)
    layout = Layout(
        features=forest.features,
        constant=sum((tree.leaf[0] for tree in forest.trees if not tree.feature), 0.0),
        pieces=tuple(pieces),
        columns=np.array(list(cuts), np.int32).reshape(-1, 3),
        cuts=np.concatenate([np.empty(0), *cuts.values()]),
        cut_starts=np.cumsum([0, *map(len, cuts.values())]),
        starts=lines,
        widths=np.array(widths, np.int32).reshape(-1, 2),
        split_column=np.zeros(shape, np.int32),
        split_threshold=np.full(shape, np.nan),
        split_bin=np.zeros(shape, np.uint16),
        slots=np.full(shape, forest.features, np.int32),
        leaves=make_leaf_table(pieces),
    )
    _fill_splits(layout, cuts)
    return layout


def _check_size(lines: int, trees: int) -> None:
    needed = lines * WIDTH * 8
    if needed > MAX_BYTES:
        raise TreeError(
            f"{trees} trees: expected tables of at most {MAX_BYTES / 2**20:,.0f} MiB, "
            f"these would take {needed / 2**20:,.0f} MiB; fit fewer, smaller trees"
        )


def _fill_splits(layout: Layout, cuts: Mapping[Column, Vector]) -> None:
    column_number = {column: number for number, column in enumerate(cuts)}
    for place, piece in enumerate(layout.pieces):
        layout.slots[place, : len(piece.features)] = piece.features
        for j, split in enumerate(piece.splits):
            column, threshold = _column(piece.tree, split), piece.tree.threshold[split]
            layout.split_column[place, j] = column_number[column]
            layout.split_threshold[place, j] = threshold
            layout.split_bin[place, j] = np.searchsorted(cuts[column], threshold)


def blocks(matrix: Matrix) -> Iterator[Matrix]:
    """The rows of ``matrix`` in blocks of at most ``kernels.BLOCK``."""
    for first in range(0, len(matrix), kernels.BLOCK):
        yield matrix[first : first + kernels.BLOCK]


def patterns_of(layout: Layout, block: Matrix) -> NDArray[np.uint8]:
    """The patterns of a block of rows at every piece, uint8 (pieces, rows)."""
    patterns = np.empty((len(layout.pieces), len(block)), np.uint8)
    kernels.find_patterns(
        block,
        layout.columns,
        layout.cuts,
        layout.cut_starts,
        layout.widths,
        layout.split_column,
        layout.split_bin,
        patterns,
    )
    return patterns


def tables_for_reference(layout: Layout, reference: Matrix) -> tuple[Matrix, float]:
    """The tables for a reference population, float64 (lines, 8), and its mean raw log-odds.

    ``reference`` is float64 (rows, features), NaN = unknown.
    """
    patterns = np.hstack([patterns_of(layout, block) for block in blocks(reference)])
    counts = [
        np.bincount(patterns[place], minlength=2 ** len(piece.splits))
        for place, piece in enumerate(layout.pieces)
    ]

    def frequencies(place: int, leaf: Leaf) -> Vector:
        codes = _codes(len(layout.pieces[place].splits), leaf.conditions)
        rows = np.bincount(codes, counts[place], minlength=2 ** len(leaf.slots))
        shares: Vector = rows / len(reference)
        return shares

    return _make_tables(layout, frequencies)


def tables_for_cover(layout: Layout) -> tuple[Matrix, float]:
    """The tables of the path-dependent values, LightGBM's ``pred_contrib``, and their base.

    These values average an unknown feature over the shares of training rows that each split sent
    to either side.

    Raises:
        TreeError: The model's text has no counts of training rows.
    """

    def frequencies(place: int, leaf: Leaf) -> Vector:
        if any(map(math.isnan, leaf.cover)):
            raise TreeError(
                "expected counts of training rows (internal_count, leaf_count), got none: without "
                "them the model can be explained against a reference only"
            )
        shares = np.ones(1)
        for share in leaf.cover:  # bit i of a code is the i-th feature: later features vary slower
            shares = np.concatenate([shares * (1.0 - share), shares * share])
        return shares

    return _make_tables(layout, frequencies)


def _make_tables(
    layout: Layout, frequencies: Callable[[int, Leaf], Vector]
) -> tuple[Matrix, float]:
    """The tables and the base.

    ``frequencies`` gives the share of the population with each code at a leaf of a piece.
    """
    table = np.zeros((int(layout.starts[-1]), WIDTH))
    base = layout.constant
    for place, piece in enumerate(layout.pieces):
        lines = table[layout.starts[place] : layout.starts[place + 1]]
        for leaf in piece.leaves:
            share = frequencies(place, leaf)
            values = _weights(len(leaf.slots)) @ share * leaf.value
            lines[:, leaf.slots] += values[_codes(len(piece.splits), leaf.conditions)]
            base += leaf.value * float(share[-1])
    table.flags.writeable = False
    return table, base


@lru_cache(maxsize=WIDTH + 1)
def _weights(features: int) -> NDArray[np.float64]:
    """The Shapley values of a leaf of value 1, float64 (codes of x, features, codes of z)."""
    codes = np.arange(2**features)
    bits = codes[:, None] >> np.arange(features) & 1
    x, z = bits[:, None, :], bits[None, :, :]
    only_x, only_z = x & (1 - z), z & (1 - x)
    a, b = only_x.sum(axis=2), only_z.sum(axis=2)
    factorials = np.array([float(factorial(n)) for n in range(features + 1)])
    both = factorials[np.minimum(a + b, features)]
    for_x = factorials[np.maximum(a - 1, 0)] * factorials[b] / both
    for_z = factorials[a] * factorials[np.maximum(b - 1, 0)] / both
    each_satisfied = ((x | z).sum(axis=2) == features)[:, :, None]
    signed = only_x * for_x[:, :, None] - only_z * for_z[:, :, None]
    weights: NDArray[np.float64] = np.where(each_satisfied, signed, 0.0)
    return np.ascontiguousarray(weights.transpose(0, 2, 1))


@lru_cache(maxsize=65536)
def _codes(splits: int, conditions: tuple[Condition, ...]) -> NDArray[np.uint8]:
    """The leaf's code for each pattern of a piece with that many splits, uint8 (2**splits,)."""
    patterns = np.arange(2**splits)
    codes = np.zeros(len(patterns), np.uint8)
    for i, condition in enumerate(conditions):
        satisfied = np.ones(len(patterns), bool)
        for place, left in condition:
            satisfied &= (patterns >> place & 1) == left
        codes |= satisfied.astype(np.uint8) << i
    return codes


def _split_tree(tree: Tree) -> list[Piece]:
    """The tree, from its root, in the largest pieces with at most 8 splits on and above them."""
    pieces = []
    waiting: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while waiting:
        node, above = waiting.pop()
        splits = (*above, *tree.splits_below(node))
        if len(splits) <= WIDTH:
            pieces.append(_piece(tree, node, above, splits))
            continue
        path = (*above, node)
        waiting += [(child, path) for child in reversed(tree.children(node))]
    return pieces


def _piece(tree: Tree, node: int, above: tuple[int, ...], splits: tuple[int, ...]) -> Piece:
    features = tuple(sorted({tree.feature[split] for split in splits}))
    leaves = [
        _leaf(
            tree,
            leaf,
            path,
            splits,
            features,
        )
        for leaf, path in tree.paths(node, above)
    ]
    return Piece(tree, splits, features, tuple(leaves))


def _leaf(
    tree: Tree, leaf: int, path: tuple[int, ...], splits: tuple[int, ...], features: Sequence[int]
) -> Leaf:
    conditions: dict[int, list[tuple[int, bool]]] = {}
    cover: dict[int, float] = {}
    children = (*path[1:], ~leaf)
    for split, child, left in zip(path, children, tree.turns(leaf, path), strict=True):
        slot = features.index(tree.feature[split])
        conditions.setdefault(slot, []).append((splits.index(split), left))
        cover[slot] = cover.get(slot, 1.0) * tree.share_sent(split, child)
    slots = tuple(sorted(conditions))
    return Leaf(
        value=tree.leaf[leaf],
        slots=slots,
        conditions=tuple(tuple(conditions[slot]) for slot in slots),
        cover=tuple(cover[slot] for slot in slots),
    )


def _column(tree: Tree, split: int) -> Column:
    missing = tree.missing[split]
    # The default direction has no effect at a split without missing values.
    default_left = int(tree.default_left[split]) if missing else 0
    return tree.feature[split], missing, default_left


def _cuts_by_column(forest: Forest) -> dict[Column, Vector]:
    """The distinct thresholds of every column, in order."""
    thresholds: dict[Column, set[float]] = {}
    for tree in forest.trees:
        for split, threshold in enumerate(tree.threshold):
            thresholds.setdefault(_column(tree, split), set()).add(threshold)
    for column, cuts in thresholds.items():
        if len(cuts) > MAX_CUTS:
            raise TreeError(
                f"feature {column[0]}: expected at most {MAX_CUTS} thresholds, got {len(cuts)}; "
                "fit with fewer bins"
            )
    return {column: np.array(sorted(cuts)) for column, cuts in sorted(thresholds.items())}
