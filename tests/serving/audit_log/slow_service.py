"""The service with lists that never end.

``/v1/notices`` runs an endless query. ``/v1/reviews`` sleeps in Python, where no limit of a query
helps.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from serving.audit_log.log import AuditLog
from serving.audit_log.reader import Reader
from serving.service import LimitReduction
from tests.support.endless import count_without_end

__all__ = ["LimitReduction"]

_open = AuditLog.__init__


def _open_with_endless_lists(audit_log: AuditLog, settings: Any) -> None:
    _open(audit_log, settings)

    def run_endless_query(*_: object) -> list[Any]:
        return count_without_end(audit_log.database)

    Reader.due_notices = run_endless_query  # type: ignore[method-assign, assignment]


def _sleep_long(*_: object) -> list[Any]:
    time.sleep(1_000)
    return []


# Only in a server: pytest imports every module to look for doctests.
if "bentoml" in sys.argv[0]:
    AuditLog.__init__ = _open_with_endless_lists  # type: ignore[method-assign, assignment]
    Reader.reviews = _sleep_long  # type: ignore[method-assign, assignment]
