"""The request for advice and its answer as JSON.

The request is that of a decision, with the choices that the customer has already made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import ConfigDict, Field

from features.limits import LARGEST_AMOUNT
from serving.schemas import examples
from serving.schemas.advice import Advice, make_advice
from serving.schemas.decision import Answer, Request, make_answer
from serving.web.models import Strict

if TYPE_CHECKING:  # at run time these would load numba
    from serving.decision.bundle import Bundle
    from serving.decision.result import Advised


def _amount(meaning: str) -> float | None:
    """Return the field of an amount that the customer may have fixed; null by default."""
    field: float | None = Field(
        default=None,
        ge=0,
        le=LARGEST_AMOUNT,
        description=f"{meaning}; CNY a month",
    )
    return field


class Choices(Strict):
    """Amounts that the customer has fixed; null = free."""

    monthly_payment: Annotated[
        float | None,
        Field(
            gt=0,
            le=LARGEST_AMOUNT,
            description="the largest total payment, here and elsewhere; CNY a month",
        ),
    ] = None
    extra: float | None = _amount("paid on top of what is paid now, at most the balance")
    spending: float | None = _amount(
        "the largest spending with the account, at most the limit before the cut"
    )
    repay_elsewhere: float | None = _amount("paid off debt elsewhere, at most the known debt")


class AdviceRequest(Request):
    """The request of a decision, optionally with the customer's choices."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": examples.REQUEST
            | {"choices": {"monthly_payment": 3000.0, "spending": 800.0}}
        }
    )
    switches: ClassVar[Mapping[str, str]] = {}  # the answer always holds the advice

    choices: Choices | None = None


class AdviceAnswer(Strict):
    """A decision and the advice on it."""

    decision: Answer
    advice: Advice


def make_advice_answer(advised: Advised, bundle: Bundle) -> AdviceAnswer:
    """Return the answer for advice of this bundle."""
    decision = make_answer(advised.decision, bundle)
    return AdviceAnswer(decision=decision, advice=make_advice(advised))
