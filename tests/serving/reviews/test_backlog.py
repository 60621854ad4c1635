"""What waits is counted by its last day, over all tenants."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.reviews import backlog
from serving.reviews.backlog import Counts, count_backlog
from serving.reviews.workflow import review_by_policy
from tests.support.events import TODAY, decision
from tests.support.records import append

DAY = datetime.timedelta(days=1)
# Days from today; each of a list is on another side of the edge of a period.
DAYS = {"overdue": (-400, -1), "due": (0, 3, 7), "later": (8, 900)}
NOTHING = {"overdue": 0, "due": 0, "later": 0}
EXPECTED = {when: len(days) for when, days in DAYS.items()}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each database."""
    opened: AuditLog = request.getfixturevalue(
        "record" if request.param == "sqlite" else "postgres"
    )
    return opened


def cuts() -> list[NewEntry]:
    """A cut for each day of DAYS, of two tenants: its notice, its review and its look."""
    made = []
    for number, shift in enumerate(sum(DAYS.values(), ())):
        day = TODAY + shift * DAY
        tenant = ("north", "south")[number % 2]
        entry = decision(
            f"acct-{number}", "reduce", (20_000.0, 8_000.0), tenant=tenant, due=day, review_on=day
        )
        made += [entry, review_by_policy(entry, day)]
    return made


def test_each_list_is_counted_by_period(log: AuditLog) -> None:
    assert count_backlog(log.database, TODAY) == (NOTHING, NOTHING, NOTHING)
    append(log, cuts())
    assert count_backlog(log.database, TODAY) == (EXPECTED, EXPECTED, EXPECTED)


def test_what_is_done_is_not_counted(log: AuditLog) -> None:
    entry, review = cuts()[:2]
    append(log, [entry, review])
    withdrawn = replace(
        review,
        entry_id="withdrawn",
        kind="withdrawal",
        unique_key="step",
        metadata={"review": review.entry_id},
    )
    sent = replace(
        review, entry_id="sent", kind="notification", unique_key=f"told:{entry.entry_id}"
    )
    append(log, [withdrawn, sent])
    counted = count_backlog(log.database, TODAY)
    assert (counted.notices, counted.reviews) == (NOTHING, NOTHING)
    assert counted.looks == NOTHING | {"overdue": 1}


def test_counting_stops(record: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    append(record, cuts())
    for name in ("MOST_DAYS", "MOST_REVIEWS"):
        monkeypatch.setattr(backlog, name, 1)
    most: Counts = {"overdue": 1, "due": 1, "later": 1}
    assert count_backlog(record.database, TODAY).notices == most
    assert count_backlog(record.database, TODAY).looks == most
