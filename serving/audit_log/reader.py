"""What the record holds: one row, the rows about a decision, all rows in order."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from serving.audit_log.entry import Entry, Kind
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import decode_rows
from serving.storage.database import Database
from serving.storage.tables import entries, not_a_decision

_ROWS_A_PAGE = 500  # a reader holds up SQLite's writer no longer than a page takes


class Reader:
    """Reads a database; each call is a transaction of its own."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets

    def by_id(self, entry_id: str) -> Entry | None:
        """The row of this name; None = there is none."""
        return next(iter(self._where(entries.c.entry_id == entry_id)), None)

    def by_slot(self, slot: str) -> Entry | None:
        """The row that has this slot; None = it is free."""
        return next(iter(self._where(entries.c.slot == slot)), None)

    def by_slots(self, prefix: str) -> list[Entry]:
        """The rows whose slot begins so, in their order."""
        return self._where(entries.c.slot.startswith(prefix, autoescape=True))

    def about(self, subject: str) -> list[Entry]:
        """The rows about a decision, itself first, in their order."""
        own = sa.select(entries).where(entries.c.entry_id == subject)
        others = sa.select(entries).where(entries.c.subject == subject, not_a_decision)
        with self._database.reading() as connection:
            rows = [
                *connection.execute(own).mappings(),
                *connection.execute(others.order_by(entries.c.seq)).mappings(),
            ]
            return decode_rows(connection, rows, self._secrets)

    def about_all(self, subjects: Sequence[str]) -> dict[str, list[Entry]]:
        """The rows about each of these decisions, as :meth:`about` gives them; in one transaction."""
        own = sa.select(entries).where(entries.c.entry_id.in_(subjects))
        others = (
            sa.select(entries)
            .where(entries.c.subject.in_(subjects), not_a_decision)
            .order_by(entries.c.seq)
        )
        with self._database.reading() as connection:
            rows = [*connection.execute(own).mappings(), *connection.execute(others).mappings()]
            said = decode_rows(connection, rows, self._secrets)
        found: dict[str, list[Entry]] = {}
        for row in said:
            found.setdefault(row.subject, []).append(row)
        return found

    def untold(
        self,
        tenant: str,
        since: datetime.date,
        until: datetime.date,
        most: int,
        after: tuple[str, int] = ("", 0),
    ) -> list[Entry]:
        """A tenant's decisions and outcomes of reviews that nobody was told of, due from ``since``
        up to before ``until``, the soonest first.

        ``after``: the due day and ``seq`` of the last one of the page before.
        """
        told = entries.alias()
        told_of_it = sa.exists().where(
            told.c.subject == entries.c.subject,
            told.c.kind != sa.literal_column("'decision'"),
            told.c.kind == "notification",
            # Without a slot it tells of the decision alone, as they were kept at first.
            (told.c.slot == sa.literal("told:") + entries.c.entry_id)
            | (told.c.slot.is_(None) & (entries.c.kind == sa.literal_column("'decision'"))),
        )
        due = (
            (entries.c.tenant == tenant)
            & (entries.c.due >= since.isoformat())
            & (entries.c.due < until.isoformat())
        )
        wanted = (
            sa.select(entries)
            .where(due, ~told_of_it, sa.tuple_(entries.c.due, entries.c.seq) > sa.tuple_(*after))
            .order_by(entries.c.due, entries.c.seq)
            .limit(most)
        )
        with self._database.reading() as connection:
            return decode_rows(
                connection, connection.execute(wanted).mappings().all(), self._secrets
            )

    def of_kind(
        self,
        kinds: Sequence[Kind],
        tenant: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[Entry]:
        """The rows of these kinds in their order; of one tenant, of ``since`` <= time < ``until``
        where these are given.
        """
        chosen: sa.ColumnElement[bool] = entries.c.kind.in_(kinds)
        if "decision" not in kinds:
            chosen &= not_a_decision
        if tenant is not None:
            chosen &= entries.c.tenant == tenant
        if since is not None:
            chosen &= entries.c.at >= since
        if until is not None:
            chosen &= entries.c.at < until
        for page in self._pages(chosen):
            with self._database.reading() as connection:
                said = decode_rows(connection, page, self._secrets)
            # after the transaction: whoever asks may take as long as they like over a row
            yield from said

    def tenants(self) -> list[str]:
        """Whose decisions there are."""
        with self._database.reading() as connection:
            return list(
                connection.scalars(
                    sa.select(entries.c.tenant).distinct().order_by(entries.c.tenant)
                )
            )

    def rows(self) -> Iterator[sa.RowMapping]:
        """Every row as it is stored, sealed, in order of ``seq``."""
        for page in self._pages(sa.true()):
            yield from page

    def _where(self, chosen: sa.ColumnElement[bool]) -> list[Entry]:
        with self._database.reading() as connection:
            rows = (
                connection.execute(sa.select(entries).where(chosen).order_by(entries.c.seq))
                .mappings()
                .all()
            )
            return decode_rows(connection, rows, self._secrets)

    def _pages(self, chosen: sa.ColumnElement[bool]) -> Iterator[Sequence[sa.RowMapping]]:
        last = -1
        while True:
            page_of = (
                sa.select(entries)
                .where(chosen, entries.c.seq > last)
                .order_by(entries.c.seq)
                .limit(_ROWS_A_PAGE)
            )
            with self._database.reading() as connection:
                page = connection.execute(page_of).mappings().all()
            if not page:
                return
            yield page
            last = page[-1]["seq"]
