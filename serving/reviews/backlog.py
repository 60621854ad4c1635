"""How much work waits: notices to send, reviews to answer, accounts to look at again.

Counted over all tenants at each ``GET /metrics``, by the last day: ``overdue`` is before today,
``due`` is today and the seven days after it, ``later`` is the rest. Counting stops at
:data:`MOST_DAYS` and :data:`MOST_REVIEWS`, so that it stays quick however much waits.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import sqlalchemy as sa

from serving.audit_log.errors import Unavailable
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.decision.policy.dates import local_date
from serving.schemas.review import UNDER_WAY
from serving.storage.database import Database
from serving.storage.tables import due_accounts, entries, open_notices, review_states
from serving.storage.triggers.waiting import count_events
from serving.web.telemetry.metrics import bundle_label
from serving.web.telemetry.state import state_text

MOST_DAYS = 10_000  # entries of an index
MOST_REVIEWS = 1_000  # rows that are read
_DUE_DAYS = 7
_LAST_DAY = "9999-12-31"

When = Literal["overdue", "due", "later"]
Counts = dict[When, int]


class Backlog(NamedTuple):
    """The number of unsent notices, of reviews under way, and of next looks at accounts."""

    notices: Counts
    reviews: Counts
    looks: Counts


async def read_state(audit_log: AuditLog, bundle: Bundle) -> str:
    """Return the series of the service's state, for ``GET /metrics``.

    Those of the backlog are missing while the database does not answer.
    """
    now = datetime.datetime.now(datetime.UTC)
    today = local_date(now, bundle.policy)
    counts: Mapping[str, Mapping[str, int]] = {}
    events: dict[str, tuple[float, ...]] = {}
    try:
        backlog = await audit_log.read(lambda _: count_backlog(audit_log.database, today), "lists")
        counts = backlog._asdict()
        waiting = await audit_log.read(lambda _: count_events(audit_log.database, now), "lists")
        events = {one.endpoint: (one.waiting, one.refused, one.oldest) for one in waiting}
    except Unavailable:
        pass
    return state_text(audit_log.ready, labels_of(bundle), counts, events)


def labels_of(bundle: Bundle) -> dict[str, str]:
    """Return what names a bundle in the metrics."""
    return {
        "bundle": bundle_label(bundle.digest),
        "model": bundle.provenance.name,
        "version": bundle.provenance.version,
        "policy": bundle.policy.version,
    }


def count_backlog(database: Database, today: datetime.date) -> Backlog:
    """Count what waits, in one transaction.

    Raises :class:`sqlalchemy.exc.SQLAlchemyError` if the database does not answer in time.
    """
    with database.reading() as connection:
        return Backlog(
            notices=_count_days(connection, open_notices.c.due, today),
            reviews=_count_reviews(connection, today),
            looks=_count_days(connection, due_accounts.c.review_on, today),
        )


def _count_days(connection: sa.Connection, day: sa.Column[str], today: datetime.date) -> Counts:
    """Count the days of a list; each count is a range of its index."""
    tenant = day.table.c.tenant
    counts = _nothing()
    for name in _tenants(connection, tenant):
        for when, (begin, end) in _periods(today).items():
            within = sa.and_(
                tenant == name,
                day >= begin,
                day < end,
            )
            counts[when] += _count_some(connection, day, within)
    return _at_most(MOST_DAYS, counts)


def _count_some(
    connection: sa.Connection,
    day: sa.Column[str],
    within: sa.ColumnElement[bool],
) -> int:
    """Count up to :data:`MOST_DAYS` entries."""
    some = sa.select(day)
    some = some.where(within)
    some = some.limit(MOST_DAYS)
    count = sa.select(sa.func.count())
    count = count.select_from(some.subquery())
    found: int = connection.execute(count).scalar_one()
    return found


def _count_reviews(connection: sa.Connection, today: datetime.date) -> Counts:
    """Count the reviews under way; their last day is in the metadata of the row."""
    counts = _nothing()
    for tenant in _tenants(connection, review_states.c.tenant):
        for state in UNDER_WAY:
            for facts in _facts_of_reviews(connection, tenant, state):
                last_day = json.loads(facts)["decide_by"]
                counts[_when(last_day, today)] += 1
    return _at_most(MOST_REVIEWS, counts)


def _facts_of_reviews(connection: sa.Connection, tenant: str, state: str) -> Iterator[str]:
    """The metadata of the rows that opened a tenant's reviews in a state, the oldest first."""
    seq = review_states.c.seq
    joined = review_states.join(entries, entries.c.seq == seq)
    query = sa.select(entries.c.facts)
    query = query.select_from(joined)
    query = query.where(review_states.c.tenant == tenant)
    query = query.where(review_states.c.state == state)
    query = query.order_by(seq)
    query = query.limit(MOST_REVIEWS)
    yield from connection.scalars(query)


def _tenants(connection: sa.Connection, tenant: sa.Column[str]) -> Iterator[str]:
    """The tenants of a list, each by one step in its index."""
    first = sa.select(sa.func.min(tenant))
    found = connection.scalar(first)
    while found is not None:
        yield found
        later = first.where(tenant > found)
        found = connection.scalar(later)


def _nothing() -> Counts:
    return {"overdue": 0, "due": 0, "later": 0}


def _at_most(most: int, counts: Counts) -> Counts:
    """Cut off what several tenants add up to."""
    return {when: min(count, most) for when, count in counts.items()}


def _periods(today: datetime.date) -> dict[When, tuple[str, str]]:
    """The first day of each period, and the day after its last."""
    first_later = today + datetime.timedelta(days=_DUE_DAYS + 1)
    begin = today.isoformat()
    end = first_later.isoformat()
    return {
        "overdue": ("", begin),
        "due": (begin, end),
        "later": (end, _LAST_DAY),
    }


def _when(day: str, today: datetime.date) -> When:
    for when, (begin, end) in _periods(today).items():
        if begin <= day < end:
            return when
    raise ValueError(f"expected a day as YYYY-MM-DD before {_LAST_DAY}, got another text")
