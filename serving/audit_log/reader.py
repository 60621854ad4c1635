"""Queries of the audit log."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Sequence

import sqlalchemy as sa

from serving.audit_log.entry import Entry, Kind
from serving.audit_log.memory import NOTHING, Memory, find_past, recall
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import StoredRow, decode_rows, unique_key_column
from serving.decision.policy.prior import Prior
from serving.storage.database import Database
from serving.storage.tables import (
    api_keys,
    due_accounts,
    entries,
    not_a_decision,
    open_notices,
    people,
    review_states,
)
from serving.storage.triggers.lists import next_look

_ROWS_PER_PAGE = 500  # a reader delays SQLite's writer no longer than one page takes
# Rows that one query looks at, however few of them it returns: no query reads the whole log.
_ROWS_PER_WINDOW = 5_000

_seq = entries.c.seq
_kind = entries.c.kind
_tenant = entries.c.tenant
_at = entries.c.at
_subject = entries.c.subject
_entry_id = entries.c.entry_id
_notice_seq = open_notices.c.seq
_notice_due = open_notices.c.due
_review_seq = review_states.c.seq
_due_day = due_accounts.c.review_on
_due_seq = due_accounts.c.seq

DuePlace = tuple[str, int]  # in the list of due accounts: the day as YYYY-MM-DD, and the ``seq``


class Reader:
    """Reads a database; each call runs in a transaction of its own."""

    def __init__(self, database: Database, secrets: Secrets) -> None:
        self._database, self._secrets = database, secrets

    def by_id(self, entry_id: str) -> Entry | None:
        """The entry with this id; None if there is none."""
        found = self._read(sa.select(entries).where(_entry_id == entry_id))
        return found[0] if found else None

    def by_unique_keys(self, unique_keys: Sequence[str]) -> list[Entry]:
        """The entries with these unique keys, in order of ``seq``.

        Whole keys, because neither database has an index for their beginnings: SQLite's LIKE
        ignores case, and PostgreSQL sorts by the rules of a language.
        """
        has_key = unique_key_column.in_(unique_keys)
        return self._read(sa.select(entries).where(has_key).order_by(_seq))

    def about(self, decision_id: str) -> list[Entry]:
        """A decision, then the entries about it in order; empty if there is no such decision."""
        return self.about_all([decision_id]).get(decision_id, [])

    def about_all(self, decision_ids: Sequence[str]) -> dict[str, list[Entry]]:
        """For each of these decisions the entries as of :meth:`about`; one transaction for all."""
        own = sa.select(entries).where(_entry_id.in_(decision_ids))
        others = sa.select(entries).where(_subject.in_(decision_ids), not_a_decision).order_by(_seq)
        about: dict[str, list[Entry]] = {}
        for entry in self._read(own, others):
            about.setdefault(entry.subject, []).append(entry)
        return about

    def decisions_on(
        self,
        tenant: str,
        account: str,
        limit: int,
        after: str | None = None,
    ) -> list[Entry] | None:
        """The decisions on a tenant's account, the newest first; empty if it has none.

        None if `after` is no decision on the account. So it is for each account that was erased:
        nothing leads from it to its decisions.

        Args:
            tenant: Whose account.
            account: The lender's name of the account.
            limit: The largest number of entries.
            after: Id of the last entry of the previous page.
        """
        hashes = self._secrets.account_hashes(tenant, account).values()
        named = sa.select(people.c.person).where(people.c.account.in_(list(hashes)))
        numbers: list[int] = []
        with self._database.reading() as connection:
            persons = connection.scalars(named).all()
            before = None
            if after is not None:
                own = entries.c.person.in_(persons), _kind == "decision"
                before = connection.scalar(sa.select(_seq).where(_entry_id == after, *own))
                if before is None:
                    return None
            # A query for each person: their numbers are in order only within one. An account has
            # several if an account key was lost and came back.
            for person in persons:
                numbers += connection.scalars(_newest_decisions(person, before).limit(limit))
            newest = sorted(numbers, reverse=True)[:limit]
            return self._numbered(connection, newest)[::-1]

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
        # One lower bound and not two: each database searches its index with one of them only.
        begin = max((since.isoformat(), 0), after)
        chosen = (
            sa.select(_notice_seq)
            .where(
                open_notices.c.tenant == tenant,
                sa.tuple_(_notice_due, _notice_seq) > sa.tuple_(*begin),
                _notice_due < until.isoformat(),
            )
            .order_by(_notice_due, _notice_seq)
            .limit(limit)
        )
        with self._database.reading() as connection:
            found = self._numbered(connection, connection.scalars(chosen).all())
        return sorted(found, key=lambda entry: (entry.due or since, entry.seq))

    def due_accounts(
        self,
        tenant: str,
        until: datetime.date,
        limit: int,
        after: DuePlace | None = None,
    ) -> list[tuple[DuePlace, Entry]]:
        """The entries that set the day of the next look at a tenant's accounts, soonest first.

        Each with its place in the list. The day may have been set by an earlier version, which did
        not say it in readable form: the list then has it three months after the entry.

        Args:
            tenant: Whose accounts.
            until: The last day.
            limit: The largest number of entries.
            after: Place of the last entry of the previous page.
        """
        place = _due_day, _due_seq
        chosen = sa.select(*place).where(
            due_accounts.c.tenant == tenant,
            sa.tuple_(*place) > sa.tuple_(*(after or ("", 0))),
            _due_day <= until.isoformat(),
        )
        with self._database.reading() as connection:
            rows = connection.execute(chosen.order_by(*place).limit(limit)).all()
            found = self._numbered(connection, [seq for _, seq in rows])
        by_seq = {entry.seq: entry for entry in found}
        return [((day, seq), by_seq[seq]) for day, seq in rows]

    def place_among_due(self, tenant: str, entry_id: str) -> DuePlace | None:
        """The place that an entry has or had in the list of due accounts; None if it never had one.

        None also if the tenant has no such entry.
        """
        with self._database.reading() as connection:
            query = sa.text(next_look(connection.dialect.name))
            row = connection.execute(query, {"entry_id": entry_id}).one_or_none()
        if row is None or row[0] != tenant or row[1] is None:
            return None
        return row[1], row[2]

    def by_ids(self, entry_ids: Collection[str]) -> dict[str, Entry]:
        """The entries with these ids, by id."""
        with self._database.reading() as connection:
            return {entry.entry_id: entry for entry in self._entries(connection, entry_ids)}

    def reviews(
        self,
        tenant: str,
        states: Sequence[str],
        limit: int,
        after: int = 0,
    ) -> list[Entry]:
        """The entries that opened a tenant's reviews in these states, the oldest first.

        Args:
            tenant: Whose reviews.
            states: Their present states.
            limit: The largest number of entries.
            after: ``seq`` of the last entry of the previous page.
        """
        numbers: list[int] = []
        with self._database.reading() as connection:
            # A query for each state: their numbers are in order only within one state.
            for state in states:
                in_state = review_states.c.tenant == tenant, review_states.c.state == state
                chosen = sa.select(_review_seq).where(*in_state, _review_seq > after)
                page = chosen.order_by(_review_seq).limit(limit)
                numbers += connection.scalars(page)
            return self._numbered(connection, sorted(numbers)[:limit])

    def priors(self, tenant: str, accounts: Collection[str]) -> dict[str, Prior]:
        """What is in force for each of a tenant's accounts, for the next decision about it.

        Accounts without a cut, suspension or referral to remember are missing.
        """
        found = self.memories(tenant, accounts)
        return {one: memory.prior for one, memory in found.items() if memory.prior is not None}

    def memories(self, tenant: str, accounts: Collection[str]) -> dict[str, Memory]:
        """As :meth:`priors`, with the newest event; accounts without an event are missing."""
        memories, _ = self.memories_and_latest(tenant, accounts)
        return memories

    def memory_with_limits(self, tenant: str, account: str) -> Memory:
        """The memory of one account, with its ``limits``; an empty one without an event."""
        past = find_past(self._database, [(tenant, account)], self._secrets).get((tenant, account))
        if past is None or not past.events:
            return NOTHING
        missing = _reviewed_elsewhere([past.events])
        reviewed = self.by_ids(missing) if missing else {}
        return recall(past.events, reviewed, with_limits=True)

    def memories_and_latest(
        self,
        tenant: str,
        accounts: Collection[str],
    ) -> tuple[dict[str, Memory], dict[str, StoredRow]]:
        """The memories, and the latest decision on each account, whatever it decided.

        Accounts without an event, and accounts without a decision, are missing. The content of the
        decisions is not decrypted yet.
        """
        named = [(tenant, account) for account in accounts]
        found = find_past(self._database, named, self._secrets)
        past = {account: one for (_, account), one in found.items()}
        with_events = {account: one.events for account, one in past.items() if one.events}
        # Rarely any: most outcomes are about the decision that is among the events.
        missing = _reviewed_elsewhere(with_events.values())
        reviewed = self.by_ids(missing) if missing else {}
        memories = {account: recall(rows, reviewed) for account, rows in with_events.items()}
        latest = {account: one.latest for account, one in past.items() if one.latest is not None}
        return memories, latest

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
        chosen: sa.ColumnElement[bool] = _kind.in_(kinds)
        if tenant is not None:
            chosen &= _tenant == tenant
        if since is not None:
            chosen &= _at >= since
        if until is not None:
            chosen &= _at < until
        for page in self._pages(chosen):
            with self._database.reading() as connection:
                decoded = decode_rows(connection, page, self._secrets)
            # After the transaction: the caller may take any time for an entry.
            yield from decoded

    def tenants(self) -> list[str]:
        """The tenants that have entries, in alphabetical order."""
        found: set[str] = set()
        for begin, end in self._windows():
            within = _seq > begin, _seq <= end
            with self._database.reading() as connection:
                found.update(connection.scalars(sa.select(_tenant).where(*within)))
        return sorted(found)

    def knows(self, tenant: str) -> bool:
        """Whether a tenant has an API key or an entry."""
        with self._database.reading() as connection:
            # Each has an index of its tenants, or few rows; of the entries all are read.
            for one in (api_keys, due_accounts, review_states, open_notices):
                named = sa.select(one.c.tenant).where(one.c.tenant == tenant).limit(1)
                if connection.scalar(named) is not None:
                    return True
        return tenant in self.tenants()

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

    def _entries(self, connection: sa.Connection, entry_ids: Collection[str]) -> list[Entry]:
        """The entries with these ids."""
        if not entry_ids:
            return []
        rows = connection.execute(sa.select(entries).where(_entry_id.in_(entry_ids))).mappings()
        return decode_rows(connection, rows.all(), self._secrets)

    def _numbered(self, connection: sa.Connection, numbers: Sequence[int]) -> list[Entry]:
        """The entries with these values of ``seq``, in this order."""
        query = sa.select(entries).where(_seq.in_(numbers)).order_by(_seq)
        rows = connection.execute(query).mappings().all()
        return decode_rows(connection, rows, self._secrets)

    def _pages(self, chosen: sa.ColumnElement[bool]) -> Iterator[Sequence[sa.RowMapping]]:
        # Each page is a transaction of its own: SQLite cannot reset its write-ahead log during
        # one, and PostgreSQL ends one that is idle.
        for begin, end in self._windows():
            last = begin
            while last < end:
                query = (
                    sa.select(entries)
                    .where(chosen, _seq > last, _seq <= end)
                    .order_by(_seq)
                    .limit(_ROWS_PER_PAGE)
                )
                with self._database.reading() as connection:
                    page = connection.execute(query).mappings().all()
                if page:
                    yield page
                last = page[-1]["seq"] if len(page) == _ROWS_PER_PAGE else end

    def _windows(self) -> Iterator[tuple[int, int]]:
        """Ranges of ``seq`` that together hold every entry: after the first, up to the second."""
        begin = -1
        while True:
            some = (
                sa.select(_seq)
                .where(_seq > begin)
                .order_by(_seq)
                .limit(_ROWS_PER_WINDOW)
                .subquery()
            )
            with self._database.reading() as connection:
                end = connection.scalar(sa.select(sa.func.max(some.c.seq)))
            if end is None:
                return
            yield begin, end
            begin = end


def _newest_decisions(person: str, before: int | None) -> sa.Select[tuple[int]]:
    """The numbers of a person's decisions before one of them, the newest first."""
    chosen = sa.select(_seq).where(entries.c.person == person, _kind == "decision")
    if before is not None:
        chosen = chosen.where(_seq < before)
    return chosen.order_by(_seq.desc())


def _reviewed_elsewhere(events: Collection[Sequence[StoredRow]]) -> set[str]:
    """The ids of the decisions that outcomes are about and that are not beside their outcome."""
    missing: set[str] = set()
    for rows in events:
        missing |= {row.subject for row in rows} - {row.entry_id for row in rows}
    return missing
