"""The secrets of the audit log: they hash account names, key ids, encrypt persons' keys, sign.

They are kept in one file outside the database: the database alone reveals no request, and cannot be
used to forge a checkpoint. Without the file the encrypted content is lost: back it up, apart from
the database.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from serving.storage.errors import StorageError

_BYTES = 32
_FIELDS = {"account_keys", "account_key", "sealing_key", "signing_key"}
_OPTIONAL_FIELDS = {"digest_key", "identity_key"}


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of the audit log, 32 bytes each."""

    account_keys: Mapping[str, bytes]  # by id, the one in use first; they hash account names
    account_key: str  # id of the account key in use
    sealing_key: bytes  # encrypts the keys of data subjects
    signing_key: bytes  # signs checkpoints (Ed25519)
    # Keys the digests of requests.  A file of an earlier version has none: the sealing key did it,
    # and still does, so that requests repeated after an upgrade are recognised.
    digest_key: bytes
    # Keys the ids of decisions, and the names of idempotency keys in the database. A file of an
    # earlier version has none: it is derived from the sealing key, the same in every process.
    identity_key: bytes

    def __post_init__(self) -> None:
        # In order once, and not for each of the accounts of a portfolio.
        order = sorted(self.account_keys, key=lambda key_id: (key_id != self.account_key, key_id))
        keys = {key_id: self.account_keys[key_id] for key_id in order}
        object.__setattr__(self, "account_keys", keys)

    def account_hashes(self, tenant: str, account: str) -> dict[str, str]:
        """The keyed hashes of an account, hex, by id of the key; the key in use comes first."""
        named = f"{tenant}\0{account}".encode()
        return {
            key_id: hmac.digest(key, named, "sha256").hex()
            for key_id, key in self.account_keys.items()
        }

    def keyed_digest(self, content: bytes) -> str:
        """A keyed digest, hex: equal contents have equal digests, which reveal nothing else."""
        return hmac.new(self.digest_key, b"digest\0" + content, hashlib.sha256).hexdigest()

    @property
    def id_key(self) -> bytes:
        """Keys the ids of decisions: see :mod:`serving.decision.ids`."""
        return hmac.digest(self.identity_key, b"decision id", hashlib.sha256)

    def unique_key(self, content: bytes) -> str:
        """The name in the database of what a client calls ``content``, which may name a person."""
        keyed = hmac.new(self.identity_key, b"unique key\0" + content, hashlib.sha256)
        return f"keyed:{keyed.hexdigest()}"

    def api_key_mac(self, content: bytes) -> str:
        """The MAC of a stored API key, hex."""
        key = hmac.digest(self.sealing_key, b"API keys", hashlib.sha256)
        return hmac.new(key, content, hashlib.sha256).hexdigest()

    @property
    def signer(self) -> Ed25519PrivateKey:
        """The private key that signs checkpoints."""
        return Ed25519PrivateKey.from_private_bytes(self.signing_key)

    @property
    def verifier(self) -> Ed25519PublicKey:
        """The public key of :attr:`signer`."""
        return self.signer.public_key()


def read_secrets(path: Path) -> Secrets:
    """Read the secrets from a file.

    Raises:
        StorageError: others than the owner may read the file, or it does not hold the secrets.
    """
    if path.is_dir():
        raise StorageError(f"{path}: expected the file of an audit log's secrets, got a folder")
    if path.stat().st_mode & 0o077:
        raise StorageError(f"{path}: expected secrets that only their owner can read (chmod 600)")
    try:
        return _parse(path, json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: expected the secrets of an audit log as JSON") from error


def read_or_create_secrets(path: Path) -> Secrets:
    """Read the secrets from a file; creates it with new secrets if it does not exist."""
    if path.exists():
        return read_secrets(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    created = {
        "account_keys": {"a1": secrets.token_hex(_BYTES)},
        "account_key": "a1",
        "sealing_key": secrets.token_hex(_BYTES),
        "signing_key": secrets.token_hex(_BYTES),
        "digest_key": secrets.token_hex(_BYTES),
        "identity_key": secrets.token_hex(_BYTES),
    }
    with suppress(FileExistsError):  # another process created it first: its secrets are read
        _write_new(path, json.dumps(created, indent=2) + "\n")
    return read_secrets(path)


def _parse(path: Path, raw: dict[str, object]) -> Secrets:
    account_keys = raw.get("account_keys")
    if set(raw) - _OPTIONAL_FIELDS != _FIELDS or not isinstance(account_keys, dict):
        raise StorageError(f"{path}: expected the fields {sorted(_FIELDS)}")
    account_key = str(raw["account_key"])
    if account_key not in account_keys:
        raise StorageError(f"{path}: expected account_key among account_keys, got {account_key!r}")
    sealing_key = _parse_key(path, raw["sealing_key"])
    derived = hmac.digest(sealing_key, b"identity key", hashlib.sha256).hex()
    return Secrets(
        account_keys={key_id: _parse_key(path, text) for key_id, text in account_keys.items()},
        account_key=account_key,
        sealing_key=sealing_key,
        signing_key=_parse_key(path, raw["signing_key"]),
        digest_key=_parse_key(path, raw.get("digest_key", raw["sealing_key"])),
        identity_key=_parse_key(path, raw.get("identity_key", derived)),
    )


def _parse_key(path: Path, text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError("a key is a hexadecimal text")
    key = bytes.fromhex(text)
    if len(key) != _BYTES:
        raise StorageError(f"{path}: expected keys of {_BYTES} bytes, got one of {len(key)}")
    return key


def _write_new(path: Path, text: str) -> None:
    """Create a file completely or not at all: half of the secrets would make entries unreadable."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(
        temporary,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL,
        0o600,
    )
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # raises FileExistsError, while a rename would overwrite
    finally:
        temporary.unlink()
