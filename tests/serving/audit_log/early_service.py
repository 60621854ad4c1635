"""The service as it must not be: it answers what the record has only been asked to keep.

The control of the kill tests.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.service import LimitReduction

__all__ = ["LimitReduction"]


async def _too_early(record: Any, drafts: Sequence[NewEntry], deadline: float) -> list[Entry]:
    record._writer.submit(drafts, deadline)
    return []


if "bentoml" in sys.argv[0] or sys.argv[0].endswith("alone.py"):
    # Only where it is served: pytest imports every module that may hold a doctest.
    AuditLog.keep = _too_early  # type: ignore[method-assign, assignment]
