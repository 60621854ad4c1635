"""Answers that the audit log has from earlier versions of the service, as they were given."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serving.schemas.decision import (
    AdviceIfAsked,
    AnswerOfAnyVersion,
    ModelNote,
    NoticeOrNull,
)
from serving.schemas.detail import DetailIfAsked
from serving.schemas.reason import ComparisonNote, Reason, ReasonFeature, ReasonOfAnyVersion
from serving.web.models import Text


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


class AnswerBeforePriors(AnswerOfAnyVersion):
    """A decision of a service without a memory, as it was answered."""

    reasons: list[Reason]
    leaders: int
    comparison: ComparisonNote | None
    notice: NoticeOrNull
    model: ModelNote
    advice: AdviceIfAsked = None
    detail: DetailIfAsked = None


class EarlierAnswer(AnswerOfAnyVersion):
    """A decision whose reasons were ranked by contribution and effect, as it was answered."""

    reasons: list[EarlierReason]
    notice: NoticeOrNull
    model: ModelNote
    advice: AdviceIfAsked = None
