"""What is in force for accounts, from the rows of their decisions and of the outcomes of reviews.

    find_past     each account's latest decision, its newest event that is a decision, and the
                  outcomes after that
    recall        those events -> the prior of the account's next decision
    newest_events the number of each account's newest event

An event is a decision with a notice, or the outcome of a review. A decision's row keeps, within the
body of its request, the prior that it was made with; so no earlier row has to be read.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import sqlalchemy as sa
from pydantic_core import from_json, to_json

from features.months import add_months
from serving.audit_log.entry import Entry, NewEntry
from serving.audit_log.privacy import data_subjects
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import StoredRow
from serving.decision.policy.prior import Change, Prior, after
from serving.storage.database import Database
from serving.storage.driver_sql import PreparedStatement
from serving.storage.tables import entries, is_event, people

DECIDED_ON = "decided_on"  # in the metadata of an event: its day on the lender's clock
REVIEW_ON = "review_on"  # and the day of the next look; null = nothing is in force
# Of an outcome of a version that did not say when the account is looked at again.
_MONTHS_TO_NEXT_LOOK = 3
_DATES = tuple(one.name for one in fields(Prior) if "datetime.date" in str(one.type))
_AMOUNTS = tuple(one.name for one in fields(Prior) if one.type == "float")

# The two hashes belong to the chain.
_COLUMNS = [column for column in entries.c if column.name not in ("before", "hash")]
_COLUMN_NAMES = [column.name for column in _COLUMNS]

Account = tuple[str, str]  # tenant, the lender's name of the account


@dataclass(frozen=True, slots=True)
class Memory:
    """What is in force for an account.

    ``prior`` is None if nothing is in force. ``newest_event`` is the ``seq`` of the newest event
    that the prior follows from, 0 = there is none. ``newest_decision`` is the id of the newest
    event that is a decision; None = there is none. ``under_review``: it refers the account to a
    person, who has not answered. ``limits`` are those that the events announced, in CNY, each with
    its first day, in the order of the events; empty if they were not read.
    """

    prior: Prior | None = None
    newest_event: int = 0
    newest_decision: str | None = None
    under_review: bool = False
    limits: tuple[tuple[datetime.date, float], ...] = field(default=(), compare=False)

    def limit_on(self, day: datetime.date) -> float | None:
        """The limit in force on a day since the newest decision, CNY; None if no row says it."""
        begun = [limit for first_day, limit in self.limits if first_day <= day]
        return begun[-1] if begun else None


NOTHING = Memory()


@dataclass(frozen=True, slots=True)
class Past:
    """What the audit log has of an account, as far as the next decision needs it.

    ``events`` are the newest event that is a decision, and the outcomes after it, in order of
    ``seq``. ``latest`` is the latest decision, whatever it decided; None = there is none. The
    content of both is still encrypted: what is not needed is never decrypted.
    """

    events: Sequence[StoredRow]
    latest: StoredRow | None


def find_past(
    database: Database, accounts: Collection[Account], secrets: Secrets
) -> dict[Account, Past]:
    """The past of each account, by one statement; accounts without a decision are missing.

    An account has several data subjects if an account key was lost and came back; their rows are
    one past.
    """
    if not accounts:
        return {}
    by_hash = _hash_accounts(accounts, secrets)
    found: dict[Account, list[StoredRow]] = {}
    keys: dict[str, bytes] = {}
    for row in database.fetch(_select_past(len(by_hash)), _numbered(by_hash)):
        account_hash, sealed, *columns = row
        named = dict(zip(_COLUMN_NAMES, columns, strict=True))
        if account_hash not in keys:
            person = named[entries.c.person.name]
            keys[account_hash] = data_subjects.decrypt_key(sealed, person, account_hash, secrets)
        stored = StoredRow(named, keys[account_hash])
        found.setdefault(by_hash[account_hash], []).append(stored)
    return {account: _past_of(rows) for account, rows in found.items()}


def _past_of(rows: Sequence[StoredRow]) -> Past:
    in_order = sorted(rows, key=lambda row: row.seq)
    decisions = [row for row in in_order if row.kind == "decision"]
    # In order of `seq`: the last of them.
    latest = decisions[-1] if decisions else None
    cuts = [row.seq for row in decisions if row.has_due_day]
    since = cuts[-1] if cuts else 0
    events = [row for row in in_order if row.seq >= since and _is_event(row)]
    return Past(events, latest)


def _is_event(row: StoredRow) -> bool:
    return row.has_due_day or row.kind == "resolution"


def newest_events(
    connection: sa.Connection, accounts: Collection[Account], secrets: Secrets
) -> dict[Account, int]:
    """The ``seq`` of each account's newest event; 0 = there is none."""
    by_hash = _hash_accounts(accounts, secrets)
    newest = dict.fromkeys(accounts, 0)
    for account_hash, seq in _select_newest(len(by_hash)).rows(connection, _numbered(by_hash)):
        account = by_hash[account_hash]
        newest[account] = max(newest[account], seq)
    return newest


def recall(
    events: Sequence[StoredRow], reviewed: Mapping[str, Entry], with_limits: bool = False
) -> Memory:
    """What is in force after the events of a :class:`Past`, at least one.

    ``reviewed`` are the decisions that the outcomes are about, by id; the one in ``events`` may be
    left out. ``with_limits``: whether the memory has its ``limits``, which are in the bodies.
    """
    if not with_limits and len(events) == 1 and (left := events[0].in_force) is not None:
        return _remembered(events[0], left)
    newest: Decided | None = None
    prior: Prior | None = None
    rows = [event.entry for event in events]
    limits: list[tuple[datetime.date, float]] = []
    for row in rows:
        if row.kind == "decision":
            newest = Decided.read(row)
            limits += _limits_before(newest)
            prior = after(newest.prior, newest.change)
        elif newest is not None and newest.row.entry_id == row.subject:
            prior = after_outcome(prior, row, newest, is_newest=True)
        else:
            prior = after_outcome(
                prior,
                row,
                Decided.read(reviewed[row.subject]),
                is_newest=False,
            )
        if prior is not None:
            limits.append((prior.in_force_from, prior.limit_in_force))
    if newest is None:
        return Memory(prior, rows[-1].seq)
    newest_id = newest.row.entry_id
    answered = any(row.kind == "resolution" and row.subject == newest_id for row in rows)
    under_review = newest.refers and not answered
    return Memory(prior, rows[-1].seq, newest_id, under_review, tuple(limits))


def _limits_before(decision: Decided) -> list[tuple[datetime.date, float]]:
    """The limits from before a decision, each with its first day, the present one last."""
    limit = float(decision.answer["credit_limit"])
    prior = decision.prior
    if prior is None:
        return [(datetime.date.min, limit)]
    # The decision may have been made before an earlier cut took effect. Of several cuts the prior
    # does not say what the limit was between them.
    is_only_cut = prior.first_cut_on == prior.last_cut_on and prior.restored_on is None
    before = prior.limit_before if is_only_cut else limit
    return [(datetime.date.min, before), (prior.in_force_from, limit)]


def _remembered(decision: StoredRow, in_force: bytes) -> Memory:
    """The memory after a decision that says what it left in force, without its content."""
    under_review = decision.metadata["action"] == "review"
    prior = read_prior(from_json(in_force))
    return Memory(prior, decision.seq, decision.entry_id, under_review)


def write_prior(prior: Prior | None) -> bytes:
    """A prior as JSON, null for None: what :func:`read_prior` reads."""
    return to_json(prior)


@dataclass(frozen=True, slots=True)
class Decided:
    """The row of a decision with its bodies as JSON, each parsed once.

    ``answer`` is the decision: that of the endpoint ``advice`` is without the advice.
    """

    row: Entry
    request: Mapping[str, Any]
    answer: Mapping[str, Any]

    @classmethod
    def read(cls, row: Entry) -> Decided:
        """Parse the row of a decision that was not erased."""
        answer = from_json(row.response_body or b"{}")
        if row.metadata["door"] == "advice":
            answer = answer["decision"]
        return cls(row, from_json(row.request_body or b"{}"), answer)

    @property
    def prior(self) -> Prior | None:
        """What it was made with; None also in rows of versions without a memory."""
        return read_prior(self.request.get("prior"))

    @property
    def refers(self) -> bool:
        """Whether it refers the account to a person."""
        return bool(self.answer["action"] == "review")

    @property
    def balance(self) -> float:
        """What is owed on the last statement, CNY."""
        last = max(self.request["statements"], key=lambda statement: str(statement["month"]))
        return float(last["balance"])

    @property
    def change(self) -> Change:
        """What it put in force or looked at."""
        answer = self.answer
        on = decided_on(self.row)
        return Change(
            decision_id=self.row.entry_id,
            on=on,
            limit_before=float(answer["credit_limit"]),
            limit=float(answer["new_limit"]),
            effective_on=_day(answer["effective_on"]) or on,
            # Versions without the field had no memory: a suspension was in the action or nowhere.
            suspended=answer.get("suspended", answer["action"] == "suspend"),
            balance=self.balance,
            log_odds=answer["log_odds"],
            # Under review it is the last day for a person's decision.
            review_on=None if self.refers else _day(answer["review_on"]),
            refers=self.refers,
        )


def after_outcome(
    prior: Prior | None, outcome: Entry | NewEntry, decision: Decided, is_newest: bool
) -> Prior | None:
    """What is in force after the outcome of a review.

    Args:
        prior: In force before it.
        outcome: The row of the outcome, stored or to be stored.
        decision: The reviewed decision.
        is_newest: Whether the account's newest event that is a decision is this one.
    """
    kind = outcome.metadata["outcome"]
    took_nothing = decision.answer["action"] in ("keep", "restore")
    if kind == "uphold" or (kind == "overturn" and took_nothing):
        return prior
    if kind == "overturn" and is_newest:
        before = decision.prior
        if decision.refers:
            # The referral itself is remembered: nobody is referred twice for one thing.
            before = after(before, decision.change)
        if before is not None:
            # Statements still show the limit of the decision. An earlier cut keeps its day.
            first_day = max(before.in_force_from, decided_on(outcome))
            return replace(before, in_force_from=first_day)
    change = outcome_change(prior, outcome, decision)
    if not is_newest and (prior is None or change.limit <= prior.limit_in_force):
        # Later decisions gave back as much already: a review never costs the customer anything.
        return prior
    is_suspended = prior is not None and prior.suspended
    if (change.limit, change.suspended) == (change.limit_before, is_suspended):
        return prior
    return after(prior, change)


def outcome_change(prior: Prior | None, outcome: Entry | NewEntry, decision: Decided) -> Change:
    """What the outcome of a review puts in force: another limit than ``prior`` has."""
    on = decided_on(outcome)
    before = decision.answer["credit_limit"] if prior is None else prior.limit_in_force
    notice = from_json(outcome.response_body or b"{}")
    if outcome.metadata["outcome"] == "overturn":
        limit = decision.answer["credit_limit"]
        suspended = decision.prior is not None and decision.prior.suspended
    else:
        limit = from_json(outcome.request_body or b"{}")["new_limit"]
        # Who is given more than the limit that was drawn may draw it.
        suspended = prior is not None and prior.suspended and limit <= prior.limit_in_force
    return Change(
        decision_id=outcome.entry_id,
        on=on,
        limit_before=float(before),
        limit=float(limit),
        effective_on=_day(notice.get("effective_on")) or on,
        suspended=suspended,
        balance=decision.balance,
        log_odds=decision.answer["log_odds"],
        review_on=_day(outcome.metadata.get(REVIEW_ON)) or add_months(on, _MONTHS_TO_NEXT_LOOK),
    )


def read_prior(stored: Mapping[str, Any] | None) -> Prior | None:
    """A prior from the JSON of a request's body, or of :func:`write_prior`."""
    if stored is None:
        return None
    values = dict(stored)
    for name in _DATES:
        values[name] = _day(values[name])
    for name in _AMOUNTS:
        # A whole number in JSON: the id of a decision depends on how it is written.
        values[name] = float(values[name])
    return Prior(**values | {"decisions": tuple(values["decisions"])})


def decided_on(row: Entry | NewEntry) -> datetime.date:
    """The day of an event on the lender's clock; in rows of earlier versions that of UTC."""
    return _day(row.metadata.get(DECIDED_ON)) or row.at.date()


def _day(text: str | None) -> datetime.date | None:
    return None if text is None else datetime.date.fromisoformat(text)


def _hash_accounts(accounts: Collection[Account], secrets: Secrets) -> dict[str, Account]:
    by_hash: dict[str, Account] = {}
    for account in accounts:
        for one in secrets.account_hashes(*account).values():
            by_hash[one] = account
    return by_hash


def _numbered(hashes: Collection[str]) -> dict[str, str]:
    return {f"hash_{place}": one for place, one in enumerate(hashes)}


def _is_one_of(count: int) -> sa.ColumnElement[bool]:
    # One parameter a hash: an expanding parameter would be rendered anew for every execution.
    hashes: list[sa.BindParameter[str]] = [sa.bindparam(f"hash_{place}") for place in range(count)]
    return people.c.account.in_(hashes)


@functools.cache
def _select_past(count: int) -> PreparedStatement:
    """The rows of :class:`Past`, each after the hash and the encrypted key of its person."""
    # Named, and used twice: both databases find each person, and its two numbers, only once.
    persons = (
        sa.select(
            people.c.account,
            people.c.sealed_key,
            people.c.person,
            _newest_event().label("event"),
            _latest_decision().label("decision"),
        )
        .where(_is_one_of(count))
        .cte("persons")
    )
    of_person = entries.c.person == persons.c.person
    first = sa.func.coalesce(persons.c.event, sa.literal_column("0"))
    events = _select_rows(persons, of_person).where(is_event, entries.c.seq >= first)
    # The latest decisions that are no event: the others are among the events.
    latest = _select_rows(persons, entries.c.seq == persons.c.decision)
    kept = latest.where(entries.c.due.is_(None))
    return PreparedStatement(sa.union_all(events, kept))


def _select_rows(persons: sa.CTE, condition: sa.ColumnElement[bool]) -> sa.Select[Any]:
    columns = (persons.c.account, persons.c.sealed_key, *_COLUMNS)
    return sa.select(*columns).join_from(persons, entries, condition)


def _newest_event() -> sa.ScalarSelect[int]:
    """The number of a person's newest event that is a decision."""
    earlier = entries.alias("earlier")
    is_decision = (
        earlier.c.person == people.c.person,
        sa.or_(
            earlier.c.due.is_not(None),
            earlier.c.kind == sa.literal_column("'resolution'"),
        ),
        earlier.c.kind == sa.literal_column("'decision'"),
        earlier.c.seq > sa.literal_column("0"),
    )
    return sa.select(sa.func.max(earlier.c.seq)).where(*is_decision).scalar_subquery()


def _latest_decision() -> sa.ScalarSelect[int]:
    """The number of a person's latest decision, whatever it decided."""
    earlier = entries.alias("earlier")
    is_decision = (
        earlier.c.person == people.c.person,
        earlier.c.kind == sa.literal_column("'decision'"),
    )
    # Both databases read the index of the person backwards, until the first decision.
    return sa.select(sa.func.max(earlier.c.seq)).where(*is_decision).scalar_subquery()


@functools.cache
def _select_newest(count: int) -> PreparedStatement:
    found = sa.select(people.c.account, sa.func.max(entries.c.seq)).join_from(
        people, entries, entries.c.person == people.c.person
    )
    # Every row has such a number. Without the condition SQLite takes the index of all rows of the
    # person, and reads those that keep the limit too.
    has_number = entries.c.seq > sa.literal_column("0")
    chosen = found.where(_is_one_of(count), is_event, has_number)
    return PreparedStatement(chosen.group_by(people.c.account))
