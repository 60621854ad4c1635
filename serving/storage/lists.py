"""The rows that lists show: kept by triggers, so that a list reads one page and no more.

``open_notices`` has the rows with a notice that nobody has sent, ``review_states`` each review with
its present state. Both follow from ``entries``. A query that derived them would read every notice
that was ever sent, and every review that was ever answered, before it found those that a person has
to work on. Rows of an erased data subject are in neither.

The triggers run within the transaction of the row, whoever appends it.
"""

from __future__ import annotations

import sqlalchemy as sa

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
OPEN_NOTICES = (
    "SELECT listed.tenant, listed.due, listed.seq FROM entries AS listed "
    f"WHERE listed.due IS NOT NULL AND {_NOT_ERASED} AND NOT EXISTS "
    "(SELECT 1 FROM entries AS told WHERE told.slot = 'told:' || listed.entry_id) AND NOT EXISTS "
    "(SELECT 1 FROM entries AS told WHERE told.subject = listed.entry_id "
    "AND told.kind <> 'decision' AND told.kind = 'notification' "
    # Not "IS NULL": SQLite would search the index of the column, where most rows are null.
    "AND coalesce(told.slot, '') = '')"
)
_REVIEW_STATES = (
    "SELECT listed.tenant, coalesce("
    f"(SELECT {_STATE.replace('NEW', 'step')} FROM entries AS step "
    "WHERE step.subject = listed.subject AND step.kind <> 'decision' "
    f"AND step.kind IN {_STEPS} AND {{review}} = listed.entry_id "
    "ORDER BY step.seq DESC LIMIT 1), 'open') AS state, listed.seq FROM entries AS listed "
    f"WHERE listed.kind <> 'decision' AND listed.kind = 'review' AND {_NOT_ERASED}"
)


def review_states(dialect: str) -> str:
    """Return the query of what ``review_states`` has to hold, for a dialect of SQLAlchemy."""
    return _REVIEW_STATES.format(review=_REVIEW[dialect].format(row="step"))


def create_triggers(connection: sa.Connection) -> None:
    """Create the triggers that keep both tables, or replace them."""
    dialect = connection.dialect.name
    for name, table, event, condition, statement in _RULES:
        body = statement.format(review=_REVIEW[dialect].format(row="NEW"))
        on_table = "" if dialect == "sqlite" else f" ON {table}"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{on_table}")
        for sql in _trigger(dialect, f"AFTER {event} ON {table}", name, condition, body):
            connection.exec_driver_sql(sql)


def fill(connection: sa.Connection) -> None:
    """Fill both tables from ``entries``."""
    for table in ("open_notices", "review_states"):
        connection.exec_driver_sql(f"DELETE FROM {table}")
    connection.exec_driver_sql(f"INSERT INTO open_notices (tenant, due, seq) {OPEN_NOTICES}")
    states = review_states(connection.dialect.name)
    connection.exec_driver_sql(f"INSERT INTO review_states (tenant, state, seq) {states}")


def find_wrong_rows(connection: sa.Connection) -> list[tuple[int, str]]:
    """Return the ``seq`` of each row that a table has and should not have, or lacks, and which.

    Reads every row of ``entries``.
    """
    states = review_states(connection.dialect.name)
    tables = (
        ("open_notices", "tenant, due, seq", OPEN_NOTICES),
        ("review_states", "tenant, state, seq", states),
    )
    wrong: list[tuple[int, str]] = []
    for table, columns, derived in tables:
        stored = f"SELECT {columns} FROM {table}"
        for one, other, fault in (
            (derived, stored, f"is missing in {table}: a list of the API leaves it out"),
            (stored, derived, f"is in {table} against the rows: a list of the API shows it"),
        ):
            rows = connection.exec_driver_sql(f"SELECT seq FROM ({one} EXCEPT {other}) AS wrong")
            wrong += [(seq, fault) for seq in rows.scalars()]
    return wrong


def _trigger(
    dialect: str, when: str, name: str, condition: str | None, statement: str
) -> tuple[str, ...]:
    guard = "" if condition is None else f"WHEN ({condition}) "
    if dialect == "sqlite":
        return (f"CREATE TRIGGER {name} {when} {guard}BEGIN {statement}; END",)
    return (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {statement}; RETURN NULL; END $$",
        f"CREATE TRIGGER {name} {when} FOR EACH ROW {guard}EXECUTE FUNCTION {name}()",
    )
