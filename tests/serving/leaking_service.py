"""The service with a leak of memory and one of file handles: the control of the soak."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.service import LimitReduction

__all__ = ["LimitReduction"]

_BYTES = 20_000  # kept for each decision
_append = AuditLog.append
_kept: list[Any] = []


async def _append_and_keep(
    audit_log: AuditLog, new: Sequence[NewEntry], *arguments: Any
) -> list[Entry]:
    _kept.append(b"x" * (_BYTES + len(_kept)))
    if len(_kept) % 20 == 0:
        _kept.append(os.open(os.devnull, os.O_RDONLY))
    return await _append(audit_log, new, *arguments)


if "bentoml" in sys.argv[0]:
    # Only where BentoML serves it: pytest imports every module to look for doctests.
    AuditLog.append = _append_and_keep  # type: ignore[method-assign, assignment]
