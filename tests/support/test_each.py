"""A loop over what may be empty proves nothing."""

from __future__ import annotations

import pytest

from tests.support.each import each


def test_each_gives_the_items_in_their_order() -> None:
    assert each([3, 1, 2]) == [3, 1, 2]


def test_each_gives_a_list_that_can_be_read_twice() -> None:
    squares = each(n * n for n in range(3))
    assert squares == list(squares) == [0, 1, 4]


@pytest.mark.parametrize("empty", [[], "", {}, iter(())], ids=["list", "str", "dict", "iterator"])
def test_each_refuses_an_empty_iterable(empty: list[int]) -> None:
    with pytest.raises(AssertionError, match="expected items to check, got none"):
        each(empty)
