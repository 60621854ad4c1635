"""Loops that hold a test's only asserts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def each(items: Iterable[T]) -> list[T]:
    """The items as a list; AssertionError if there are none.

    A test whose asserts all stand in a loop passes on an empty iterable and proves nothing.

    >>> for letter in each("ab"):
    ...     assert letter.islower()
    >>> each([])
    Traceback (most recent call last):
    AssertionError: expected items to check, got none
    """
    listed = list(items)
    if not listed:
        raise AssertionError("expected items to check, got none")
    return listed
