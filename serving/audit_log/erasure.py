"""Erasure: a person's key is destroyed, and their rows can be read by nobody any more; the chain
holds as it did.

At a person's wish, or when the time for keeping is over.  That it was done is a row of its own.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa

from serving.audit_log.entry import NewEntry
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.persons import erase, expired
from serving.audit_log.rows import insert_entries
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.tables import entries, people
from serving.storage.timestamps import encode_time

# What is decided about people by machine is kept for three years at least (PIPL articles 55 and
# 56).
RETENTION_YEARS = 3
_TOGETHER = 50  # persons in a transaction: whoever answers meanwhile waits for no more
_CALLER = "operator"  # no key asks for it


@dataclass(frozen=True, slots=True)
class Erased:
    """A person by their random name, and how many rows nobody can read any more."""

    data_subject: str
    rows: int


@dataclass(frozen=True, slots=True)
class Order:
    """Who erases, why, and when."""

    by: str
    why: str
    at: datetime.datetime


def erase_account(
    database: Database, secrets: Secrets, tenant: str, account: str, order: Order
) -> Erased | None:
    """Destroy the key of an account's person; None = the record knows none."""
    with database.writing() as connection:
        found = erase(connection, tenant, account, secrets)
        if found is None:
            return None
        erased = Erased(*found)
        insert_entries(connection, [_draft(erased, tenant, order)], secrets)
    return erased


def erase_expired(
    database: Database, secrets: Secrets, years: int, order: Order
) -> Iterator[Erased]:
    """Destroy the keys of all persons whose newest row is older than so many years; a few at a time
    are durable together.
    """
    before = encode_time(years_before(order.at, years))
    with database.reading() as connection:
        persons = iter(expired(connection, before))
    while some := list(islice(persons, _TOGETHER)):
        with database.writing() as connection:
            erased = [one for person in some for one in _destroyed(connection, person, before)]
            insert_entries(
                connection, [_draft(one, tenant, order) for one, tenant in erased], secrets
            )
        yield from (one for one, _ in erased)


def check_retention(years: int, force: bool, why: str | None) -> None:
    """RecordError where records would be kept for less than the law asks, unless that is meant and
    has its reason.
    """
    if years < 1:
        raise StorageError(f"expected to keep records for 1 year at least, got {years}")
    if years < RETENTION_YEARS and not (force and why):
        raise StorageError(
            f"expected to keep records for {RETENTION_YEARS} years at least (PIPL articles 55 and 56), got {years}: "
            "where another rule allows less, say so with --force and --why"
        )


def years_before(at: datetime.datetime, years: int) -> datetime.datetime:
    """The same day and time so many years ago; of 29 February the 28th.

    >>> years_before(datetime.datetime(2028, 2, 29, tzinfo=datetime.UTC), 3).date()
    datetime.date(2025, 2, 28)
    """
    leap = (at.month, at.day) == (2, 29)
    return at.replace(year=at.year - years, day=28 if leap else at.day)


def purge_free_pages(database: Database) -> bool:
    """Write over what SQLite's write-ahead log still holds of destroyed keys; False where a reader
    holds it up: try again.

    PostgreSQL keeps them in its own log, in dead rows and in backups until those are gone.
    """
    if database.kind != "sqlite":
        return True
    with database.engine.connect() as connection:
        # Not in a transaction: from the driver itself, which begins none.
        raw = connection.connection.driver_connection
        busy = 0 if raw is None else raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


def _destroyed(connection: sa.Connection, person: str, before: str) -> list[tuple[Erased, str]]:
    """The person and their tenant; nothing where they came again meanwhile, or are gone already."""
    rows = sa.select(
        sa.func.count(), sa.func.max(entries.c.at), sa.func.min(entries.c.tenant)
    ).where(entries.c.person == person)
    count, newest, tenant = connection.execute(rows).one()
    if newest is None or newest >= before:
        return []
    gone = connection.execute(people.delete().where(people.c.person == person)).rowcount
    return [(Erased(person, count), tenant)] if gone else []


def _draft(erased: Erased, tenant: str, order: Order) -> NewEntry:
    return NewEntry(
        entry_id=str(uuid.uuid4()),
        kind="erasure",
        subject=erased.data_subject,
        tenant=tenant,
        caller=_CALLER,
        at=order.at,
        account=None,
        metadata={
            "person": erased.data_subject,
            "rows": erased.rows,
            "by": order.by,
            "why": order.why,
        },
    )
