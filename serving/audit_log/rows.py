"""Drafts to rows of the chain, and rows back to what they say."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from serving.audit_log.entry import Entry, NewEntry, encode_metadata
from serving.audit_log.hash_chain import GENESIS, hash_of
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.persons import Person, key_of, nonces, persons_of, seal, unseal
from serving.storage.driver_sql import BulkInsert, PreparedStatement
from serving.storage.tables import entries
from serving.storage.timestamps import decode_time, encode_time

_NEWEST = sa.select(sa.func.max(entries.c.seq)).scalar_subquery()
_LAST = PreparedStatement(sa.select(entries.c.seq, entries.c.hash).where(entries.c.seq == _NEWEST))
_INSERT = BulkInsert(entries)


def chain_head(connection: sa.Connection) -> tuple[int, bytes]:
    """How many rows there are, and the hash of the last."""
    for seq, row_hash in _LAST.rows(connection, {}):
        return seq, bytes(row_hash)
    return 0, GENESIS


def insert_entries(
    connection: sa.Connection, drafts: Sequence[NewEntry], secrets: Secrets
) -> list[Entry]:
    """Chain these drafts to the record, within a writing transaction; IntegrityError where a name
    or a slot is taken.
    """
    if not drafts:
        return []
    accounts = persons_of(connection, drafts, secrets)
    seq, before = chain_head(connection)
    fresh = nonces(2 * len(drafts))
    rows, kept = [], []
    for draft in drafts:
        seq += 1
        person = None if draft.account is None else accounts[draft.tenant, draft.account]
        row = _row(draft, seq, person, fresh)
        before = hash_of(row, previous := before)
        rows.append(row | {"before": previous, "hash": before})
        kept.append(_kept_as(draft, seq, person))
    _INSERT.run(connection, rows)
    return kept


def decode_rows(
    connection: sa.Connection, rows: Sequence[sa.RowMapping], secrets: Secrets
) -> list[Entry]:
    """What rows of ``entries`` say; cryptography's InvalidTag where a row's content is not what was
    sealed.
    """
    keys = key_of(
        connection, sorted({row["person"] for row in rows if row["person"] is not None}), secrets
    )
    return [_said(row, None if row["person"] is None else keys.get(row["person"])) for row in rows]


def _row(
    draft: NewEntry, seq: int, person: Person | None, fresh: Iterator[bytes]
) -> dict[str, Any]:
    asked, answered = (
        content
        if person is None
        else seal(content, person.key, f"{draft.entry_id} {name}", next(fresh))
        for name, content in (("asked", draft.request_body), ("answered", draft.response_body))
    )
    return {
        "seq": seq,
        "entry_id": draft.entry_id,
        "kind": draft.kind,
        "subject": draft.subject,
        "tenant": draft.tenant,
        "caller": draft.caller,
        "at": encode_time(draft.at),
        "person": None if person is None else person.name,
        "facts": encode_metadata(draft.metadata),
        "asked": asked,
        "answered": answered,
        "slot": draft.unique_key,
        "digest": draft.digest,
        "due": None if draft.due is None else draft.due.isoformat(),
    }


def _kept_as(draft: NewEntry, seq: int, person: Person | None) -> Entry:
    return Entry(
        seq=seq,
        entry_id=draft.entry_id,
        kind=draft.kind,
        subject=draft.subject,
        tenant=draft.tenant,
        caller=draft.caller,
        at=draft.at,
        data_subject=None if person is None else person.name,
        metadata=draft.metadata,
        request_body=draft.request_body,
        response_body=draft.response_body,
        unique_key=draft.unique_key,
        digest=draft.digest,
        due=draft.due,
        erased=False,
    )


def _said(row: sa.RowMapping, key: bytes | None) -> Entry:
    sealed = row["person"] is not None
    asked, answered = (
        _content(row, name, key) if sealed else None if row[name] is None else bytes(row[name])
        for name in ("asked", "answered")
    )
    return Entry(
        seq=row["seq"],
        entry_id=row["entry_id"],
        kind=row["kind"],
        subject=row["subject"],
        tenant=row["tenant"],
        caller=row["caller"],
        at=decode_time(row["at"]),
        data_subject=row["person"],
        metadata=json.loads(row["facts"]),
        request_body=asked,
        response_body=answered,
        unique_key=row["slot"],
        digest=row["digest"],
        due=None if row["due"] is None else datetime.date.fromisoformat(row["due"]),
        erased=sealed and key is None,
    )


def _content(row: sa.RowMapping, name: str, key: bytes | None) -> bytes | None:
    sealed = row[name]
    return (
        None
        if key is None or sealed is None
        else unseal(bytes(sealed), key, f"{row['entry_id']} {name}")
    )
