"""The service without its audit log, which stores nothing.

The difference to the service is what the audit log costs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.service import LimitReduction

__all__ = ["LimitReduction"]


async def _forget(audit_log: Any, entries: Sequence[NewEntry], deadline: float) -> list[Entry]:
    return []


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module that may hold a doctest.
    AuditLog.append = _forget  # type: ignore[method-assign, assignment]
