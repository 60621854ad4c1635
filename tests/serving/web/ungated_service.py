"""BentoML's own app without the gate: the control of the raw HTTP cases."""

from __future__ import annotations

import sys
from typing import Any

import bentoml
from starlette.types import ASGIApp

from serving.api.described_service import DescribedService
from serving.service import LimitReduction
from tests.support.gated_app import WithCaller

__all__ = ["LimitReduction"]


def _ungated_app(service: Any, is_main: bool = True) -> ASGIApp:
    return WithCaller(bentoml.Service.to_asgi(service, is_main))


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module to look for doctests.
    DescribedService.to_asgi = _ungated_app  # type: ignore[assignment, method-assign]
