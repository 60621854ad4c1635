"""Erasure: deletes a data subject's key, so that nobody can decrypt their entries.

On a customer's request, or after the retention period. The hash chain still verifies, and the
erasure is recorded as an entry.
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
from serving.audit_log.rows import data_subject_column, insert_entries
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.tables import entries, people
from serving.storage.timestamps import encode_time

# Records of automated decisions are kept for at least three years (PIPL articles 55 and 56).
RETENTION_YEARS = 3
SUBJECTS_PER_TRANSACTION = 50  # writers wait no longer than these take
_CALLER = "operator"  # an erasure is a command, which has no API key


@dataclass(frozen=True, slots=True)
class Erased:
    """A data subject whose key was deleted, and the number of their entries."""

    data_subject: str
    rows: int


@dataclass(frozen=True, slots=True)
class ErasureOrder:
    """Who erases, why, and when."""

    by: str
    why: str
    at: datetime.datetime


def erase_account(
    database: Database,
    secrets: Secrets,
    tenant: str,
    account: str,
    order: ErasureOrder,
) -> Erased | None:
    """Delete the key of an account's data subject; None if the audit log has no such account."""
    hashes = list(secrets.account_hashes(tenant, account).values())
    query = sa.select(people.c.person).where(people.c.account.in_(hashes))
    # One transaction: an entry that is appended at the same time has the old key or a new one.
    with database.writing() as connection:
        subject = connection.scalar(query)
        if subject is None:
            return None
        erased = Erased(subject, _count_entries(connection, subject))
        connection.execute(people.delete().where(people.c.person == subject))
        insert_entries(connection, [_erasure_entry(erased, tenant, order)], secrets)
    return erased


def erase_expired(
    database: Database,
    secrets: Secrets,
    years: int,
    order: ErasureOrder,
) -> Iterator[Erased]:
    """Delete the keys of all data subjects whose newest entry is older than ``years``.

    A few at a time; those that are returned are durable.
    """
    before = encode_time(years_before(order.at, years))
    with database.reading() as connection:
        subjects = iter(_find_expired(connection, before))
    while some := list(islice(subjects, SUBJECTS_PER_TRANSACTION)):
        erased: list[Erased] = []
        records: list[NewEntry] = []
        with database.writing() as connection:
            for subject in some:
                # Checked again under the write lock: an entry may have been appended since.
                tenant = _tenant_if_expired(connection, subject, before)
                if tenant is None:
                    continue
                one = Erased(subject, _count_entries(connection, subject))
                connection.execute(people.delete().where(people.c.person == subject))
                erased.append(one)
                records.append(_erasure_entry(one, tenant, order))
            insert_entries(connection, records, secrets)
        yield from erased


def check_retention(years: int, force: bool, why: str | None) -> None:
    """Refuse a retention period below the legal minimum, unless it is forced with a reason.

    Raises:
        StorageError: the period is too short.
    """
    if years < 1:
        raise StorageError(f"expected to keep records for 1 year at least, got {years}")
    if years < RETENTION_YEARS and not (force and why):
        raise StorageError(
            f"expected to keep records for {RETENTION_YEARS} years at least (PIPL articles 55 and "
            f"56), got {years}: where another law allows less, use --force and --why"
        )


def years_before(at: datetime.datetime, years: int) -> datetime.datetime:
    """The same day and time ``years`` earlier; 28 February for 29 February.

    >>> years_before(datetime.datetime(2028, 2, 29, tzinfo=datetime.UTC), 3).date()
    datetime.date(2025, 2, 28)
    """
    is_leap_day = (at.month, at.day) == (2, 29)
    return at.replace(year=at.year - years, day=28 if is_leap_day else at.day)


def truncate_wal(database: Database) -> bool:
    """Overwrite deleted keys in SQLite's write-ahead log; False if a reader prevents it.

    PostgreSQL keeps deleted keys in its own log, in dead rows and in backups until those are gone.
    """
    if database.kind != "sqlite":
        return True
    with database.engine.connect() as connection:
        # On the driver's connection, because a checkpoint cannot run within a transaction.
        driver = connection.connection.driver_connection
        if driver is None:
            return True
        is_busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not is_busy


def _count_entries(connection: sa.Connection, subject: str) -> int:
    query = sa.select(sa.func.count()).select_from(entries).where(data_subject_column == subject)
    return connection.scalar(query) or 0


def _find_expired(connection: sa.Connection, before: str) -> list[str]:
    """The data subjects whose newest entry is older than ``before``."""
    newer = sa.exists().where(people.c.person == data_subject_column, entries.c.at >= before)
    query = sa.select(people.c.person).where(~newer).order_by(people.c.person)
    return list(connection.scalars(query))


def _tenant_if_expired(
    connection: sa.Connection,
    subject: str,
    before: str,
) -> str | None:
    """The data subject's tenant; None if they have a new entry by now, or were erased already."""
    newest_entry = sa.select(sa.func.max(entries.c.at), sa.func.min(entries.c.tenant))
    newest, tenant = connection.execute(newest_entry.where(data_subject_column == subject)).one()
    if newest is None or newest >= before:
        return None
    has_key = connection.scalar(sa.select(people.c.person).where(people.c.person == subject))
    return None if has_key is None else str(tenant)


def _erasure_entry(
    erased: Erased,
    tenant: str,
    order: ErasureOrder,
) -> NewEntry:
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
