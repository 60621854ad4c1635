"""The events of accounts that are remembered, by one statement.

find_past     each account's latest decision, its newest event that is a decision, and the
              outcomes after that
newest_events the number of each account's newest event
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serving.audit_log.privacy import data_subjects
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import StoredRow
from serving.storage.database import Database
from serving.storage.driver_sql import PreparedStatement, number
from serving.storage.tables import entries, is_event, people

# The two hashes belong to the chain.
_COLUMNS = [column for column in entries.c if column.name not in ("before", "hash")]
_COLUMN_NAMES = [column.name for column in _COLUMNS]

Account = tuple[str, str]  # tenant, the lender's name of the account


@dataclass(frozen=True, slots=True)
class Past:
    """What the audit log has of an account, as far as the next decision needs it.

    ``events`` are the newest event that is a decision, and the outcomes after it, in order of
    ``seq``. ``latest`` is the latest decision, whatever it decided; None = there is none. The
    content of both is still encrypted: what is not needed is never decrypted.
    """

    events: Sequence[StoredRow]
    latest: StoredRow | None


def find_past(
    database: Database,
    accounts: Collection[Account],
    secrets: Secrets,
) -> dict[Account, Past]:
    """The past of each account, by one statement; accounts without a decision are missing.

    An account has several data subjects if an account key was lost and came back; their rows are
    one past.
    """
    if not accounts:
        return {}
    by_hash = _hash_accounts(accounts, secrets)
    found: dict[Account, list[StoredRow]] = {}
    keys: dict[str, bytes] = {}
    hashes = {f"hash_{place}": one for place, one in enumerate(by_hash)}
    for row in database.fetch(_select_past(len(hashes)), hashes):
        account_hash, sealed, *columns = row
        named = dict(zip(_COLUMN_NAMES, columns, strict=True))
        if account_hash not in keys:
            person = named[entries.c.person.name]
            keys[account_hash] = data_subjects.decrypt_key(
                sealed,
                person,
                account_hash,
                secrets,
            )
        stored = StoredRow(named, keys[account_hash])
        found.setdefault(by_hash[account_hash], []).append(stored)
    return {account: _past_of(rows) for account, rows in found.items()}


def _past_of(rows: Sequence[StoredRow]) -> Past:
    in_order = sorted(rows, key=lambda row: row.seq)
    decisions = [row for row in in_order if row.kind == "decision"]
    # In order of `seq`: the last of them.
    latest = decisions[-1] if decisions else None
    cuts = [row.seq for row in decisions if row.has_due_day]
    since = cuts[-1] if cuts else 0
    events = [row for row in in_order if row.seq >= since and _is_event(row)]
    return Past(events, latest)


def _is_event(row: StoredRow) -> bool:
    return row.has_due_day or row.kind == "resolution"


def newest_events(
    connection: sa.Connection,
    accounts: Collection[Account],
    secrets: Secrets,
) -> dict[Account, int]:
    """The ``seq`` of each account's newest event; 0 = there is none."""
    by_hash = _hash_accounts(accounts, secrets)
    newest = dict.fromkeys(accounts, 0)
    hashes = number("hash", by_hash)
    for account_hash, seq in _select_newest(len(hashes)).rows(connection, hashes):
        account = by_hash[account_hash]
        newest[account] = max(newest[account], seq)
    return newest


def _hash_accounts(accounts: Collection[Account], secrets: Secrets) -> dict[str, Account]:
    by_hash: dict[str, Account] = {}
    for account in accounts:
        for one in secrets.account_hashes(*account).values():
            by_hash[one] = account
    return by_hash


def _is_one_of(count: int) -> sa.ColumnElement[bool]:
    # One parameter a hash: an expanding parameter would be rendered anew for every execution.
    hashes: list[sa.BindParameter[str]] = [sa.bindparam(f"hash_{place}") for place in range(count)]
    return people.c.account.in_(hashes)


@functools.cache
def _select_past(count: int) -> PreparedStatement:
    """The rows of :class:`Past`, each after the hash and the encrypted key of its person."""
    # Named, and used twice: both databases find each person, and its two numbers, only once.
    persons = (
        sa.select(
            people.c.account,
            people.c.sealed_key,
            people.c.person,
            _newest_event().label("event"),
            _latest_decision().label("decision"),
        )
        .where(_is_one_of(count))
        .cte("persons")
    )
    of_person = entries.c.person == persons.c.person
    first = sa.func.coalesce(persons.c.event, sa.literal_column("0"))
    events = _select_rows(persons, of_person).where(is_event, entries.c.seq >= first)
    # The latest decisions that are no event: the others are among the events.
    latest = _select_rows(persons, entries.c.seq == persons.c.decision)
    kept = latest.where(entries.c.due.is_(None))
    return PreparedStatement(sa.union_all(events, kept))


@functools.cache
def _select_newest(count: int) -> PreparedStatement:
    found = sa.select(people.c.account, sa.func.max(entries.c.seq)).join_from(
        people, entries, entries.c.person == people.c.person
    )
    # Every row has such a number. Without the condition SQLite takes the index of all rows of the
    # person, and reads those that keep the limit too.
    has_number = entries.c.seq > sa.literal_column("0")
    chosen = found.where(_is_one_of(count), is_event, has_number)
    return PreparedStatement(chosen.group_by(people.c.account))


def _newest_event() -> sa.ScalarSelect[int]:
    """The number of a person's newest event that is a decision."""
    earlier = entries.alias("earlier")
    is_decision = (
        earlier.c.person == people.c.person,
        sa.or_(
            earlier.c.due.is_not(None),
            earlier.c.kind == sa.literal_column("'resolution'"),
        ),
        earlier.c.kind == sa.literal_column("'decision'"),
        earlier.c.seq > sa.literal_column("0"),
    )
    return sa.select(sa.func.max(earlier.c.seq)).where(*is_decision).scalar_subquery()


def _latest_decision() -> sa.ScalarSelect[int]:
    """The number of a person's latest decision, whatever it decided."""
    earlier = entries.alias("earlier")
    is_decision = (
        earlier.c.person == people.c.person,
        earlier.c.kind == sa.literal_column("'decision'"),
    )
    # Both databases read the index of the person backwards, until the first decision.
    return sa.select(sa.func.max(earlier.c.seq)).where(*is_decision).scalar_subquery()


def _select_rows(persons: sa.CTE, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    columns = (persons.c.account, persons.c.sealed_key, *_COLUMNS)
    return sa.select(*columns).join_from(persons, entries, condition)
