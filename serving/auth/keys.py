"""API keys in the database: created, listed, adopted, revoked, looked up.

Only the SHA-256 of a secret is stored. A secret has 256 random bits, so a plain hash resists
guessing and a slow one is not needed. Each row has a MAC, and what happens to it is an entry of the
audit log: who can write the database alone cannot make a key that is answered.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import math
import re
import unicodedata
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Any

import sqlalchemy as sa

from serving.audit_log.entry import Kind, NewEntry
from serving.audit_log.privacy.api_key_macs import (
    ADOPTED,
    CREATED,
    NOT_ADOPTED,
    REVOKED,
    StoredKey,
    api_key_mac,
    read_stored_keys,
)
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.privacy.record_secrets import keys_to_adopt
from serving.audit_log.rows import insert_entries
from serving.auth.caller import SCOPES, Caller
from serving.storage.database import Database
from serving.storage.tables import api_keys
from serving.storage.timestamps import decode_time, encode_time

MAX_LIVE = 2  # keys with the same tenant, scopes and owner: the old one and its replacement
MAX_DAYS = 3650
MAX_RATE = 10_000.0  # requests a second
MAX_OWNER = 100  # characters
_CALLER = "operator"  # a key is made and revoked by a command, which has no API key
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TEXT = re.compile(r"clk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
# Compared with the secret of an unknown key, so that the answer takes as long as for a known one.
_HASH_OF_NO_KEY = hashlib.sha256(token_bytes(32)).hexdigest()


class KeyRefused(ValueError):
    """The key cannot be created, or does not exist; the message says what was expected."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as stored. Times are UTC."""

    key_id: str
    tenant: str
    scopes: frozenset[str]
    hash: str  # SHA-256 of the secret, hex
    rate: float  # requests a second
    created_at: datetime.datetime
    expires_at: datetime.datetime
    revoked_at: datetime.datetime | None = None  # None = not revoked
    owner: str | None = None  # who holds it; None = unknown, in older keys
    # Why the row is not genuine, see serving.audit_log.privacy.api_key_macs; None = it is.
    problem: str | None = None

    def is_live(self, now: datetime.datetime) -> bool:
        """Whether the key is genuine, and neither expired nor revoked at this time."""
        if self.problem is not None:
            return False
        return now < self.expires_at and (self.revoked_at is None or now < self.revoked_at)

    @property
    def caller(self) -> Caller:
        """The caller that this key authenticates."""
        return Caller(self.key_id, self.tenant, self.scopes, self.owner)


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """How long a new key lives, how often it may be used, and who holds it."""

    days: float = 365  # until it expires
    rate: float = 100  # requests a second
    owner: str | None = None  # a person, a team or a program; None = unknown


DEFAULT_TERMS = KeyTerms()


def create(
    database: Database,
    secrets: Secrets,
    tenant: str,
    scopes: Collection[str],
    terms: KeyTerms = DEFAULT_TERMS,
    now: datetime.datetime | None = None,
) -> tuple[str, Key]:
    """Create an API key; returns its text, which is not stored, and the stored key.

    Args:
        database: Where it is stored.
        secrets: Those of the audit log.
        tenant: The lender that it belongs to.
        scopes: Some of ``SCOPES``.
        terms: How long it lives, how often it may be used, and who holds it.
        now: Its creation time.

    Raises:
        KeyRefused: an argument is invalid, or the owner has two live keys with these scopes.
    """
    check(tenant, scopes, terms)
    created_at = now or _now()
    secret = token_urlsafe(32)
    key = Key(
        key_id=token_hex(8),
        tenant=tenant,
        scopes=frozenset(scopes),
        hash=hashlib.sha256(secret.encode()).hexdigest(),
        rate=terms.rate,
        created_at=created_at,
        expires_at=created_at + datetime.timedelta(days=terms.days),
        owner=terms.owner,
    )
    with database.writing() as connection:
        # Within the write lock: two commands at once cannot create a third key.
        of_tenant = _read_keys(connection, secrets, api_keys.c.tenant == tenant)
        _check_room_for(key, of_tenant)
        row = _encode(key)
        row["mac"] = api_key_mac(row, secrets)
        connection.execute(api_keys.insert().values(row))
        insert_entries(connection, [_entry(CREATED, row, created_at)], secrets)
    return f"clk_{key.key_id}_{secret}", key


def has_keys(database: Database) -> bool:
    """Whether any key was ever created."""
    with database.reading() as connection:
        return connection.scalar(sa.select(api_keys.c.key_id).limit(1)) is not None


def list_keys(database: Database, secrets: Secrets) -> list[Key]:
    """All keys ever created, oldest first."""
    with database.reading() as connection:
        return _read_keys(connection, secrets)


def adopt(
    database: Database,
    secrets: Secrets,
    key_ids: Sequence[str],
    now: datetime.datetime | None = None,
) -> list[Key]:
    """Make keys of an earlier version genuine, all or none; returns them.

    Those can be adopted that were there when the audit log was first opened by this version.

    Raises:
        KeyRefused: an id is not that of such a key.
    """
    at = now or _now()
    with database.writing() as connection:
        found = {one.row["key_id"]: one for one in _read_stored(connection, secrets)}
        for key_id in dict.fromkeys(key_ids):
            stored = found.get(key_id)
            if stored is None or stored.problem != NOT_ADOPTED:
                raise KeyRefused(
                    "expected ids of keys that `python -m serving keys list` shows as not adopted, "
                    f"got {key_id!r}"
                )
            _update(connection, secrets, dict(stored.row), _Change(ADOPTED, at))
        return _read_keys(connection, secrets, api_keys.c.key_id.in_(key_ids))


def revoke(
    database: Database,
    secrets: Secrets,
    key_id: str,
    now: datetime.datetime | None = None,
) -> Key:
    """Revoke a key and return it; a key that was revoked before keeps its time.

    Raises:
        KeyRefused: there is no such key.
    """
    at = now or _now()
    has_id = api_keys.c.key_id == key_id
    with database.writing() as connection:
        stored = _read_stored(connection, secrets, has_id)
        if not stored:
            raise KeyRefused(
                "expected the id of a key as `python -m serving keys list` shows it, "
                "found no such key"
            )
        [one] = stored
        if one.row["revoked_at"] is None:
            # Also a row that is not genuine: whoever changed it could change it back.
            _update(connection, secrets, dict(one.row), _Change(REVOKED, at, one.problem))
        [revoked] = _read_keys(connection, secrets, has_id)
    return revoked


def find_key(
    text: str,
    keys: Mapping[str, Key],
    now: datetime.datetime,
) -> Key | None:
    """The live key with this text; None if there is none.

    An unknown key takes the same steps as a known key with a wrong secret.
    """
    # No early return: each text costs one hash and one comparison, whatever is wrong with it.
    parts = _TEXT.fullmatch(text)
    key_id, secret = parts.groups() if parts else ("", text)
    key = keys.get(key_id)
    secret_hash = hashlib.sha256(secret.encode()).hexdigest()
    is_equal = hmac.compare_digest(secret_hash, _HASH_OF_NO_KEY if key is None else key.hash)
    if key is None or not is_equal:
        return None
    return key if key.is_live(now) else None


def scopes_text(scopes: Iterable[str]) -> str:
    """The scopes in their usual order, separated by commas.

    >>> scopes_text({"review", "score"})
    'score,review'
    """
    return ",".join(sorted(scopes, key=SCOPES.index))


def check(tenant: str, scopes: Collection[str], terms: KeyTerms) -> None:
    """Raise :class:`KeyRefused` if no key can be created with these arguments."""
    days, rate = terms.days, terms.rate
    if not _TENANT.fullmatch(tenant):
        raise KeyRefused(
            "tenant: expected at most 64 letters, digits, dots, dashes and underscores, "
            f"beginning with a letter or digit, got {tenant!r}"
        )
    if not scopes or not set(scopes) <= set(SCOPES):
        raise KeyRefused(f"scopes: expected some of {','.join(SCOPES)}")
    if not (math.isfinite(days) and 0 < days <= MAX_DAYS):
        raise KeyRefused(f"days: expected more than 0, at most {MAX_DAYS}, got {days:g}")
    if not (math.isfinite(rate) and 0 < rate <= MAX_RATE):
        raise KeyRefused(
            f"rate: expected more than 0, at most {MAX_RATE:g} requests a second, got {rate:g}"
        )
    if terms.owner is not None:
        _check_owner(terms.owner)


def _check_owner(owner: str) -> None:
    # Two spellings of one name would be two owners: one could then answer the other's review.
    is_plain = owner.isprintable() and owner == " ".join(owner.split())
    is_composed = owner == unicodedata.normalize("NFC", owner)
    if not (0 < len(owner) <= MAX_OWNER and is_plain and is_composed):
        raise KeyRefused(
            f"owner: expected a name of 1 to {MAX_OWNER} printable characters, with single blanks "
            f"between its words, got {owner!r}"
        )


def _check_room_for(key: Key, of_tenant: Iterable[Key]) -> None:
    live = [one for one in of_tenant if one.is_live(key.created_at)]
    alike = [one for one in live if (one.scopes, one.owner) == (key.scopes, key.owner)]
    if len(alike) >= MAX_LIVE:
        ids = ", ".join(one.key_id for one in alike)
        holder = key.tenant if key.owner is None else f"{key.owner} of {key.tenant}"
        raise KeyRefused(
            f"{holder} has {len(alike)} live keys for {scopes_text(key.scopes)} ({ids}): "
            "revoke one first, `python -m serving keys revoke KEY_ID`"
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """What happens to a stored key, and when."""

    kind: Kind
    at: datetime.datetime
    problem: str | None = None  # why its row was not genuine before


def _read_keys(
    connection: sa.Connection, secrets: Secrets, *conditions: sa.ColumnElement[bool]
) -> list[Key]:
    """The keys that meet the conditions, oldest first."""
    return [_decode(stored) for stored in _read_stored(connection, secrets, *conditions)]


def _read_stored(
    connection: sa.Connection, secrets: Secrets, *conditions: sa.ColumnElement[bool]
) -> list[StoredKey]:
    awaiting = keys_to_adopt(connection, secrets)
    return read_stored_keys(connection, secrets, awaiting, *conditions)


def _update(
    connection: sa.Connection, secrets: Secrets, row: dict[str, Any], change: _Change
) -> None:
    """Change a row, and append the entry that says so."""
    if change.kind == REVOKED:
        row["revoked_at"] = encode_time(change.at)
    row["mac"] = api_key_mac(row, secrets)
    connection.execute(api_keys.update().where(api_keys.c.key_id == row["key_id"]).values(row))
    entry = _entry(change.kind, row, change.at)
    if change.problem is not None:
        entry = replace(entry, metadata={**entry.metadata, "problem": change.problem})
    insert_entries(connection, [entry], secrets)


def _entry(kind: Kind, row: Mapping[str, Any], at: datetime.datetime) -> NewEntry:
    """The entry about a key: nothing of it names a person, and the owner is in its MAC only."""
    names = ("scopes", "rate", "created_at", "expires_at", "revoked_at", "mac")
    return NewEntry(
        entry_id=str(uuid.uuid4()),
        kind=kind,
        subject=row["key_id"],
        tenant=row["tenant"],
        caller=_CALLER,
        at=at,
        account=None,
        metadata={name: row.get(name) for name in names},
    )


def _decode(stored: StoredKey) -> Key:
    row = stored.row
    revoked_at = row["revoked_at"]
    return Key(
        key_id=row["key_id"],
        tenant=row["tenant"],
        scopes=frozenset(row["scopes"].split()),
        hash=row["hash"],
        rate=row["rate"],
        created_at=decode_time(row["created_at"]),
        expires_at=decode_time(row["expires_at"]),
        revoked_at=None if revoked_at is None else decode_time(revoked_at),
        owner=row["owner"],
        problem=stored.problem,
    )


def _encode(key: Key) -> dict[str, str | float | None]:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "scopes": " ".join(sorted(key.scopes)),
        "hash": key.hash,
        "rate": float(key.rate),  # as the database returns it, for the MAC
        "created_at": encode_time(key.created_at),
        "expires_at": encode_time(key.expires_at),
        "owner": key.owner,
    }


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
