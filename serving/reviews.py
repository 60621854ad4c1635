"""A person's reconsideration of a decision, as rows of the record tell it: open -> in review -> resolved, or withdrawn.

A review is always possible, and one at a time for a decision: no decision is by automation alone (PIPL article 24, GDPR article
22(3)).  Nothing is ever changed: each step is a row, and of two steps at once the record keeps one.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from serving.record.entry import Kept, Kind

State = Literal["open", "in_review", "resolved", "withdrawn"]
STATES: tuple[State, ...] = get_args(State)
Outcome = Literal["uphold", "overturn", "amend"]
# Until a person has answered.  Regulation B and PIPL name no period for this; one month is GDPR's (article 12(3)).
DAYS_TO_DECIDE = 30
# Step -> the states from which it can be taken, and the state to which it leads.
STEPS: dict[Kind, tuple[frozenset[State], State]] = {
    "started": (frozenset({"open"}), "in_review"),
    "resolution": (frozenset({"in_review"}), "resolved"),
    "withdrawal": (frozenset({"open", "in_review"}), "withdrawn"),
}


@dataclass(frozen=True, slots=True)
class Resolution:
    """How a review ended: ``uphold`` (the decision stands), ``overturn`` (the limit from before), ``amend`` (another limit)."""

    outcome: Outcome
    limit: float  # in force after it, CNY
    reviewer: str
    reasons: str
    at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Review:
    """A review as it stands.

    ``reason`` is the customer's; None = erased, as are ``reviewer`` and a resolution's words.  ``corrected`` holds the answer
    on the statements that the customer corrected, decided by the bundle of the first, None = none were.  ``steps``: how many
    were taken.
    """

    review_id: str
    decision_id: str
    tenant: str
    state: State
    opened_at: datetime.datetime
    decide_by: datetime.date
    reason: str | None
    corrected: dict[str, Any] | None
    reviewer: str | None = None
    resolution: Resolution | None = None
    steps: int = 0


def reviews_of(rows: Iterable[Kept]) -> list[Review]:
    """The reviews that these rows tell, oldest first; rows of other kinds are passed over."""
    found: dict[str, Review] = {}
    for row in rows:
        if row.kind == "review":
            found[row.entry_id] = _opened(row)
        elif row.kind in STEPS:
            review = found[row.facts["review"]]
            found[review.review_id] = _after(review, row)
    return list(found.values())


def slot_of_review(decision_id: str, earlier: Sequence[Review]) -> str:
    """The slot of the next review of a decision: of two that are asked for at once, one is opened."""
    return f"review:{decision_id}:{len(earlier)}"


def slot_of_step(review: Review) -> str:
    """The slot of a review's next step: of two reviewers at once, one wins."""
    return f"step:{review.review_id}:{review.steps}"


def _opened(row: Kept) -> Review:
    said = {} if row.asked is None else json.loads(row.asked)
    return Review(
        review_id=row.entry_id,
        decision_id=row.subject,
        tenant=row.tenant,
        state="open",
        opened_at=row.at,
        decide_by=datetime.date.fromisoformat(row.facts["decide_by"]),
        reason=said.get("reason"),
        corrected=None if row.answered is None else json.loads(row.answered),
    )


def _after(review: Review, row: Kept) -> Review:
    _, state = STEPS[row.kind]
    said = {} if row.asked is None else json.loads(row.asked)
    resolution = review.resolution
    if row.kind == "resolution":
        resolution = Resolution(
            row.facts["outcome"], row.facts["limit"], said.get("reviewer", ""), said.get("reasons", ""), row.at
        )
    reviewer = said.get("reviewer", review.reviewer)
    return replace(review, state=state, reviewer=reviewer, resolution=resolution, steps=review.steps + 1)
