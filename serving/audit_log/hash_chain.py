"""The hash chain: each row's SHA-256 covers the row and the hash of the row before it.

A changed, removed, added or moved row breaks the chain there, unless every later hash is recomputed
too; signed checkpoints detect that. The hash covers the encrypted content, so the chain still
verifies after a data subject is erased.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

GENESIS = bytes(32)  # the hash before the first row
# Every column but the two hashes, in the order of the record format: never changed.
_HASHED = (
    "seq",
    "entry_id",
    "kind",
    "subject",
    "tenant",
    "caller",
    "at",
    "person",
    "facts",
    "asked",
    "answered",
    "slot",
    "digest",
    "due",
)
_NULL = b"0" + bytes(8)  # the tag of null, and the length of no content


def hash_row(row: Mapping[str, Any] | sa.RowMapping, before: bytes) -> bytes:
    """The hash of a row of ``entries`` that follows the row with the hash ``before``; 32 bytes.

    Each column is hashed with its type and length, so different rows are different byte strings.
    """
    # Lengths are hashed: without them two columns could exchange characters unnoticed.
    parts = [before]
    for name in _HASHED:
        value = row[name]
        if value is None:
            parts.append(_NULL)
            continue
        tag, content = _encode(value)
        parts += tag, len(content).to_bytes(8, "big"), content
    return hashlib.sha256(b"".join(parts)).digest()


def _encode(value: Any) -> tuple[bytes, bytes]:
    if isinstance(value, str):
        return b"s", value.encode()
    if isinstance(value, int):
        return b"i", str(value).encode()
    return b"b", bytes(value)
