"""What an entry of the audit log holds, before and after it is stored."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "decision",
    "shadow",
    "review",
    "started",
    "resolution",
    "withdrawal",
    "notification",
    "erasure",
    "portfolio",
    "key_created",
    "key_adopted",
    "key_revoked",
    "activation",
]

# Rows of commands, which no service writes.
KINDS_OF_COMMANDS: tuple[Kind, ...] = (
    "erasure",
    "key_created",
    "key_adopted",
    "key_revoked",
    "activation",
    "portfolio",
)
Packed = tuple[bytes | None, ...]  # a request, an answer and what it leaves in force
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
TRACE = "trace"  # in the metadata: the id of the trace of the request, 32 hex digits


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry to be stored."""

    entry_id: str
    kind: Kind
    # The id of the decision that the entry is about (a decision's own id); of an erasure, the id of
    # the person (data_subject); of an API key, the key's; of an activation, the digest of the
    # bundle; of a part of a portfolio, the id of the run.
    subject: str
    tenant: str
    caller: str  # id of the API key that sent the request
    at: datetime.datetime
    # The lender's name of the account.  Stored as a keyed hash, and encrypted within the bodies.
    account: str | None
    # Stored readable: JSON types, and nothing that identifies the data subject.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    request_body: bytes | None = None  # stored encrypted if the entry has an account
    response_body: bytes | None = None  # stored encrypted if the entry has an account
    # Only the first entry with a unique key is stored; None = no such constraint.
    unique_key: str | None = None
    digest: str | None = None  # of the request, hex: whether a repeated key repeats the request
    due: datetime.date | None = None  # last day to notify the customer; None = nothing to notify
    # Of an event of an account: the prior of the next decision as JSON, null = nothing is in force.
    # Stored encrypted within the metadata. None = only the bodies say it, as in earlier versions.
    in_force: bytes | None = None
    # The bodies and `in_force`, packed for encryption (see serving.audit_log.privacy.content) where
    # that was done before, on another thread or in another process: the three may be None then.
    # None = they are packed when they are stored. Not in the row.
    packed: Packed | None = None
    # The `seq` of the account's event that the entry follows from, 0 = there was none: stored only
    # if that is still the newest. None = stored whatever happened to the account. Not in the row.
    follows: int | None = None
    # The random id of the account's person: stored only while that is who the account leads to, so
    # that an account which was erased meanwhile does not come back. None = whoever it leads to, and
    # a new person if there is none.  Not in the row.
    data_subject: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A durable entry; the fields that :class:`NewEntry` has too mean the same."""

    seq: int  # position in the audit log, from 1 without gaps
    entry_id: str
    kind: Kind
    subject: str
    tenant: str
    caller: str
    at: datetime.datetime
    data_subject: str | None  # random id that leads to the data subject's key until it is deleted
    metadata: Mapping[str, Any]
    request_body: bytes | None
    response_body: bytes | None
    unique_key: str | None
    digest: str | None
    due: datetime.date | None
    erased: bool  # the key was deleted: request_body and response_body are None forever


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """Canonical JSON: equal metadata gives the same text.

    >>> encode_metadata({"b": 1, "a": None})
    '{"a":null,"b":1}'
    """
    return _ENCODER.encode(dict(metadata))
