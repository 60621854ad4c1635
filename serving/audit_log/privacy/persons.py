"""People in the record: each has a random name, and a key of their own under which their rows are
sealed.

The account's name is stored nowhere.  Its keyed hash leads to the person, and the person to the
key, in one row of ``people``: without that row nothing leads from an account to its decisions, and
nobody can read them.
"""

from __future__ import annotations

import functools
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.audit_log.entry import NewEntry
from serving.audit_log.privacy.key_file import Secrets
from serving.storage.driver_sql import BulkInsert, PreparedStatement
from serving.storage.tables import entries, people

_INSERT = BulkInsert(people)
_NONCE = 12  # bytes; random, for a key seals far fewer than 2**32 rows


@dataclass(frozen=True, slots=True)
class Person:
    """``name`` in the record, and the 32 bytes under which their rows are sealed."""

    name: str
    key: bytes


Accounts = Mapping[tuple[str, str], Person]  # (tenant, account) -> person


def nonces(count: int) -> Iterator[bytes]:
    """As many, drawn together: to ask the system gives the interpreter away, to whoever decides
    meanwhile.
    """
    drawn = os.urandom(_NONCE * count)
    return (drawn[begin : begin + _NONCE] for begin in range(0, len(drawn), _NONCE))


def seal(content: bytes | None, key: bytes, about: str, nonce: bytes) -> bytes | None:
    """The content under a key, bound to what it is ``about``; None stays None.

    A ``nonce`` serves once.
    """
    if content is None:
        return None
    return nonce + AESGCM(key).encrypt(nonce, content, about.encode())


def unseal(sealed: bytes | None, key: bytes, about: str) -> bytes | None:
    """What was sealed; cryptography's InvalidTag where it is not what was sealed, or about
    something else.
    """
    return (
        None
        if sealed is None
        else AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())
    )


def persons_of(
    connection: sa.Connection, drafts: Iterable[NewEntry], secrets_: Secrets
) -> Accounts:
    """The persons of these drafts' accounts, within a writing transaction; who has none yet gets
    one.
    """
    named = [(draft.tenant, draft.account) for draft in drafts if draft.account is not None]
    hashes = {account: secrets_.hashes_of(*account) for account in dict.fromkeys(named)}
    known = _known(connection, [one for own in hashes.values() for one in own.values()], secrets_)
    found: dict[tuple[str, str], Person] = {}
    fresh: list[dict[str, object]] = []
    for account, own in hashes.items():
        person = next((known[one] for one in own.values() if one in known), None)
        if person is None:
            person = Person(secrets.token_hex(16), secrets.token_bytes(32))
            fresh.append(_row(person, secrets_.account_key, own, secrets_))
        found[account] = person
    if fresh:
        _INSERT.run(connection, fresh)
    return found


def key_of(
    connection: sa.Connection, persons: Sequence[str], secrets_: Secrets
) -> dict[str, bytes]:
    """The keys of these persons; those that were destroyed are missing."""
    rows = connection.execute(sa.select(people).where(people.c.person.in_(persons)))
    return {
        row.person: _opened(row.sealed_key, row.person, row.account, secrets_)
        for row in rows
    }


def erase(
    connection: sa.Connection, tenant: str, account: str, secrets_: Secrets
) -> tuple[str, int] | None:
    """Destroy the key of an account: the person's name, and how many rows nobody can read any more;
    None = not known here.
    """
    hashes = list(secrets_.hashes_of(tenant, account).values())
    person = connection.scalar(sa.select(people.c.person).where(people.c.account.in_(hashes)))
    if person is None:
        return None
    rows = (
        connection.scalar(
            sa.select(sa.func.count()).select_from(entries).where(entries.c.person == person)
        )
        or 0
    )
    connection.execute(people.delete().where(people.c.person == person))
    return person, rows


def expired(connection: sa.Connection, before: str) -> list[str]:
    """The persons whose newest row is older than this time."""
    newer = sa.exists().where(entries.c.person == people.c.person, entries.c.at >= before)
    return list(
        connection.scalars(sa.select(people.c.person).where(~newer).order_by(people.c.person))
    )


def _known(
    connection: sa.Connection, hashes: Sequence[str], secrets_: Secrets
) -> dict[str, Person]:
    if not hashes:
        return {}
    found = _by_account(len(hashes)).rows(
        connection, {f"hash_{place}": one for place, one in enumerate(hashes)}
    )
    return {
        account: Person(person, _opened(sealed, person, account, secrets_))
        for account, person, sealed in found
    }


@functools.cache
def _by_account(count: int) -> PreparedStatement:
    hashes: list[sa.BindParameter[str]] = [sa.bindparam(f"hash_{place}") for place in range(count)]
    return PreparedStatement(
        sa.select(people.c.account, people.c.person, people.c.sealed_key).where(
            people.c.account.in_(hashes)
        )
    )


def _row(
    person: Person, key_id: str, hashes: Mapping[str, str], secrets_: Secrets
) -> dict[str, object]:
    sealed = seal(
        person.key, secrets_.sealing_key, bound_to(person.name, hashes[key_id]), next(nonces(1))
    )
    return {
        "person": person.name,
        "account": hashes[key_id],
        "key_id": key_id,
        "sealed_key": sealed,
    }


def bound_to(person: str, account: str) -> str:
    """What a person's key is bound to: keys, or account hashes, that were exchanged do not open."""
    return f"{person} {account}"


def _opened(sealed: bytes, person: str, account: str, secrets_: Secrets) -> bytes:
    about = bound_to(person, account).encode()
    return AESGCM(secrets_.sealing_key).decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
