"""Locks of idempotency keys."""

from __future__ import annotations

import asyncio
import time

import pytest

from serving.api.key_locks import KeyLocks
from serving.audit_log.errors import Unavailable


def in_a_minute() -> float:
    return time.monotonic() + 60.0


def test_requests_of_one_key_follow_each_other_and_others_do_not_wait() -> None:
    order: list[str] = []

    async def use(locks: KeyLocks, key: str, name: str) -> None:
        async with locks.hold(key, in_a_minute()):
            order.append(f"{name} begins")
            await asyncio.sleep(0.01)
            order.append(f"{name} ends")

    async def together() -> int:
        locks = KeyLocks()
        await asyncio.gather(use(locks, "a", "1"), use(locks, "a", "2"), use(locks, "b", "3"))
        return len(locks)

    assert asyncio.run(together()) == 0
    of_one_key = [entry for entry in order if not entry.startswith("3")]
    assert of_one_key == ["1 begins", "1 ends", "2 begins", "2 ends"]
    assert order.index("3 begins") < order.index("1 ends")


def test_a_lock_that_is_not_free_by_the_deadline_is_unavailable() -> None:
    async def wait_in_vain() -> tuple[int, int]:
        locks = KeyLocks()
        async with locks.hold("a", in_a_minute()):
            with pytest.raises(Unavailable):
                async with locks.hold("a", time.monotonic() + 0.01):
                    raise AssertionError("the lock is held")
            held = len(locks)
        return held, len(locks)

    assert asyncio.run(wait_in_vain()) == (1, 0)


def test_a_failure_releases_the_lock() -> None:
    async def fail_and_hold_again() -> int:
        locks = KeyLocks()
        with pytest.raises(ValueError, match="planted"):
            async with locks.hold("a", in_a_minute()):
                raise ValueError("planted")
        async with locks.hold("a", time.monotonic() + 1.0):
            return len(locks)

    assert asyncio.run(fail_and_hold_again()) == 1
