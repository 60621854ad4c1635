"""What keeps a data subject from being erased: unsent notices, open reviews, and legal holds.

A legal hold is a period in which the law requires the lender to keep what it recorded about an
adverse action.  The action is a decision to reduce or suspend, or a review's outcome that lowers
the limit.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from features.months import add_months
from serving.audit_log.entry import Entry
from serving.audit_log.privacy.key_file import Secrets
from serving.audit_log.rows import (
    ENCRYPTED,
    data_subject_column,
    decode_rows,
    metadata_column,
    request_column,
    response_column,
)
from serving.storage.errors import StorageError
from serving.storage.tables import entries, open_notices, review_states

LAWS_VARIABLE = "CLEARLINE_LEGAL_HOLDS"
NO_LAW = "none"
_ADVERSE_ACTIONS = frozenset({"reduce", "suspend"})
_UNDER_WAY = ("open", "in_review")
_Rule = Literal["unsent_notice", "open_review", "legal_hold"]


@dataclass(frozen=True, slots=True)
class Law:
    """A law that requires records of adverse actions to be kept for so many months."""

    name: str  # in the environment variable
    months: int
    since: Literal["action", "notice"]
    source: str


# 12 CFR 1002.12(b)(2): "for 25 months after the date that a creditor notifies an applicant of
# adverse action regarding an existing account".
REGULATION_B = Law("regulation_b", 25, "notice", "12 CFR 1002.12(b)(2)")
# Article 55 names automated decisions; article 56 keeps the records of the handling three years.
PIPL = Law("pipl", 36, "action", "PIPL articles 55 and 56")
# A lender that does not say which laws it is under keeps what any of them requires.
LAWS = (REGULATION_B, PIPL)


@dataclass(frozen=True, slots=True)
class Hold:
    """A reason why a data subject is not erased yet.

    Attributes:
        rule: What kind of reason it is.
        entry_id: The decision or review's outcome with the notice or the adverse action, or the
            review.
        until: The last day of the hold, UTC; of a review the day by which a person must answer; of
            a notice the last day to send it.
        source: The law; "" for a notice or a review.
    """

    rule: _Rule
    entry_id: str
    until: datetime.date
    source: str = ""

    def __str__(self) -> str:
        if self.rule == "unsent_notice":
            return f"the notice of {self.entry_id} is not sent yet, it is due by {self.until}"
        if self.rule == "open_review":
            return f"the review {self.entry_id} has no answer yet, it is due by {self.until}"
        return f"the records of {self.entry_id} are kept until {self.until} ({self.source})"


def parse_laws(text: str | None) -> tuple[Law, ...]:
    """The laws that ``CLEARLINE_LEGAL_HOLDS`` names; all without the variable.

    Raises:
        StorageError: a name is unknown.

    >>> [law.name for law in parse_laws(None)], parse_laws("none")
    (['regulation_b', 'pipl'], ())
    """
    if not text:
        return LAWS
    if text.strip() == NO_LAW:
        return ()
    by_name = {law.name: law for law in LAWS}
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in by_name]:
        known = ", ".join(by_name)
        raise StorageError(
            f"{LAWS_VARIABLE}: expected {NO_LAW!r}, or names among {known}, separated by commas; "
            f"got {unknown[0]!r}"
        )
    return tuple(by_name[name] for name in names)


def find_holds(
    connection: sa.Connection,
    secrets: Secrets,
    subjects: Sequence[str],
    laws: Sequence[Law],
    today: datetime.date,
) -> dict[str, list[Hold]]:
    """The holds of each of these data subjects that has any, in the order of the entries.

    Legal holds come last, one a law: the one that ends last.  ``today`` is in UTC.
    """
    holds: dict[str, list[Hold]] = {subject: [] for subject in subjects}
    for subject, hold in _find_open(connection, subjects):
        holds[subject].append(hold)
    for subject, own in _read_rows(connection, secrets, subjects).items():
        for law in laws:
            holds[subject].extend(_legal_hold(own, law, today))
    return {subject: found for subject, found in holds.items() if found}


def _find_open(connection: sa.Connection, subjects: Sequence[str]) -> Iterator[tuple[str, Hold]]:
    """The data subject and the hold of each unsent notice and of each review under way."""
    named = data_subject_column.in_(subjects)
    # All columns of each table's key, so that the database searches it.
    is_unsent = sa.and_(
        open_notices.c.tenant == entries.c.tenant,
        open_notices.c.due == entries.c.due,
        open_notices.c.seq == entries.c.seq,
    )
    columns = (data_subject_column, entries.c.entry_id, entries.c.due)
    notices = sa.select(*columns).join(open_notices, is_unsent).where(named)
    for subject, entry_id, due in connection.execute(notices.order_by(entries.c.seq)):
        yield subject, Hold("unsent_notice", entry_id, datetime.date.fromisoformat(due))
    is_under_way = sa.and_(
        review_states.c.tenant == entries.c.tenant,
        review_states.c.state.in_(_UNDER_WAY),
        review_states.c.seq == entries.c.seq,
    )
    columns = (data_subject_column, entries.c.entry_id, metadata_column)
    reviews = sa.select(*columns).join(review_states, is_under_way).where(named)
    for subject, entry_id, metadata in connection.execute(reviews.order_by(entries.c.seq)):
        until = datetime.date.fromisoformat(json.loads(metadata)["decide_by"])
        yield subject, Hold("open_review", entry_id, until)


def _read_rows(
    connection: sa.Connection,
    secrets: Secrets,
    subjects: Sequence[str],
) -> dict[str, list[Entry]]:
    """The entries of each data subject in order, with the content of reviews' outcomes alone.

    So that a row whose content was damaged prevents no erasure.
    """
    content = sa.case((entries.c.kind == "resolution", response_column))
    readable = [column for column in entries.c if column.name not in ENCRYPTED]
    chosen = sa.select(
        *readable,
        sa.null().label(request_column.name),
        content.label(response_column.name),
    )
    query = chosen.where(data_subject_column.in_(subjects)).order_by(entries.c.seq)
    rows = connection.execute(query).mappings().all()
    by_subject: dict[str, list[Entry]] = {}
    for entry in decode_rows(connection, rows, secrets):
        by_subject.setdefault(str(entry.data_subject), []).append(entry)
    return by_subject


def _legal_hold(rows: Sequence[Entry], law: Law, today: datetime.date) -> list[Hold]:
    """The hold of a law over one data subject that ends last; empty if none runs."""
    holds: list[Hold] = []
    for row in rows:
        if not _is_adverse(row):
            continue
        begins = [row.at.date()] if law.since == "action" else _notified_on(row, rows)
        for begin in begins:
            until = add_months(begin, law.months)
            holds.append(Hold("legal_hold", row.entry_id, until, law.source))
    running = [hold for hold in holds if hold.until >= today]
    return [max(running, key=lambda hold: hold.until)] if running else []


def _is_adverse(row: Entry) -> bool:
    if row.kind == "decision":
        return row.metadata.get("action") in _ADVERSE_ACTIONS
    if row.kind != "resolution":
        return False
    if row.response_body is None:
        # A version without notices of outcomes stored it: only an overturn surely takes nothing.
        return bool(row.metadata.get("outcome") != "overturn")
    return bool(json.loads(row.response_body)["kind"] == "adverse_action")


def _notified_on(action: Entry, rows: Sequence[Entry]) -> list[datetime.date]:
    """The days, UTC, on which the customer was notified of an adverse action."""
    review_id = action.metadata["review"] if action.kind == "resolution" else None
    days: list[datetime.date] = []
    for row in rows:
        if row.kind != "notification" or row.subject != action.subject:
            continue
        # The first version of the service stored no review_id.
        if row.metadata.get("review_id") == review_id:
            days.append(datetime.datetime.fromisoformat(row.metadata["sent_at"]).date())
    return days
