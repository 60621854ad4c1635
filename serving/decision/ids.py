"""The name of a decision: made from what was decided, so that the same decision has the same name."""

from __future__ import annotations

import datetime
import hashlib
import uuid

import polars as pl

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def decision_ids(statements: pl.DataFrame, bundle: str, decided_at: datetime.datetime) -> list[str]:
    """One UUID an account, in order of account: version 8 (RFC 9562), in order of time.

    48 bits are the milliseconds of ``decided_at``, 74 the sha256 of the account's statements, the
    bundle's digest and the time.  The same statements, bundle and time give the same name; it does
    not show the statements.
    """
    stamp = decided_at.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    milliseconds = (decided_at - _EPOCH) // datetime.timedelta(milliseconds=1)
    digests: dict[str, hashlib._Hash] = {}
    for row in statements.iter_rows():
        account = row[0]
        if account not in digests:
            digests[account] = hashlib.sha256(f"{bundle}\n{stamp}\n".encode())
        digests[account].update(repr(row).encode())
    return [_uuid8(milliseconds, digest.digest()) for digest in digests.values()]


def _uuid8(milliseconds: int, digest: bytes) -> str:
    bits = int.from_bytes(digest[:10], "big") >> 6  # 74 of them
    high, low = bits >> 62, bits & ((1 << 62) - 1)
    value = (milliseconds << 80) | (8 << 76) | (high << 64) | (0b10 << 62) | low
    return str(uuid.UUID(int=value))
