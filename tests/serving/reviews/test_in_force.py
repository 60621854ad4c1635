"""The limits that a review can lead to."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.reviews.in_force import announced_limit, limit_on, resolved_limit, use_after
from serving.reviews.notice import Announced, Use, UseAfter
from serving.schemas.review import ResolutionRequest
from serving.web.errors import ApiError
from tests.support.each import each
from tests.support.events import TODAY, decision, outcome
from tests.support.records import append
from tests.support.sentences import WORDING


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
    memory = record.reader.memory_with_limits("lender", "acct-1")
    assert resolved_limit(amended_to(lowest), rows, memory) == lowest
    with pytest.raises(ApiError) as refused:
        resolved_limit(amended_to(lowest - 0.01), rows, memory)
    [fault] = refused.value.problem.errors
    assert fault.path == "$.new_limit"
    assert f"expected {lowest:,.2f} or more, {named}, and 20,000.00 or less" in fault.message


@pytest.mark.parametrize(
    ("proposed", "lowest"),
    [
        (15_700.0, 15_700.0),  # a cut, or the limit that a suspension leaves
        (22_500.0, 22_500.0),  # a suspension that takes no limit
        (30_000.0, 22_500.0),  # a step back: a person may give less of it, and takes nothing
    ],
)
def test_a_person_takes_no_more_than_was_proposed(
    record: AuditLog, proposed: float, lowest: float
) -> None:
    reviewed = decision(
        "acct-1",
        "review",
        (22_500.0, 22_500.0),
        proposed_limit=proposed,
        prior=None,
    )
    append(record, [reviewed])
    rows = record.reader.about(reviewed.entry_id)
    memory = record.reader.memory_with_limits("lender", "acct-1")
    assert resolved_limit(amended_to(lowest), rows, memory) == lowest
    for too_low in (100.0, lowest - 0.01):
        with pytest.raises(ApiError) as refused:
            resolved_limit(amended_to(too_low), rows, memory)
        [fault] = refused.value.problem.errors
        assert (fault.path, "proposed_limit" in fault.message) == ("$.new_limit", True)


IN_THREE_DAYS = TODAY + datetime.timedelta(days=3)


def limits_by_day(record: AuditLog, reviewed: Any) -> list[tuple[float, Announced | None]]:
    """The limit on each day from today on, and what is announced by then."""
    rows = record.reader.about(reviewed.entry_id)
    memory = record.reader.memory_with_limits("lender", "acct-1")
    days = [TODAY + datetime.timedelta(days=number) for number in range(6)]
    return [(limit_on(day, rows, memory), announced_limit(day, rows, memory)) for day in days]


def cut_in_three_days(record: AuditLog, limits: tuple[float, float]) -> Any:
    prior = record.reader.priors("lender", ["acct-1"]).get("acct-1")
    on = IN_THREE_DAYS.isoformat()
    cut = decision("acct-1", "reduce", limits, prior, effective_on=on)
    append(record, [cut])
    return cut


def test_the_limit_before_a_cut_is_in_force_until_its_first_day(record: AuditLog) -> None:
    cut = cut_in_three_days(record, (22_500.0, 15_700.0))
    waiting = (22_500.0, Announced(15_700.0, IN_THREE_DAYS))
    assert limits_by_day(record, cut) == [waiting] * 3 + [(15_700.0, None)] * 3
    # A further cut of the same day follows from the announced limit.
    further = cut_in_three_days(record, (15_700.0, 9_000.0))
    waiting = (22_500.0, Announced(9_000.0, IN_THREE_DAYS))
    assert limits_by_day(record, further) == [waiting] * 3 + [(9_000.0, None)] * 3


@pytest.mark.parametrize(
    ("kind", "new_limit", "first_day", "limit"),
    [
        ("uphold", None, None, 15_700.0),
        ("amend", 20_000.0, IN_THREE_DAYS.isoformat(), 20_000.0),
        ("amend", 22_500.0, None, 22_500.0),
        ("overturn", None, None, 22_500.0),
    ],
)
def test_an_outcome_does_not_bring_the_cut_forward(
    record: AuditLog, kind: str, new_limit: float | None, first_day: str | None, limit: float
) -> None:
    cut = cut_in_three_days(record, (22_500.0, 15_700.0))
    append(record, [outcome(cut, kind, new_limit, effective_on=first_day)])
    found = limits_by_day(record, cut)
    assert [in_force for in_force, _ in each(found)] == [22_500.0] * 3 + [limit] * 3


@pytest.mark.parametrize(
    ("action", "kind", "new_limit", "after"),
    [
        ("suspend", "uphold", None, "stopped"),
        ("suspend", "overturn", None, "stop_withdrawn"),
        ("suspend", "amend", 8_000.0, "stopped"),
        # Who is given more than the limit of a suspension may draw it.
        ("suspend", "amend", 9_000.0, "stop_withdrawn"),
        ("reduce", "overturn", None, None),
        # The proposal may have been a suspension.
        ("review", "overturn", None, "allowed"),
        ("review", "amend", 20_000.0, "allowed"),
    ],
)
def test_an_outcome_says_whether_drawings_are_stopped(
    record: AuditLog, action: str, kind: str, new_limit: float | None, after: UseAfter | None
) -> None:
    left = 20_000.0 if action == "review" else 8_000.0
    reviewed = decision("acct-1", action, (20_000.0, left), proposed_limit=20_000.0)
    append(record, [with_product(reviewed)])
    row = record.reader.about(reviewed.entry_id)[0]
    memory = record.reader.memory_with_limits("lender", "acct-1")
    use = use_after(outcome(reviewed, kind, new_limit), row, memory, WORDING)
    assert use == (None if after is None else Use(after, WORDING.new_use["pay_later"]))


def with_product(row: NewEntry) -> NewEntry:
    return replace(row, metadata={**row.metadata, "product": "pay_later"})
