"""The tables behind the lists hold what follows from the entries, in both databases."""

from __future__ import annotations

import contextlib
import datetime
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.audit_log.entry import Kind, NewEntry
from serving.audit_log.log import AuditLog
from serving.audit_log.privacy.erasure import ErasureOrder, erase_account
from serving.storage.database import Database
from serving.storage.tables import due_accounts, open_notices, review_states
from serving.storage.triggers.lists import find_wrong_rows
from tests.support.each import each
from tests.support.events import decision, outcome
from tests.support.records import NOW, append, settings_in

TENANTS = ("north", "south")
ACCOUNTS = 6
STEPS: tuple[Kind, ...] = ("started", "resolution", "withdrawal")
AFTER = {"started": "in_review", "resolution": "resolved", "withdrawal": "withdrawn"}
ORDER = ErasureOrder("operator", "asked for", NOW, hold_over="drawn")
Rows = set[tuple[str, str, int]]
LISTS = (open_notices, review_states, due_accounts)
# What the metadata says about the next look, with the day on the list that follows from it.
LATER = "2027-02-25"  # three months after NOW, for rows of earlier versions
LOOKS: dict[Kind, tuple[tuple[dict[str, str | None], str | None], ...]] = {
    "decision": (
        ({"review_on": "2027-01-31"}, "2027-01-31"),
        ({"review_on": "2026-12-01"}, "2026-12-01"),
        ({"review_on": None}, None),
        ({"action": "reduce"}, LATER),
        ({"action": "suspend"}, LATER),
        # No change: a decision before the day of the next look, and a case for a person.
        ({"action": "keep"}, ""),
        ({"action": "review"}, ""),
    ),
    "resolution": (
        ({"review_on": "2027-03-31", "outcome": "amend"}, "2027-03-31"),
        ({"review_on": None, "outcome": "overturn"}, None),
        ({"outcome": "overturn"}, None),
        ({"outcome": "amend"}, LATER),
        ({"outcome": "uphold"}, ""),
    ),
}


class Oracle:
    """Draws entries, and keeps in plain Python what the lists have to show."""

    def __init__(self, seed: int) -> None:
        self.random, self._of_looks = random.Random(seed), random.Random(seed)
        self.seq = 0
        self.notices: dict[str, tuple[NewEntry, int]] = {}
        self.reviews: dict[str, tuple[NewEntry, int, str]] = {}
        self.told: dict[str, int] = {}
        self.looks: dict[tuple[str, str], tuple[str, int]] = {}

    def draw(self) -> NewEntry:
        """The next entry, and its effect."""
        draws = [self._decision, self._decision, self._review, self._step, self._notification]
        entry = self.random.choice(draws)()
        self.seq += 1
        if entry.due is not None:
            self.notices[entry.entry_id] = entry, self.seq
        if entry.kind == "review":
            self.reviews[entry.entry_id] = entry, self.seq, "open"
        if entry.kind in AFTER:
            review, seq, _ = self.reviews[entry.metadata["review"]]
            self.reviews[review.entry_id] = review, seq, AFTER[entry.kind]
        if entry.kind in LOOKS:
            self._look(entry)
        if entry.kind == "resolution":
            self._forget_void_notice(entry)
        return entry

    def _forget_void_notice(self, answer: NewEntry) -> None:
        """A person has decided: the notice that a person will decide is void."""
        noticed, _ = self.notices.get(answer.subject, (None, 0))
        if noticed is not None and noticed.metadata.get("action") == "review":
            del self.notices[answer.subject]

    def _look(self, entry: NewEntry) -> None:
        """Draw what the entry says about the next look at its account."""
        said, day = self._of_looks.choice(LOOKS[entry.kind])
        entry.metadata.update(said)  # type: ignore[attr-defined]
        account = entry.tenant, str(entry.account)
        if day is None:
            self.looks.pop(account, None)
        elif day:
            self.looks[account] = day, self.seq

    def erase(self, tenant: str, account: str) -> None:
        self.seq += 1
        one = tenant, account
        self.notices = {
            name: found
            for name, found in self.notices.items()
            if (found[0].tenant, found[0].account) != one
        }
        self.reviews = {
            name: found
            for name, found in self.reviews.items()
            if (found[0].tenant, found[0].account) != one
        }
        self.looks.pop(one, None)

    def expected(self) -> tuple[Rows, Rows, Rows]:
        notices = {(one.tenant, str(one.due), seq) for one, seq in self.notices.values()}
        reviews = {(one.tenant, state, seq) for one, seq, state in self.reviews.values()}
        looks = {(tenant, day, seq) for (tenant, _), (day, seq) in self.looks.items()}
        return notices, reviews, looks

    def _decision(self) -> NewEntry:
        due = NOW.date() + datetime.timedelta(days=self.random.randrange(5))
        account = f"acct-{self.random.randrange(ACCOUNTS)}"
        tenant = self.random.choice(TENANTS)
        return self._entry(
            "decision", tenant, account, None, due if self.random.random() < 0.6 else None
        )

    def _review(self) -> NewEntry:
        if not self.notices:
            return self._decision()
        about, _ = self.random.choice(list(self.notices.values()))
        return self._entry("review", about.tenant, about.account, about.subject)

    def _step(self) -> NewEntry:
        if not self.reviews:
            return self._review()
        review, _, _ = self.random.choice(list(self.reviews.values()))
        kind = self.random.choice(STEPS)
        due = NOW.date() if kind == "resolution" else None
        entry = self._entry(kind, review.tenant, review.account, review.subject, due)
        entry.metadata["review"] = review.entry_id  # type: ignore[index]
        return entry

    def _notification(self) -> NewEntry:
        """The first of a row, a later one, or one as the first version stored it."""
        told = list(self.told)
        if told and self.random.random() < 0.3:
            about = self.random.choice(told)
            self.told[about] += 1
            return self._entry(
                "notification", "north", None, about, None, f"{about}:{self.told[about]}"
            )
        if not self.notices:
            return self._decision()
        name = self.random.choice(list(self.notices))
        about_entry, _ = self.notices.pop(name)
        self.told[name] = 0
        # The first version had no unique key, and notified of decisions only.
        key = None if about_entry.kind == "decision" and self.random.random() < 0.3 else name
        return self._entry("notification", about_entry.tenant, None, about_entry.subject, None, key)

    def _entry(
        self,
        kind: Kind,
        tenant: str,
        account: str | None,
        subject: str | None,
        due: datetime.date | None = None,
        told: str | None = None,
    ) -> NewEntry:
        entry_id = f"e-{self.seq}"
        return NewEntry(
            entry_id=entry_id,
            kind=kind,
            subject=subject or entry_id,
            tenant=tenant,
            caller="key-1",
            at=NOW,
            account=account,
            metadata={"decide_by": "2026-12-25"} if kind == "review" else {},
            request_body=b"{}",
            unique_key=None if told is None else f"told:{told}",
            due=due,
        )


@pytest.fixture(params=["sqlite", "postgresql"])
def log(request: pytest.FixtureRequest) -> AuditLog:
    """An empty audit log in each database."""
    name = "record" if request.param == "sqlite" else "postgres"
    opened: AuditLog = request.getfixturevalue(name)
    return opened


def stored(database: Database) -> tuple[Rows, ...]:
    """The rows of each list, in the order of their primary key's columns."""
    found: list[Rows] = []
    with database.reading() as connection:
        for table in LISTS:
            query = sa.select(*table.primary_key.columns)
            found.append({(row[0], row[1], row[2]) for row in connection.execute(query)})
    return tuple(found)


def fill_log(log: AuditLog, seed: int, entries: int = 150) -> Oracle:
    """Entries in items of one to four, and some erasures between them."""
    oracle = Oracle(seed)
    while oracle.seq < entries:
        append(log, [oracle.draw() for _ in range(oracle.random.randint(1, 4))])
        if oracle.random.random() < 0.05:
            account = f"acct-{oracle.random.randrange(ACCOUNTS)}"
            tenant = oracle.random.choice(TENANTS)
            if erase_account(log.database, log.secrets, tenant, account, ORDER) is not None:
                oracle.erase(tenant, account)
    return oracle


@pytest.mark.parametrize("seed", range(3))
def test_the_lists_follow_from_the_entries(log: AuditLog, seed: int) -> None:
    oracle = fill_log(log, seed)
    assert stored(log.database) == oracle.expected()
    with log.database.reading() as connection:
        assert find_wrong_rows(connection) == []
    states = {state for _, state, _ in oracle.expected()[1]}
    assert states == {"open", "in_review", "resolved", "withdrawn"}
    assert len(oracle.expected()[2]) > 3


def test_the_notice_that_a_person_will_decide_is_void_once_a_person_has(log: AuditLog) -> None:
    referral = decision("acct-1", "review", (20_000.0, 20_000.0))
    cut = decision("acct-2", "reduce", (20_000.0, 8_000.0))
    append(log, [referral, cut])
    before, *_ = stored(log.database)
    assert {seq for _, _, seq in before} == {1, 2}
    append(log, [outcome(referral, "overturn"), outcome(cut, "overturn")])
    after, *_ = stored(log.database)
    assert {seq for _, _, seq in after} == {2, 3, 4}
    # In a record of an earlier version it is on the list still.
    with log.database.writing() as connection:
        connection.exec_driver_sql(
            "INSERT INTO open_notices (tenant, due, seq) SELECT tenant, due, seq FROM entries "
            "WHERE seq = 1"
        )
        connection.exec_driver_sql("UPDATE schema_version SET version = 6")
    address = log.database.url.render_as_string(hide_password=False)
    with contextlib.closing(Database(address)) as migrated:
        assert stored(migrated)[0] == after


def test_a_log_without_the_tables_gets_them_filled(log: AuditLog) -> None:
    oracle = fill_log(log, 7)
    with log.database.writing() as connection:
        remove_lists(connection)
    address = log.database.url.render_as_string(hide_password=False)
    with contextlib.closing(Database(address)) as migrated:
        assert stored(migrated) == oracle.expected()
        # The triggers are there again.
        append(log, [oracle.draw() for _ in range(20)])
        assert stored(migrated) == oracle.expected()


def remove_lists(connection: sa.Connection) -> None:
    """Make the schema that of the versions before the tables."""
    for name in trigger_names(connection):
        on = "" if connection.dialect.name == "sqlite" else " ON " + table_of(name)
        connection.exec_driver_sql(f"DROP TRIGGER {name}{on}")
        if on:
            connection.exec_driver_sql(f"DROP FUNCTION {name}")
    for table in LISTS:
        table.drop(connection)
    connection.exec_driver_sql("DROP INDEX entries_of_events")
    connection.exec_driver_sql("UPDATE schema_version SET version = 3")


def trigger_names(connection: sa.Connection) -> Sequence[str]:
    query = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'lists%'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE tgname LIKE 'lists%'",
    }[connection.dialect.name]
    return connection.execute(sa.text(query)).scalars().all()


def table_of(trigger: str) -> str:
    return "people" if "forget" in trigger else "entries"


DAMAGES = (
    ("DELETE FROM open_notices", "is missing in open_notices"),
    ("DELETE FROM review_states", "is missing in review_states"),
    ("UPDATE review_states SET state = 'resolved'", "is missing in review_states"),
    ("INSERT INTO open_notices VALUES ('north', '2026-01-01', 1)", "is in open_notices"),
    ("DELETE FROM due_accounts", "is missing in due_accounts"),
    ("UPDATE due_accounts SET review_on = '2099-01-01'", "is missing in due_accounts"),
    ("INSERT INTO due_accounts VALUES ('north', '2026-01-01', 1, 'x')", "is in due_accounts"),
)


@pytest.mark.parametrize(("statement", "fault"), DAMAGES)
def test_a_changed_list_is_found(log: AuditLog, statement: str, fault: str) -> None:
    """The control."""
    fill_log(log, 2, 60)
    with log.database.writing() as connection:
        connection.exec_driver_sql(statement)
        wrong = find_wrong_rows(connection)
    assert any(text.startswith(fault) for _, text in each(wrong))


def test_the_old_indexes_are_gone(tmp_path: Path) -> None:
    with contextlib.closing(Database(settings_in(tmp_path).address)) as database:
        names = {one["name"] for one in sa.inspect(database.engine).get_indexes("entries")}
    assert names == {"entries_by_subject", "entries_by_person", "entries_of_events"}
