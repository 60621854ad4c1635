"""Ids of decisions, computed from their inputs and a key: the same decision has the same id."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import uuid
from collections.abc import Iterable, Mapping

# For training, examples and rows of earlier versions: ids that need no key. Whoever has the
# statements of an account can compute such an id, so the service does not use it.
UNKEYED = b""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def decision_ids(
    texts: Iterable[tuple[str, bytes]],
    bundle_digest: str,
    decided_at: datetime.datetime,
    key: bytes,
    past: Mapping[str, str],
) -> list[str]:
    """One UUID per account, in order of account: version 8 (RFC 9562), sortable by time.

    ``texts`` are those of the checked statements (:meth:`features.statements.Statements.texts`).

    48 bits are the milliseconds of ``decided_at``.  74 bits are from the HMAC-SHA256 of the
    account's statements, the bundle's digest and the time: without ``key`` nobody can tell from an
    id which account it belongs to.  With ``UNKEYED`` they are from the plain SHA-256, and anybody
    with the statements can.  ``past`` are texts by account, of the prior and the earlier decision,
    which are hashed too; an account without one has the id that it had before there were any.
    """
    time = decided_at.astimezone(datetime.UTC).isoformat(timespec="microseconds")
    milliseconds = (decided_at - _EPOCH) // datetime.timedelta(milliseconds=1)
    prefix = f"{bundle_digest}\n{time}\n".encode()
    hashes: dict[str, hashlib._Hash | hmac.HMAC] = {}
    for account_id, written in texts:
        hashes[account_id] = _begin_hash(prefix, key)
        hashes[account_id].update(written)
    for account_id, text in past.items():
        hashes[account_id].update(text.encode())
    return [_uuid8(milliseconds, digest.digest()) for digest in hashes.values()]


def _begin_hash(prefix: bytes, key: bytes) -> hashlib._Hash | hmac.HMAC:
    if key == UNKEYED:
        return hashlib.sha256(prefix)
    return hmac.new(key, prefix, hashlib.sha256)


def _uuid8(milliseconds: int, digest: bytes) -> str:
    bits = int.from_bytes(digest[:10], "big") >> 6  # 74 of the 80
    high = bits >> 62
    low = bits & ((1 << 62) - 1)
    version, variant = 8 << 76, 0b10 << 62
    value = (milliseconds << 80) | version | (high << 64) | variant | low
    return str(uuid.UUID(int=value))
