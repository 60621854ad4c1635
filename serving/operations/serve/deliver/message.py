"""An event as it is posted: its id, its body, and the headers of Standard Webhooks.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

The body has ids and times and nothing that names or describes a person: it may come to lie in
queues and logs, where nobody erases it. The app reads the decision by its id.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """An event to be posted.

    Attributes:
        kind: Such as ``decision.made``.
        entry_id: Of the row of the audit log that it is about.
        tenant: The lender.
        at: The time of the row, UTC, to the microsecond.
        decision_id: The decision, or the reviewed one.
        review_id: The review; None = it is of none.
        send_by: Of ``notice.due`` the last day to send it, YYYY-MM-DD; None for other kinds.
    """

    kind: str
    entry_id: str
    tenant: str
    at: str
    decision_id: str
    review_id: str | None
    send_by: str | None

    @property
    def event_id(self) -> str:
        """The same at every attempt, also from a restored copy of the audit log.

        >>> about = {"tenant": "bank", "decision_id": "01a1", "review_id": None, "send_by": None}
        >>> Message("notice.due", "01a1", at="2026-11-28T08:00:00.000000Z", **about).event_id
        'notice_due_01a1'
        """
        # Without a full stop, which separates the parts of what is signed.
        return f"{self.kind.replace('.', '_')}_{self.entry_id}"

    @property
    def body(self) -> bytes:
        """JSON in UTF-8, the same bytes at every attempt."""
        data: dict[str, str] = {"tenant": self.tenant, "decision_id": self.decision_id}
        if self.review_id is not None:
            data["review_id"] = self.review_id
        if self.send_by is not None:
            data["notice_id"] = self.entry_id
            data["send_by"] = self.send_by
        content = {"id": self.event_id, "type": self.kind, "timestamp": self.at, "data": data}
        return json.dumps(content, separators=(",", ":")).encode()


def signed_headers(
    event_id: str, body: bytes, secrets: Sequence[bytes], sent_at: int
) -> dict[str, str]:
    """The headers of an attempt, with a signature by each secret.

    Args:
        event_id: The same at every attempt.
        body: The bytes that are posted.
        secrets: All that the app may verify with.
        sent_at: The time of the attempt, in seconds since 1970.
    """
    signatures = [sign(event_id, body, secret, sent_at) for secret in secrets]
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": " ".join(signatures),
    }


def sign(event_id: str, body: bytes, secret: bytes, sent_at: int) -> str:
    """The signature by one secret: HMAC-SHA256 over id, time and body, as base64."""
    content = f"{event_id}.{sent_at}.".encode() + body
    digest = hmac.digest(secret, content, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"
