"""Garbage of requests is found soon, however much the process has loaded."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from serving.web.server.garbage import freeze_loaded

pytestmark = pytest.mark.checked  # a million objects
LOADED = 1_000_000
VALUES = 50  # of a request
REQUESTS = 8_000
UNDER_WAY = 1_000  # so many requests are answered before the first of them is over
PROMPT = 4 * UNDER_WAY


class Request:
    """What refers to itself, so that only the collector finds it."""

    alive = 0

    def __init__(self) -> None:
        self.own = self
        self.values: list[list[int]] = [[] for _ in range(VALUES)]
        Request.alive += 1

    def __del__(self) -> None:
        Request.alive -= 1


def most_alive(freeze: Callable[[], object]) -> int:
    """The most requests that were in memory at a time, in a process that has loaded much."""
    loaded = [[place] for place in range(LOADED)]
    freeze()
    under_way: deque[Request] = deque(maxlen=UNDER_WAY)
    most = 0
    for _ in range(REQUESTS):
        under_way.append(Request())
        most = max(most, Request.alive)
    under_way.clear()
    assert len(loaded) == LOADED
    gc.unfreeze()
    gc.collect()
    assert Request.alive == 0
    return most


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_garbage_is_found_soon_beside_what_is_loaded() -> None:
    assert most_alive(freeze_loaded) < PROMPT


def test_garbage_stays_where_the_loaded_count_on() -> None:
    """The control."""

    def freeze_as_usual() -> None:
        gc.collect()
        gc.freeze()

    assert most_alive(freeze_as_usual) > PROMPT
