from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.portfolio.recorded.merkle import MerkleTree, proves

ROWS = st.lists(st.binary(max_size=8), max_size=40)


def slow_root(rows: list[bytes]) -> bytes:
    """The definition of RFC 9162, section 2.1.1, word for word."""
    if not rows:
        return hashlib.sha256(b"").digest()
    if len(rows) == 1:
        return hashlib.sha256(b"\x00" + rows[0]).digest()
    half = 1
    while 2 * half < len(rows):
        half *= 2
    return hashlib.sha256(b"\x01" + slow_root(rows[:half]) + slow_root(rows[half:])).digest()


@given(ROWS)
def test_the_root_is_that_of_the_definition(rows: list[bytes]) -> None:
    assert MerkleTree(rows).root == slow_root(rows)


@given(ROWS.filter(bool), st.data())
def test_each_row_is_proven_and_no_other(rows: list[bytes], data: st.DataObject) -> None:
    tree = MerkleTree(rows)
    place = data.draw(st.integers(0, len(rows) - 1))
    proof = tree.proof(place)
    assert proves(rows[place], place, len(rows), proof, tree.root)
    other = data.draw(st.binary(max_size=8).filter(lambda row: row != rows[place]))
    assert not proves(other, place, len(rows), proof, tree.root)
    assert not proves(rows[place], place, len(rows), [*proof, b"x"], tree.root)
    assert not proof or not proves(rows[place], place, len(rows), proof[:-1], tree.root)


def test_a_place_that_is_none_has_no_proof() -> None:
    tree = MerkleTree([b"a"])
    assert not proves(b"a", 1, 1, [], tree.root)
    with pytest.raises(IndexError, match="got 1"):
        tree.proof(1)
