"""Data subjects: each has a random id and an encryption key of their own.

The account's name is not stored in clear text. Its keyed hash leads to the data subject's id and
key, in one row of ``people``: once that row is deleted, nothing leads from an account to its
entries, and nobody can decrypt them.
"""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.audit_log.entry import NewEntry
from serving.audit_log.privacy.key_file import Secrets
from serving.storage.driver_sql import BulkInsert, PreparedStatement, number
from serving.storage.tables import people

_INSERT = BulkInsert(people)
# Bytes. Random nonces are safe, because one key encrypts far fewer than 2**32 rows.
_NONCE = 12
_ID, _KEY = 16, 32  # of a data subject


@dataclass(frozen=True, slots=True)
class DataSubject:
    """A person in the audit log: a random id, and the 32-byte key of their entries."""

    subject_id: str
    key: bytes


Account = tuple[str, str]  # tenant, the lender's name of the account


def draw_nonces(count: int) -> Iterator[bytes]:
    """Draw nonces in one ``os.urandom`` call: each call releases the GIL and delays the writer."""
    drawn = os.urandom(_NONCE * count)
    return (drawn[begin : begin + _NONCE] for begin in range(0, len(drawn), _NONCE))


def encrypt(
    content: bytes | None,
    key: bytes,
    context: str,
    nonce: bytes,
) -> bytes | None:
    """Encrypt with AES-GCM, bound to ``context``; None stays None. A nonce is used once."""
    if content is None:
        return None
    return nonce + AESGCM(key).encrypt(nonce, content, context.encode())


def decrypt(encrypted: bytes, key: bytes, context: str) -> bytes:
    """Decrypt the result of :func:`encrypt`.

    Raises:
        cryptography.exceptions.InvalidTag: other key or context, or the content was changed.
        ValueError: the content is too short.
    """
    return AESGCM(key).decrypt(
        encrypted[:_NONCE],
        encrypted[_NONCE:],
        context.encode(),
    )


def key_context(subject_id: str, account_hash: str) -> str:
    """What a data subject's key is bound to: swapped keys or account hashes fail to decrypt."""
    return f"{subject_id} {account_hash}"


def get_or_create(
    connection: sa.Connection,
    new_entries: Iterable[NewEntry],
    secrets_: Secrets,
) -> Mapping[Account, DataSubject]:
    """The data subjects of these entries' accounts, within a write transaction."""
    hashes: dict[Account, dict[str, str]] = {}
    for entry in new_entries:
        if entry.account is not None:
            account = entry.tenant, entry.account
            hashes[account] = secrets_.account_hashes(*account)
    known = _find_by_hash(
        connection,
        [one for own in hashes.values() for one in own.values()],
        secrets_,
    )
    subjects: dict[Account, DataSubject] = {}
    created: list[dict[str, object]] = []
    for account, own in hashes.items():
        # An account may have been hashed with an earlier account key.
        subject = next((known[one] for one in own.values() if one in known), None)
        if subject is None:
            subject, row = draw_subject(own[secrets_.account_key], secrets_)
            created.append(row)
        subjects[account] = subject
    insert(connection, created)
    return subjects


def draw_subject(account_hash: str, secrets_: Secrets) -> tuple[DataSubject, dict[str, object]]:
    """Draw a data subject for an account; with its row of ``people``, for :func:`insert`."""
    # In one call of the system: a portfolio has many new accounts.
    drawn = secrets.token_bytes(_ID + _KEY + _NONCE)
    subject = DataSubject(drawn[:_ID].hex(), drawn[_ID : _ID + _KEY])
    return subject, _encode(subject, account_hash, drawn[_ID + _KEY :], secrets_)


def insert(connection: sa.Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert the rows of new data subjects, of :func:`draw_subject`."""
    if rows:
        _INSERT.run(connection, rows)


def read_subject_keys(
    connection: sa.Connection,
    subject_ids: Sequence[str],
    secrets_: Secrets,
) -> dict[str, bytes]:
    """The decrypted keys by data subject; deleted keys are missing."""
    query = sa.select(people).where(people.c.person.in_(subject_ids))
    keys: dict[str, bytes] = {}
    for row in connection.execute(query):
        keys[row.person] = decrypt_key(row.sealed_key, row.person, row.account, secrets_)
    return keys


def try_subject_keys(
    connection: sa.Connection,
    subject_ids: Collection[str],
    secrets_: Secrets,
) -> dict[str, bytes | None]:
    """As :func:`read_subject_keys`, whatever is stored; None: a key that fails to decrypt."""
    # Cast to bytes: SQLite may hold text there, even text that is not valid UTF-8.
    account_hash = sa.cast(people.c.account, sa.LargeBinary)
    sealed_key = sa.cast(people.c.sealed_key, sa.LargeBinary)
    query = sa.select(people.c.person, account_hash, sealed_key)
    keys: dict[str, bytes | None] = {}
    for subject_id, account, sealed in connection.execute(
        query.where(people.c.person.in_(sorted(subject_ids)))
    ):
        keys[subject_id] = _try_key(sealed, subject_id, account, secrets_)
    return keys


def _try_key(
    sealed: bytes | None,
    subject_id: str,
    account: bytes | None,
    secrets_: Secrets,
) -> bytes | None:
    try:
        account_hash = (account or b"").decode()
        return (
            None
            if sealed is None
            else decrypt_key(
                sealed,
                subject_id,
                account_hash,
                secrets_,
            )
        )
    except (InvalidTag, ValueError):
        return None


def _find_by_hash(
    connection: sa.Connection,
    hashes: Sequence[str],
    secrets_: Secrets,
) -> dict[str, DataSubject]:
    if not hashes:
        return {}
    values = number("hash", hashes)
    rows = _select_by_hash(len(values)).rows(connection, values)
    found: dict[str, DataSubject] = {}
    for account_hash, subject_id, sealed in rows:
        key = decrypt_key(sealed, subject_id, account_hash, secrets_)
        found[account_hash] = DataSubject(subject_id, key)
    return found


@functools.cache
def _select_by_hash(count: int) -> PreparedStatement:
    # One parameter a hash: an expanding parameter would be rendered anew for every execution.
    hashes: list[sa.BindParameter[str]] = [sa.bindparam(f"hash_{place}") for place in range(count)]
    columns = (people.c.account, people.c.person, people.c.sealed_key)
    return PreparedStatement(sa.select(*columns).where(people.c.account.in_(hashes)))


def _encode(
    subject: DataSubject,
    account_hash: str,
    nonce: bytes,
    secrets_: Secrets,
) -> dict[str, object]:
    context = key_context(subject.subject_id, account_hash)
    return {
        "person": subject.subject_id,
        "account": account_hash,
        "key_id": secrets_.account_key,
        "sealed_key": encrypt(subject.key, secrets_.sealing_key, context, nonce),
    }


def decrypt_key(
    sealed: bytes,
    subject_id: str,
    account_hash: str,
    secrets_: Secrets,
) -> bytes:
    """The key of a data subject's entries, from the columns of ``people``.

    Raises:
        cryptography.exceptions.InvalidTag: the columns do not belong together.
    """
    return decrypt(sealed, secrets_.sealing_key, key_context(subject_id, account_hash))
