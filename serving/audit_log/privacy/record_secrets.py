"""Which secrets an audit log belongs to: a marker in its database that only they decrypt.

Other secrets could read no row, and would write rows that the first cannot read. So the service and
the commands refuse them, and new secrets are made for a new audit log only. An audit log of an
earlier version has no marker. It gets one when it is first opened with secrets that decrypt it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from serving.audit_log import checkpoints
from serving.audit_log.privacy.api_key_macs import api_key_mac
from serving.audit_log.privacy.data_subjects import decrypt, draw_nonces, encrypt, key_context
from serving.audit_log.privacy.key_file import Secrets, read_or_create_secrets, read_secrets
from serving.storage.database import Database
from serving.storage.errors import StorageError
from serving.storage.settings import StorageSettings
from serving.storage.tables import api_keys, entries, people, secrets_marker

_CONTEXT = "secrets marker"
_ID = 1  # there is one marker
# Keys of data subjects that an unmarked audit log is tested with. Their ids are random, so the
# first of them in order are a random sample.
_SAMPLE = 1000


@dataclass(frozen=True, slots=True)
class Marker:
    """What the marker says.

    ``fingerprints`` are of the keys that may not be changed, by their names in the file of secrets.
    ``awaiting`` has the MACs by id of the API keys that an earlier version made, until they are
    adopted.
    """

    fingerprints: Mapping[str, str]
    awaiting: Mapping[str, str] = field(default_factory=dict)


def open_secrets(database: Database, settings: StorageSettings, create: bool) -> Secrets:
    """The secrets of an audit log, which is bound to them if it has no marker yet.

    Args:
        database: Its database.
        settings: Where the secrets and the checkpoints are.
        create: Whether a new audit log may get new secrets.

    Raises:
        StorageError: the secrets are missing, or belong to another audit log.
    """
    with database.reading() as connection:
        sealed = _read_sealed(connection)
    if sealed is None:
        with database.writing() as connection:
            # Again under the write lock: of two hosts that start on a new database one is first.
            sealed = _read_sealed(connection)
            if sealed is None:
                return _bind(connection, database, settings, create)
    secrets = _read_existing(database, settings)
    marker = _open_marker(sealed, secrets, database, settings)
    if added := _compare(marker, secrets, database, settings):
        with database.writing() as connection:
            _store(connection, Marker({**marker.fingerprints, **added}, marker.awaiting), secrets)
    return secrets


def keys_to_adopt(connection: sa.Connection, secrets: Secrets) -> Mapping[str, str]:
    """The MACs by id of the API keys of an earlier version, as they were when it was marked.

    Raises:
        cryptography.exceptions.InvalidTag: the marker was changed since the audit log was opened.
    """
    sealed = _read_sealed(connection)
    if sealed is not None:
        return _decode(sealed, secrets).awaiting
    rows = connection.execute(sa.select(api_keys).where(api_keys.c.mac.is_(None))).mappings()
    return {row["key_id"]: api_key_mac(row, secrets) for row in rows}


def _bind(
    connection: sa.Connection,
    database: Database,
    settings: StorageSettings,
    create: bool,
) -> Secrets:
    """Mark an audit log without a marker, if nothing contradicts the secrets."""
    is_new = not any(_has_rows(connection, table) for table in (entries, people, api_keys))
    if is_new and create:
        secrets = read_or_create_secrets(settings.secrets)
    else:
        secrets = _read_existing(database, settings)
    # Before anything is written: with a marker of other secrets, its own would be refused.
    _check_people(connection, secrets, database, settings)
    _check_signatures(secrets, database, settings)
    awaiting = keys_to_adopt(connection, secrets)
    _store(connection, Marker(_fingerprints(secrets), awaiting), secrets)
    return secrets


def _check_people(
    connection: sa.Connection,
    secrets: Secrets,
    database: Database,
    settings: StorageSettings,
) -> None:
    """Refuse secrets that do not decrypt the keys of an unmarked audit log's data subjects."""
    sample = connection.execute(sa.select(people).order_by(people.c.person).limit(_SAMPLE)).all()
    unknown = sorted({row.key_id for row in sample} - secrets.account_keys.keys())
    if unknown:
        names = ", ".join(f"account_keys.{key_id}" for key_id in unknown)
        raise _other_secrets(f"{names} is missing", database, settings.secrets)
    failed = 0
    for row in sample:
        try:
            decrypt(row.sealed_key, secrets.sealing_key, key_context(row.person, row.account))
        except (InvalidTag, ValueError):
            failed += 1
    if failed:
        problem = f"they do not decrypt the keys of {failed} of {len(sample)} persons"
        raise _other_secrets(problem, database, settings.secrets)


def _check_signatures(secrets: Secrets, database: Database, settings: StorageSettings) -> None:
    try:
        checkpoints.read_newest(settings.checkpoints, secrets.verifier)
    except StorageError:
        problem = f"they did not sign the checkpoints in {settings.checkpoints}"
        raise _other_secrets(problem, database, settings.secrets) from None


def _open_marker(
    sealed: bytes,
    secrets: Secrets,
    database: Database,
    settings: StorageSettings,
) -> Marker:
    try:
        return _decode(sealed, secrets)
    except (InvalidTag, ValueError):
        problem = "they do not decrypt its marker"
        raise _other_secrets(problem, database, settings.secrets) from None


def _compare(
    marker: Marker,
    secrets: Secrets,
    database: Database,
    settings: StorageSettings,
) -> dict[str, str]:
    """The fingerprints of account keys that were added since; StorageError if others differ."""
    own = _fingerprints(secrets)
    differing = [name for name, one in marker.fingerprints.items() if own.get(name) != one]
    if differing:
        problem = f"{', '.join(differing)} is missing or another one"
        raise _other_secrets(problem, database, settings.secrets)
    return {name: one for name, one in own.items() if name not in marker.fingerprints}


def _fingerprints(secrets: Secrets) -> dict[str, str]:
    # Not of the digest key, which may be changed: a repeated request is then refused, not decided.
    named = {"signing_key": secrets.signing_key, "identity_key": secrets.identity_key}
    named |= {f"account_keys.{key_id}": key for key_id, key in secrets.account_keys.items()}
    return {
        name: hmac.new(key, b"fingerprint", hashlib.sha256).hexdigest()
        for name, key in named.items()
    }


def _read_existing(database: Database, settings: StorageSettings) -> Secrets:
    if not settings.secrets.exists():
        raise StorageError(
            f"the audit log at {_shown(database)} exists, and its secrets are not at "
            f"{settings.secrets}: expected the file that it was made with, because new secrets "
            "could not read it; CLEARLINE_SECRETS says where the file is"
        )
    return read_secrets(settings.secrets)


def _other_secrets(problem: str, database: Database, file: Path) -> StorageError:
    return StorageError(
        f"the secrets in {file} are not those of the audit log at {_shown(database)}: {problem}; "
        "expected the file that it was made with; CLEARLINE_SECRETS and CLEARLINE_RECORD say "
        "where both are"
    )


def _shown(database: Database) -> str:
    return database.url.render_as_string(hide_password=True)


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    return (
        connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None
    )


def _read_sealed(connection: sa.Connection) -> bytes | None:
    query = sa.select(secrets_marker.c.sealed).where(secrets_marker.c.id == _ID)
    sealed = connection.scalar(query)
    return None if sealed is None else bytes(sealed)


def _store(connection: sa.Connection, marker: Marker, secrets: Secrets) -> None:
    content = {"fingerprints": dict(marker.fingerprints), "awaiting": dict(marker.awaiting)}
    [nonce] = draw_nonces(1)
    sealed = encrypt(json.dumps(content).encode(), secrets.sealing_key, _CONTEXT, nonce)
    connection.execute(secrets_marker.delete())
    connection.execute(secrets_marker.insert().values(id=_ID, sealed=sealed))


def _decode(sealed: bytes, secrets: Secrets) -> Marker:
    content = json.loads(decrypt(sealed, secrets.sealing_key, _CONTEXT))
    return Marker(content["fingerprints"], content["awaiting"])
