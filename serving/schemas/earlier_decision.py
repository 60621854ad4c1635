"""Answers that the audit log has from earlier versions of the service, as they were given."""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from serving.schemas.advice import Aged, CourseOfAnyVersion, PathMonthOfAnyVersion
from serving.schemas.decision import AnswerOfAnyVersion, ModelNote, NoticeOrNull
from serving.schemas.reason import (
    ComparisonNote,
    DetailIfAsked,
    Reason,
    ReasonFeature,
    ReasonOfAnyVersion,
)
from serving.web.models import Strict, Text


class EarlierReason(ReasonOfAnyVersion):
    """A principal reason, ranked by the larger of contribution and effect."""

    effect: Annotated[
        float | None,
        Field(
            description=(
                "on the log-odds, of the group's behaviour and all its consequences; null for a "
                "rule, and where behaviour does not drive the group or the effect is unknown"
            )
        ),
    ]
    text: Text
    features: list[ReasonFeature]


class EarlierPathMonth(PathMonthOfAnyVersion):
    """The account after one month of a plan, by a service without a memory.

    ``action`` is on the limit from before the cut.
    """


class EarlierCourse(CourseOfAnyVersion):
    """A plan and the months it leads to, by a service without a memory."""

    path: list[EarlierPathMonth]


class EarlierWayBack(Strict):
    """The way back of a service that said nothing of arrears and hardship."""

    plan: EarlierCourse
    on_time_only: EarlierCourse
    carry_on: EarlierCourse
    ageing: list[Aged]
    expires_on: datetime.date


class EarlierAdvice(Strict):
    """The advice of a service that said nothing of arrears and hardship."""

    below_cut_off: float
    notes: list[Text]
    way_back: EarlierWayBack | None


EarlierAdviceIfAsked = Annotated[
    EarlierAdvice | SkipJsonSchema[None],
    Field(
        exclude_if=lambda advice: advice is None,
        json_schema_extra=lambda schema: schema.pop("default"),
    ),
]


class AnswerBeforePriors(AnswerOfAnyVersion):
    """A decision of a service without a memory, as it was answered."""

    reasons: list[Reason]
    leaders: int
    comparison: ComparisonNote | None
    notice: NoticeOrNull
    model: ModelNote
    advice: EarlierAdviceIfAsked = None
    detail: DetailIfAsked = None


class EarlierAnswer(AnswerOfAnyVersion):
    """A decision whose reasons were ranked by contribution and effect, as it was answered."""

    reasons: list[EarlierReason]
    notice: NoticeOrNull
    model: ModelNote
    advice: EarlierAdviceIfAsked = None
