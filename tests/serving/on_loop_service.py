"""The service with batches and advice on the event loop, and no bound: a control."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from serving.auth.gate import Gate
from serving.service import LimitReduction
from serving.web.work_pool import WorkPool

__all__ = ["LimitReduction"]


async def _run_on_loop(pool: WorkPool, key: str, cost: float, function: Callable[[], Any]) -> Any:
    return function()


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module to look for doctests.
    WorkPool.run = _run_on_loop  # type: ignore[method-assign, assignment]
    Gate.admit = lambda *_: None  # type: ignore[method-assign]
    Gate._enter = lambda *_: None  # type: ignore[method-assign]
