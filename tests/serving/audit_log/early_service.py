"""The control of the kill tests: a service that answers before the commit.

The commit is held back for a while after the answer, so that a kill certainly loses answers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from serving.audit_log.committer import Committer, Item, Refusal
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.log import AuditLog
from serving.service import LimitReduction

__all__ = ["LimitReduction"]

SECONDS_HELD_BACK = 0.3
_SERVERS = ("bentoml", "one_process.py")

_commit = Committer.commit


async def _append_too_early(
    audit_log: AuditLog,
    entries: Sequence[NewEntry],
    deadline: float,
) -> list[Entry]:
    audit_log.writer.submit(entries, deadline + SECONDS_HELD_BACK)
    audit_log.writer.wake()
    return []


def _commit_late(committer: Committer, items: Sequence[Item]) -> list[list[Entry] | Refusal]:
    time.sleep(SECONDS_HELD_BACK)
    return _commit(committer, items)


# Only in a server: pytest imports every module to look for doctests.
if any(server in sys.argv[0] for server in _SERVERS):
    AuditLog.append = _append_too_early  # type: ignore[method-assign, assignment]
    Committer.commit = _commit_late  # type: ignore[method-assign, assignment]
