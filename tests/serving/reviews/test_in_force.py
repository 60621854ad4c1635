"""The limits that a review can lead to."""

from __future__ import annotations

import pytest

from serving.audit_log.log import AuditLog
from serving.reviews.in_force import resolved_limit
from serving.schemas.review import ResolutionRequest
from serving.web.errors import ApiError
from tests.support.events import decision
from tests.support.records import append


def amended_to(new_limit: float) -> ResolutionRequest:
    return ResolutionRequest(
        reviewer="Li Na", outcome="amend", new_limit=new_limit, reasons="The income was proven."
    )


@pytest.mark.parametrize(
    ("later", "lowest", "named"),
    [
        (None, 8_000.0, "the limit that the decision left"),
        (9_000.0, 9_000.0, "the limit in force after a later decision"),
    ],
)
def test_a_limit_that_is_too_low_is_refused_with_the_limit_that_counts(
    record: AuditLog, later: float | None, lowest: float, named: str
) -> None:
    reviewed = decision("acct-1", "reduce", (20_000.0, 8_000.0))
    append(record, [reviewed])
    if later is not None:
        append(record, [decision("acct-1", "reduce", (20_000.0, later))])
    rows = record.reader.about(reviewed.entry_id)
    memory = record.reader.memories("lender", ["acct-1"])["acct-1"]
    assert resolved_limit(amended_to(lowest), rows, memory) == lowest
    with pytest.raises(ApiError) as refused:
        resolved_limit(amended_to(lowest - 0.01), rows, memory)
    [fault] = refused.value.problem.errors
    assert fault.path == "$.new_limit"
    assert named in fault.message
