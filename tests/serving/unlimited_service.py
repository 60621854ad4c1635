"""The service without the rates of keys, and without their shares of what may wait: a control."""

from __future__ import annotations

import sys

from serving.auth.gate import Gate
from serving.auth.rate_limit import RateLimiter
from serving.service import LimitReduction

__all__ = ["LimitReduction"]

if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module to look for doctests.
    RateLimiter.acquire = lambda *_: 0.0  # type: ignore[method-assign]
    RateLimiter.wait = lambda *_: 0.0  # type: ignore[method-assign]
    Gate.admit = lambda *_: None  # type: ignore[method-assign]
    Gate._enter = lambda *_: None  # type: ignore[method-assign]
