"""Why, as JSON: principal reasons, comparison accounts, what changed, every feature."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from serving.web.models import STRICT, Strict, Text

if TYPE_CHECKING:  # at run time these would load numba
    from serving.decision.policy import control, since_last
    from serving.decision.reasons import comparison, ranking, vector


class ReasonFeature(Strict):
    """A feature behind a reason."""

    name: str
    value: Annotated[float | None, Field(description="the account's; null = unknown")]
    reference_value: Annotated[
        float | None,
        Field(description="median of the comparison accounts, where known; null = mostly unknown"),
    ]
    unit: Annotated[str, Field(description="months, days, count, share, times, CNY or yes_no")]
    contribution: Annotated[
        float, Field(description="to the log-odds, against the reference population")
    ]


class ReasonOfAnyVersion(Strict):
    """What a principal reason has had in every version of the service."""

    rank: Annotated[int, Field(description="1 = first")]
    code: Annotated[str, Field(description="the reason group, or the rule that decided")]
    cause: Literal["risk", "behavior", "regulation"]
    share: Annotated[
        float | None,
        Field(description="of all contributions toward the cut; null for a rule"),
    ]
    contribution: Annotated[
        float | None,
        Field(description="to the log-odds, summed over the group's features; null for a rule"),
    ]


class Reason(ReasonOfAnyVersion):
    """A principal reason."""

    leader: Annotated[
        bool,
        Field(
            description=(
                "one of the main reasons: a rule, or a group that pushed about as much as the first"
            )
        ),
    ]
    text: Text
    features: Annotated[
        list[ReasonFeature],
        Field(description="the one that the text names, then those that pushed most"),
    ]


class ComparisonNote(Strict):
    """Whom the reasons compare the customer with."""

    en: str
    zh: str
    size: Annotated[int, Field(description="accounts")]
    chosen: Annotated[str, Field(description="how they were chosen")]
    policy: Annotated[str, Field(description="version of the policy that keeps their limit")]
    bundle: Annotated[str, Field(description="sha256 of the bundle that holds them")]


class ChangePart(Strict):
    """A part of the change."""

    code: Annotated[
        str,
        Field(
            description=(
                "a reason group; model = another model or version of a feature; policy = another "
                "cut-off"
            )
        ),
    ]
    change: Annotated[float, Field(description="in log-odds; above 0 = toward a cut")]
    text: Annotated[Text, Field(description="what the part is called")]


class SinceLast(Strict):
    """The exact split of the change since the latest earlier decision on the account."""

    model_config = ConfigDict(
        **STRICT,
        json_schema_extra={
            "example": {
                "decision_id": "0198f0c2-1b7f-8a37-9a64-2f5d0f6f7c10",
                "decided_on": "2026-08-03",
                "action": "keep",
                "log_odds": -2.41,
                "cut_off": 0.128,
                "change": 0.9,
                "change_to_cut_off": 0.9,
                "parts": [
                    {
                        "code": "high_utilization",
                        "change": 1.1,
                        "text": {"en": "the use of your limit", "zh": "额度使用情况"},
                    },
                    {
                        "code": "late_payment",
                        "change": -0.2,
                        "text": {"en": "payments on time", "zh": "按时还款情况"},
                    },
                ],
            }
        },
    )

    decision_id: Annotated[str, Field(description="of the earlier decision")]
    decided_on: Annotated[datetime.date, Field(description="its day, on the lender's clock")]
    action: Annotated[
        Literal["keep", "reduce", "suspend", "restore", "review"],
        Field(description="what it decided"),
    ]
    log_odds: Annotated[float, Field(description="what it answered")]
    cut_off: Annotated[float, Field(description="the probability above which it cut limits")]
    change: Annotated[
        float,
        Field(description="of log_odds since then: the sum of all parts but policy, to 1e-9"),
    ]
    change_to_cut_off: Annotated[
        float,
        Field(
            description=(
                "of log_odds minus the logit of cut_off since then: the sum of all parts, to 1e-9"
            )
        ),
    ]
    parts: Annotated[
        list[ChangePart],
        Field(description="those that are not 0, the largest first; empty if nothing changed"),
    ]


class FeatureDetail(Strict):
    """A feature of the model: the account's value, the reference population's, the contribution."""

    model_config = ConfigDict(
        **STRICT,
        json_schema_extra={
            "example": {
                "name": "cash_to_limit_6",
                "group": "cash_reliance",
                "unit": "share",
                "value": 0.153,
                "reference_low": 0.0,
                "reference_value": 0.0,
                "reference_high": 0.05,
                "contribution": 0.189,
            }
        },
    )

    name: str
    group: Annotated[str, Field(description="the reason group")]
    unit: Annotated[str, Field(description="months, days, count, share, times, CNY or yes_no")]
    value: Annotated[float | None, Field(description="the account's; null = unknown")]
    reference_low: Annotated[
        float | None,
        Field(description="first quartile in the reference population; null = mostly unknown"),
    ]
    reference_value: Annotated[
        float | None,
        Field(description="median in the reference population; null = mostly unknown"),
    ]
    reference_high: Annotated[
        float | None,
        Field(description="third quartile in the reference population; null = mostly unknown"),
    ]
    contribution: Annotated[
        float, Field(description="to the log-odds, against the reference population")
    ]


class Detail(Strict):
    """The full vector: base_log_odds plus all contributions is log_odds, to 1e-9."""

    features: Annotated[
        list[FeatureDetail], Field(description="all of the model, in the order of the model")
    ]
    arm: Annotated[
        Literal["treated", "control"] | None,
        Field(
            description=(
                "control = the model would cut, and the limit was left alone to measure what cuts "
                "do; treated = it was cut; null = neither: the model would not cut by itself, or "
                "there is no control arm"
            )
        ),
    ]


# Left out, not null, without ?detail=full: answers keep the bytes that they had before there was
# detail.
DetailIfAsked = Annotated[
    Detail | SkipJsonSchema[None],
    Field(
        description="only with ?detail=full",
        exclude_if=lambda detail: detail is None,
        json_schema_extra=lambda schema: schema.pop("default"),
    ),
]


def make_reason(reason: ranking.Reason) -> Reason:
    """Return the JSON of a reason."""
    return Reason(
        rank=reason.rank,
        code=reason.code,
        cause=reason.cause,
        share=reason.share,
        contribution=reason.contribution,
        leader=reason.leader,
        text=Text(en=reason.text.en, zh=reason.text.zh),
        features=[
            ReasonFeature(
                name=feature.name,
                value=feature.value,
                reference_value=feature.reference_value,
                unit=feature.unit,
                contribution=feature.contribution,
            )
            for feature in reason.features
        ],
    )


def make_comparison(note: comparison.ComparisonNote) -> ComparisonNote:
    """Return the JSON of the note on the comparison accounts."""
    return ComparisonNote(
        en=note.en,
        zh=note.zh,
        size=note.size,
        chosen=note.chosen,
        policy=note.policy,
        bundle=note.bundle,
    )


def make_since_last(since: since_last.SinceLast | None) -> SinceLast | None:
    """Return the JSON of a change, and None for none."""
    if since is None:
        return None
    parts = [
        ChangePart(
            code=part.code,
            change=part.change,
            text=Text(en=part.text.en, zh=part.text.zh),
        )
        for part in since.parts
    ]
    return SinceLast(
        decision_id=since.decision_id,
        decided_on=since.decided_on,
        action=since.action,
        log_odds=since.log_odds,
        cut_off=since.cut_off,
        change=since.change,
        change_to_cut_off=since.change_to_cut_off,
        parts=parts,
    )


def make_detail(
    features: Sequence[vector.FeatureValue],
    arm: control.Arm | None,
) -> Detail:
    """Return the full vector and the arm of the account as JSON."""
    return Detail(
        arm=arm,
        features=[
            FeatureDetail(
                name=feature.name,
                group=feature.group,
                unit=feature.unit,
                value=feature.value,
                reference_low=feature.reference_low,
                reference_value=feature.reference_value,
                reference_high=feature.reference_high,
                contribution=feature.contribution,
            )
            for feature in features
        ],
    )
