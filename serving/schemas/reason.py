"""The principal reasons of a decision as JSON, and whom they compare the customer with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from serving.web.models import Strict, Text

if TYPE_CHECKING:  # at run time these would load numba
    from serving.decision.reasons import comparison, ranking


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
