"""The service as it must not be: BentoML's own, without the gate.

The control of the raw HTTP cases.
"""

from __future__ import annotations

import sys
from typing import Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.described_service import DescribedService
from serving.auth.caller import LOOPBACK
from serving.service import LimitReduction

__all__ = ["LimitReduction"]


class _Anybody:
    """Takes everybody for a caller of this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(
            {**scope, "state": {**scope.get("state", {}), "caller": LOOPBACK}}, receive, send
        )


def _without_gate(service: Any, is_main: bool = True) -> ASGIApp:
    return _Anybody(bentoml.Service.to_asgi(service, is_main))


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module that may hold a doctest.
    DescribedService.to_asgi = _without_gate  # type: ignore[assignment, method-assign]
