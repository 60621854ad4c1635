"""How much work waits: notices to send, reviews to answer, accounts to look at again.

Counted over all tenants at each ``GET /metrics``, by the last day: ``overdue`` is before today,
``due`` is today and the seven days after it, ``later`` is the rest. Counting stops at
:data:`MOST_DAYS` and :data:`MOST_REVIEWS`, so that it stays quick however much waits.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Literal, NamedTuple

import sqlalchemy as sa

from serving.audit_log.errors import Unavailable
from serving.audit_log.log import AuditLog
from serving.decision.bundle import Bundle
from serving.decision.policy.dates import local_date
from serving.schemas.review import UNDER_WAY
from serving.storage.database import Database
from serving.storage.tables import due_accounts, entries, open_notices, review_states
from serving.telemetry.metrics import bundle_label
from serving.telemetry.state import state_text

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
    today = local_date(datetime.datetime.now(datetime.UTC), bundle.policy)
    try:
        backlog = await audit_log.read(lambda _: count_backlog(audit_log.database, today), "lists")
        counts = backlog._asdict()
    except Unavailable:
        counts = {}
    return state_text(audit_log.ready, labels_of(bundle), counts)


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
    table = day.table
    counts: Counts = {"overdue": 0, "due": 0, "later": 0}
    for tenant in _tenants(connection, table.c.tenant):
        for when, (begin, end) in _periods(today).items():
            within = table.c.tenant == tenant, day >= begin, day < end
            some = sa.select(day).where(*within).limit(MOST_DAYS).subquery()
            counts[when] += connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0
    return {when: min(count, MOST_DAYS) for when, count in counts.items()}


def _count_reviews(connection: sa.Connection, today: datetime.date) -> Counts:
    """Count the reviews under way; their last day is in the metadata of the row."""
    counts: Counts = {"overdue": 0, "due": 0, "later": 0}
    seq = review_states.c.seq
    joined = review_states.join(entries, entries.c.seq == seq)
    for tenant in _tenants(connection, review_states.c.tenant):
        for state in UNDER_WAY:
            in_state = review_states.c.tenant == tenant, review_states.c.state == state
            rows = sa.select(entries.c.facts).select_from(joined).where(*in_state)
            for facts in connection.scalars(rows.order_by(seq).limit(MOST_REVIEWS)):
                counts[_when(json.loads(facts)["decide_by"], today)] += 1
    return {when: min(count, MOST_REVIEWS) for when, count in counts.items()}


def _tenants(connection: sa.Connection, tenant: sa.Column[str]) -> Iterator[str]:
    """The tenants of a list, each by one step in its index."""
    found = connection.scalar(sa.select(sa.func.min(tenant)))
    while found is not None:
        yield found
        found = connection.scalar(sa.select(sa.func.min(tenant)).where(tenant > found))


def _periods(today: datetime.date) -> dict[When, tuple[str, str]]:
    """The first day of each period, and the day after its last."""
    first = today.isoformat()
    later = (today + datetime.timedelta(days=_DUE_DAYS + 1)).isoformat()
    return {"overdue": ("", first), "due": (first, later), "later": (later, _LAST_DAY)}


def _when(day: str, today: datetime.date) -> When:
    periods = _periods(today).items()
    return next(when for when, (begin, end) in periods if begin <= day < end)
