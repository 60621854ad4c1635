"""A queue that serves the keys of callers in turn, by the cost of their work.

Start-time fair queuing (Goyal, Vin and Cheng 1996): each key has the total cost that it was served,
and the key with the least is next. A key that was idle gets no credit for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


@dataclass(slots=True)
class _Waiting(Generic[_Item]):
    cost: float
    item: _Item


@dataclass(slots=True)
class _Key(Generic[_Item]):
    served: float  # cost, on the clock of the queue
    waiting: deque[_Waiting[_Item]] = field(default_factory=deque)


class FairQueue(Generic[_Item]):
    """Items with their keys and costs; its length is the number of items.

    >>> queue = FairQueue[str]()
    >>> for number in range(3):
    ...     queue.push("many", 10.0, f"many {number}")
    >>> queue.push("few", 1.0, "few")
    >>> [queue.pop() for _ in range(4)]
    ['many 0', 'few', 'many 1', 'many 2']
    """

    def __init__(self) -> None:
        # As many as API keys, so none is dropped.
        self._keys: dict[str, _Key[_Item]] = {}
        self._served = 0.0  # of the key that was served last, when it was
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, key: str, cost: float, item: _Item) -> None:
        """Add an item behind those of its key."""
        self._entry(key).waiting.append(_Waiting(cost, item))
        self._length += 1

    def pass_through(self, key: str, cost: float) -> None:
        """Count an item as served that need not wait, because the queue is empty."""
        entry = self._entry(key)
        self._served = entry.served
        entry.served += cost

    def _entry(self, key: str) -> _Key[_Item]:
        """Return what is known of a key; one that was idle begins where the others are."""
        entry = self._keys.get(key)
        if entry is None:
            entry = self._keys[key] = _Key(self._served)
        if not entry.waiting:
            entry.served = max(entry.served, self._served)
        return entry

    def pop(self) -> _Item:
        """Remove and return the oldest item of the key that was served least.

        Raises :class:`LookupError` if there is none.
        """
        key = self.next_key()
        if key is None:
            raise LookupError("expected an item: the queue is empty")
        return self.pop_of(key)

    def next_key(self, may_be_served: Callable[[str], bool] = lambda _: True) -> str | None:
        """Return the key that was served least, of those that wait and may be served now."""
        waiting = [name for name, entry in self._keys.items() if entry.waiting]
        served = [name for name in waiting if may_be_served(name)]
        return min(served, key=lambda name: self._keys[name].served, default=None)

    def pop_of(self, key: str) -> _Item:
        """Remove and return the oldest item of this key, which must have one."""
        entry = self._keys[key]
        first = entry.waiting.popleft()
        self._served = entry.served
        entry.served += first.cost
        self._length -= 1
        return first.item

    def remove(self, key: str, item: _Item) -> bool:
        """Remove an item that nobody waits for any more; return whether it was there."""
        entry = self._keys.get(key)
        for waiting in entry.waiting if entry is not None else ():
            if waiting.item is item:
                self._keys[key].waiting.remove(waiting)
                self._length -= 1
                return True
        return False

    def pop_newest(self, key: str) -> _Item | None:
        """Remove and return the newest item of a key; None if it has none."""
        entry = self._keys.get(key)
        if entry is None or not entry.waiting:
            return None
        self._length -= 1
        return entry.waiting.pop().item
