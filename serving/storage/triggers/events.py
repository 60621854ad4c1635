"""The outbox: what the deliverer is to tell the lender's apps, kept by triggers.

A row of ``outbox`` is an event: the ``seq`` of the row of ``entries`` that it is about, and its
kind. It is written in the transaction of that row, whoever appends it, and only for a tenant that
has an endpoint. A decision that plainly keeps the limit is no event, unless an endpoint takes them:
most rows are such decisions, and who sent the request has the answer.

Of a person who is erased, the events that are not delivered yet are deleted.
"""

from __future__ import annotations

from typing import Literal, get_args

import sqlalchemy as sa

from serving.storage.triggers.statements import drop_trigger, replace_trigger

Kind = Literal[
    "decision.made",
    "decision.kept",
    "limit.restored",
    "notice.due",
    "review.opened",
    "review.resolved",
    "review.withdrawn",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
KEPT: Kind = "decision.kept"  # a plain keep; an endpoint takes it only if it says so

_KEEPS_TRIGGER = "events_add_keep"
_ACTION = {
    "sqlite": "coalesce(json_extract({row}.facts, '$.action'), '')",
    "postgresql": "coalesce({row}.facts::json ->> 'action', '')",
}
_OUTCOME = {
    "sqlite": "coalesce(json_extract({row}.facts, '$.outcome'), '')",
    "postgresql": "coalesce({row}.facts::json ->> 'outcome', '')",
}
_HAS_ENDPOINT = "EXISTS (SELECT 1 FROM event_endpoints WHERE tenant = NEW.tenant)"
_TAKES_KEEPS = (
    "EXISTS (SELECT 1 FROM event_endpoints WHERE tenant = NEW.tenant AND takes_keeps = 1)"
)
# In this order: of a plain keep, its action is the one thing that is read of its metadata.
_IS_EVENT = (
    "NEW.due IS NOT NULL OR NEW.kind IN ('review', 'resolution', 'withdrawal') "
    "OR (NEW.kind = 'decision' AND {action} <> 'keep')"
)
_IS_KEEP = "NEW.kind = 'decision' AND NEW.due IS NULL AND {action} = 'keep'"
_OF_ROW = (
    "CASE NEW.kind WHEN 'decision' THEN 'decision.made' WHEN 'review' THEN 'review.opened' "
    "WHEN 'resolution' THEN 'review.resolved' ELSE 'review.withdrawn' END"
)
# A person gives back what a decision took. Of a referral nothing was taken yet.
_GIVES_BACK = (
    "NEW.kind = 'resolution' AND {outcome} IN ('overturn', 'amend') AND EXISTS "
    "(SELECT 1 FROM entries AS decided WHERE decided.entry_id = NEW.subject "
    "AND {decided_action} IN ('reduce', 'suspend'))"
)
_RESTORES = f"(NEW.kind = 'decision' AND {{action}} = 'restore' OR {_GIVES_BACK})"
_INSERT = "INSERT INTO outbox (seq, place, kind) SELECT NEW.seq, "
_ADD = (
    f"{_INSERT} 0, {_OF_ROW} WHERE {_HAS_ENDPOINT}; "
    f"{_INSERT} 1, 'limit.restored' WHERE {_RESTORES} AND {_HAS_ENDPOINT}; "
    f"{_INSERT} 2, 'notice.due' WHERE NEW.due IS NOT NULL AND {_HAS_ENDPOINT}"
)
_ADD_KEEP = f"{_INSERT} 0, '{KEPT}' WHERE {_TAKES_KEEPS}"
_FORGET = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM entries WHERE person = OLD.person)"


def create_triggers(connection: sa.Connection) -> None:
    """Create the triggers that keep the outbox, or replace them."""
    condition, statement = _filled(connection, _IS_EVENT), _filled(connection, _ADD)
    replace_trigger(connection, "events_add", ("INSERT", "entries"), condition, statement)
    replace_trigger(connection, "events_forget", ("DELETE", "people"), None, _FORGET)


def set_keeps(connection: sa.Connection, wanted: bool) -> None:
    """Make plain keeps events, for the endpoints that take them, or make them none.

    A trigger of its own, which is there only if it is needed: its work is done for every keep.
    """
    if not wanted:
        drop_trigger(connection, _KEEPS_TRIGGER, "entries")
        return
    condition = _filled(connection, _IS_KEEP)
    replace_trigger(connection, _KEEPS_TRIGGER, ("INSERT", "entries"), condition, _ADD_KEEP)


def _filled(connection: sa.Connection, template: str) -> str:
    action, outcome = _ACTION[connection.dialect.name], _OUTCOME[connection.dialect.name]
    return template.format(
        action=action.format(row="NEW"),
        outcome=outcome.format(row="NEW"),
        decided_action=action.format(row="decided"),
    )
