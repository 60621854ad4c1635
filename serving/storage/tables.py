"""The tables, the same in SQLite and PostgreSQL, and the migrations of older schemas.

``entries`` is append-only: triggers refuse every update and deletion. ``people`` and ``api_keys``
may change: the encryption key of a data subject can be deleted, an API key can be revoked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from serving.storage.errors import StorageError
from serving.storage.triggers import events, lists

METADATA = sa.MetaData()

# One row an entry of the audit log. The columns keep the names of the first released schema: the
# hash chain and databases in use depend on them. serving.audit_log.rows maps them to Python names,
# and docs/service/audit_log.md describes each.
entries = sa.Table(
    "entries",
    METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("entry_id", sa.String(64), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(64), nullable=False),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("caller", sa.String(64), nullable=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("person", sa.String(32)),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("asked", sa.LargeBinary),
    sa.Column("answered", sa.LargeBinary),
    sa.Column("slot", sa.String(300), unique=True),
    sa.Column("digest", sa.String(64)),
    sa.Column("due", sa.String(10)),  # the last day to notify the customer, YYYY-MM-DD
    sa.Column("before", sa.LargeBinary(32), nullable=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
)
# Most rows are decisions that keep the limit, and each index is one more page that every commit
# makes durable. So a query that is never about decisions has an index of the other rows alone.
# SQLite uses a partial index only if the query repeats its condition word for word.
not_a_decision = entries.c.kind != sa.literal_column("'decision'")
sa.Index(
    "entries_by_subject",
    entries.c.subject,
    sqlite_where=not_a_decision,
    postgresql_where=not_a_decision,
)

# The rows of a person in order: the latest decision is the end of one range.
sa.Index("entries_by_person", entries.c.person, entries.c.seq)

# What is in force for an account follows from its events: decisions with a notice and outcomes of
# reviews. They are found without a look at the decisions that only keep the limit. A version
# without notices of outcomes stored outcomes without a last day.
is_event = sa.or_(entries.c.due.is_not(None), entries.c.kind == sa.literal_column("'resolution'"))
sa.Index(
    "entries_of_events",
    entries.c.person,
    entries.c.seq,
    sqlite_where=is_event,
    postgresql_where=is_event,
)

# What the lists of the API show: see serving.storage.triggers.lists. Each table is one index in the
# order of its list, so a page is one range of it.
open_notices = sa.Table(
    "open_notices",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("due", sa.String(10), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
review_states = sa.Table(
    "review_states",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
due_accounts = sa.Table(
    "due_accounts",
    METADATA,
    sa.Column("tenant", sa.String(64), primary_key=True),
    sa.Column("review_on", sa.String(10), primary_key=True),  # YYYY-MM-DD
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("person", sa.String(32), nullable=False, unique=True),
    sqlite_with_rowid=False,
)

# What is to be delivered to the lender's apps, and to whom: see serving.storage.triggers.events.
outbox = sa.Table(
    "outbox",
    METADATA,
    sa.Column(
        "seq",
        sa.BigInteger,
        primary_key=True,
        autoincrement=False,
    ),  # of the row it is of
    sa.Column(
        "place",
        sa.Integer,
        primary_key=True,
        autoincrement=False,
    ),  # of events of one row
    sa.Column("kind", sa.String(20), nullable=False),
    sqlite_with_rowid=False,
)
event_endpoints = sa.Table(
    "event_endpoints",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("kinds", sa.Text, nullable=False),  # that it takes, separated by blanks
    sa.Column("takes_keeps", sa.Integer, nullable=False),  # 1 or 0: whether a plain keep is one
    # Every event up to this row is delivered to it, or set aside, or was never for it.
    sa.Column("done", sa.BigInteger, nullable=False),
)
deliveries = sa.Table(
    "deliveries",
    METADATA,
    sa.Column("endpoint", sa.String(64), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("outcome", sa.String(10), nullable=False),  # delivered or refused
    sa.Column("status", sa.Integer),  # of the answer
    sa.Column("at", sa.String(32), nullable=False),
    sqlite_with_rowid=False,
)
is_refused = deliveries.c.outcome == sa.literal_column("'refused'")
sa.Index(
    "deliveries_refused",
    deliveries.c.endpoint,
    deliveries.c.seq,
    deliveries.c.place,
    sqlite_where=is_refused,
    postgresql_where=is_refused,
)

people = sa.Table(
    "people",
    METADATA,
    sa.Column("person", sa.String(32), primary_key=True),  # the data subject's random id
    # the keyed hash of tenant and account, hex
    sa.Column("account", sa.String(64), nullable=False, unique=True),
    sa.Column("key_id", sa.String(32), nullable=False),  # the account key that made the hash
    sa.Column("sealed_key", sa.LargeBinary, nullable=False),  # the data subject's encryption key
)

api_keys = sa.Table(
    "api_keys",
    METADATA,
    sa.Column("key_id", sa.String(32), primary_key=True),
    sa.Column("tenant", sa.String(64), nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),  # names, separated by blanks
    sa.Column("hash", sa.String(64), nullable=False),  # sha256 of the secret, hex
    sa.Column("rate", sa.Float, nullable=False),  # requests a second
    sa.Column("created_at", sa.String(32), nullable=False),
    sa.Column("expires_at", sa.String(32), nullable=False),
    sa.Column("revoked_at", sa.String(32)),
    sa.Column("owner", sa.String(100)),  # who holds the key; null = unknown, in older keys
    # keyed with the secrets, hex, over the other columns; null in a key of an earlier version
    sa.Column("mac", sa.String(64)),
)

# One row: which secrets the record belongs to, encrypted with them. Empty in a record of an earlier
# version until it is opened with secrets that decrypt it.
secrets_marker = sa.Table(
    "secrets_marker",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)

# One row each: the schema's version, and bytes that are overwritten to test whether writes succeed.
_version = sa.Table("schema_version", METADATA, sa.Column("version", sa.Integer, primary_key=True))
probe = sa.Table(
    "probe",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("filler", sa.LargeBinary),
)

_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries "
        "BEGIN SELECT RAISE(ABORT, 'the record only grows'); END"
        for verb in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION entries_only_grow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the record only grows'; END $$",
        "CREATE TRIGGER entries_no_change BEFORE UPDATE OR DELETE ON entries "
        "FOR EACH ROW EXECUTE FUNCTION entries_only_grow()",
        "CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION entries_only_grow()",
    ],
}


def _create_schema(connection: sa.Connection) -> None:
    METADATA.create_all(connection)
    for statement in _APPEND_ONLY[connection.dialect.name]:
        connection.exec_driver_sql(statement)
    connection.execute(probe.insert().values(id=1, filler=b""))
    connection.execute(_version.insert().values(version=0))


def _add_owner_of_keys(connection: sa.Connection) -> None:
    _add_column(connection, api_keys.c.owner)


def _add_column(connection: sa.Connection, column: sa.Column[Any]) -> None:
    """Add a column that may be null, unless the table has it already."""
    table = column.table.name
    existing = {one["name"] for one in sa.inspect(connection).get_columns(table)}
    if column.name in existing:
        return
    kind = column.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column.name} {kind}")


def _bind_to_secrets(connection: sa.Connection) -> None:
    secrets_marker.create(connection, checkfirst=True)
    _add_column(connection, api_keys.c.mac)


def _add_lists(connection: sa.Connection) -> None:
    # The triggers and the filling below are those of all lists, so the later one is here too.
    for table in (open_notices, review_states, due_accounts):
        table.create(connection, checkfirst=True)
    # Nothing queries them any more, and every commit would make their pages durable.
    for name in ("entries_by_due", "entries_by_kind"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name}")
    lists.create_triggers(connection)
    lists.fill(connection)


def _add_memory(connection: sa.Connection) -> None:
    for index in entries.indexes:
        index.create(connection, checkfirst=True)
    due_accounts.create(connection, checkfirst=True)
    lists.create_triggers(connection)
    lists.fill(connection)


def _order_rows_of_persons(connection: sa.Connection) -> None:
    for index in entries.indexes:
        index.create(connection, checkfirst=True)
    connection.exec_driver_sql("DROP INDEX IF EXISTS ix_entries_person")


def _drop_void_notices(connection: sa.Connection) -> None:
    lists.create_triggers(connection)
    lists.fill(connection)


def _add_outbox(connection: sa.Connection) -> None:
    for table in (outbox, event_endpoints, deliveries):
        table.create(connection, checkfirst=True)
    events.create_triggers(connection)


# MIGRATIONS[n] turns version n into version n + 1. A released migration is never changed.
#
# A new database gets all of today's METADATA in MIGRATIONS[0], then runs every later migration.
# So a later migration checks first whether its table, index or column exists already, as in
# `table.create(connection, checkfirst=True)`. Without the check a new database does not open.
MIGRATIONS: Sequence[Callable[[sa.Connection], None]] = (
    _create_schema,
    _add_owner_of_keys,
    _bind_to_secrets,
    _add_lists,
    _add_memory,
    _order_rows_of_persons,
    _drop_void_notices,
    _add_outbox,
)


def migrate(connection: sa.Connection) -> None:
    """Bring the schema up to date within the caller's transaction.

    Raises:
        StorageError: a newer Clearline wrote this schema.
    """
    exists = sa.inspect(connection).has_table(_version.name)
    version: int = connection.execute(sa.select(_version.c.version)).scalar_one() if exists else 0
    if version > len(MIGRATIONS):
        raise StorageError(
            f"expected a schema up to version {len(MIGRATIONS)}, got version {version}: "
            "a newer Clearline wrote it"
        )
    if version < len(MIGRATIONS) and connection.dialect.name == "postgresql":
        # A migration may read every row; the limit of a query is for those of the service.
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    for migration in MIGRATIONS[version:]:
        migration(connection)
    connection.execute(_version.update().values(version=len(MIGRATIONS)))
