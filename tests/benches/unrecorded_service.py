"""The service without its record: it decides and answers, and keeps nothing.

What the record costs is the difference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.service import LimitReduction

__all__ = ["LimitReduction"]


async def _forget(record: Any, drafts: Sequence[NewEntry], deadline: float) -> list[Entry]:
    return []


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module that may hold a doctest.
    AuditLog.keep = _forget  # type: ignore[method-assign, assignment]
