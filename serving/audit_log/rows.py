"""Entries to rows of the hash-chained table, and back.

The only module that maps the names of :class:`Entry` to columns. The columns ``before`` and
``hash`` belong to the chain: an entry does not have them.
"""

from __future__ import annotations

import base64
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from serving.audit_log.entry import Entry, Kind, NewEntry, Packed, encode_metadata
from serving.audit_log.hash_chain import GENESIS, encode_columns, hash_next
from serving.audit_log.privacy import data_subjects
from serving.audit_log.privacy.content import pack, unpack
from serving.audit_log.privacy.data_subjects import (
    DataSubject,
    decrypt,
    draw_nonces,
    encrypt,
)
from serving.audit_log.privacy.key_file import Secrets
from serving.storage.driver_sql import BulkInsert, PreparedStatement
from serving.storage.tables import entries
from serving.storage.timestamps import decode_time, encode_time
from serving.web.models import read_json

data_subject_column = entries.c.person
metadata_column = entries.c.facts
request_column = entries.c.asked
response_column = entries.c.answered
unique_key_column = entries.c.slot
ENCRYPTED = (request_column.name, response_column.name)  # in rows that have a data subject
_IN_FORCE = "in_force"  # in the metadata: what an event leaves in force, encrypted, base64
_NONCES = len(ENCRYPTED) + 1  # of an entry, at most

_LAST_SEQ = sa.select(sa.func.max(entries.c.seq)).scalar_subquery()
_LAST = PreparedStatement(
    sa.select(entries.c.seq, entries.c.hash).where(entries.c.seq == _LAST_SEQ)
)
_INSERT = BulkInsert(entries)


class SealedRow(NamedTuple):
    """A row that only the chain is missing of.

    Attributes:
        columns: Those between ``seq`` and ``before``, in the table's order.
        hashed: The same, as :func:`serving.audit_log.hash_chain.encode_columns` encodes them.
    """

    columns: tuple[object, ...]
    hashed: bytes


def draw_row_nonces(rows: int) -> Iterator[bytes]:
    """The nonces that :func:`seal_row` needs for so many rows."""
    return draw_nonces(_NONCES * rows)


def read_chain_head(connection: sa.Connection) -> tuple[int, bytes]:
    """The number of rows, and the hash of the last one."""
    for seq, row_hash in _LAST.rows(connection, {}):
        return seq, bytes(row_hash)
    return 0, GENESIS


def pack_contents(entry: NewEntry) -> Packed:
    """Pack what is encrypted of an entry with an account; needs no database and no key."""
    if entry.account is None:
        return None, None, None
    if entry.packed is not None:
        return entry.packed
    contents = entry.request_body, entry.response_body, entry.in_force
    return tuple(None if one is None else pack(one) for one in contents)


def pack_ahead(entry: NewEntry) -> NewEntry:
    """Return the entry with its contents packed, which takes the writer most of its time."""
    return replace(entry, packed=pack_contents(entry))


def insert_entries(
    connection: sa.Connection,
    new_entries: Sequence[NewEntry],
    secrets: Secrets,
    packed: Sequence[Packed] | None = None,
) -> list[Entry]:
    """Append entries to the chain within a write transaction; returns them as stored.

    ``packed`` has :func:`pack_contents` of each entry, if that was done before the transaction.

    Raises:
        sqlalchemy.exc.IntegrityError: an entry id or a unique key exists already.
    """
    if not new_entries:
        return []
    by_account = data_subjects.get_or_create(connection, new_entries, secrets)
    nonces = draw_row_nonces(len(new_entries))
    rows: list[SealedRow] = []
    people: list[DataSubject | None] = []
    if packed is None:
        packed = [pack_contents(entry) for entry in new_entries]
    for entry, contents in zip(new_entries, packed, strict=True):
        person = None if entry.account is None else by_account[entry.tenant, entry.account]
        rows.append(seal_row(entry, person, contents, nonces))
        people.append(person)
    last = append_rows(connection, rows)
    numbers = range(last - len(rows) + 1, last + 1)
    return [
        _as_stored(entry, seq, person)
        for entry, seq, person in zip(new_entries, numbers, people, strict=True)
    ]


def seal_row(
    entry: NewEntry,
    person: DataSubject | None,
    contents: Packed,
    nonces: Iterator[bytes],
) -> SealedRow:
    """The row of an entry; ``contents``, of :func:`pack_contents`, are encrypted for the person.

    ``person`` is None for an entry without an account, whose bodies are stored as they are.
    ``nonces`` has as many as :func:`draw_row_nonces` draws for a row.
    """
    subject_id, metadata = None, entry.metadata
    asked, answered = entry.request_body, entry.response_body
    if person is not None:
        subject_id = person.subject_id
        encrypted: list[bytes | None] = []
        for name, one in zip((*ENCRYPTED, _IN_FORCE), contents, strict=True):
            context = encryption_context(entry.entry_id, name)
            encrypted.append(encrypt(one, person.key, context, next(nonces)))
        asked, answered, in_force = encrypted
        if in_force is not None:
            metadata = {**metadata, _IN_FORCE: base64.b64encode(in_force).decode()}
    columns = (
        entry.entry_id,
        entry.kind,
        entry.subject,
        entry.tenant,
        entry.caller,
        encode_time(entry.at),
        subject_id,
        encode_metadata(metadata),
        asked,
        answered,
        entry.unique_key,
        entry.digest,
        None if entry.due is None else entry.due.isoformat(),
    )
    return SealedRow(columns, encode_columns(columns))


def append_rows(connection: sa.Connection, rows: Sequence[SealedRow]) -> int:
    """Append rows to the chain within a write transaction; returns the ``seq`` of the last one.

    Raises:
        sqlalchemy.exc.IntegrityError: an entry id or a unique key exists already.
    """
    # The write lock is held: no other writer can append between this read and the insert.
    seq, before = read_chain_head(connection)
    chained: list[tuple[object, ...]] = []
    for row in rows:
        seq += 1
        row_hash = hash_next(before, seq, row.hashed)
        chained.append((seq, *row.columns, before, row_hash))
        before = row_hash
    _INSERT.run_values(connection, chained)
    return seq


def decode_rows(
    connection: sa.Connection,
    rows: Sequence[sa.RowMapping],
    secrets: Secrets,
) -> list[Entry]:
    """Rows of ``entries`` as entries.

    Raises:
        cryptography.exceptions.InvalidTag: a row's encrypted content was changed.
        serving.audit_log.privacy.content.ContentError: it was encrypted, and is no content.
    """
    named = {row[data_subject_column.name] for row in rows} - {None}
    keys = data_subjects.read_subject_keys(connection, sorted(named), secrets)
    return [decode_row(row, keys.get(row[data_subject_column.name])) for row in rows]


class StoredRow:
    """A row of ``entries`` whose content is decrypted only if :attr:`entry` is read.

    ``columns`` are by name, without the two hashes; ``key`` is of the row's data subject.
    """

    def __init__(self, columns: Mapping[str, Any], key: bytes) -> None:
        self._columns, self._key = columns, key
        self.seq: int = columns["seq"]
        self.entry_id: str = columns["entry_id"]
        self.kind: Kind = columns["kind"]
        self.subject: str = columns["subject"]
        self.has_due_day: bool = columns["due"] is not None

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """The readable metadata, as it is stored."""
        found: Mapping[str, Any] = read_json(self._columns[metadata_column.name])
        return found

    @property
    def in_force(self) -> bytes | None:
        """What the event leaves in force, as :class:`NewEntry` has it; None = it does not say.

        Raises:
            cryptography.exceptions.InvalidTag: it was changed, or is of another row.
        """
        stored = self.metadata.get(_IN_FORCE)
        return None if stored is None else _decrypt_in_force(stored, self.entry_id, self._key)

    @cached_property
    def entry(self) -> Entry:
        """The row as an entry; the raises are those of :func:`decode_row`."""
        return decode_row(self._columns, self._key)


def decode_row(row: Mapping[Any, Any], key: bytes | None) -> Entry:
    """A row of ``entries`` as an entry; ``key`` is its data subject's, None = erased or none.

    Raises:
        cryptography.exceptions.InvalidTag: the row's encrypted content was changed.
        serving.audit_log.privacy.content.ContentError: it was encrypted, and is no content.
    """
    due = row["due"]
    metadata = read_json(row[metadata_column.name])
    metadata.pop(_IN_FORCE, None)  # ciphertext, of use to the look-up alone
    return Entry(
        seq=row["seq"],
        entry_id=row["entry_id"],
        kind=row["kind"],
        subject=row["subject"],
        tenant=row["tenant"],
        caller=row["caller"],
        at=decode_time(row["at"]),
        data_subject=row[data_subject_column.name],
        metadata=metadata,
        request_body=_content(row, request_column.name, key),
        response_body=_content(row, response_column.name, key),
        unique_key=row[unique_key_column.name],
        digest=row["digest"],
        due=None if due is None else datetime.date.fromisoformat(due),
        erased=row[data_subject_column.name] is not None and key is None,
    )


def is_readable(row: Mapping[Any, Any], key: bytes) -> bool:
    """Whether the key of a row's data subject decrypts all that is encrypted in the row."""
    try:
        for column in ENCRYPTED:
            _content(row, column, key)
        _ = StoredRow(row, key).in_force
    except (InvalidTag, ValueError, TypeError, AttributeError):
        # Too short, packed in a way of no version, or metadata that are not as they were written.
        return False
    return True


def _decrypt_in_force(stored: str, entry_id: str, key: bytes) -> bytes:
    encrypted = base64.b64decode(stored, validate=True)
    return unpack(decrypt(encrypted, key, encryption_context(entry_id, _IN_FORCE)))


def encryption_context(entry_id: str, name: str) -> str:
    """What content is bound to: content moved to another row or name fails to decrypt."""
    return f"{entry_id} {name}"


def _as_stored(
    entry: NewEntry,
    seq: int,
    person: DataSubject | None,
) -> Entry:
    return Entry(
        seq=seq,
        entry_id=entry.entry_id,
        kind=entry.kind,
        subject=entry.subject,
        tenant=entry.tenant,
        caller=entry.caller,
        at=entry.at,
        data_subject=None if person is None else person.subject_id,
        metadata=entry.metadata,
        request_body=entry.request_body,
        response_body=entry.response_body,
        unique_key=entry.unique_key,
        digest=entry.digest,
        due=entry.due,
        erased=False,
    )


def _content(
    row: Mapping[Any, Any],
    column: str,
    key: bytes | None,
) -> bytes | None:
    stored = row[column]
    if stored is None:
        return None
    if row[data_subject_column.name] is None:
        return bytes(stored)
    if key is None:
        return None
    content = decrypt(bytes(stored), key, encryption_context(row["entry_id"], column))
    return unpack(content)
