"""What is asked of advice alone, and its answer, as JSON: a decision's request with what the
customer has settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from features.schema import LARGEST_AMOUNT
from serving.decision.advice.constraints import Constraints as Settled
from serving.decision.bundle import Bundle
from serving.decision.result import Advised
from serving.schemas import examples
from serving.schemas.advice import Advice, make_advice
from serving.schemas.decision import Answer, Request, make_answer
from serving.web.models import STRICT, IODescriptor, Strict


def _amount(meaning: str) -> float | None:
    """The default of an amount that may be settled: not said."""
    field: float | None = Field(
        default=None, ge=0, le=LARGEST_AMOUNT, description=f"{meaning}; CNY a month"
    )
    return field


class Choices(Strict):
    """What the customer has settled already; null = not said."""

    monthly_payment: Annotated[
        float | None,
        Field(
            gt=0,
            le=LARGEST_AMOUNT,
            description="the most that can be paid, here and elsewhere together; CNY a month",
        ),
    ] = None
    extra: float | None = _amount("what is paid above the minimum due, at most the balance")
    spending: float | None = _amount(
        "the most that is bought with the account, at most the limit before the cut"
    )
    repay_elsewhere: float | None = _amount(
        "what is paid off debt elsewhere, at most what is known of it"
    )


class AdviceRequest(Request):
    """The request of a decision, and perhaps what the customer has settled."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": examples.REQUEST
            | {"choices": {"monthly_payment": 3000.0, "spending": 800.0}}
        }
    )
    switches: ClassVar[Mapping[str, str]] = {}  # advice is what is asked for

    choices: Choices | None = None

    def settled(self) -> Settled:
        """The choices as the decision takes them."""
        return Settled() if self.choices is None else Settled(**self.choices.model_dump())


class AdviceAnswer(IODescriptor):
    """The decision, and the advice on it."""

    model_config = STRICT

    decision: Answer
    advice: Advice


def make_advice_answer(advised: Advised, bundle: Bundle) -> AdviceAnswer:
    """The answer for advice that this bundle gave."""
    return AdviceAnswer(decision=make_answer(advised.decision, bundle), advice=make_advice(advised))
