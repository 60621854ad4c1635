"""Reviews of decisions, notifications of customers and due notices as JSON."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Discriminator, Field, Tag

from features.limits import LARGEST_AMOUNT
from serving.schemas import examples
from serving.schemas.base import ApiRequest
from serving.schemas.decision import Answer, Statement, StatementList
from serving.schemas.earlier_decision import AnswerBeforePriors, EarlierAnswer
from serving.schemas.statement import MONEY
from serving.web.errors import Fault
from serving.web.models import STRICT, Name, RecordedName, Strict, Text, Words, matching_text

OutcomeKind = Literal["adverse_action", "review_outcome"]

State = Literal["open", "in_review", "resolved", "withdrawn"]
STATES: tuple[State, ...] = get_args(State)
UNDER_WAY: tuple[State, ...] = ("open", "in_review")
ReviewOutcome = Literal["uphold", "overturn", "amend"]
Asker = Literal["customer", "policy"]

Limit = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT), *MONEY]
_UTC_SECOND = (
    r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"
)
_REASON = "My income of August was not counted."
_REVIEW_ID = "0192f3a0-1111-4222-8333-444455556666"


class WordsInBoth(Strict):
    """The same words in the two languages of a letter."""

    en: Words
    zh: Words


def _kind_of_reasons(stated: object) -> str | None:
    # No name of a field: the path of a fault leaves it out.
    if isinstance(stated, str):
        return "one text"
    return "in both" if isinstance(stated, dict | WordsInBoth) else None


Reasons = Annotated[
    Annotated[Words, Tag("one text")] | Annotated[WordsInBoth, Tag("in both")],
    Discriminator(
        _kind_of_reasons,
        custom_error_type="kind_of_reasons",
        custom_error_message="expected a text, or an object with en and zh",
    ),
]


class ReviewRequest(ApiRequest):
    """A customer's request that a person reconsider a decision."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"reason": _REASON, "statements": None}}
    )

    reason: Annotated[Words, Field(description="the customer's own words")]
    statements: Annotated[
        StatementList | None,
        Field(
            description="the corrected statements; the same bundle decides on them again",
        ),
    ] = None


class StartRequest(ApiRequest):
    """A person takes a review, or takes it over from another."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"reviewer": "Li Na", "instead_of": None}}
    )

    reviewer: Annotated[
        Name,
        Field(
            description="the person who reconsiders; with an API key, its owner is recorded instead"
        ),
    ]
    instead_of: Annotated[
        RecordedName | None,
        Field(description="the reviewer to take it over from; null = nobody has taken it yet"),
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

    reviewer: Annotated[
        Name,
        Field(
            description=(
                "the person who has taken the review; with an API key, its owner has to be that "
                "person, and is recorded"
            )
        ),
    ]
    outcome: Annotated[
        ReviewOutcome,
        Field(
            description=(
                "uphold: the limit in force stays; overturn: the limit from before the decision; "
                "amend: another limit"
            )
        ),
    ]
    reasons: Annotated[
        Reasons,
        Field(
            description=(
                "the reviewer's reasons, for the customer and the audit log; one text is in the "
                "letter in both languages as it is"
            )
        ),
    ]
    new_limit: Annotated[
        Limit | None,
        Field(
            description=(
                "CNY; only for amend, from the limit that the decision left or proposed to the "
                "limit before it"
            )
        ),
    ] = None

    def faults(self) -> list[Fault]:
        """Return a fault if the outcome and the new limit do not go together."""
        if (self.outcome == "amend") == (self.new_limit is not None):
            return []
        message = "expected with the outcome amend, and with no other"
        return [Fault(path="$.new_limit", message=message)]


class WithdrawalRequest(ApiRequest):
    """The customer withdraws a review."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": None}})

    reason: Annotated[Words | None, Field(description="null = none was given")] = None


class NotificationRequest(ApiRequest):
    """The customer was notified of a decision, or of the outcome of a review of it."""

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
            _UTC_SECOND,
            "expected UTC to the second, as in 2026-11-26T08:00:00Z",
            format="date-time",
        ),
        Field(description="UTC; not before the decision or the outcome, not later than now"),
    ]
    channel: Literal["letter", "email", "sms", "app", "phone"]
    language: Literal["en", "zh"]
    review_id: Annotated[
        str | None,
        Field(max_length=64, description="the review notified of; null = the decision itself"),
    ] = None


class OutcomeNotice(Strict):
    """The notice of a review's outcome to the customer."""

    kind: Annotated[
        OutcomeKind,
        Field(description="adverse_action where the outcome lowers the limit; else review_outcome"),
    ]
    effective_on: Annotated[
        datetime.date | None,
        Field(
            description=(
                "the day from which the limit is lower than on the day of the outcome, not before "
                "send_by; null = it is not lower, or an earlier version of the service made the "
                "notice"
            )
        ),
    ] = None
    send_by: Annotated[
        datetime.date, Field(description="the last day to send it, on the lender's clock")
    ]
    text: Annotated[Text, Field(description="paragraphs, a blank line between them")]


class ResolutionNote(Strict):
    """The outcome of a review."""

    outcome: ReviewOutcome
    limit: Annotated[float, Field(description="in force after it, CNY")]
    reviewer: str
    reasons: Annotated[str | Text, Field(description="as the reviewer stated them")]
    at: str
    notice: Annotated[
        OutcomeNotice | None,
        Field(description="null = an earlier version of the service made none"),
    ]


class WithdrawalNote(Strict):
    """The withdrawal of a review."""

    reason: Annotated[str | None, Field(description="null = none was given")]
    at: str
    superseded_by: Annotated[
        str | None,
        Field(description="the customer's review that replaced the policy's; null = none did"),
    ]


class Correction(Strict):
    """A difference between the statements of the decision and the corrected ones."""

    month: str
    field: Annotated[
        str,
        Field(description="of the statement; `statement` if the month is on one side only"),
    ]
    decided: Annotated[Any, Field(description="null = unknown, or no such month")]
    corrected: Annotated[Any, Field(description="null = unknown, or no such month")]


class Difference(Strict):
    """A field of the answer that the corrected statements changed."""

    field: Annotated[str, Field(description="of the answer")]
    decided: Any
    corrected: Any


class ReviewAnswer(Strict):
    """A review in its present state."""

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
    asked_by: Annotated[Asker, Field(description="policy: the decision itself was `review`")]
    opened_at: str
    decide_by: Annotated[datetime.date, Field(description="the last day for a person's answer")]
    reason: Annotated[
        str | None, Field(description="the customer's; null = the policy opened the review")
    ]
    reviewer: Annotated[
        str | None, Field(description="the person who has taken it; null = nobody yet")
    ]
    limit: Annotated[
        float, Field(description="in force now, after all reviews of the decision, CNY")
    ]
    statements: Annotated[
        list[Statement] | None,
        Field(description="of the decision; null in lists and in a decision's reviews"),
    ]
    corrections: Annotated[
        list[Correction] | None,
        Field(description="differences of the corrected statements; null = none were corrected"),
    ]
    corrected: Annotated[
        Answer | AnswerBeforePriors | EarlierAnswer | None,
        Field(
            description=(
                "the answer on the corrected statements, for comparison only: "
                "no decision has its id; null = none were corrected"
            )
        ),
    ]
    differences: Annotated[
        list[Difference] | None,
        Field(
            description=(
                "fields whose value changed, of action, limits, probability and reasons; "
                "null = no statements were corrected"
            )
        ),
    ]
    resolution: ResolutionNote | None
    withdrawal: WithdrawalNote | None


class ReviewList(Strict):
    """Reviews, the oldest first."""

    reviews: list[ReviewAnswer]


class NotificationNote(Strict):
    """When and how the customer was notified."""

    notification_id: str
    sent_at: str
    channel: str
    language: str
    review_id: Annotated[
        str | None, Field(description="the review notified of; null = the decision itself")
    ]


class NotificationAnswer(Strict):
    """A notification that was recorded."""

    decision_id: str
    notification: NotificationNote


class DecisionAnswer(Strict):
    """A decision as it was answered, its reviews and its notifications."""

    decision: Answer | AnswerBeforePriors | EarlierAnswer
    limit: Annotated[
        float,
        Field(
            description=(
                "in force after the resolved reviews, CNY; without any, new_limit of the decision"
            )
        ),
    ]
    reviews: list[ReviewAnswer]
    notifications: list[NotificationNote]


class Due(Strict):
    """A decision, or the outcome of a review, that the customer was not notified of."""

    notice_id: Annotated[str, Field(description="for `after`")]
    decision_id: str
    review_id: Annotated[
        str | None, Field(description="the review with the outcome; null = the decision itself")
    ]
    account_id: str
    kind: Literal["adverse_action", "under_review", "restored", "still_reduced", "review_outcome"]
    action: Annotated[str, Field(description="of the decision")]
    decided_at: Annotated[str, Field(description="time of the decision, or of the outcome")]
    send_by: datetime.date
    overdue: bool
    limit: Annotated[
        float,
        Field(description="in force now, CNY: a review may have changed what the notice says"),
    ]


class NoticeList(Strict):
    """Notices that are not sent yet, the soonest due first."""

    notices: list[Due]
