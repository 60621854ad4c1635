"""What the service knows about a request besides its body."""

from __future__ import annotations

from dataclasses import dataclass

from serving.auth.caller import Caller


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who sent a request, when it arrived, and its options.

    `arrived` is on the clock of ``time.monotonic``, in seconds. `key` is the ``Idempotency-Key``;
    None = the request has none. `with_advice` is true for ``?advice=true``, `with_detail` for
    ``?detail=full``.
    """

    caller: Caller
    arrived: float
    key: str | None = None
    with_advice: bool = False
    with_detail: bool = False
