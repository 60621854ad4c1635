"""The events in the audit log's database, and what became of each, by endpoint.

Nothing here needs the secrets of the audit log: an event is made of what is readable.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from serving.auth.caller import LOOPBACK
from serving.operations.serve.deliver.endpoints import Endpoint
from serving.operations.serve.deliver.message import Message
from serving.operations.serve.deliver.schedule import Event
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.timestamps import encode_time
from serving.storage.triggers.events import KEPT, set_keeps

EVENTS_PER_QUERY = 500
ROWS_PER_DELETE = 500

# Both databases take the same text.
_KNOWN = sa.text("SELECT name, tenant, takes_keeps FROM event_endpoints")
_HAS_ROW = sa.text("SELECT 1 FROM entries WHERE tenant = :tenant LIMIT 1")
_TENANTS = sa.text("SELECT DISTINCT tenant FROM entries ORDER BY tenant")
_NEWEST_ROW = sa.text("SELECT coalesce(max(seq), 0) FROM entries")
_ADD = sa.text(
    "INSERT INTO event_endpoints (name, tenant, kinds, takes_keeps, done) "
    "VALUES (:name, :tenant, :kinds, :takes_keeps, :done)"
)
_CHANGE = sa.text(
    "UPDATE event_endpoints SET kinds = :kinds, takes_keeps = :takes_keeps WHERE name = :name"
)
_FORGET = sa.text("DELETE FROM event_endpoints WHERE name = :name")
_FORGET_DELIVERIES = sa.text("DELETE FROM deliveries WHERE endpoint = :name")
_DONE = sa.text("SELECT done FROM event_endpoints WHERE name = :name")
_SET_DONE = sa.text("UPDATE event_endpoints SET done = :done WHERE name = :name AND done < :done")
_PAGE = sa.text(
    "SELECT seq, place, kind FROM outbox WHERE (seq, place) > (:seq, :place) "
    "ORDER BY seq, place LIMIT :most"
)
_FINISHED = sa.text(
    "SELECT seq, place FROM deliveries WHERE endpoint = :name "
    "AND (seq, place) > (:seq, :place) AND (seq, place) <= (:last_seq, :last_place)"
)
_ROWS: sa.BindParameter[Sequence[int]] = sa.bindparam("rows", expanding=True)
_PERSONS = sa.text(
    "SELECT seq, coalesce(person, '') AS person FROM entries "
    "WHERE seq IN :rows AND tenant = :tenant"
).bindparams(_ROWS)
_MESSAGES = sa.text(
    "SELECT outbox.seq, outbox.place, outbox.kind, entries.kind AS about, entry_id, subject, "
    "tenant, at, due, facts FROM outbox JOIN entries ON entries.seq = outbox.seq "
    "WHERE outbox.seq IN :rows"
).bindparams(_ROWS)
_NOTE = sa.text(
    "INSERT INTO deliveries (endpoint, seq, place, outcome, status, at) "
    "VALUES (:name, :seq, :place, :outcome, :status, :at)"
)
_REFUSED = sa.text(
    "SELECT seq, place, status, at FROM deliveries WHERE endpoint = :name "
    "AND outcome = 'refused' ORDER BY seq, place"
)
_DELETE_REFUSED = sa.text("DELETE FROM deliveries WHERE endpoint = :name AND outcome = 'refused'")
_GO_BACK = sa.text("UPDATE event_endpoints SET done = :done WHERE name = :name AND done > :done")
# The first of them, whatever their time: a condition on it would read all that are newer.
_DELIVERED = sa.text(
    "SELECT seq, place, at FROM deliveries WHERE endpoint = :name AND outcome = 'delivered' "
    "ORDER BY seq, place LIMIT :most"
)
_DELETE_DELIVERY = sa.text(
    "DELETE FROM deliveries WHERE endpoint = :name AND seq = :seq AND place = :place"
)
# The event itself, once no endpoint waits for it or has an outcome of it.
_DELETE_EVENT = sa.text(
    "DELETE FROM outbox WHERE seq = :seq AND place = :place "
    "AND seq <= (SELECT min(done) FROM event_endpoints) "
    "AND NOT EXISTS (SELECT 1 FROM event_endpoints JOIN deliveries "
    "ON deliveries.endpoint = event_endpoints.name "
    "WHERE deliveries.seq = :seq AND deliveries.place = :place)"
)
# The row up to which no endpoint waits for an event or has an outcome of one.
_OVER = sa.text(
    "SELECT min(least) FROM (SELECT done AS least FROM event_endpoints UNION ALL "
    "SELECT (SELECT min(seq) FROM deliveries WHERE endpoint = name) - 1 FROM event_endpoints"
    ") AS bounds"
)
_LAST_OVER = sa.text(
    "SELECT max(seq) FROM (SELECT seq FROM outbox WHERE seq <= :seq ORDER BY seq LIMIT :most) "
    "AS some"
)
_DELETE_OVER = sa.text("DELETE FROM outbox WHERE seq <= :seq")

Place = tuple[int, int]  # of an event: the ``seq`` of its row, and its place among the row's


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event: ``status`` is that of the answer."""

    event: Event
    outcome: Literal["delivered", "refused"]
    status: int | None


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that was set aside: with the status, and the time, of the answer."""

    message: Message
    status: int | None
    at: str


def register(database: Database, endpoints: Sequence[Endpoint]) -> list[str]:
    """Make the tenants' rows events from now on; returns the endpoints that are new.

    Raises:
        StorageError: The database has an endpoint that is not among them, or has it of another
            tenant: what waits for it would wait for ever.
    """
    named = {endpoint.name: endpoint for endpoint in endpoints}
    # Under the writers' lock: no row is appended between the number and the endpoint.
    with database.writing() as connection:
        known = connection.execute(_KNOWN).all()
        for row in known:
            _check_known(row.name, row.tenant, named)
        new = named.keys() - {row.name for row in known}
        newest = connection.scalar(_NEWEST_ROW)
        for name, endpoint in named.items():
            values = _columns(endpoint)
            if name in new:
                connection.execute(_ADD, values | {"done": newest})
            else:
                connection.execute(_CHANGE, values)
        took_keeps = any(row.takes_keeps for row in known)
        takes_keeps = any(KEPT in endpoint.kinds for endpoint in endpoints)
        # Only if it changes: PostgreSQL locks the table of the rows for it.
        if takes_keeps != took_keeps:
            set_keeps(connection, takes_keeps)
    return [name for name in named if name in new]


def forget(database: Database, name: str) -> None:
    """Delete an endpoint, with all that waits for it or was set aside.

    Raises:
        StorageError: There is no such endpoint.
    """
    with database.writing() as connection:
        gone = connection.execute(_FORGET, {"name": name})
        left = connection.execute(_KNOWN).all()
        if not gone.rowcount:
            known = ", ".join(sorted(row.name for row in left)) or "none"
            raise StorageError(f"expected an endpoint of the audit log ({known}), got {name!r}")
        connection.execute(_FORGET_DELIVERIES, {"name": name})
        if not any(row.takes_keeps for row in left):
            set_keeps(connection, False)


class Outbox:
    """The events of one endpoint."""

    def __init__(self, database: Database, endpoint: Endpoint) -> None:
        self._database, self._endpoint = database, endpoint
        self._name = {"name": endpoint.name}

    def done(self) -> int:
        """The row up to which every event is delivered, or set aside, or was never for it.

        Raises:
            StorageError: The database has no such endpoint.
        """
        with self._database.reading() as connection:
            found: int | None = connection.scalar(_DONE, self._name)
        if found is None:
            raise StorageError(f"expected an endpoint {self._endpoint.name!r}, got none")
        return found

    def waiting(self, after: Place) -> tuple[list[Event], Place]:
        """Some events without an outcome, in order, and the place of the last one looked at.

        ``after`` is the place of the last one that was looked at before.
        """
        begin = {"seq": after[0], "place": after[1]}
        with self._database.reading() as connection:
            rows = connection.execute(_PAGE, begin | {"most": EVENTS_PER_QUERY}).all()
            if not rows:
                return [], after
            last = rows[-1].seq, rows[-1].place
            end = {"last_seq": last[0], "last_place": last[1]}
            finished = connection.execute(_FINISHED, self._name | begin | end).all()
            taken = {(row.seq, row.place) for row in rows if row.kind in self._endpoint.kinds}
            wanted = sorted(taken - {(row.seq, row.place) for row in finished})
            persons = self._persons(connection, {seq for seq, _ in wanted})
        events = []
        for seq, place in wanted:
            if seq in persons:
                events.append(Event(seq, place, persons[seq]))
        return events, last

    def messages(self, events: Iterable[Event]) -> dict[Event, Message]:
        """The events as they are posted; those of a person who was erased are missing."""
        wanted = {(event.seq, event.place): event for event in events}
        with self._database.reading() as connection:
            found = _messages(connection, {seq for seq, _ in wanted})
        return {wanted[place]: found[place] for place in wanted if place in found}

    def note(self, outcomes: Sequence[Outcome], done: int) -> None:
        """Store what became of events, in one transaction, and the row up to which all is done."""
        now = encode_time(datetime.datetime.now(datetime.UTC))
        rows: list[dict[str, Any]] = []
        for one in outcomes:
            event: dict[str, Any] = {"seq": one.event.seq, "place": one.event.place}
            became: dict[str, Any] = {"outcome": one.outcome, "status": one.status, "at": now}
            rows.append({**self._name, **event, **became})
        with self._database.writing() as connection:
            if rows:
                connection.execute(_NOTE, rows)
            connection.execute(_SET_DONE, self._name | {"done": done})

    def refused(self) -> list[Refused]:
        """The events that were set aside, in order."""
        listed = []
        with self._database.reading() as connection:
            rows = connection.execute(_REFUSED, self._name).all()
            found = _messages(connection, {row.seq for row in rows})
        for row in rows:
            message = found.get((row.seq, row.place))
            if message is not None:
                listed.append(Refused(message, row.status, row.at))
        return listed

    def send_again(self) -> int:
        """Let the events that were set aside wait again; returns their number."""
        with self._database.writing() as connection:
            first = connection.execute(_REFUSED, self._name).first()
            if first is None:
                return 0
            gone = connection.execute(_DELETE_REFUSED, self._name)
            connection.execute(_GO_BACK, self._name | {"done": first.seq - 1})
        return gone.rowcount

    def _persons(self, connection: sa.Connection, seqs: Iterable[int]) -> dict[int, str]:
        """The person of each of these rows that is of the endpoint's tenant."""
        values = {"rows": sorted(seqs), "tenant": self._endpoint.tenant}
        return {row.seq: row.person for row in connection.execute(_PERSONS, values)}


def prune(database: Database, before: datetime.datetime) -> int:
    """Delete some events that were delivered before a time; returns their number.

    What was refused stays until it is sent again or its endpoint is forgotten.
    """
    count = 0
    with database.writing() as connection:
        for row in connection.execute(_KNOWN).all():
            count += _prune_endpoint(connection, row.name, encode_time(before))
        over = connection.scalar(_OVER)
        last = connection.scalar(_LAST_OVER, {"seq": over, "most": ROWS_PER_DELETE})
        if last is not None:
            connection.execute(_DELETE_OVER, {"seq": last})
    return count


def _prune_endpoint(connection: sa.Connection, name: str, before: str) -> int:
    """Delete some of what an endpoint took before a time; returns the number."""
    first = connection.execute(_DELIVERED, {"name": name, "most": ROWS_PER_DELETE}).all()
    old = [row for row in first if row.at < before]
    for row in old:
        event = {"seq": row.seq, "place": row.place}
        connection.execute(_DELETE_DELIVERY, event | {"name": name})
        connection.execute(_DELETE_EVENT, event)
    return len(old)


def check_tenants(database: Database, endpoints: Sequence[Endpoint]) -> None:
    """Raise StorageError if an endpoint that is new names a tenant without rows.

    An API key is a row of its tenant. An audit log without a row says nothing, and a service
    without API keys answers for a tenant of its own.
    """
    with database.reading() as connection:
        known = {row.name for row in connection.execute(_KNOWN)}
        for endpoint in endpoints:
            tenant = {"tenant": endpoint.tenant}
            if endpoint.name in known or endpoint.tenant == LOOPBACK.tenant:
                continue
            if connection.scalar(_HAS_ROW, tenant) is not None:
                continue
            # All rows are read: only where the command ends with it.
            tenants = list(connection.scalars(_TENANTS))
            if tenants:
                raise StorageError(
                    f"endpoint {endpoint.name!r}: expected a tenant of the audit log, one of "
                    f"{tenants}, got {endpoint.tenant!r}"
                )


def _check_known(name: str, tenant: str, named: dict[str, Endpoint]) -> None:
    if name not in named:
        raise StorageError(
            f"expected the endpoint {name!r} in the file, as events wait for it; if nobody "
            f"takes them any more: python -m serving deliver --forget {name}"
        )
    if named[name].tenant != tenant:
        raise StorageError(
            f"expected the endpoint {name!r} of the tenant {tenant!r}, as before, got "
            f"{named[name].tenant!r}: give another tenant's endpoint another name"
        )


def _columns(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "tenant": endpoint.tenant,
        "kinds": " ".join(endpoint.kinds),
        "takes_keeps": int(KEPT in endpoint.kinds),
    }


def _messages(connection: sa.Connection, seqs: Iterable[int]) -> dict[Place, Message]:
    """All events of these rows, by their place."""
    rows = connection.execute(_MESSAGES, {"rows": sorted(seqs)})
    return {(row.seq, row.place): _message(row) for row in rows}


def _message(row: Any) -> Message:
    review = row.entry_id if row.about == "review" else json.loads(row.facts).get("review")
    return Message(
        kind=row.kind,
        entry_id=row.entry_id,
        tenant=row.tenant,
        at=row.at,
        decision_id=row.subject,
        review_id=review,
        send_by=row.due if row.kind == "notice.due" else None,
    )
