"""The leaves of a layout as arrays, for :func:`serving.decision.scoring.kernels.split_changes`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from features.types import Matrix, Vector
from serving.decision.scoring.kernels import WIDTH

if TYPE_CHECKING:  # shapley_tables imports this module
    from serving.decision.scoring.shapley_tables import Condition, Piece


@dataclass(frozen=True, slots=True)
class LeafTable:
    """The leaves of all pieces, in the order of the pieces.

    Attributes:
        starts: int64 (pieces + 1): the first leaf of each piece.
        widths: int32 (leaves,): the number of features on the path.
        conditions: int32 (leaves, 8, 3): for each of these features its number, the splits of the
            piece that test it as bits, and those of these bits that a row in the leaf has.
        values: float64 (leaves,), in log-odds.
    """

    starts: NDArray[np.int64]
    widths: NDArray[np.int32]
    conditions: NDArray[np.int32]
    values: Vector


def make_leaf_table(pieces: Sequence[Piece]) -> LeafTable:
    """The leaves of these pieces."""
    leaves = [(piece, leaf) for piece in pieces for leaf in piece.leaves]
    conditions = np.zeros(
        (len(leaves), WIDTH, 3),
        np.int32,
    )
    for place, (piece, leaf) in enumerate(leaves):
        for j, (slot, condition) in enumerate(
            zip(
                leaf.slots,
                leaf.conditions,
                strict=True,
            )
        ):
            conditions[place, j] = (piece.features[slot], *_bits(condition))
    return LeafTable(
        starts=np.cumsum([0, *(len(piece.leaves) for piece in pieces)]),
        widths=np.array(
            [len(leaf.slots) for _, leaf in leaves],
            np.int32,
        ),
        conditions=conditions,
        values=np.array(
            [leaf.value for _, leaf in leaves],
            np.float64,
        ),
    )


def change_weights() -> Matrix:
    """``(a - 1)! b! / (a + b)!`` in row a and column b, float64 (9, 9); row 0 is not used."""
    weights = np.zeros((WIDTH + 1, WIDTH + 1))
    for a in range(1, WIDTH + 1):
        for b in range(WIDTH + 1 - a):
            weights[a, b] = factorial(a - 1) * factorial(b) / factorial(a + b)
    return weights


def _bits(condition: Condition) -> tuple[int, int]:
    tested = sum(1 << place for place, _ in condition)
    wanted = sum(1 << place for place, left in condition if left)
    return tested, wanted
