"""What is asked and answered about decisions that were made: their reviews, and what the customer was told, as JSON."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from features.schema import LARGEST_AMOUNT, LONGEST_WINDOW
from serving import example
from serving.descriptor import STRICT, IODescriptor, Strict
from serving.payload import Answer, Statement, Submitted
from serving.reviews import Outcome, State

Words = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\S")]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S")]
_REASON = "My income of August was not counted."
_REVIEW_ID = "0192f3a0-1111-4222-8333-444455556666"


class ReviewRequest(Submitted):
    """A customer asks for a person to reconsider a decision."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": _REASON, "statements": None}})

    reason: Annotated[Words, Field(description="the customer's own words")]
    statements: Annotated[
        list[Statement] | None,
        Field(min_length=1, max_length=LONGEST_WINDOW, description="as they should have been; the same bundle decides again"),
    ] = None


class StartRequest(Submitted):
    """A person takes a review."""

    model_config = ConfigDict(json_schema_extra={"example": {"reviewer": "Li Na"}})

    reviewer: Annotated[Name, Field(description="who reconsiders")]


class ResolutionRequest(Submitted):
    """A person's answer to a review."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"reviewer": "Li Na", "outcome": "overturn", "reasons": "The income was proven.", "new_limit": None}
        }
    )

    reviewer: Annotated[Name, Field(description="who reconsidered")]
    outcome: Annotated[
        Outcome, Field(description="uphold: the decision stands; overturn: the limit from before it; amend: another limit")
    ]
    reasons: Annotated[Words, Field(description="the reviewer's reasons, for the customer and the record")]
    new_limit: Annotated[
        float | None, Field(ge=0, le=LARGEST_AMOUNT, description="CNY; for amend alone, at most the limit from before")
    ] = None

    @model_validator(mode="after")
    def _limit_for_amend_alone(self) -> Self:
        if (self.outcome == "amend") != (self.new_limit is not None):
            raise ValueError("expected new_limit with the outcome amend, and with no other")
        return self


class WithdrawalRequest(Submitted):
    """The customer asks no longer."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": None}})

    reason: Annotated[Words | None, Field(description="null = none was given")] = None


class NotificationRequest(Submitted):
    """The customer was told of a decision."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"sent_at": "2026-11-26T08:00:00Z", "channel": "app", "language": "zh"}}
    )

    sent_at: Annotated[
        str,
        Field(
            pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
            description="UTC; not before the decision, not later than now",
            json_schema_extra={"format": "date-time"},
        ),
    ]
    channel: Literal["letter", "email", "sms", "app", "phone"]
    language: Literal["en", "zh"]


class ResolutionNote(Strict):
    """How a review ended."""

    outcome: Outcome
    limit: Annotated[float, Field(description="in force after it, CNY")]
    reviewer: str
    reasons: str
    at: str


class Difference(Strict):
    """A field that the corrected statements changed."""

    field: Annotated[str, Field(description="of the answer")]
    decided: Any
    corrected: Any


class ReviewAnswer(IODescriptor):
    """A review as it stands."""

    model_config = ConfigDict(
        **STRICT,
        json_schema_extra={
            "example": {
                "review_id": _REVIEW_ID,
                "decision_id": example.ANSWER["decision_id"],
                "status": "open",
                "opened_at": "2026-11-25T08:00:00.000000Z",
                "decide_by": "2026-12-25",
                "reason": _REASON,
                "reviewer": None,
                "corrected": None,
                "differences": None,
                "resolution": None,
            }
        },
    )

    review_id: str
    decision_id: str
    status: State
    opened_at: str
    decide_by: Annotated[datetime.date, Field(description="the day by which a person has answered")]
    reason: Annotated[str | None, Field(description="the customer's; null = erased")]
    reviewer: Annotated[str | None, Field(description="who took it; null = nobody yet")]
    corrected: Annotated[Answer | None, Field(description="on the corrected statements; null = none were corrected")]
    differences: Annotated[list[Difference] | None, Field(description="of action, limits, probability and reasons; null alike")]
    resolution: ResolutionNote | None


class ReviewList(IODescriptor):
    """Reviews, the one to be answered first first."""

    model_config = STRICT

    reviews: list[ReviewAnswer]


class NotificationNote(Strict):
    """When and how the customer was told."""

    notification_id: str
    sent_at: str
    channel: str
    language: str


class NotificationAnswer(IODescriptor):
    """A notification that was recorded."""

    model_config = STRICT

    decision_id: str
    notification: NotificationNote


class DecisionAnswer(IODescriptor):
    """A decision as it was answered, and what has come of it since."""

    model_config = STRICT

    decision: Answer
    limit: Annotated[float, Field(description="in force after reviews that were resolved, CNY; else new_limit of the decision")]
    reviews: list[ReviewAnswer]
    notifications: list[NotificationNote]


class Due(Strict):
    """A decision that the customer has not been told of."""

    decision_id: str
    account_id: str
    action: str
    decided_at: str
    send_by: datetime.date


class NoticeList(IODescriptor):
    """Decisions not yet told, the soonest to be sent first."""

    model_config = STRICT

    notices: list[Due]
