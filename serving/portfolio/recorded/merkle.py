"""Merkle trees: one hash that stands for many rows, and the proof that one row is among them.

The tree is that of RFC 9162, section 2.1: a leaf's hash is SHA-256(0x00, row), a node's is
SHA-256(0x01, left, right), and the left half is the largest power of two below the number of rows.
A proof is the hashes beside the way from the row to the root; it shows nothing else of the others.

>>> rows = [b"a", b"b", b"c"]
>>> tree = MerkleTree(rows)
>>> proves(b"b", 1, 3, tree.proof(1), tree.root)
True
>>> proves(b"x", 1, 3, tree.proof(1), tree.root)
False
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_LEAF, _NODE = b"\x00", b"\x01"


class MerkleTree:
    """The tree over these rows; ``root`` is 32 bytes, that of no rows the hash of nothing."""

    def __init__(self, rows: Sequence[bytes]) -> None:
        leaves = [_hash_leaf(row) for row in rows]
        self._levels = [leaves]
        while len(self._levels[-1]) > 1:
            self._levels.append(_parents(self._levels[-1]))

    @property
    def root(self) -> bytes:
        """The hash that stands for all rows."""
        top = self._levels[-1]
        return top[0] if top else hashlib.sha256(b"").digest()

    def proof(self, place: int) -> list[bytes]:
        """The hashes that lead from the row at this place to the root, from below.

        Raises:
            IndexError: There is no such row.
        """
        if not 0 <= place < len(self._levels[0]):
            raise IndexError(f"expected a row from 0 to {len(self._levels[0]) - 1}, got {place}")
        path = []
        for level in self._levels[:-1]:
            beside = place ^ 1
            # The last node of an odd level goes up as it is.
            if beside < len(level):
                path.append(level[beside])
            place //= 2
        return path


def proves(row: bytes, place: int, count: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that ``row`` is at this place of ``count`` rows with this root."""
    if not 0 <= place < count:
        return False
    path = list(proof)
    found, width = _hash_leaf(row), count
    while width > 1:
        if place ^ 1 < width:
            if not path:
                return False
            beside = path.pop(0)
            found = _hash_node(beside, found) if place % 2 else _hash_node(found, beside)
        place, width = place // 2, (width + 1) // 2
    return not path and found == root


def _parents(level: Sequence[bytes]) -> list[bytes]:
    pairs = zip(level[::2], level[1::2], strict=False)
    parents = [_hash_node(left, right) for left, right in pairs]
    return [*parents, level[-1]] if len(level) % 2 else parents


def _hash_leaf(row: bytes) -> bytes:
    return hashlib.sha256(_LEAF + row).digest()


def _hash_node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
