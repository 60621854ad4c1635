"""Ids of decisions, computed from their inputs and a key: the same decision has the same id."""

from __future__ import annotations

import datetime
import hashlib
import hmac
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
    ids = []
    for account_id, written in texts:
        content = prefix + written + past.get(account_id, "").encode()
        ids.append(_uuid8(milliseconds, _digest(content, key)))
    return ids


def _digest(content: bytes, key: bytes) -> bytes:
    if key == UNKEYED:
        return hashlib.sha256(content).digest()
    # Not hmac.digest, which takes twice as long for some thousand bytes.
    return hmac.new(key, content, hashlib.sha256).digest()


def _uuid8(milliseconds: int, digest: bytes) -> str:
    bits = int.from_bytes(digest[:10], "big") >> 6  # 74 of the 80
    high = bits >> 62
    low = bits & ((1 << 62) - 1)
    version, variant = 8 << 76, 0b10 << 62
    value = (milliseconds << 80) | version | (high << 64) | variant | low
    # As str(uuid.UUID(int=value)), in a tenth of the time.
    digits = f"{value:032x}"
    head = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}"
    return f"{head}-{digits[16:20]}-{digits[20:]}"
