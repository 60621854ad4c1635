"""Trees to tables of Shapley values: one look-up tells what a piece of a tree contributes to each
of its features.

The value of a leaf reaches a row only where the row satisfies what each feature on the leaf's path
asks.  Let x be the row, z one of the reference population, A the features whose conditions only x
satisfies and B those that only z does.  If neither satisfies some condition, the leaf plays no part
between the two.  Otherwise, with v the leaf's value, a = |A| and b = |B|, its exact interventional
Shapley values are (Lundberg et al. 2020, arXiv 1905.04610)

    i in A:  + v (a - 1)! b! / (a + b)!        i in B:  - v a! (b - 1)! / (a + b)!

They depend on x and z only by the two sets of satisfied conditions, of which a leaf with d features
on its path has 2^d.  So the mean over the reference is taken once, here, as 2^d frequencies; what
remains is a table of 2^d lines (the idea of FastTreeSHAP, arXiv 2109.09847, and of WOODELF, AAAI
2026).  Leaves whose paths share splits share one table: a tree is cut into the largest pieces with
at most 8 splits on and above them, and a line is found by one bit for each split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

from features.types import Matrix, Vector
from serving.decision.scoring import kernels
from serving.decision.scoring.kernels import WIDTH
from serving.decision.scoring.lightgbm_trees import Forest, Tree, TreeError

MOST_BYTES = 2**30  # of the tables of one reference population
MOST_CUTS = 2**16 - 1  # of a column: a bin is two bytes
# What a feature asks of a row: (place of the split among the piece's, whether the row must go left)
# of each of its splits.
Condition = tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of a piece: its value, the slots of the features on its path in order, and what each
    asks of a row.

    ``cover`` is, for each of these features, the share of training rows that its splits sent
    towards the leaf.
    """

    value: float
    slots: tuple[int, ...]
    conditions: tuple[Condition, ...]
    cover: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a tree that gets one table: the splits on and above it, their features, its leaves."""

    tree: Tree
    splits: tuple[int, ...]
    features: tuple[int, ...]
    leaves: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything stands, whatever the reference: see :mod:`serving.decision.scoring.kernels`
    for the words.

    ``columns`` int32 (columns, 3); ``cuts`` float64, sorted within each column, which begins at
    ``cut_starts`` int64; ``starts`` int64 (pieces + 1) first line of each table; ``widths`` int32
    (pieces, 2) its splits and its slots; ``split_column`` int32, ``split_threshold`` float64 (NaN
    where there is no such split), ``split_bin`` uint16 and ``slots`` int32 (``features`` where
    there is no such slot), all (pieces, 8).  ``constant``: the leaves of trees without splits.
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


def flatten_trees(forest: Forest) -> Layout:
    """The pieces of all trees and where their tables stand.

    Raises :class:`TreeError` where the tables would take more than 1 GiB, or a feature has more
    than 65,535 thresholds.
    """
    pieces = tuple(piece for tree in forest.trees if tree.feature for piece in _pieces(tree))
    lines = np.cumsum([0, *(2 ** len(piece.splits) for piece in pieces)])
    needed = int(lines[-1]) * WIDTH * 8
    if needed > MOST_BYTES:
        raise TreeError(
            f"{len(forest.trees)} trees: expected tables of at most {MOST_BYTES / 2**20:,.0f} MiB, these would take "
            f"{needed / 2**20:,.0f} MiB; fit fewer, smaller trees"
        )
    columns = _columns(forest)
    number = {column: place for place, column in enumerate(columns)}
    made = Layout(
        features=forest.features,
        constant=sum((tree.leaf[0] for tree in forest.trees if not tree.feature), 0.0),
        pieces=pieces,
        columns=np.array(list(columns), np.int32).reshape(-1, 3),
        cuts=np.concatenate([np.empty(0), *columns.values()]),
        cut_starts=np.cumsum([0, *map(len, columns.values())]),
        starts=lines,
        widths=np.array(
            [(len(piece.splits), len(piece.features)) for piece in pieces], np.int32
        ).reshape(-1, 2),
        split_column=np.zeros((len(pieces), WIDTH), np.int32),
        split_threshold=np.full((len(pieces), WIDTH), np.nan),
        split_bin=np.zeros((len(pieces), WIDTH), np.uint16),
        slots=np.full((len(pieces), WIDTH), forest.features, np.int32),
    )
    for place, piece in enumerate(pieces):
        made.slots[place, : len(piece.features)] = piece.features
        for j, split in enumerate(piece.splits):
            column, threshold = _column(piece.tree, split), piece.tree.threshold[split]
            made.split_column[place, j] = number[column]
            made.split_threshold[place, j] = threshold
            made.split_bin[place, j] = np.searchsorted(columns[column], threshold)
    return made


def blocks(matrix: Matrix) -> Iterator[Matrix]:
    """The rows of ``matrix`` in blocks of at most ``kernels.BLOCK``."""
    return (matrix[first : first + kernels.BLOCK] for first in range(0, len(matrix), kernels.BLOCK))


def patterns_of(layout: Layout, block: Matrix) -> NDArray[np.uint8]:
    """The patterns of a block of rows in every table, uint8 (pieces, rows)."""
    at, patterns = layout, np.empty((len(layout.pieces), len(block)), np.uint8)
    kernels.find_patterns(
        block,
        at.columns,
        at.cuts,
        at.cut_starts,
        at.widths,
        at.split_column,
        at.split_bin,
        patterns,
    )
    return patterns


def tables_for_reference(layout: Layout, reference: Matrix) -> tuple[Matrix, float]:
    """The tables against the rows of ``reference``, float64 (lines, 8), and the mean raw log-odds
    of these rows.
    """
    patterns = np.hstack([patterns_of(layout, block) for block in blocks(reference)])
    counts = [
        np.bincount(met, minlength=2**splits)
        for met, splits in zip(patterns, layout.widths[:, 0], strict=True)
    ]

    def frequencies(place: int, leaf: Leaf) -> Vector:
        codes = _codes(len(layout.pieces[place].splits), leaf.conditions)
        met: Vector = np.bincount(codes, counts[place], minlength=2 ** len(leaf.slots)) / len(
            reference
        )
        return met

    return _tables(layout, frequencies)


def against_cover(layout: Layout) -> tuple[Matrix, float]:
    """The tables of the path-dependent values, LightGBM's ``pred_contrib``, and their base.

    There a feature that is not known is averaged over the shares of training rows that each split
    sent either way.
    """

    def frequencies(place: int, leaf: Leaf) -> Vector:
        met = np.ones(1)
        for share in leaf.cover:  # bit i of a code is the i-th feature: later features vary slower
            met = np.concatenate([met * (1.0 - share), met * share])
        return met

    return _tables(layout, frequencies)


def _tables(layout: Layout, frequencies: Callable[[int, Leaf], Vector]) -> tuple[Matrix, float]:
    """``frequencies`` gives the share of the population with each code (see :func:`_codes`) at a
    leaf of a piece.
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
    """Shapley value of each feature of a leaf of value 1, float64 (codes of x, features, codes of
    z).
    """
    codes = np.arange(2**features)
    bits = codes[:, None] >> np.arange(features) & 1
    x, z = bits[:, None, :], bits[None, :, :]
    only_x, only_z = x & (1 - z), z & (1 - x)
    a, b = only_x.sum(axis=2), only_z.sum(axis=2)
    factorials = np.array([float(factorial(n)) for n in range(features + 1)])
    both = factorials[np.minimum(a + b, features)]
    for_x = factorials[np.maximum(a - 1, 0)] * factorials[b] / both
    for_z = factorials[a] * factorials[np.maximum(b - 1, 0)] / both
    plays = ((x | z).sum(axis=2) == features)[:, :, None]
    weights: NDArray[np.float64] = np.where(
        plays, only_x * for_x[:, :, None] - only_z * for_z[:, :, None], 0.0
    )
    return np.ascontiguousarray(weights.transpose(0, 2, 1))


@lru_cache(maxsize=65536)
def _codes(splits: int, conditions: tuple[Condition, ...]) -> NDArray[np.uint8]:
    """For each pattern of a piece's splits: bit i is set where what the leaf's i-th feature asks is
    satisfied.
    """
    patterns = np.arange(2**splits)
    code = np.zeros(len(patterns), np.uint8)
    for i, condition in enumerate(conditions):
        satisfied = np.ones(len(patterns), bool)
        for place, left in condition:
            satisfied &= (patterns >> place & 1) == left
        code |= satisfied.astype(np.uint8) << i
    return code


def _pieces(tree: Tree) -> list[Piece]:
    """The tree cut from its root into the largest pieces with at most 8 splits on and above them."""
    made = []
    waiting: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    while waiting:
        node, above = waiting.pop()
        splits = (*above, *tree.splits_below(node))
        if len(splits) <= WIDTH:
            made.append(_piece(tree, node, above, splits))
        else:
            waiting += [(child, (*above, node)) for child in reversed(tree.children(node))]
    return made


def _piece(tree: Tree, node: int, above: tuple[int, ...], splits: tuple[int, ...]) -> Piece:
    features = tuple(sorted({tree.feature[split] for split in splits}))
    leaves = tuple(
        _leaf(tree, leaf, path, splits, features) for leaf, path in tree.paths(node, above)
    )
    return Piece(tree, splits, features, leaves)


def _leaf(
    tree: Tree, leaf: int, path: tuple[int, ...], splits: tuple[int, ...], features: Sequence[int]
) -> Leaf:
    conditions: dict[int, list[tuple[int, bool]]] = {}
    cover: dict[int, float] = {}
    for split, below, left in zip(path, (*path[1:], ~leaf), tree.turns(leaf, path), strict=True):
        slot = features.index(tree.feature[split])
        conditions.setdefault(slot, []).append((splits.index(split), left))
        cover[slot] = cover.get(slot, 1.0) * (tree.cover(below) / tree.cover(split))
    slots = tuple(sorted(conditions))
    return Leaf(
        tree.leaf[leaf],
        slots,
        tuple(tuple(conditions[slot]) for slot in slots),
        tuple(cover[slot] for slot in slots),
    )


def _column(tree: Tree, split: int) -> tuple[int, int, int]:
    """Feature, missing type and default direction: what decides how a value is read at a split."""
    missing = tree.missing[split]
    return tree.feature[split], missing, int(tree.default_left[split]) if missing else 0


def _columns(forest: Forest) -> dict[tuple[int, int, int], Vector]:
    """Every column with its cuts: the distinct thresholds in order."""
    found: dict[tuple[int, int, int], set[float]] = {}
    for tree in forest.trees:
        for split, threshold in enumerate(tree.threshold):
            found.setdefault(_column(tree, split), set()).add(threshold)
    for column, cuts in found.items():
        if len(cuts) > MOST_CUTS:
            raise TreeError(
                f"feature {column[0]}: expected at most {MOST_CUTS} thresholds, got {len(cuts)}; fit with fewer bins"
            )
    return {column: np.array(sorted(cuts)) for column, cuts in sorted(found.items())}
