"""Queries of the audit log."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from serving.audit_log.entry import Entry, Kind
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import decode_rows, unique_key_column
from serving.storage.database import Database
from serving.storage.tables import entries, not_a_decision

_ROWS_PER_PAGE = 500  # a reader delays SQLite's writer no longer than one page takes
# Literals and not parameters: SQLite uses a partial index only if the text repeats its condition.
_IS_DECISION = entries.c.kind == sa.literal_column("'decision'")


class Reader:
    """Reads a database; each call runs in a transaction of its own."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets

    def by_id(self, entry_id: str) -> Entry | None:
        """The entry with this id; None if there is none."""
        found = self._read(sa.select(entries).where(entries.c.entry_id == entry_id))
        return found[0] if found else None

    def by_unique_key_prefix(self, prefix: str) -> list[Entry]:
        """The entries whose unique key begins with this text, in order of ``seq``."""
        begins = unique_key_column.startswith(prefix, autoescape=True)
        return self._read(sa.select(entries).where(begins).order_by(entries.c.seq))

    def about(self, decision_id: str) -> list[Entry]:
        """A decision, then the entries about it in order; empty if there is no such decision."""
        return self.about_all([decision_id]).get(decision_id, [])

    def about_all(self, decision_ids: Sequence[str]) -> dict[str, list[Entry]]:
        """For each of these decisions the entries as of :meth:`about`; one transaction for all."""
        own = sa.select(entries).where(entries.c.entry_id.in_(decision_ids))
        others = (
            sa.select(entries)
            .where(entries.c.subject.in_(decision_ids), not_a_decision)
            .order_by(entries.c.seq)
        )
        about: dict[str, list[Entry]] = {}
        for entry in self._read(own, others):
            about.setdefault(entry.subject, []).append(entry)
        return about

    def due_notices(
        self,
        tenant: str,
        since: datetime.date,
        until: datetime.date,
        limit: int,
        after: tuple[str, int] = ("", 0),
    ) -> list[Entry]:
        """A tenant's decisions and review outcomes without a notification, soonest due first.

        Args:
            tenant: Whose entries.
            since: First due day.
            until: The day after the last due day.
            limit: The largest number of entries.
            after: Due day and ``seq`` of the last entry of the previous page.
        """
        query = (
            sa.select(entries)
            .where(
                entries.c.tenant == tenant,
                entries.c.due >= since.isoformat(),
                entries.c.due < until.isoformat(),
                ~_is_notified(),
                sa.tuple_(entries.c.due, entries.c.seq) > sa.tuple_(*after),
            )
            .order_by(entries.c.due, entries.c.seq)
            .limit(limit)
        )
        return self._read(query)

    def of_kind(
        self,
        kinds: Sequence[Kind],
        tenant: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[Entry]:
        """The entries of these kinds in order of ``seq``.

        Args:
            kinds: At least one.
            tenant: Entries of this tenant only.
            since: Entries from this time on, as text of ``encode_time``.
            until: Entries before this time.
        """
        chosen: sa.ColumnElement[bool] = entries.c.kind.in_(kinds)
        if "decision" not in kinds:
            chosen &= not_a_decision  # implied by `kinds`; it lets SQLite use the partial index
        if tenant is not None:
            chosen &= entries.c.tenant == tenant
        if since is not None:
            chosen &= entries.c.at >= since
        if until is not None:
            chosen &= entries.c.at < until
        for page in self._pages(chosen):
            with self._database.reading() as connection:
                decoded = decode_rows(connection, page, self._secrets)
            # After the transaction: the caller may take any time for an entry.
            yield from decoded

    def tenants(self) -> list[str]:
        """The tenants that have entries, in alphabetical order."""
        query = sa.select(entries.c.tenant).distinct().order_by(entries.c.tenant)
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def rows(self) -> Iterator[sa.RowMapping]:
        """Every row as stored, encrypted, in order of ``seq``."""
        for page in self._pages(sa.true()):
            yield from page

    def _read(self, *queries: sa.Select[tuple[object, ...]]) -> list[Entry]:
        with self._database.reading() as connection:
            rows: list[sa.RowMapping] = []
            for query in queries:
                rows += connection.execute(query).mappings()
            return decode_rows(connection, rows, self._secrets)

    def _pages(self, chosen: sa.ColumnElement[bool]) -> Iterator[Sequence[sa.RowMapping]]:
        # Each page is a transaction of its own: SQLite cannot reset its write-ahead log during
        # one, and PostgreSQL ends one that is idle.
        last = -1
        while True:
            query = (
                sa.select(entries)
                .where(chosen, entries.c.seq > last)
                .order_by(entries.c.seq)
                .limit(_ROWS_PER_PAGE)
            )
            with self._database.reading() as connection:
                page = connection.execute(query).mappings().all()
            if not page:
                return
            yield page
            last = page[-1]["seq"]


def _is_notified() -> sa.ColumnElement[bool]:
    """Whether a notification of a row of ``entries`` was recorded."""
    notification = entries.alias()
    of_row = notification.c[unique_key_column.name] == sa.literal("told:") + entries.c.entry_id
    # The first notifications had no unique key; they are about the decision itself.
    without_key = notification.c[unique_key_column.name].is_(None) & _IS_DECISION
    return sa.exists().where(
        notification.c.subject == entries.c.subject,
        notification.c.kind != sa.literal_column("'decision'"),
        notification.c.kind == "notification",
        of_row | without_key,
    )
