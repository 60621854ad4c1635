"""API keys as they are stored: made, listed and revoked.  Of a secret only the SHA-256 is kept.

A secret is 256 random bits, so nothing slower than a plain hash is needed against guessing.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from serving.auth.caller import SCOPES, Caller
from serving.storage.database import Database
from serving.storage.settings import read_settings
from serving.storage.tables import api_keys
from serving.storage.timestamps import decode_time, encode_time

# keys of one tenant and one set of scopes: the old one and the one that takes its place
MOST_LIVE = 2
LONGEST_DAYS = 3650
HIGHEST_RATE = 10_000.0  # requests a second
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TEXT = re.compile(r"clk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
# what an unknown key's secret is compared with
_NOBODYS = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


class KeyRefused(ValueError):
    """No such key is made, or none is there: says what was expected."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored: whose, what for, and until when; ``hash`` is the hex SHA-256 of its
    secret.

    ``rate`` is in requests a second; times are UTC; ``revoked_at`` None = it was not.
    """

    key_id: str
    tenant: str
    scopes: frozenset[str]
    hash: str
    rate: float
    created_at: datetime.datetime
    expires_at: datetime.datetime
    revoked_at: datetime.datetime | None = None

    def lives(self, now: datetime.datetime) -> bool:
        """Whether it is good at this time."""
        return now < self.expires_at and (self.revoked_at is None or now < self.revoked_at)

    @property
    def caller(self) -> Caller:
        """Who shows it."""
        return Caller(self.key_id, self.tenant, self.scopes)


def open_database() -> Database:
    """The record's database, of which the keys are a table; made where there is none.

    RecordError where it does not open.
    """
    settings = read_settings()
    if settings.file is not None:
        settings.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Database(settings.address)


def create(
    database: Database,
    tenant: str,
    scopes: Collection[str],
    days: float = 365,
    rate: float = 100,
    now: datetime.datetime | None = None,
) -> tuple[str, Key]:
    """The text of a new key, which nobody can show again, and the key as it was stored.

    ``days`` until it expires, ``rate`` in requests a second.  Raises :class:`KeyRefused` where one
    of these is none, or where the tenant has two live keys for the same scopes.
    """
    _check(tenant, scopes, days, rate)
    made_at = now or _now()
    secret = secrets.token_urlsafe(32)
    key = Key(
        key_id=secrets.token_hex(8),
        tenant=tenant,
        scopes=frozenset(scopes),
        hash=hashlib.sha256(secret.encode()).hexdigest(),
        rate=rate,
        created_at=made_at,
        expires_at=made_at + datetime.timedelta(days=days),
    )
    with database.writing() as connection:
        # Within the writers' lock: two commands at once do not make a third key.
        alike = [
            k
            for k in read_keys(connection)
            if k.tenant == tenant and k.scopes == key.scopes and k.lives(made_at)
        ]
        if len(alike) >= MOST_LIVE:
            raise KeyRefused(
                f"{tenant} has {len(alike)} live keys for {scopes_text(key.scopes)} ({', '.join(k.key_id for k in alike)}): "
                "revoke one first, `python -m serving keys revoke KEY_ID`"
            )
        connection.execute(api_keys.insert().values(_row(key)))
    return f"clk_{key.key_id}_{secret}", key


def list_keys(database: Database) -> list[Key]:
    """All keys that were ever made, oldest first."""
    with database.reading() as connection:
        return read_keys(connection)


def revoke(database: Database, key_id: str, now: datetime.datetime | None = None) -> Key:
    """The key, revoked; one that was revoked before keeps its time.

    Raises :class:`KeyRefused` where there is none.
    """
    with database.writing() as connection:
        wanted = api_keys.c.key_id == key_id
        connection.execute(
            api_keys.update()
            .where(wanted, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=encode_time(now or _now()))
        )
        found = read_keys(connection, wanted)
    if not found:
        raise KeyRefused(
            "expected the id of a key, as `python -m serving keys list` shows it: there is none of this name"
        )
    return found[0]


def read_keys(connection: sa.Connection, *wanted: sa.ColumnElement[bool]) -> list[Key]:
    """The keys that a connection sees, oldest first."""
    rows = connection.execute(
        sa.select(api_keys).where(*wanted).order_by(api_keys.c.created_at, api_keys.c.key_id)
    )
    return [
        Key(
            key_id=row.key_id,
            tenant=row.tenant,
            scopes=frozenset(row.scopes.split()),
            hash=row.hash,
            rate=row.rate,
            created_at=decode_time(row.created_at),
            expires_at=decode_time(row.expires_at),
            revoked_at=None if row.revoked_at is None else decode_time(row.revoked_at),
        )
        for row in rows
    ]


def find_key(text: str, keys: dict[str, Key], now: datetime.datetime) -> Key | None:
    """The live key that this text is the text of; None where there is none.

    An unknown key takes the path and the time of a known one with a wrong secret.
    """
    parts = _TEXT.fullmatch(text)
    key_id, secret = parts.groups() if parts else ("", text)
    key = keys.get(key_id)
    hashed = hashlib.sha256(secret.encode()).hexdigest()
    same = hmac.compare_digest(hashed, _NOBODYS if key is None else key.hash)
    return key if key is not None and same and key.lives(now) else None


def scopes_text(scopes: Iterable[str]) -> str:
    """The scopes in their usual order, with commas.

    >>> scopes_text({"review", "score"})
    'score,review'
    """
    return ",".join(sorted(scopes, key=SCOPES.index))


def _check(tenant: str, scopes: Collection[str], days: float, rate: float) -> None:
    if not _TENANT.fullmatch(tenant):
        raise KeyRefused(
            "tenant: expected letters, digits, dots, dashes and underscores, at most 64, a letter or digit first"
        )
    if not scopes or not set(scopes) <= set(SCOPES):
        raise KeyRefused(f"scopes: expected some of {','.join(SCOPES)}")
    if not (math.isfinite(days) and 0 < days <= LONGEST_DAYS):
        raise KeyRefused(f"days: expected more than 0, at most {LONGEST_DAYS}")
    if not (math.isfinite(rate) and 0 < rate <= HIGHEST_RATE):
        raise KeyRefused(f"rate: expected more than 0, at most {HIGHEST_RATE:g} requests a second")


def _row(key: Key) -> dict[str, str | float]:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "scopes": " ".join(sorted(key.scopes)),
        "hash": key.hash,
        "rate": key.rate,
        "created_at": encode_time(key.created_at),
        "expires_at": encode_time(key.expires_at),
    }


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
