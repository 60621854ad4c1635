"""What is asked and answered about decisions that were made: their reviews, and what the customer
was told, as JSON.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field

from features.schema import LARGEST_AMOUNT, LONGEST_WINDOW
from serving.schemas import examples
from serving.schemas.base import ApiRequest
from serving.schemas.decision import Answer, Statement
from serving.schemas.statement import MONEY
from serving.web.errors import Fault
from serving.web.models import STRICT, IODescriptor, Strict, Text, matching_text

OutcomeKind = Literal["adverse_action", "review_outcome"]

State = Literal["open", "in_review", "resolved", "withdrawn"]
STATES: tuple[State, ...] = get_args(State)
UNDER_WAY: tuple[State, ...] = ("open", "in_review")
ReviewOutcome = Literal["uphold", "overturn", "amend"]
Asker = Literal["customer", "policy"]

_NOT_BLANK = matching_text(r"\S", "expected something other than blanks")
Words = Annotated[str, Field(min_length=1, max_length=4000), *_NOT_BLANK]
Name = Annotated[str, Field(min_length=1, max_length=100), *_NOT_BLANK]
Limit = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT), *MONEY]
_REASON = "My income of August was not counted."
_REVIEW_ID = "0192f3a0-1111-4222-8333-444455556666"


class ReviewRequest(ApiRequest):
    """A customer asks for a person to reconsider a decision."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"reason": _REASON, "statements": None}}
    )

    reason: Annotated[Words, Field(description="the customer's own words")]
    statements: Annotated[
        list[Statement] | None,
        Field(
            min_length=1,
            max_length=LONGEST_WINDOW,
            description="as they should have been; the same bundle decides again",
        ),
    ] = None


class StartRequest(ApiRequest):
    """A person takes a review."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"reviewer": "Li Na", "instead_of": None}}
    )

    reviewer: Annotated[Name, Field(description="who reconsiders")]
    instead_of: Annotated[
        Name | None, Field(description="who had it, to take it over; null = nobody has it yet")
    ] = None


class ResolutionRequest(ApiRequest):
    """A person's answer to a review."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "reviewer": "Li Na",
                "outcome": "overturn",
                "reasons": "The income was proven.",
                "new_limit": None,
            }
        }
    )

    reviewer: Annotated[Name, Field(description="who reconsidered: the person who has taken it")]
    outcome: Annotated[
        ReviewOutcome,
        Field(
            description="uphold: the limit in force stays; overturn: that of before the decision; amend: another"
        ),
    ]
    reasons: Annotated[
        Words, Field(description="the reviewer's reasons, for the customer and the record")
    ]
    new_limit: Annotated[
        Limit | None,
        Field(
            description="CNY; for amend alone, from the limit that the decision left to the one from before it"
        ),
    ] = None

    def faults(self) -> list[Fault]:
        """A limit that is missing, or that the outcome does not ask for."""
        if (self.outcome == "amend") == (self.new_limit is not None):
            return []
        return [
            Fault(path="$.new_limit", message="expected with the outcome amend, and with no other")
        ]


class WithdrawalRequest(ApiRequest):
    """The customer asks no longer."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": None}})

    reason: Annotated[Words | None, Field(description="null = none was given")] = None


class NotificationRequest(ApiRequest):
    """The customer was told of a decision, or of how a review of it ended."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "sent_at": "2026-11-26T08:00:00Z",
                "channel": "app",
                "language": "zh",
                "review_id": None,
            }
        }
    )

    sent_at: Annotated[
        str,
        *matching_text(
            r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
            "expected UTC to the second, as in 2026-11-26T08:00:00Z",
            format="date-time",
        ),
        Field(description="UTC; not before the decision or the outcome, not later than now"),
    ]
    channel: Literal["letter", "email", "sms", "app", "phone"]
    language: Literal["en", "zh"]
    review_id: Annotated[
        str | None,
        Field(max_length=64, description="whose outcome was told; null = the decision itself"),
    ] = None


class OutcomeNotice(Strict):
    """What the customer is told of a review's outcome."""

    kind: Annotated[
        OutcomeKind,
        Field(
            description="adverse_action where the limit in force was lowered; else review_outcome"
        ),
    ]
    send_by: Annotated[
        datetime.date, Field(description="the last day to send it, on the lender's clock")
    ]
    text: Annotated[Text, Field(description="paragraphs, a blank line between them")]


class ResolutionNote(Strict):
    """How a review ended."""

    outcome: ReviewOutcome
    limit: Annotated[float, Field(description="in force after it, CNY")]
    reviewer: str
    reasons: str
    at: str
    notice: Annotated[
        OutcomeNotice | None, Field(description="null = none was made then, by an earlier version")
    ]


class WithdrawalNote(Strict):
    """That a review is wanted no longer."""

    reason: Annotated[str | None, Field(description="null = none was given")]
    at: str
    superseded_by: Annotated[
        str | None,
        Field(
            description="the customer's own review that took the place of the policy's; null = none did"
        ),
    ]


class Correction(Strict):
    """A difference between the statements that were decided on and those that the customer
    corrected.
    """

    month: str
    field: Annotated[
        str,
        Field(description="of the statement; `statement` where the month stands on one side alone"),
    ]
    decided: Annotated[Any, Field(description="null = unknown, or the month was not there")]
    corrected: Annotated[Any, Field(description="null = unknown, or the month is left out")]


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
                "decision_id": examples.ANSWER["decision_id"],
                "account_id": examples.ANSWER["account_id"],
                "status": "open",
                "asked_by": "customer",
                "opened_at": "2026-11-25T08:00:00.000000Z",
                "decide_by": "2026-12-25",
                "reason": _REASON,
                "reviewer": None,
                "limit": examples.ANSWER["new_limit"],
                "statements": None,
                "corrections": None,
                "corrected": None,
                "differences": None,
                "resolution": None,
                "withdrawal": None,
            }
        },
    )

    review_id: str
    decision_id: str
    account_id: str
    status: State
    asked_by: Annotated[Asker, Field(description="policy: the decision was that a person decides")]
    opened_at: str
    decide_by: Annotated[datetime.date, Field(description="the day by which a person has answered")]
    reason: Annotated[str | None, Field(description="the customer's; null = the policy asked")]
    reviewer: Annotated[str | None, Field(description="who has taken it; null = nobody yet")]
    limit: Annotated[
        float, Field(description="in force now, after all reviews of the decision, CNY")
    ]
    statements: Annotated[
        list[Statement] | None,
        Field(description="that were decided on; null in lists and in a decision's reviews"),
    ]
    corrections: Annotated[
        list[Correction] | None,
        Field(
            description="how the corrected statements differ from them; null = none were corrected"
        ),
    ]
    corrected: Annotated[
        Answer | None,
        Field(
            description="on the corrected statements, for comparison alone: no decision has its id; null = none were"
        ),
    ]
    differences: Annotated[
        list[Difference] | None,
        Field(description="of action, limits, probability and reasons; null alike"),
    ]
    resolution: ResolutionNote | None
    withdrawal: WithdrawalNote | None


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
    review_id: Annotated[
        str | None, Field(description="whose outcome was told; null = the decision itself")
    ]


class NotificationAnswer(IODescriptor):
    """A notification that was recorded."""

    model_config = STRICT

    decision_id: str
    notification: NotificationNote


class DecisionAnswer(IODescriptor):
    """A decision as it was answered, and what has come of it since."""

    model_config = STRICT

    decision: Answer
    limit: Annotated[
        float,
        Field(
            description="in force after reviews that were resolved, CNY; else new_limit of the decision"
        ),
    ]
    reviews: list[ReviewAnswer]
    notifications: list[NotificationNote]


class Due(Strict):
    """A decision, or the outcome of a review of it, that the customer has not been told of."""

    notice_id: Annotated[str, Field(description="for `after`")]
    decision_id: str
    review_id: Annotated[
        str | None, Field(description="whose outcome it is; null = the decision itself")
    ]
    account_id: str
    kind: Literal["adverse_action", "under_review", "review_outcome"]
    action: Annotated[str, Field(description="of the decision")]
    decided_at: Annotated[str, Field(description="the decision, or the outcome")]
    send_by: datetime.date
    overdue: bool
    limit: Annotated[
        float,
        Field(description="in force now, CNY: a review may have changed what the notice says"),
    ]


class NoticeList(IODescriptor):
    """What was not told yet, the soonest to be sent first."""

    model_config = STRICT

    notices: list[Due]
