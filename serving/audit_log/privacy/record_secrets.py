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

import sqlalchemy as sa
from cryptography.exceptions import InvalidTag

from serving.audit_log import checkpoints
from serving.audit_log.privacy.api_key_macs import api_key_mac
from serving.audit_log.privacy.data_subjects import (
    decrypt,
    draw_nonces,
    encrypt,
    try_subject_keys,
)
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


class _Mismatch(Exception):
    """The secrets are not those of the audit log; the message says how that shows."""


def open_secrets(database: Database, settings: StorageSettings, create: bool) -> Secrets:
    """The secrets of an audit log, which is bound to them if it has no marker yet.

    Args:
        database: Its database.
        settings: Where the secrets and the checkpoints are.
        create: Whether a new audit log may get new secrets.

    Raises:
        StorageError: the secrets are missing, or belong to another audit log.
    """
    try:
        return _open(database, settings, create)
    except _Mismatch as mismatch:
        shown = database.url.render_as_string(hide_password=True)
        raise StorageError(
            f"the secrets of the audit log at {shown} are not those at {settings.secrets}: "
            f"{mismatch}; expected the file that it was made with; CLEARLINE_SECRETS and "
            "CLEARLINE_RECORD say where both are"
        ) from None


def keys_to_adopt(connection: sa.Connection, secrets: Secrets) -> Mapping[str, str]:
    """The MACs by id of the API keys of an earlier version, as they were when it was marked.

    Raises:
        cryptography.exceptions.InvalidTag: the marker was changed since the audit log was opened.
    """
    sealed = _read_sealed(connection)
    if sealed is not None:
        return _decode(sealed, secrets).awaiting
    query = sa.select(api_keys).where(api_keys.c.mac.is_(None))
    return {
        row["key_id"]: api_key_mac(row, secrets) for row in connection.execute(query).mappings()
    }


def _open(database: Database, settings: StorageSettings, create: bool) -> Secrets:
    with database.reading() as connection:
        sealed = _read_sealed(connection)
    if sealed is None:
        with database.writing() as connection:
            # Again under the write lock: of two hosts that start on a new database one is first.
            sealed = _read_sealed(connection)
            if sealed is None:
                return _bind(connection, settings, create)
    secrets = _read_existing(settings)
    marker = _open_marker(sealed, secrets)
    own = _fingerprints(secrets)
    differing = [name for name, one in marker.fingerprints.items() if own.get(name) != one]
    if differing:
        raise _Mismatch(f"{', '.join(differing)} is missing or another one")
    if own.keys() != marker.fingerprints.keys():  # an account key was added
        with database.writing() as connection:
            _store(connection, Marker(own, marker.awaiting), secrets)
    return secrets


def _bind(connection: sa.Connection, settings: StorageSettings, create: bool) -> Secrets:
    """Mark an audit log without a marker, if nothing contradicts the secrets."""
    tables = entries, people, api_keys
    is_new = not any(_has_rows(connection, table) for table in tables)
    # Checkpoints are of rows: with a database that has none, it was lost, or another one is meant.
    if create and is_new and not settings.checkpoints.exists():
        secrets = read_or_create_secrets(settings.secrets)
    else:
        secrets = _read_existing(settings)
    # Before anything is written: with a marker of other secrets, its own would be refused.
    _check_people(connection, secrets)
    try:
        checkpoints.read_newest(settings.checkpoints, secrets.verifier)
    except StorageError:
        problem = f"they did not sign the checkpoints in {settings.checkpoints}"
        raise _Mismatch(problem) from None
    awaiting = keys_to_adopt(connection, secrets)
    _store(connection, Marker(_fingerprints(secrets), awaiting), secrets)
    return secrets


def _check_people(connection: sa.Connection, secrets: Secrets) -> None:
    """Refuse secrets that do not decrypt the keys of an unmarked audit log's data subjects."""
    query = sa.select(people).order_by(people.c.person).limit(_SAMPLE)
    sample = connection.execute(query).all()
    unknown = {row.key_id for row in sample} - secrets.account_keys.keys()
    if unknown:
        names = ", ".join(f"account_keys.{key_id}" for key_id in sorted(unknown))
        raise _Mismatch(f"{names} is missing")
    subjects = [row.person for row in sample]
    keys = try_subject_keys(connection, subjects, secrets)
    failed = sum(key is None for key in keys.values())
    if failed:
        raise _Mismatch(f"they do not decrypt the keys of {failed} of {len(sample)} persons")


def _open_marker(sealed: bytes, secrets: Secrets) -> Marker:
    try:
        return _decode(sealed, secrets)
    except (InvalidTag, ValueError):
        raise _Mismatch("they do not decrypt its marker") from None


def _fingerprints(secrets: Secrets) -> dict[str, str]:
    # Not of the digest key, which may be changed: a repeated request is then refused, not decided.
    named = {
        "signing_key": secrets.signing_key,
        "identity_key": secrets.identity_key,
    }
    for key_id, key in secrets.account_keys.items():
        named[f"account_keys.{key_id}"] = key
    return {
        name: hmac.digest(key, b"fingerprint", hashlib.sha256).hex() for name, key in named.items()
    }


def _read_existing(settings: StorageSettings) -> Secrets:
    if not settings.secrets.exists():
        raise _Mismatch("there is no such file, and new secrets could not read the audit log")
    return read_secrets(settings.secrets)


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    query = sa.select(sa.literal(1)).select_from(table).limit(1)
    return connection.execute(query).first() is not None


def _read_sealed(connection: sa.Connection) -> bytes | None:
    query = sa.select(secrets_marker.c.sealed).where(secrets_marker.c.id == _ID)
    sealed = connection.scalar(query)
    return None if sealed is None else bytes(sealed)


def _store(connection: sa.Connection, marker: Marker, secrets: Secrets) -> None:
    content = json.dumps(
        {
            "fingerprints": dict(marker.fingerprints),
            "awaiting": dict(marker.awaiting),
        }
    )
    [nonce] = draw_nonces(1)
    sealed = encrypt(content.encode(), secrets.sealing_key, _CONTEXT, nonce)
    connection.execute(secrets_marker.delete())
    connection.execute(secrets_marker.insert().values(id=_ID, sealed=sealed))


def _decode(sealed: bytes, secrets: Secrets) -> Marker:
    content = json.loads(decrypt(sealed, secrets.sealing_key, _CONTEXT))
    return Marker(content["fingerprints"], content["awaiting"])
