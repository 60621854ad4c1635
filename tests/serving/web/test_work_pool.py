"""Work off the event loop: the loop goes on, keys take turns, errors arrive."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing

import pytest

from serving.web.work_pool import WorkPool


def test_the_loop_goes_on_while_work_runs() -> None:
    async def run() -> str:
        with closing(WorkPool()) as pool:
            go_on = threading.Event()

            def work() -> str:
                assert go_on.wait(60)
                return "done"

            running = asyncio.ensure_future(pool.run("a", 1.0, work))
            await asyncio.sleep(0)
            # On the loop this line would never be reached.
            go_on.set()
            return await running

    assert asyncio.run(run()) == "done"


def test_a_key_with_little_work_is_not_behind_one_with_much() -> None:
    async def run() -> list[str]:
        order: list[str] = []
        with closing(WorkPool()) as pool:
            much = [pool.run("much", 10.0, lambda: order.append("much")) for _ in range(5)]
            little = pool.run("little", 1.0, lambda: order.append("little"))
            await asyncio.gather(*much, little)
        return order

    order = asyncio.run(run())
    assert len(order) == 6
    assert order.index("little") <= 2


def test_an_error_arrives_and_the_thread_is_free_again() -> None:
    async def run() -> int:
        with closing(WorkPool()) as pool:
            with pytest.raises(ZeroDivisionError):
                await pool.run("a", 1.0, lambda: 1 // 0)
            return await pool.run("a", 1.0, lambda: 1)

    assert asyncio.run(run()) == 1


def test_a_caller_that_is_gone_does_not_hold_the_pool() -> None:
    async def run() -> int:
        with closing(WorkPool()) as pool:
            go_on = threading.Event()
            running = asyncio.ensure_future(pool.run("a", 1.0, lambda: go_on.wait(60)))
            waiting = asyncio.ensure_future(pool.run("a", 1.0, lambda: 1))
            await asyncio.sleep(0)
            running.cancel()
            waiting.cancel()
            await asyncio.gather(running, waiting, return_exceptions=True)
            last = asyncio.ensure_future(pool.run("b", 1.0, lambda: 2))
            await asyncio.sleep(0)
            # The thread is still busy with what its caller gave up.
            assert not last.done()
            go_on.set()
            return await asyncio.wait_for(last, 60)

    assert asyncio.run(run()) == 2
