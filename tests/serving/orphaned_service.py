"""The service without what ends a worker whose supervising process is gone: a control."""

from __future__ import annotations

import sys

import serving.service
from serving.service import LimitReduction

__all__ = ["LimitReduction"]

if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module to look for doctests.
    setattr(serving.service, "follow_supervisor", lambda end: None)  # noqa: B010  # not exported
