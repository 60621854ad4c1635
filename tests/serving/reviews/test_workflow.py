"""A notification is read without what the audit log adds to the metadata of its row."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from serving.audit_log.entry import TRACE, NewEntry
from serving.audit_log.log import AuditLog
from serving.reviews.workflow import notification_in
from serving.web.telemetry.trace import begin_trace, enter_trace, leave_trace
from tests.support.records import append, new_entry

TOLD = {
    "sent_at": "2026-11-25T09:00:00Z",
    "channel": "app",
    "language": "zh",
    "review_id": None,
}


def notification(entry_id: str, metadata: dict[str, Any]) -> NewEntry:
    return dataclasses.replace(
        new_entry(entry_id), kind="notification", subject="decided", metadata=metadata
    )


@pytest.mark.parametrize("missing", [(), ("review_id",)], ids=["whole", "of the first version"])
def test_the_trace_of_the_request_is_no_part_of_a_notification(
    record: AuditLog, missing: tuple[str, ...]
) -> None:
    metadata = {name: value for name, value in TOLD.items() if name not in missing}
    of_request = enter_trace(begin_trace([]))
    try:
        append(record, [notification("told", metadata)])
    finally:
        leave_trace(of_request)
    stored = record.reader.by_id("told")
    assert stored is not None
    assert TRACE in stored.metadata  # the control
    assert notification_in(stored) == TOLD
