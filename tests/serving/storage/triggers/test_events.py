"""The outbox has the events of every row, from the row's own transaction."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from serving.audit_log.entry import Kind as RowKind
from serving.audit_log.entry import NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.audit_log.rows import insert_entries
from serving.decision.bundle import Bundle
from serving.storage.database import Database
from serving.storage.tables import MIGRATIONS, event_endpoints, outbox
from serving.storage.triggers.events import KINDS, set_keeps
from tests.support.events import decision, outcome
from tests.support.every_route import EveryRoute
from tests.support.records import NOW, append

NOTHING = (1_000.0, 1_000.0)
ERASURE = ErasureOrder("Li Na", "asked for", NOW, hold_over="its notice is of a test")


@pytest.fixture(params=["record", "postgres"])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An audit log in each kind of database, with an endpoint of one tenant that takes all."""
    opened: AuditLog = request.getfixturevalue(request.param)
    with opened.database.writing() as connection:
        add_endpoint(connection, takes_keeps=True)
        set_keeps(connection, True)
    return opened


def add_endpoint(connection: sa.Connection, takes_keeps: bool) -> None:
    values = {"tenant": "lender", "kinds": " ".join(KINDS), "done": 0}
    row = {"name": "app", "takes_keeps": int(takes_keeps), **values}
    connection.execute(event_endpoints.insert().values(row))


def events_of(database: Database) -> list[tuple[int, str]]:
    """The ``seq`` and the kind of each event, in order."""
    query = sa.select(outbox.c.seq, outbox.c.kind).order_by(outbox.c.seq, outbox.c.place)
    with database.reading() as connection:
        return [(seq, kind) for seq, kind in connection.execute(query)]


def about(subject: NewEntry, kind: RowKind) -> NewEntry:
    """A row of a review without content."""
    return replace(
        subject, entry_id=f"{kind}-{subject.entry_id}", kind=kind, due=None, unique_key=None
    )


def test_each_row_has_its_events(log: AuditLog) -> None:
    cut = decision("a", "reduce", (1_000.0, 500.0))
    referred = decision("b", "review", NOTHING)
    append(log, [cut, decision("c", "keep", NOTHING), decision("c", "restore", (5.0, 9.0))])
    append(log, [referred, about(referred, "review")])
    append(log, [outcome(cut, "overturn"), outcome(referred, "amend", 500.0)])
    append(log, [about(cut, "review"), about(cut, "withdrawal"), about(cut, "notification")])
    append(log, [decision("d", "keep", NOTHING, due=NOW.date()), about(cut, "shadow")])
    assert events_of(log.database) == [
        (1, "decision.made"),
        (1, "notice.due"),
        (2, "decision.kept"),
        (3, "decision.made"),
        (3, "limit.restored"),
        (3, "notice.due"),
        (4, "decision.made"),
        (4, "notice.due"),
        (5, "review.opened"),
        (6, "review.resolved"),
        (6, "limit.restored"),
        (6, "notice.due"),
        (7, "review.resolved"),  # nothing was taken that could come back
        (7, "notice.due"),
        (8, "review.opened"),
        (9, "review.withdrawn"),
        (11, "decision.made"),  # on the day of a look, with a notice
        (11, "notice.due"),
    ]


def test_a_keep_is_no_event_unless_an_endpoint_takes_it(log: AuditLog) -> None:
    kept = decision("a", "keep", NOTHING)
    with log.database.writing() as connection:
        connection.execute(event_endpoints.update().values(takes_keeps=0))
    append(log, [kept])
    assert events_of(log.database) == []
    with log.database.writing() as connection:
        connection.execute(event_endpoints.update().values(takes_keeps=1))
        set_keeps(connection, False)
    append(log, [decision("a", "keep", NOTHING)])
    assert events_of(log.database) == []


def test_a_tenant_without_an_endpoint_has_no_events(log: AuditLog) -> None:
    append(log, [decision("a", "reduce", (2.0, 1.0), tenant="another lender")])
    append(log, [decision("a", "keep", NOTHING, tenant="another lender")])
    assert events_of(log.database) == []


def test_a_row_that_is_not_stored_leaves_no_event(log: AuditLog) -> None:
    cut = decision("a", "reduce", (2.0, 1.0))

    def fail_after_insert() -> None:
        with log.database.writing() as connection:
            insert_entries(connection, [cut], log.secrets)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_insert()
    assert events_of(log.database) == []


def test_the_events_of_an_erased_person_are_gone(log: AuditLog) -> None:
    append(log, [decision(account, "reduce", (2.0, 1.0)) for account in ("a", "b")])
    assert erase_account(log.database, log.secrets, "lender", "a", ERASURE) is not None
    assert events_of(log.database) == [(2, "decision.made"), (2, "notice.due")]


def test_the_migration_only_adds(log: AuditLog) -> None:
    append(log, [decision("a", "reduce", (2.0, 1.0))])
    before = events_of(log.database)
    with log.database.writing() as connection:
        MIGRATIONS[-1](connection)
    append(log, [decision("b", "suspend", (2.0, 2.0))])
    assert events_of(log.database) == [*before, (2, "decision.made"), (2, "notice.due")]


def test_the_service_s_own_rows_have_events(record: AuditLog, golden: Bundle) -> None:
    with record.database.writing() as connection:
        add_endpoint(connection, takes_keeps=False)
    routes = EveryRoute(record, golden)
    cut = routes.decide("acct-1")
    routes.decide_kept("acct-2")
    routes.resolve(routes.open_review(cut["decision_id"]))
    assert [kind for _, kind in events_of(record.database)] == [
        "decision.made",
        "notice.due",
        "review.opened",
        "review.resolved",
        "limit.restored",
        "notice.due",
    ]
