"""How many events wait for each endpoint, and for how long: see :mod:`.events`."""

from __future__ import annotations

import datetime
from typing import NamedTuple

import sqlalchemy as sa

from serving.storage.database import Database
from serving.storage.tables import deliveries, entries, event_endpoints, outbox
from serving.storage.timestamps import decode_time

MOST_EVENTS = 10_000  # of an endpoint; counting stops there


class WaitingEvents(NamedTuple):
    """What one endpoint has not taken.

    Attributes:
        endpoint: Its name.
        waiting: Events without an outcome.
        refused: Events that it refused, and that were set aside.
        oldest: Seconds since the earliest that waits was written; 0 = none waits.
    """

    endpoint: str
    waiting: int
    refused: int
    oldest: float


def count_events(database: Database, now: datetime.datetime) -> list[WaitingEvents]:
    """Count up to :data:`MOST_EVENTS` that wait for each endpoint, and that it refused.

    Raises :class:`sqlalchemy.exc.SQLAlchemyError` if the database does not answer in time.
    """
    with database.reading() as connection:
        found = connection.execute(sa.select(event_endpoints).order_by(event_endpoints.c.name))
        return [_count(connection, endpoint, now) for endpoint in found.all()]


def _count(
    connection: sa.Connection,
    endpoint: sa.Row[tuple[str, str, str, int, int]],
    now: datetime.datetime,
) -> WaitingEvents:
    waits = _times_of_waiting(endpoint).subquery()
    counted = sa.select(sa.func.count(), sa.func.min(waits.c.at))
    waiting, since = connection.execute(counted).one()
    refused = sa.select(deliveries.c.seq)
    refused = refused.where(deliveries.c.endpoint == endpoint.name)
    refused = refused.where(deliveries.c.outcome == sa.literal_column("'refused'"))
    some = refused.limit(MOST_EVENTS).subquery()
    set_aside = connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
    oldest = 0.0 if since is None else (now - decode_time(since)).total_seconds()
    return WaitingEvents(endpoint.name, waiting, set_aside, max(0.0, oldest))


def _times_of_waiting(endpoint: sa.Row[tuple[str, str, str, int, int]]) -> sa.Select[tuple[str]]:
    """The times of the rows that the first events without an outcome are about."""
    of_row = entries.c.seq == outbox.c.seq
    outcome = sa.and_(
        deliveries.c.endpoint == endpoint.name,
        deliveries.c.seq == outbox.c.seq,
        deliveries.c.place == outbox.c.place,
    )
    query = sa.select(entries.c.at)
    query = query.select_from(outbox.join(entries, of_row).outerjoin(deliveries, outcome))
    query = query.where(outbox.c.seq > endpoint.done)
    query = query.where(outbox.c.kind.in_(endpoint.kinds.split()))
    query = query.where(entries.c.tenant == endpoint.tenant)
    query = query.where(deliveries.c.seq.is_(None))
    return query.order_by(outbox.c.seq).limit(MOST_EVENTS)
