"""Rows that are encrypted before the transaction that stores them, as in another process.

    seal_batch(), by a reader -> store_batch(), under the writers' lock

To encrypt a row takes longer than to append it, and needs no lock.  It needs the keys of the
persons, which may be erased or created until the lock is held.  So a batch says what it was sealed
for, and is stored only while that is still so.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa

from serving.audit_log.entry import NewEntry
from serving.audit_log.privacy.data_subjects import DataSubject, decrypt_key, draw_subject
from serving.audit_log.privacy.data_subjects import insert as insert_people
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import (
    SealedRow,
    append_rows,
    draw_row_nonces,
    pack_contents,
    seal_row,
)
from serving.storage.driver_sql import PreparedStatement, number
from serving.storage.tables import entries, is_event, people

Account = tuple[str, str]  # tenant, the lender's name of the account
Item = Sequence[NewEntry]  # entries that are stored together or not at all


class State(NamedTuple):
    """What is known of an account: its person, and the ``seq`` of the newest event, 0 = none."""

    person: str
    sealed_key: bytes
    newest_event: int


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """Rows that are stored together while the audit log knows the same of their accounts.

    Attributes:
        hashes: All keyed hashes of the accounts.
        known: The states of those that lead to a person.
        people: The rows of new persons.
        rows: In the order of the entries.
    """

    hashes: Sequence[str]
    known: Mapping[str, State]
    people: Sequence[Mapping[str, object]]
    rows: Sequence[SealedRow]


def seal_batch(
    connection: sa.Connection,
    items: Sequence[Item],
    secrets: Secrets,
) -> SealedBatch | None:
    """Encrypt entries, each with an account, for the persons that a reader finds now.

    None if an entry follows from an event that is not its account's newest, or if two items follow
    from one event: the general way, :meth:`serving.audit_log.committer.Committer.commit`, says
    which of them is stored.
    """
    together = list(chain.from_iterable(items))
    hashes: dict[Account, Mapping[str, str]] = {}
    for entry in together:
        account = _account_of(entry)
        if account not in hashes:
            hashes[account] = secrets.account_hashes(*account)
    every = [one for own in hashes.values() for one in own.values()]
    known = _read_states(connection, every)
    if not _follow_newest(items, hashes, known):
        return None
    subjects, created = _find_subjects(hashes, known, secrets)
    nonces = draw_row_nonces(len(together))
    rows = []
    for entry in together:
        subject = subjects[_account_of(entry)]
        contents = pack_contents(entry)
        rows.append(seal_row(entry, subject, contents, nonces))
    return SealedBatch(every, known, created, rows)


def store_batch(connection: sa.Connection, batch: SealedBatch) -> bool:
    """Append the rows of a batch within a write transaction; False = its accounts changed since.

    Nothing is written if it is false.

    Raises:
        sqlalchemy.exc.IntegrityError: an entry id or a unique key exists already.
    """
    known = _read_states(connection, batch.hashes)
    if known != batch.known:
        return False
    insert_people(connection, batch.people)
    append_rows(connection, batch.rows)
    return True


def _account_of(entry: NewEntry) -> Account:
    if entry.account is None:
        raise ValueError(f"expected entries with an account, got {entry.entry_id} without one")
    return entry.tenant, entry.account


def _find_subjects(
    hashes: Mapping[Account, Mapping[str, str]],
    known: Mapping[str, State],
    secrets: Secrets,
) -> tuple[dict[Account, DataSubject], list[Mapping[str, object]]]:
    """The person of each account, and the rows of those who are new."""
    subjects: dict[Account, DataSubject] = {}
    created: list[Mapping[str, object]] = []
    for account, own in hashes.items():
        # An account may have been hashed with an earlier account key.
        found = next((one for one in own.values() if one in known), None)
        if found is None:
            subject, row = draw_subject(own[secrets.account_key], secrets)
            created.append(row)
        else:
            person, sealed_key, _ = known[found]
            key = decrypt_key(sealed_key, person, found, secrets)
            subject = DataSubject(person, key)
        subjects[account] = subject
    return subjects, created


def _follow_newest(
    items: Sequence[Item],
    hashes: Mapping[Account, Mapping[str, str]],
    known: Mapping[str, State],
) -> bool:
    """Whether each entry follows from its account's newest event, and is the only one that does."""
    seen: set[Account] = set()
    for item in items:
        followed: set[Account] = set()
        for entry in item:
            if entry.follows is None:
                continue
            account = _account_of(entry)
            states = [known[one] for one in hashes[account].values() if one in known]
            newest = max((state.newest_event for state in states), default=0)
            if entry.follows != newest:
                return False
            followed.add(account)
        if followed & seen:
            return False
        seen |= followed
    return True


def _read_states(connection: sa.Connection, hashes: Sequence[str]) -> dict[str, State]:
    """The state of each hash that leads to a person."""
    if not hashes:
        return {}
    values = number("hash", hashes)
    found = {}
    for account_hash, person, sealed_key, event in _select_states(len(values)).rows(
        connection,
        values,
    ):
        found[account_hash] = State(person, bytes(sealed_key), event)
    return found


@functools.cache
def _select_states(count: int) -> PreparedStatement:
    # One parameter a hash: an expanding parameter would be rendered anew for every execution.
    hashes: list[Any] = [sa.bindparam(f"hash_{place}") for place in range(count)]
    of_person = (
        entries.c.person == people.c.person,
        is_event,
        # Every row has such a number. Without the condition SQLite takes the index of all rows of
        # the person, and reads those that keep the limit too.
        entries.c.seq > sa.literal_column("0"),
    )
    newest = sa.select(sa.func.max(entries.c.seq)).where(*of_person)
    chosen = sa.select(
        people.c.account,
        people.c.person,
        people.c.sealed_key,
        sa.func.coalesce(newest.scalar_subquery(), sa.literal_column("0")),
    )
    return PreparedStatement(chosen.where(people.c.account.in_(hashes)))
