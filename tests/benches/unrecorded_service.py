"""The service without its record: it decides and answers, and keeps nothing.  What the record costs is the difference."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from serving.audit_log.entry import Draft, Kept
from serving.audit_log.log import Record
from serving.service import LimitReduction

__all__ = ["LimitReduction"]


async def _forget(record: Any, drafts: Sequence[Draft], deadline: float) -> list[Kept]:
    return []


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module that may hold a doctest.
    Record.keep = _forget  # type: ignore[method-assign, assignment]
