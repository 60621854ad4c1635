"""BentoML's own app without the gate: the control of the raw HTTP cases."""

from __future__ import annotations

import sys
from typing import Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.api.described_service import DescribedService
from serving.auth.caller import LOOPBACK
from serving.service import LimitReduction

__all__ = ["LimitReduction"]


class _WithCaller:
    """ASGI middleware that takes every client for one on this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = {**scope.get("state", {}), "caller": LOOPBACK}
        await self.app({**scope, "state": state}, receive, send)


def _ungated_app(service: Any, is_main: bool = True) -> ASGIApp:
    return _WithCaller(bentoml.Service.to_asgi(service, is_main))


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module to look for doctests.
    DescribedService.to_asgi = _ungated_app  # type: ignore[assignment, method-assign]
