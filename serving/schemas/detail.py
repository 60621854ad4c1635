"""The full vector of a decision as JSON: every feature of the model and what it contributed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from serving.web.models import STRICT, Strict

if TYPE_CHECKING:  # at run time this would load numba
    from serving.decision.policy import control
    from serving.decision.reasons import vector


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
