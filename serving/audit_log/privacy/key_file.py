"""The secrets of the record: what hashes account names, what seals people's keys, what signs
checkpoints.

They stand in one file outside the database; who has the database alone can read no request, and
forge no checkpoint.  Losing the file is losing what is sealed: back it up apart from the database.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from serving.storage.errors import StorageError

_BYTES = 32
_FIELDS = {"account_keys", "account_key", "sealing_key", "signing_key"}


@dataclass(frozen=True, slots=True)
class Secrets:
    """``account_keys`` by id, of which ``account_key`` is the one in use; ``sealing_key``;
    ``signing_key``.  32 bytes each.
    """

    account_keys: Mapping[str, bytes]
    account_key: str
    sealing_key: bytes
    signing_key: bytes

    def hashes_of(self, tenant: str, account: str) -> dict[str, str]:
        """The keyed hashes by which an account can be found, by key id, that of the key in use
        first; hex.
        """
        named = f"{tenant}\0{account}".encode()
        order = sorted(self.account_keys, key=lambda key_id: (key_id != self.account_key, key_id))
        return {
            key_id: hmac.new(self.account_keys[key_id], named, hashlib.sha256).hexdigest()
            for key_id in order
        }

    def digest_of(self, content: bytes) -> str:
        """A keyed digest of what was asked: tells whether two are the same, and nothing about
        either; hex.
        """
        return hmac.new(self.sealing_key, b"digest\0" + content, hashlib.sha256).hexdigest()

    @property
    def signer(self) -> Ed25519PrivateKey:
        """What signs checkpoints."""
        return Ed25519PrivateKey.from_private_bytes(self.signing_key)

    @property
    def verifier(self) -> Ed25519PublicKey:
        """What tells whether a checkpoint was signed here."""
        return self.signer.public_key()


def read_secrets(path: Path) -> Secrets:
    """The secrets in a file; RecordError where it does not hold them, or others than its owner may
    read it.
    """
    if path.stat().st_mode & 0o077:
        raise StorageError(f"{path}: expected secrets that only their owner can read (chmod 600)")
    try:
        raw = json.loads(path.read_text())
        if set(raw) != _FIELDS or raw["account_key"] not in raw["account_keys"]:
            raise StorageError(
                f"{path}: expected {sorted(_FIELDS)}, with account_key among account_keys"
            )
        keys = {name: _key(path, value) for name, value in raw["account_keys"].items()}
        return Secrets(
            keys, raw["account_key"], _key(path, raw["sealing_key"]), _key(path, raw["signing_key"])
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(f"{path}: expected the record's secrets as JSON") from error


def secrets_at(path: Path) -> Secrets:
    """The secrets in a file, which is made with new ones where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = {
            "account_keys": {"a1": secrets.token_hex(_BYTES)},
            "account_key": "a1",
            "sealing_key": secrets.token_hex(_BYTES),
            "signing_key": secrets.token_hex(_BYTES),
        }
        try:
            _write_new(path, json.dumps(fresh, indent=2) + "\n")
        except FileExistsError:
            return read_secrets(path)  # another process was quicker
    return read_secrets(path)


def _write_new(path: Path, text: str) -> None:
    """Whole or not at all: a half-written file of secrets would seal what nobody can read again."""
    half = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(half, path)  # fails where the file has come to be meanwhile
    finally:
        half.unlink()


def _key(path: Path, text: str) -> bytes:
    key = bytes.fromhex(text)
    if len(key) != _BYTES:
        raise StorageError(f"{path}: expected keys of {_BYTES} bytes, got one of {len(key)}")
    return key
