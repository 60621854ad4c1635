"""The accounts to look at again: those with a cut or suspension in force whose day has come."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.audit_log.entry import Entry
from serving.audit_log.memory import NOTHING, Decided
from serving.audit_log.reader import DuePlace, Reader
from serving.decision.policy.prior import Prior

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class DueAccount:
    """An account to decide on again, with what is in force.

    `due_id` is the id of the row that set the day, and `decision_id` that of the decision that the
    row is or is about. `review_on` is the day. `under_review`: the newest decision refers the
    account to a person, who has not answered.
    """

    due_id: str
    decision_id: str
    account_id: str
    review_on: datetime.date
    prior: Prior
    under_review: bool


def read_due(
    reader: Reader, tenant: str, until: datetime.date, after: DuePlace | None = None
) -> list[DueAccount]:
    """Return a page of a tenant's due accounts, the soonest first.

    `until` is the last day. `after` is the place of the last account of the page before. A page
    with less than ``PAGE_SIZE`` accounts is the last.
    """
    found: dict[str, DueAccount] = {}
    place = after
    while len(found) < PAGE_SIZE:
        listed = reader.due_accounts(tenant, until, PAGE_SIZE, place)
        rows = [row for _, row in listed]
        # An account of which a key was lost and found again is listed twice, and is one account.
        found |= {one.account_id: one for one in _still_due(reader, tenant, rows, until)}
        if len(listed) < PAGE_SIZE:
            break
        place, _ = listed[-1]
    return list(found.values())[:PAGE_SIZE]


def all_due(reader: Reader, tenant: str, until: datetime.date) -> Iterator[DueAccount]:
    """Yield all of a tenant's due accounts, the soonest first, page by page."""
    place: DuePlace | None = None
    while True:
        page = read_due(reader, tenant, until, place)
        yield from page
        if len(page) < PAGE_SIZE:
            return
        place = reader.place_among_due(tenant, page[-1].due_id)


def _still_due(
    reader: Reader, tenant: str, rows: Sequence[Entry], until: datetime.date
) -> Iterator[DueAccount]:
    """Yield the accounts of listed rows whose day has come.

    Of a row of an earlier version the list has the day by a rule, and the row has it exactly.
    """
    decisions = reader.by_ids([row.subject for row in rows])
    accounts: dict[str, str] = {}
    for row in rows:
        decision = decisions[row.subject]
        # Erased since the page was read.
        if not decision.erased:
            accounts[row.entry_id] = Decided.read(decision).request["account_id"]
    memories = reader.memories(tenant, set(accounts.values()))
    for row in rows:
        account_id = accounts.get(row.entry_id, "")
        memory = memories.get(account_id, NOTHING)
        prior = memory.prior
        if prior is None or prior.review_on is None or prior.review_on > until:
            continue
        yield DueAccount(
            due_id=row.entry_id,
            decision_id=row.subject,
            account_id=account_id,
            review_on=prior.review_on,
            prior=prior,
            under_review=memory.under_review,
        )
