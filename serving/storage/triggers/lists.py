"""The rows that lists show: kept by triggers, so that a list reads one page and no more.

``open_notices`` has the rows with a notice that nobody has sent and that is still true: what says
that a person will decide is void once a person has decided. ``review_states`` each review with
its present state, ``due_accounts`` each account with something in force, and the day of the next
look at it. All follow from ``entries``. A query that derived them would read every notice that was
ever sent, every review that was ever answered, and every decision of every account, before it found
those that there is work on. Rows of an erased data subject are in none.

The triggers run within the transaction of the row, whoever appends it.
"""

from __future__ import annotations

import sqlalchemy as sa

from serving.storage.triggers.statements import replace_trigger

# The row that a notification is about: its id stands in the unique key. The first notifications had
# no such key and were about the decision itself. A second notification has ":1" behind the id.
_TOLD = "CASE WHEN NEW.slot IS NULL THEN NEW.subject ELSE substr(NEW.slot, 6) END"
_STATE = (
    "CASE NEW.kind WHEN 'started' THEN 'in_review' WHEN 'resolution' THEN 'resolved' "
    "ELSE 'withdrawn' END"
)
_STATES = "('open', 'in_review', 'resolved', 'withdrawn')"
_STEPS = "('started', 'resolution', 'withdrawal')"
# The id of the review in a row's metadata, by the dialect's name.
_REVIEW = {
    "sqlite": "json_extract({row}.facts, '$.review')",
    "postgresql": "({row}.facts::json ->> 'review')",
}
# The next look at an account, by the dialect's name: whether a row says something about it, and the
# day, null = nothing is in force. A row says it by `review_on` in its metadata. Rows of earlier
# versions have no such field, and their day is encrypted: theirs is three months after the row, as
# the policy of those versions had it.
_EARLIER_CUT = (
    "({row}.kind = 'decision' AND {action} IN ('reduce', 'suspend') "
    "OR {row}.kind = 'resolution' AND {outcome} = 'amend')"
)
_EARLIER_CHANGE = f"({_EARLIER_CUT} OR {{row}}.kind = 'resolution' AND {{outcome}} = 'overturn')"
_FIELDS = {
    "sqlite": {
        "has_look": "json_type({row}.facts, '$.review_on') IS NOT NULL",
        "look": "json_extract({row}.facts, '$.review_on')",
        "action": "json_extract({row}.facts, '$.action')",
        "outcome": "json_extract({row}.facts, '$.outcome')",
        "earlier_look": "date(substr({row}.at, 1, 10), '+3 months')",
    },
    "postgresql": {
        "has_look": "({row}.facts::json -> 'review_on') IS NOT NULL",
        "look": "({row}.facts::json ->> 'review_on')",
        "action": "({row}.facts::json ->> 'action')",
        "outcome": "({row}.facts::json ->> 'outcome')",
        "earlier_look": (
            "to_char(substr({row}.at, 1, 10)::date + interval '3 months', 'YYYY-MM-DD')"
        ),
    },
}
_HAS_LOOK = (
    "({row}.person IS NOT NULL AND {row}.kind IN ('decision', 'resolution') "
    f"AND ({{has_look}} OR {_EARLIER_CHANGE}))"
)
_LOOK = f"CASE WHEN {{has_look}} THEN {{look}} WHEN {_EARLIER_CUT} THEN {{earlier_look}} END"


def _of_row(template: str, dialect: str, row: str) -> str:
    """Fill in what a template takes from a row."""
    fields = {name: text.format(row=row) for name, text in _FIELDS[dialect].items()}
    fields["review"] = _REVIEW[dialect].format(row=row)
    fields["decided_action"] = _FIELDS[dialect]["action"].format(row="decided")
    return template.format(row=row, **fields)


# Name, table, event, condition, statement. Both databases take the same text.
_RULES = (
    (
        "lists_add_notice",
        "entries",
        "INSERT",
        "NEW.due IS NOT NULL",
        "INSERT INTO open_notices (tenant, due, seq) VALUES (NEW.tenant, NEW.due, NEW.seq)",
    ),
    (
        "lists_remove_notice",
        "entries",
        "INSERT",
        "NEW.kind = 'notification'",
        "DELETE FROM open_notices WHERE (tenant, due, seq) IN "
        f"(SELECT tenant, due, seq FROM entries WHERE entry_id = {_TOLD})",
    ),
    (
        "lists_remove_void_notice",
        "entries",
        "INSERT",
        "NEW.kind = 'resolution'",
        "DELETE FROM open_notices WHERE (tenant, due, seq) IN "
        "(SELECT decided.tenant, decided.due, decided.seq FROM entries AS decided "
        "WHERE decided.entry_id = NEW.subject AND {decided_action} = 'review')",
    ),
    (
        "lists_add_review",
        "entries",
        "INSERT",
        "NEW.kind = 'review'",
        "INSERT INTO review_states (tenant, state, seq) VALUES (NEW.tenant, 'open', NEW.seq)",
    ),
    (
        "lists_move_review",
        "entries",
        "INSERT",
        f"NEW.kind IN {_STEPS}",
        # All states are named, because the primary key begins with tenant and state.
        f"UPDATE review_states SET state = {_STATE} "
        f"WHERE tenant = NEW.tenant AND state IN {_STATES} "
        "AND seq = (SELECT seq FROM entries WHERE entry_id = {review})",
    ),
    (
        "lists_set_next_look",
        "entries",
        "INSERT",
        _HAS_LOOK,
        # The newer row decides: of an account with nothing in force any more, none is left.
        "DELETE FROM due_accounts WHERE person = NEW.person; "
        "INSERT INTO due_accounts (tenant, review_on, seq, person) "
        f"SELECT NEW.tenant, {_LOOK}, NEW.seq, NEW.person WHERE {_LOOK} IS NOT NULL",
    ),
    (
        "lists_forget_next_look",
        "people",
        "DELETE",
        None,
        "DELETE FROM due_accounts WHERE person = OLD.person",
    ),
    (
        "lists_forget_notices",
        "people",
        "DELETE",
        None,
        "DELETE FROM open_notices WHERE (tenant, due, seq) IN "
        "(SELECT tenant, due, seq FROM entries WHERE person = OLD.person AND due IS NOT NULL)",
    ),
    (
        "lists_forget_reviews",
        "people",
        "DELETE",
        None,
        "DELETE FROM review_states WHERE "
        "tenant IN (SELECT tenant FROM entries WHERE person = OLD.person AND kind = 'review') "
        f"AND state IN {_STATES} "
        "AND seq IN (SELECT seq FROM entries WHERE person = OLD.person AND kind = 'review')",
    ),
)
_NOT_ERASED = (
    "(listed.person IS NULL OR EXISTS (SELECT 1 FROM people WHERE people.person = listed.person))"
)
# What the tables have to hold, from `entries` alone: for records that were made without them, and
# to verify the tables.
_OPEN_NOTICES = (
    "SELECT listed.tenant, listed.due, listed.seq FROM entries AS listed "
    f"WHERE listed.due IS NOT NULL AND {_NOT_ERASED} AND NOT EXISTS "
    "(SELECT 1 FROM entries AS told WHERE told.slot = 'told:' || listed.entry_id) AND NOT EXISTS "
    "(SELECT 1 FROM entries AS told WHERE told.subject = listed.entry_id "
    "AND told.kind <> 'decision' AND told.kind = 'notification' "
    # Not "IS NULL": SQLite would search the index of the column, where most rows are null.
    "AND coalesce(told.slot, '') = '') "
    # The notice of a decision that a person has made by now.
    "AND NOT (listed.kind = 'decision' AND coalesce({action}, '') = 'review' AND EXISTS "
    "(SELECT 1 FROM entries AS answer WHERE answer.subject = listed.entry_id "
    "AND answer.kind <> 'decision' AND answer.kind = 'resolution'))"
)
_REVIEW_STATES = (
    "SELECT listed.tenant, coalesce("
    f"(SELECT {_STATE.replace('NEW', 'step')} FROM entries AS step "
    "WHERE step.subject = listed.subject AND step.kind <> 'decision' "
    f"AND step.kind IN {_STEPS} AND {{review}} = listed.entry_id "
    "ORDER BY step.seq DESC LIMIT 1), 'open') AS state, listed.seq FROM entries AS listed "
    f"WHERE listed.kind <> 'decision' AND listed.kind = 'review' AND {_NOT_ERASED}"
)


# An account's newest row that says something about the next look.
_DUE_ACCOUNTS = (
    "SELECT tenant, review_on, seq, person FROM "
    f"(SELECT listed.tenant, {_LOOK} AS review_on, listed.seq, listed.person "
    f"FROM entries AS listed WHERE {_HAS_LOOK} AND {_NOT_ERASED} AND NOT EXISTS "
    "(SELECT 1 FROM entries AS later WHERE later.person = listed.person "
    "AND later.seq > listed.seq AND {later_has_look})) AS looks WHERE review_on IS NOT NULL"
)
_COLUMNS = {
    "open_notices": "tenant, due, seq",
    "review_states": "tenant, state, seq",
    "due_accounts": "tenant, review_on, seq, person",
}


def list_queries(dialect: str) -> dict[str, str]:
    """Return the query of what each table has to hold, for a dialect of SQLAlchemy."""
    later = _of_row(_HAS_LOOK, dialect, "later")
    looks = _DUE_ACCOUNTS.replace("{later_has_look}", later)
    return {
        "open_notices": _of_row(_OPEN_NOTICES, dialect, "listed"),
        "review_states": _REVIEW_STATES.format(review=_REVIEW[dialect].format(row="step")),
        "due_accounts": _of_row(looks, dialect, "listed"),
    }


def next_look(dialect: str) -> str:
    """Return the query of an entry's tenant, its day of the next look, and its number, by its id.

    The day is null if the entry is on no list of due accounts.
    """
    columns = _of_row(f"asked.tenant, CASE WHEN {_HAS_LOOK} THEN {_LOOK} END", dialect, "asked")
    return f"SELECT {columns}, asked.seq FROM entries AS asked WHERE asked.entry_id = :entry_id"


def create_triggers(connection: sa.Connection) -> None:
    """Create the triggers that keep the tables, or replace them."""
    dialect = connection.dialect.name
    for name, table, event, condition, statement in _RULES:
        guard = None if condition is None else _of_row(condition, dialect, "NEW")
        body = _of_row(statement, dialect, "NEW")
        replace_trigger(connection, name, (event, table), guard, body)


def fill(connection: sa.Connection) -> None:
    """Fill the tables from ``entries``."""
    for table, query in list_queries(connection.dialect.name).items():
        connection.exec_driver_sql(f"DELETE FROM {table}")
        connection.exec_driver_sql(f"INSERT INTO {table} ({_COLUMNS[table]}) {query}")


def find_wrong_rows(connection: sa.Connection) -> list[tuple[int, str]]:
    """Return the ``seq`` of each row that a table has and should not have, or lacks, and which.

    Reads every row of ``entries``.
    """
    wrong: list[tuple[int, str]] = []
    for table, derived in list_queries(connection.dialect.name).items():
        stored = f"SELECT {_COLUMNS[table]} FROM {table}"
        for one, other, fault in (
            (derived, stored, f"is missing in {table}: a list of the API leaves it out"),
            (stored, derived, f"is in {table} against the rows: a list of the API shows it"),
        ):
            rows = connection.exec_driver_sql(f"SELECT seq FROM ({one} EXCEPT {other}) AS wrong")
            wrong += [(seq, fault) for seq in rows.scalars()]
    return wrong
