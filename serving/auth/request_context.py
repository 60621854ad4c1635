"""What the service knows about a request besides its body."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.auth.caller import Caller

ARRIVED = "arrived"  # in the state of a scope: when the gate saw the headers


def arrived_at(scope: Mapping[str, Any]) -> float:
    """Return when the headers of a request arrived, on the clock of ``time.monotonic``.

    A request that did not pass through the gate arrives now.
    """
    arrived: float = scope.get("state", {}).get(ARRIVED, time.monotonic())
    return arrived


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who sent a request, when it arrived, and its options.

    `arrived` is when its headers did, on the clock of ``time.monotonic``, in seconds. `key` is the
    ``Idempotency-Key``; None = the request has none. `with_advice` is true for ``?advice=true``,
    `with_detail` for ``?detail=full``.
    """

    caller: Caller
    arrived: float
    key: str | None = None
    with_advice: bool = False
    with_detail: bool = False
