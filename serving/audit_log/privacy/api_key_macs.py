"""The rows of API keys hold a MAC, and each is in the log: what the database alone cannot forge.

Making, adopting and revoking a key appends an entry with the MAC that the row then has. A row that
was slipped in or changed has no such MAC; a row that was put back as it was before it was revoked
has an earlier one.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from serving.audit_log.entry import Kind
from serving.audit_log.privacy.key_file import Secrets
from serving.storage.tables import api_keys, entries, not_a_decision

CREATED: Final[Kind] = "key_created"
ADOPTED: Final[Kind] = "key_adopted"
REVOKED: Final[Kind] = "key_revoked"
KEY_KINDS = frozenset({CREATED, ADOPTED, REVOKED})
Row = Mapping[str, Any] | sa.RowMapping

_MAC = api_keys.c.mac.name
# Why a row is not genuine.
NOT_ADOPTED = "was made by an earlier version and is not adopted"
SLIPPED_IN = "was slipped in: the log has no entry of it"
CHANGED = "was changed: it is not as the log's newest entry of it says"
REMOVED = "was removed: the log has an entry of it, and a key is revoked and never deleted"


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A row of ``api_keys``, and why it is not genuine; None = it is."""

    row: sa.RowMapping
    problem: str | None


def api_key_mac(row: Row, secrets: Secrets) -> str:
    """The MAC of a row of ``api_keys``, hex."""
    # Without nulls: a column that a later version adds leaves the MACs of older rows as they are.
    content = {name: value for name, value in row.items() if value is not None and name != _MAC}
    text = json.dumps(content, sort_keys=True, default=repr)
    return secrets.api_key_mac(text.encode())


def read_stored_keys(
    connection: sa.Connection,
    secrets: Secrets,
    awaiting: Mapping[str, str],
    *conditions: sa.ColumnElement[bool],
) -> list[StoredKey]:
    """The rows that meet the conditions, oldest first.

    ``awaiting`` has the MACs by id of the keys of an earlier version that may be adopted.
    """
    order = api_keys.c.created_at, api_keys.c.key_id
    query = sa.select(api_keys).where(*conditions).order_by(*order)
    rows = connection.execute(query).mappings().all()
    logged = dict(_logged_macs(connection, [row["key_id"] for row in rows]))
    stored = []
    for row in rows:
        in_log = logged.get(row["key_id"])
        problem = _problem(row, in_log, awaiting, secrets)
        stored.append(StoredKey(row, problem))
    return stored


def _logged_macs(connection: sa.Connection, key_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The id of each key with the MAC in an entry of it, the newest entry last."""
    # By their ids and not by a join: SQLite would read every entry that is no decision, and the
    # service reads its keys every two seconds.
    of_keys = entries.c.subject.in_(key_ids), not_a_decision, entries.c.kind.in_(KEY_KINDS)
    query = sa.select(entries.c.subject, entries.c.facts).where(*of_keys)
    in_order = query.order_by(entries.c.seq)
    for key_id, facts in connection.execute(in_order):
        yield key_id, _mac_in(facts)


def _mac_in(facts: str) -> str:
    """The MAC in an entry's metadata; "", which no row has, if the entry was damaged."""
    try:
        metadata = json.loads(facts)
    except ValueError:
        return ""
    return str(metadata.get(_MAC)) if isinstance(metadata, dict) else ""


def _problem(
    row: Row,
    logged: str | None,
    awaiting: Mapping[str, str],
    secrets: Secrets,
) -> str | None:
    mac = api_key_mac(row, secrets)
    if logged is None:
        is_awaited = row[_MAC] is None and awaiting.get(row["key_id"]) == mac
        return NOT_ADOPTED if is_awaited else SLIPPED_IN
    stored = str(row[_MAC]).encode()
    is_valid = hmac.compare_digest(stored, mac.encode())
    if is_valid and logged == mac:
        return None
    return CHANGED
