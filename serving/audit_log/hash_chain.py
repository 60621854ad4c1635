"""The chain: each row's SHA-256 is taken over the row and the hash of the one before it.

Whoever changes, removes, adds or swaps rows breaks it at that place, or has to write every later
hash anew; against that stand the signed checkpoints.  What is hashed is what is stored, sealed, so
that the chain holds after a person is erased.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

GENESIS = bytes(32)  # before the first row
_HASHED = (
    "seq", "entry_id", "kind", "subject", "tenant", "caller", "at", "person", "facts", "asked", "answered", "slot", "digest",
    "due",
)  # fmt: skip


def hash_of(row: Mapping[str, Any] | sa.RowMapping, before: bytes) -> bytes:
    """The hash of a row of ``entries`` that comes after the one with the hash ``before``; 32 bytes.

    Every column counts, with its type and length: no two different rows are the same bytes.
    """
    parts = [before]
    for name in _HASHED:
        tag, content = _bytes_of(row[name])
        parts += tag, len(content).to_bytes(8, "big"), content
    return hashlib.sha256(b"".join(parts)).digest()


def _bytes_of(value: Any) -> tuple[bytes, bytes]:
    if value is None:
        return b"0", b""
    if isinstance(value, int):
        return b"i", str(value).encode()
    if isinstance(value, str):
        return b"s", value.encode()
    return b"b", bytes(value)
