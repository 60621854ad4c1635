"""What an endpoint has not taken is counted, with the age of the earliest."""

from __future__ import annotations

import datetime

import pytest
import sqlalchemy as sa

from serving.audit_log.log import AuditLog
from serving.storage.tables import deliveries, event_endpoints, outbox
from serving.storage.triggers import waiting
from serving.storage.triggers.waiting import WaitingEvents, count_events
from tests.support.events import decision
from tests.support.records import NOW, append

KINDS = "decision.made notice.due"
HOUR = datetime.timedelta(hours=1)


@pytest.fixture(params=["record", "postgres"])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An audit log with two endpoints of one tenant; the second one takes notices alone."""
    opened: AuditLog = request.getfixturevalue(request.param)
    rows = [
        {"name": name, "tenant": "lender", "kinds": kinds, "takes_keeps": 0, "done": 0}
        for name, kinds in (("app", KINDS), ("mail", "notice.due"))
    ]
    with opened.database.writing() as connection:
        connection.execute(event_endpoints.insert(), rows)
    return opened


def note(log: AuditLog, outcome: str) -> None:
    """Give the first event without an outcome this one, for the endpoint ``app``."""
    left = sa.select(outbox.c.seq, outbox.c.place).except_(
        sa.select(deliveries.c.seq, deliveries.c.place)
    )
    with log.database.writing() as connection:
        seq, place = connection.execute(left.order_by("seq", "place")).first() or (0, 0)
        row = {"endpoint": "app", "seq": seq, "place": place, "outcome": outcome, "at": ""}
        connection.execute(deliveries.insert(), row)


def test_what_waits_is_counted_for_each_endpoint(log: AuditLog) -> None:
    assert count_events(log.database, NOW) == [("app", 0, 0, 0.0), ("mail", 0, 0, 0.0)]
    cuts = [decision(name, "reduce", (1_000.0, 500.0), due=NOW.date()) for name in "ab"]
    other = decision("c", "reduce", (1_000.0, 500.0), due=NOW.date(), tenant="bank")
    append(log, [*cuts, other])
    now = cuts[0].at + HOUR
    assert count_events(log.database, now) == [("app", 4, 0, 3600.0), ("mail", 2, 0, 3600.0)]
    note(log, "delivered")
    note(log, "refused")
    assert count_events(log.database, now) == [("app", 2, 1, 3600.0), ("mail", 2, 0, 3600.0)]


def test_counting_stops(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    append(log, [decision(name, "reduce", (1_000.0, 500.0)) for name in "abc"])
    monkeypatch.setattr(waiting, "MOST_EVENTS", 2)
    [app, _] = count_events(log.database, NOW)
    assert app == WaitingEvents("app", 2, 0, app.oldest)
