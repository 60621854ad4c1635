"""Keys are served in turn, by cost, whatever they send."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.web.fair_queue import FairQueue
from tests.support.each import each

KEYS = ("a", "b", "c")
PUSHES = st.lists(st.tuples(st.sampled_from(KEYS), st.floats(0.1, 100)), min_size=1, max_size=40)


def filled(pushes: list[tuple[str, float]]) -> FairQueue[tuple[str, int, float]]:
    queue = FairQueue[tuple[str, int, float]]()
    for number, (key, cost) in enumerate(pushes):
        queue.push(key, cost, (key, number, cost))
    return queue


@given(PUSHES)
def test_every_item_is_served_once_and_a_key_s_in_their_order(
    pushes: list[tuple[str, float]],
) -> None:
    queue = filled(pushes)
    popped = [queue.pop() for _ in range(len(queue))]
    assert sorted(number for _, number, _ in popped) == list(range(len(pushes)))
    for key in each(KEYS):
        numbers = [number for name, number, _ in popped if name == key]
        assert numbers == sorted(numbers)


@given(PUSHES)
def test_no_waiting_key_is_served_more_than_another_by_more_than_one_item(
    pushes: list[tuple[str, float]],
) -> None:
    """The bound of start-time fair queuing, for keys that wait from the beginning."""
    queue = filled(pushes)
    largest = max(cost for _, cost in pushes)
    left = Counter(key for key, _ in pushes)
    served = dict.fromkeys(left, 0.0)
    while len(queue):
        key, _, cost = queue.pop()
        served[key] += cost
        left[key] -= 1
        waiting = [served[name] for name in left if left[name]]
        assert not waiting or max(waiting) - min(waiting) <= 2 * largest


def test_a_queue_in_order_of_arrival_would_be_unfair() -> None:
    """The control: what the bound is about."""
    pushes = [("a", 10.0)] * 20 + [("b", 1.0)]
    queue = filled(pushes)
    assert [queue.pop()[0] for _ in range(2)] == ["a", "b"]
    assert [key for key, _ in pushes[:2]] == ["a", "a"]


def test_an_idle_key_gets_no_credit() -> None:
    queue = FairQueue[str]()
    for _ in range(10):
        queue.push("busy", 1.0, "busy")
        queue.pop()
    for number in range(3):
        queue.push("busy", 1.0, f"busy {number}")
        queue.push("late", 1.0, f"late {number}")
    served = [queue.pop().split()[0] for _ in range(4)]
    assert sorted(served) == ["busy", "busy", "late", "late"]


def test_an_item_that_nobody_waits_for_is_removed() -> None:
    queue = FairQueue[str]()
    queue.push("a", 1.0, "first")
    queue.push("a", 1.0, "second")
    assert not queue.remove("b", "first")
    assert queue.remove("a", "first")
    assert not queue.remove("a", "first")
    assert queue.pop_newest("a") == "second"
    assert queue.pop_newest("a") is None
    assert queue.pop_newest("nobody") is None
    assert len(queue) == 0
    with pytest.raises(LookupError, match="the queue is empty"):
        queue.pop()
