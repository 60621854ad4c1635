"""The states of a review, derived from rows of the audit log.

    open -> in review -> resolved
    open or in review -> withdrawn

A decision is made by automation alone, unless the policy refers it to a person. So a customer can
ask for a person at any time (PIPL article 24, GDPR article 22(3)): a review is always possible, one
at a time for a decision. If the policy refers a decision to a person, a review is opened together
with the decision; a customer's review replaces it. No row is ever changed: each step is a new row,
and of two simultaneous steps the audit log stores one.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.audit_log.entry import Entry, Kind, NewEntry
from serving.schemas.review import UNDER_WAY, Asker, ReviewOutcome, State
from serving.web.models import read_json

# For a person's answer.  Regulation B and PIPL name no period; GDPR has one month (article 12(3)).
DAYS_TO_DECIDE = 30
# Step -> the states that allow it, and the state after it.  "started" is allowed in review too: it
# then gives the review to another person.
STEPS: dict[Kind, tuple[frozenset[State], State]] = {
    "started": (frozenset(UNDER_WAY), "in_review"),
    "resolution": (frozenset({"in_review"}), "resolved"),
    "withdrawal": (frozenset(UNDER_WAY), "withdrawn"),
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """The outcome of a review.

    `outcome` is ``uphold`` (the limit in force stays), ``overturn`` (the limit from before the
    decision) or ``amend`` (another limit). `limit` is in force after it, CNY. `notice` is the
    notice to the customer as JSON, and `resolution_id` the id of the row.

    `reasons` are one text, or one by language. `limit`, `reviewer`, `reasons` and `notice` are None
    if the person was erased; `notice` also if a version of the service without notices stored the
    row.
    """

    resolution_id: str
    outcome: ReviewOutcome
    limit: float | None
    reviewer: str | None
    reasons: str | Mapping[str, str] | None
    at: datetime.datetime
    notice: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The withdrawal of a review.

    `reason` None = not given, or erased. `superseded_by` is the id of the customer's review that
    replaced it; None = the customer withdrew it.
    """

    reason: str | None
    at: datetime.datetime
    superseded_by: str | None


@dataclass(frozen=True, slots=True)
class Review:
    """A review in its present state.

    `asked_by` is the customer, or the policy that referred the decision to a person. `reason` is
    the customer's; None = opened by the policy, or erased. `statements` are the corrected ones,
    and `corrected` is the answer on them by the bundle of the decision; None = none were
    corrected. `reviewer` is the person who has taken it. `steps` counts the steps so far.
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
        """Whether the review has no answer yet."""
        return self.state in UNDER_WAY


def reviews_of(rows: Sequence[Entry]) -> list[Review]:
    """Return the reviews of a decision, the oldest first.

    `rows` are the rows about the decision in their order, the decision first.
    """
    decision = rows[0]
    reviews: dict[str, Review] = {}
    limit = None if decision.response_body is None else decision_in(decision)["new_limit"]
    for row in rows[1:]:
        if row.kind == "review":
            reviews[row.entry_id] = _open(row)
        elif row.kind in STEPS:
            before = reviews[row.metadata["review"]]
            after = _take_step(before, row, decision, limit)
            reviews[after.review_id] = after
            if after.resolution is not None:
                limit = after.resolution.limit
    return list(reviews.values())


def limit_of(rows: Sequence[Entry]) -> float:
    """Return the limit in force after the reviews of a decision, CNY.

    The decision must not be erased.
    """
    limit = decision_in(rows[0])["new_limit"]
    resolutions = [review.resolution for review in reviews_of(rows) if review.resolution]
    if resolutions and resolutions[-1].limit is not None:
        limit = resolutions[-1].limit
    return float(limit)


def decision_in(row: Entry) -> dict[str, Any]:
    """Return the decision in a decision's row as JSON.

    The answer of the endpoint `advice` contains the decision; other answers are the decision.
    """
    answer: dict[str, Any] = read_json(row.response_body or b"{}")
    if row.metadata["door"] == "advice":
        answer = answer["decision"]
    return answer


def review_by_policy(decision: NewEntry, decide_by: datetime.date) -> NewEntry:
    """Return the row that opens a review together with a decision that a person has to make."""
    return NewEntry(
        entry_id=str(uuid.uuid4()),
        kind="review",
        subject=decision.entry_id,
        tenant=decision.tenant,
        caller=decision.caller,
        at=decision.at,
        account=decision.account,
        metadata={"decide_by": decide_by.isoformat(), "corrected": False, "asked_by": "policy"},
        unique_key=review_key(decision.entry_id, ()),
    )


def review_key(decision_id: str, earlier: Sequence[Review]) -> str:
    """Return the unique key of a decision's next review: of two at once, one is stored."""
    return f"review:{decision_id}:{len(earlier)}"


def step_key(review: Review) -> str:
    """Return the unique key of a review's next step: of two at once, one is stored."""
    return f"step:{review.review_id}:{review.steps}"


def notification_key(entry_id: str, earlier: int) -> str:
    """Return the unique key of the next notification of a row; `earlier` counts those before."""
    # The reader finds rows without a notification by the first form.
    return f"told:{entry_id}" if not earlier else f"told:{entry_id}:{earlier}"


def notification_in(row: Entry) -> dict[str, Any]:
    """Return how the customer was notified, as a notification's row says it.

    `sent_at`, `channel`, `language` and `review_id`, which is None for the decision itself. The
    metadata has more, such as the trace of the request, which is another one each time.
    """
    return {
        "sent_at": row.metadata["sent_at"],
        "channel": row.metadata["channel"],
        "language": row.metadata["language"],
        # The first version of the service stored no review_id.
        "review_id": row.metadata.get("review_id"),
    }


def _open(row: Entry) -> Review:
    body = _body(row)
    return Review(
        review_id=row.entry_id,
        decision_id=row.subject,
        tenant=row.tenant,
        state="open",
        opened_at=row.at,
        decide_by=datetime.date.fromisoformat(row.metadata["decide_by"]),
        # The first version of the service stored customers' reviews only, without the field.
        asked_by=row.metadata.get("asked_by", "customer"),
        reason=body.get("reason"),
        statements=body.get("statements"),
        corrected=None if row.response_body is None else json.loads(row.response_body),
    )


def _take_step(review: Review, row: Entry, decision: Entry, limit: float | None) -> Review:
    """Return the review after the step in `row`; `limit` is in force before it."""
    _, state = STEPS[row.kind]
    body = _body(row)
    moved = replace(review, state=state, steps=review.steps + 1)
    if row.kind == "started":
        return replace(moved, reviewer=body.get("reviewer"))
    if row.kind == "withdrawal":
        withdrawal = Withdrawal(
            reason=body.get("reason"),
            at=row.at,
            superseded_by=row.metadata.get("superseded_by"),
        )
        return replace(moved, withdrawal=withdrawal)
    return replace(moved, resolution=_resolution(row, decision, limit))


def _resolution(row: Entry, decision: Entry, limit: float | None) -> Resolution:
    body = _body(row)
    outcome: ReviewOutcome = row.metadata["outcome"]
    if row.erased or decision.response_body is None:
        limit = None
    elif outcome == "overturn":
        limit = decision_in(decision)["credit_limit"]
    elif outcome == "amend":
        limit = body["new_limit"]
    return Resolution(
        resolution_id=row.entry_id,
        outcome=outcome,
        limit=limit,
        reviewer=body.get("reviewer"),
        reasons=body.get("reasons"),
        at=row.at,
        notice=None if row.response_body is None else json.loads(row.response_body),
    )


def _body(row: Entry) -> dict[str, Any]:
    """Return the body of the request that a row stores; empty if it was erased."""
    body: dict[str, Any] = {} if row.request_body is None else json.loads(row.request_body)
    return body
