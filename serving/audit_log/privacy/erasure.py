"""Erasure: deletes a data subject's key, so that nobody can decrypt their entries.

On a customer's request, or after the retention period. The hash chain still verifies, and the
erasure is recorded as an entry. A data subject with a hold is erased only by an order that says why
(:mod:`serving.audit_log.privacy.holds`).
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from serving.audit_log.entry import KINDS_OF_COMMANDS, NewEntry
from serving.audit_log.privacy.holds import LAWS, Hold, Law, find_holds
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import data_subject_column, insert_entries, metadata_column
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.tables import entries, not_a_decision, people
from serving.storage.timestamps import decode_time, encode_time

# Records of automated decisions are kept for at least three years (PIPL articles 55 and 56).
RETENTION_YEARS = 3
MAX_YEARS = 100
SUBJECTS_PER_TRANSACTION = 50  # writers wait no longer than these take
SUBJECTS_PER_QUERY = 200  # in memory at a time, with all their entries
_MARK = "account_mark"  # in the metadata of an erasure
_CALLER = "operator"  # an erasure is a command, which has no API key


@dataclass(frozen=True, slots=True)
class Erased:
    """A data subject whose key was deleted, and the number of their entries."""

    data_subject: str
    rows: int


@dataclass(frozen=True, slots=True)
class Expired:
    """What :func:`erase_expired` would erase; nothing is if ``subjects`` is 0."""

    subjects: int
    all_subjects: int  # that have a key
    rows: int
    # Times of the newest entry of a data subject: the longest ago, and the last to expire.
    oldest: datetime.datetime | None
    newest: datetime.datetime | None

    @property
    def share(self) -> float:
        """Of all data subjects; 0 if there is none."""
        return self.subjects / self.all_subjects if self.all_subjects else 0.0


@dataclass(frozen=True, slots=True)
class ErasureOrder:
    """Who erases, why, and when.

    ``hold_over`` is why also data subjects with a hold are erased; None = they are not. ``laws``
    are those whose holds count.
    """

    by: str
    why: str
    at: datetime.datetime
    hold_over: str | None = None
    laws: tuple[Law, ...] = LAWS

    @property
    def today(self) -> datetime.date:
        """The day of the order, UTC."""
        return self.at.astimezone(datetime.UTC).date()


class Held(StorageError):
    """A data subject was not erased; ``holds`` say why not."""

    def __init__(self, holds: Sequence[Hold]) -> None:
        super().__init__("; ".join(str(hold) for hold in holds))
        self.holds = tuple(holds)


def erase_account(
    database: Database,
    secrets: Secrets,
    tenant: str,
    account: str,
    order: ErasureOrder,
) -> Erased | None:
    """Delete the key of an account's data subject; None if the audit log has no such account.

    An account has another data subject under each account key that was in use while the others were
    not there: call it until it returns None.

    Raises:
        Held: the data subject has a hold, and the order does not say why to erase all the same.
    """
    hashes = list(secrets.account_hashes(tenant, account).values())
    query = sa.select(people).where(people.c.account.in_(hashes)).limit(1)
    # One transaction: an entry that is appended at the same time has the old key or a new one.
    with database.writing() as connection:
        person = connection.execute(query).one_or_none()
        if person is None:
            return None
        holds = _holds_of(
            connection,
            secrets,
            [person.person],
            order,
        ).get(person.person, [])
        if holds and order.hold_over is None:
            raise Held(holds)
        erased = Erased(person.person, _count_entries(connection, person.person))
        connection.execute(people.delete().where(people.c.person == person.person))
        mark = _erasure_mark(secrets, person.key_id, person.account)
        insert_entries(
            connection,
            [
                _erasure_entry(
                    erased,
                    tenant,
                    order,
                    mark,
                    holds,
                )
            ],
            secrets,
        )
    return erased


def erased_at(
    database: Database,
    secrets: Secrets,
    tenant: str,
    account: str,
) -> datetime.datetime | None:
    """When an account was last erased; None if it never was, or by an earlier version.

    The row of an erasure has a keyed hash of the account. It says nothing without the secrets, and
    does not lead to the data subject's key in an old copy of the database.
    """
    marks: set[str | None] = set()
    for key_id, account_hash in secrets.account_hashes(tenant, account).items():
        marks.add(_erasure_mark(secrets, key_id, account_hash))
    times: list[datetime.datetime] = []
    for mark, at in _erasures(database, tenant):
        if mark in marks:
            times.append(at)
    return max(times, default=None)


def count_unmarked_erasures(database: Database, tenant: str) -> int:
    """How many erasures of a tenant do not say of which account: those of earlier versions."""
    return sum(mark is None for mark, _ in _erasures(database, tenant))


def erase_expired(
    database: Database,
    secrets: Secrets,
    years: int,
    order: ErasureOrder,
) -> Iterator[Erased]:
    """Delete the keys of all data subjects whose newest entry is older than ``years``.

    A few at a time; those that are returned are durable. Data subjects with a hold are left out,
    unless the order says why not.
    """
    before = encode_time(years_before(order.at, years))
    with database.reading() as connection:
        subjects = iter(_find_expired(connection, before))
    while some := list(islice(subjects, SUBJECTS_PER_TRANSACTION)):
        erased: list[Erased] = []
        records: list[NewEntry] = []
        with database.writing() as connection:
            holds = _holds_of(connection, secrets, some, order)
            for subject in some:
                if subject in holds and order.hold_over is None:
                    continue
                # Checked again under the write lock: an entry may have been appended since.
                tenant = _tenant_if_expired(connection, subject, before)
                if tenant is None:
                    continue
                mark = _mark_of(connection, subject, secrets)
                one = Erased(subject, _count_entries(connection, subject))
                connection.execute(people.delete().where(people.c.person == subject))
                erased.append(one)
                held = holds.get(subject, [])
                records.append(_erasure_entry(one, tenant, order, mark, held))
            insert_entries(connection, records, secrets)
        yield from erased


def find_expired(database: Database, years: int, at: datetime.datetime) -> Expired:
    """What :func:`erase_expired` would erase at this time."""
    newest = sa.func.max(entries.c.at).label("newest")
    by_subject = (
        sa.select(newest, sa.func.count().label("rows"))
        .join_from(entries, people, people.c.person == data_subject_column)
        .group_by(data_subject_column)
        .subquery()
    )
    before = encode_time(years_before(at, years))
    is_expired = by_subject.c.newest < before
    query = sa.select(
        sa.func.count(),
        sa.func.sum(by_subject.c.rows),
        sa.func.min(by_subject.c.newest),
        sa.func.max(by_subject.c.newest),
    ).where(is_expired)
    count_all = sa.select(sa.func.count()).select_from(people)
    with database.reading() as connection:
        total = connection.scalar(count_all) or 0
        subjects, rows, oldest, latest = connection.execute(query).one()
    return Expired(
        subjects=subjects,
        all_subjects=total,
        rows=int(rows or 0),
        oldest=None if oldest is None else decode_time(oldest),
        newest=None if latest is None else decode_time(latest),
    )


def find_held(
    database: Database, secrets: Secrets, years: int, order: ErasureOrder
) -> dict[str, list[Hold]]:
    """The holds of each data subject that :func:`erase_expired` leaves out, were it run now."""
    before = encode_time(years_before(order.at, years))
    held: dict[str, list[Hold]] = {}
    with database.reading() as connection:
        subjects = iter(_find_expired(connection, before))
    while some := list(islice(subjects, SUBJECTS_PER_QUERY)):
        with database.reading() as connection:
            held |= _holds_of(connection, secrets, some, order)
    return held


def newest_record(database: Database) -> datetime.datetime | None:
    """The time of the newest row of the service; None if there is none.

    Rows of commands do not count: the command may have had the same wrong clock.
    """
    query = (
        sa.select(entries.c.at)
        .where(entries.c.kind.not_in(KINDS_OF_COMMANDS))
        .order_by(entries.c.seq.desc())
        .limit(1)
    )
    with database.reading() as connection:
        at = connection.scalar(query)
    return None if at is None else decode_time(at)


def check_retention(years: int, force: bool, why: str | None) -> None:
    """Refuse a retention period below the legal minimum, unless it is forced with a reason.

    Raises:
        StorageError: the period is too short, or longer than ``MAX_YEARS``.
    """
    if not 1 <= years <= MAX_YEARS:
        raise StorageError(f"expected to keep records for 1 to {MAX_YEARS} years, got {years}")
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


def truncate_wal(database: Database, wait_ms: int | None = None) -> bool:
    """Empty SQLite's write-ahead log, which may hold deleted keys; False if a reader prevents it.

    Readers are waited for ``wait_ms`` milliseconds, by default as long as by any statement.

    PostgreSQL keeps deleted keys in its own log, in dead rows and in backups until those are gone.
    """
    if database.kind != "sqlite":
        return True
    with database.engine.connect() as connection:
        # On the driver's connection, because a checkpoint cannot run within a transaction.
        driver = connection.connection.driver_connection
        if driver is None:
            return True
        if wait_ms is not None:
            driver.execute(f"PRAGMA busy_timeout = {wait_ms}")
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


def _holds_of(
    connection: sa.Connection, secrets: Secrets, subjects: Sequence[str], order: ErasureOrder
) -> dict[str, list[Hold]]:
    return find_holds(connection, secrets, subjects, order.laws, order.today)


def _erasure_mark(secrets: Secrets, key_id: str, account_hash: str) -> str | None:
    """A keyed hash by which a later command finds the erasure; None if the account key is gone."""
    key = secrets.account_keys.get(key_id)
    if key is None:
        return None
    content = b"erased\0" + account_hash.encode()
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _mark_of(connection: sa.Connection, subject: str, secrets: Secrets) -> str | None:
    columns = (people.c.key_id, people.c.account)
    query = sa.select(*columns).where(people.c.person == subject)
    key_id, account_hash = connection.execute(query).one()
    return _erasure_mark(secrets, key_id, account_hash)


def _erasures(database: Database, tenant: str) -> list[tuple[str | None, datetime.datetime]]:
    """The mark and the time of each erasure of a tenant; erasures of earlier versions have none."""
    query = sa.select(metadata_column, entries.c.at).where(
        entries.c.kind == "erasure",
        entries.c.tenant == tenant,
        not_a_decision,
    )
    with database.reading() as connection:
        rows = connection.execute(query).all()
    erasures = []
    for metadata, at in rows:
        mark = json.loads(metadata).get(_MARK)
        erasures.append((mark, decode_time(at)))
    return erasures


def _erasure_entry(
    erased: Erased,
    tenant: str,
    order: ErasureOrder,
    mark: str | None,
    holds: Sequence[Hold],
) -> NewEntry:
    metadata: dict[str, Any] = {
        "person": erased.data_subject,
        "rows": erased.rows,
        "by": order.by,
        "why": order.why,
        _MARK: mark,
    }
    if holds:
        metadata["hold_over"] = order.hold_over
        metadata["holds"] = [str(hold) for hold in holds]
    return NewEntry(
        entry_id=str(uuid.uuid4()),
        kind="erasure",
        subject=erased.data_subject,
        tenant=tenant,
        caller=_CALLER,
        at=order.at,
        account=None,
        metadata=metadata,
    )
