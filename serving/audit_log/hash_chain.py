"""The hash chain: each row's SHA-256 covers the row and the hash of the row before it.

A changed, removed, added or moved row breaks the chain there, unless every later hash is recomputed
too; signed checkpoints detect that. The hash covers the encrypted content, so the chain still
verifies after a data subject is erased.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
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
    seq, *others = (row[name] for name in _HASHED)
    return hash_next(before, seq, encode_columns(others))


def hash_next(before: bytes, seq: int, columns: bytes) -> bytes:
    """As :func:`hash_row`, of a row whose other columns :func:`encode_columns` has encoded."""
    return hashlib.sha256(before + encode_columns([seq]) + columns).digest()


def encode_columns(values: Iterable[Any]) -> bytes:
    """Columns in the order of the record format, as they are hashed."""
    # Lengths are hashed: without them two columns could exchange characters unnoticed.
    parts: list[bytes] = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        elif isinstance(value, str):
            content = value.encode()
            parts += b"s", len(content).to_bytes(8, "big"), content
        elif isinstance(value, int):
            content = str(value).encode()
            parts += b"i", len(content).to_bytes(8, "big"), content
        else:
            content = bytes(value)
            parts += b"b", len(content).to_bytes(8, "big"), content
    return b"".join(parts)
