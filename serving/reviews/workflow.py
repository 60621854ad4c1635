"""A person's reconsideration of a decision, as rows of the record tell it: open -> in review ->
resolved, or withdrawn.

A review is always possible, and one at a time for a decision: no decision is by automation alone
(PIPL article 24, GDPR article 22(3)).  Where the policy itself asks for a person, a review is
opened with the decision; the customer's own takes its place. Nothing is ever changed: each step is
a row, and of two steps at once the record keeps one.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.audit_log.entry import Entry, Kind, NewEntry
from serving.schemas.review import UNDER_WAY, Asker, ReviewOutcome, State

# Until a person has answered.  Regulation B and PIPL name no period for this; one month is GDPR's
# (article 12(3)).
DAYS_TO_DECIDE = 30
# Step -> the states from which it can be taken, and the state to which it leads.  From one person
# to another a review goes on.
STEPS: dict[Kind, tuple[frozenset[State], State]] = {
    "started": (frozenset(UNDER_WAY), "in_review"),
    "resolution": (frozenset({"in_review"}), "resolved"),
    "withdrawal": (frozenset(UNDER_WAY), "withdrawn"),
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a review ended: ``uphold`` (the limit in force stays), ``overturn`` (the limit from
    before the decision), ``amend`` (another limit).

    ``limit`` is in force after it, CNY; ``notice`` is what the customer is to be told, as JSON, and
    ``resolution_id`` the row that says so.  None in limit, reviewer, reasons and notice = erased;
    in notice also: made before there were any.
    """

    resolution_id: str
    outcome: ReviewOutcome
    limit: float | None
    reviewer: str | None
    reasons: str | None
    at: datetime.datetime
    notice: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """That a review was wanted no longer; ``reason`` None = none was given, or erased.

    ``superseded_by``: the customer's own review that took its place; None = it was withdrawn for
    itself.
    """

    reason: str | None
    at: datetime.datetime
    superseded_by: str | None


@dataclass(frozen=True, slots=True)
class Review:
    """A review as it stands.

    ``asked_by``: the customer, or the policy whose decision was that a person decides.  ``reason``
    is the customer's; None = the policy asked, or erased.  ``statements`` are as the customer
    corrected them and ``corrected`` the answer on them, decided by the bundle of the first; None =
    none were.  ``reviewer``: who has it.  ``steps``: how many were taken.
    """

    review_id: str
    decision_id: str
    tenant: str
    state: State
    opened_at: datetime.datetime
    decide_by: datetime.date
    asked_by: Asker
    reason: str | None
    statements: list[dict[str, Any]] | None
    corrected: dict[str, Any] | None
    reviewer: str | None = None
    resolution: Resolution | None = None
    withdrawal: Withdrawal | None = None
    steps: int = 0

    @property
    def under_way(self) -> bool:
        """Whether somebody has still to answer."""
        return self.state in UNDER_WAY


def reviews_of(rows: Sequence[Entry]) -> list[Review]:
    """The reviews that the rows about a decision tell, itself first; oldest first."""
    decision, found = rows[0], dict[str, Review]()
    limit = None if decision.response_body is None else decision_in(decision)["new_limit"]
    for row in rows[1:]:
        if row.kind == "review":
            found[row.entry_id] = _opened(row)
        elif row.kind in STEPS:
            review = _after(found[row.metadata["review"]], row, decision, limit)
            found[review.review_id] = review
            limit = limit if review.resolution is None else review.resolution.limit
    return list(found.values())


def limit_of(rows: Sequence[Entry]) -> float:
    """The limit in force after the reviews of a decision, CNY; of a decision that nobody erased."""
    limits = [
        review.resolution.limit for review in reviews_of(rows) if review.resolution is not None
    ]
    return float(
        decision_in(rows[0])["new_limit"] if not limits or limits[-1] is None else limits[-1]
    )


def decision_in(row: Entry) -> dict[str, Any]:
    """The answer in a decision's row: of the door `advice` the decision is a part of it."""
    answered: dict[str, Any] = json.loads(row.response_body or b"{}")
    decision: dict[str, Any] = (
        answered["decision"] if row.metadata["door"] == "advice" else answered
    )
    return decision


def review_by_policy(decision: NewEntry, decide_by: datetime.date) -> NewEntry:
    """The review that is opened with a decision which a person has to make."""
    return NewEntry(
        entry_id=str(uuid.uuid4()),
        kind="review",
        subject=decision.entry_id,
        tenant=decision.tenant,
        caller=decision.caller,
        at=decision.at,
        account=decision.account,
        metadata={"decide_by": decide_by.isoformat(), "corrected": False, "asked_by": "policy"},
        unique_key=slot_of_review(decision.entry_id, ()),
    )


def slot_of_review(decision_id: str, earlier: Sequence[Review]) -> str:
    """The slot of the next review of a decision: of two that are asked for at once, one is opened."""
    return f"review:{decision_id}:{len(earlier)}"


def slot_of_step(review: Review) -> str:
    """The slot of a review's next step: of two reviewers at once, one wins."""
    return f"step:{review.review_id}:{review.steps}"


def slot_of_notification(told_of: str, earlier: int) -> str:
    """The slot of what was told of a row, its first time or later."""
    return f"told:{told_of}" if not earlier else f"told:{told_of}:{earlier}"


def _opened(row: Entry) -> Review:
    said = _said(row)
    return Review(
        review_id=row.entry_id,
        decision_id=row.subject,
        tenant=row.tenant,
        state="open",
        opened_at=row.at,
        decide_by=datetime.date.fromisoformat(row.metadata["decide_by"]),
        asked_by=row.metadata.get("asked_by", "customer"),
        reason=said.get("reason"),
        statements=said.get("statements"),
        corrected=None if row.response_body is None else json.loads(row.response_body),
    )


def _after(review: Review, row: Entry, decision: Entry, limit: float | None) -> Review:
    _, state = STEPS[row.kind]
    said = _said(row)
    moved = replace(review, state=state, steps=review.steps + 1)
    if row.kind == "started":
        return replace(moved, reviewer=said.get("reviewer"))
    if row.kind == "withdrawal":
        return replace(
            moved,
            withdrawal=Withdrawal(said.get("reason"), row.at, row.metadata.get("superseded_by")),
        )
    return replace(moved, resolution=_resolution(row, said, decision, limit))


def _resolution(
    row: Entry, said: dict[str, Any], decision: Entry, limit: float | None
) -> Resolution:
    outcome: ReviewOutcome = row.metadata["outcome"]
    if row.erased or decision.response_body is None:
        limit = None
    elif outcome != "uphold":
        limit = (
            decision_in(decision)["credit_limit"] if outcome == "overturn" else said["new_limit"]
        )
    notice = None if row.response_body is None else json.loads(row.response_body)
    return Resolution(
        row.entry_id, outcome, limit, said.get("reviewer"), said.get("reasons"), row.at, notice
    )


def _said(row: Entry) -> dict[str, Any]:
    said: dict[str, Any] = {} if row.request_body is None else json.loads(row.request_body)
    return said
