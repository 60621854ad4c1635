"""What a row of the record says, before it is kept and after."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "decision", "review", "started", "resolution", "withdrawal", "notification", "erasure"
]


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A row to be kept.

    ``entry_id`` names it for ever; ``subject`` is the decision that it is about (itself, for a
    decision).  ``caller`` is the id of the key that asked, of ``tenant``.  ``account`` is the
    lender's name of the account: it is never stored, only as a keyed hash.  ``request_body`` and
    ``response_body`` are kept sealed, None = there is none; ``metadata`` are kept readable, so they
    hold nothing that tells who it is: JSON's types only.  Of two drafts with one ``unique_key`` the
    first is kept (None = no other is in the way); ``digest`` (hex) says whether the second asked
    the same.  ``due``: the last day to tell the customer, None = there is nothing to tell.
    """

    entry_id: str
    kind: Kind
    subject: str
    tenant: str
    caller: str
    at: datetime.datetime
    account: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    request_body: bytes | None = None
    response_body: bytes | None = None
    unique_key: str | None = None
    digest: str | None = None
    due: datetime.date | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row that is durable.

    As :class:`NewEntry`, with its place ``seq`` in the record, from 1 without a gap.
    ``data_subject`` is a random name that leads to the person's key while there is one; ``erased``:
    there is none any more, and ``request_body`` and ``response_body`` are None for ever.
    """

    seq: int
    entry_id: str
    kind: Kind
    subject: str
    tenant: str
    caller: str
    at: datetime.datetime
    data_subject: str | None
    metadata: Mapping[str, Any]
    request_body: bytes | None
    response_body: bytes | None
    unique_key: str | None
    digest: str | None
    due: datetime.date | None
    erased: bool


def encode_metadata(facts: Mapping[str, Any]) -> str:
    """The facts as text: the same facts, the same text."""
    return json.dumps(
        dict(facts), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
