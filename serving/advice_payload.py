"""The way back as JSON: a decision's request with what the customer has settled, and the answer with plan and path."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from features.schema import LARGEST_AMOUNT
from serving import example
from serving.decision import Advised, Bundle
from serving.decision import Choices as Settled
from serving.decision.advice import Course as LivedCourse
from serving.descriptor import IODescriptor
from serving.payload import STRICT, Answer, Request, Text, answer

Action = Literal["keep", "reduce", "suspend", "review"]


class Choices(BaseModel):
    """What the customer has settled already; null = not said."""

    model_config = STRICT

    monthly_payment: Annotated[
        float | None,
        Field(gt=0, le=LARGEST_AMOUNT, description="the most that can be paid a month, here and elsewhere together; CNY"),
    ] = None


class AdviceRequest(Request):
    """The request of a decision, and perhaps what the customer has settled."""

    model_config = ConfigDict(json_schema_extra={"example": example.REQUEST | {"choices": {"monthly_payment": 3000.0}}})

    choices: Choices | None = None

    def settled(self) -> Settled:
        """The choices as the decision takes them."""
        return Settled() if self.choices is None else Settled(self.choices.monthly_payment)


class Step(BaseModel):
    """One thing to do, every month."""

    model_config = STRICT

    lever: Literal["on_time", "extra", "spending", "no_cash", "no_new_credit", "repay_elsewhere"]
    amount: Annotated[float | None, Field(description="CNY a month; null where there is none to state")]
    text: Text


class PathMonth(BaseModel):
    """How the account stands after a month."""

    model_config = STRICT

    month: Annotated[str, Field(description="YYYY-MM")]
    probability: float
    action: Annotated[
        Action,
        Field(description="what would be decided on the limit from before the cut, without the margin that restoring it takes"),
    ]
    limit: Annotated[float, Field(description="in force after that decision, CNY")]


class Course(BaseModel):
    """A plan and where it leads."""

    model_config = STRICT

    steps: Annotated[list[Step], Field(description="empty: as before")]
    effort: Annotated[float, Field(description="money a month in monthly incomes, and what is gone without")]
    restored: Annotated[str | None, Field(description="month after which the limit comes back; null: not within the path")]
    path: list[PathMonth]


class Aged(BaseModel):
    """What only time takes away."""

    model_config = STRICT

    code: str
    last: Annotated[str, Field(description="month in which it last happened, YYYY-MM")]
    until: Annotated[str, Field(description="first month that no longer counts it, YYYY-MM")]
    text: Text


class WayBack(BaseModel):
    """The least effort that brings the limit back, beside what happens otherwise."""

    model_config = STRICT

    plan: Annotated[Course, Field(description="where nothing brings the limit back, what lowers the risk most")]
    on_time_only: Course
    carry_on: Course
    ageing: list[Aged]
    expires_on: Annotated[datetime.date, Field(description="the day after which to ask anew")]


class AdviceAnswer(IODescriptor):
    """The decision, and the way back where the model cut the limit."""

    model_config = STRICT

    decision: Answer
    below_cut_off: Annotated[float, Field(description="log-odds by which the account is below the cut-off; negative = above")]
    notes: Annotated[list[Text], Field(description="what must be known beside the advice, or why there is none")]
    advice: Annotated[WayBack | None, Field(description="null: nothing to win back by behaviour")]


def advice_answer(advised: Advised, bundle: Bundle) -> AdviceAnswer:
    """The answer for advice that this bundle gave."""
    found = advised.advice
    way_back = (
        None
        if found is None
        else WayBack(
            plan=_course(found.plan),
            on_time_only=_course(found.on_time_only),
            carry_on=_course(found.carry_on),
            ageing=[
                Aged(code=a.code, last=f"{a.last:%Y-%m}", until=f"{a.until:%Y-%m}", text=Text(en=a.text.en, zh=a.text.zh))
                for a in found.ageing
            ],
            expires_on=found.expires_on,
        )
    )
    return AdviceAnswer(
        decision=answer(advised.decision, bundle),
        below_cut_off=advised.below_cut_off,
        notes=[Text(en=note.en, zh=note.zh) for note in advised.notes],
        advice=way_back,
    )


def _course(course: LivedCourse) -> Course:
    steps = [Step(lever=s.lever, amount=s.amount, text=Text(en=s.text.en, zh=s.text.zh)) for s in course.steps]
    path = [PathMonth(month=f"{m.month:%Y-%m}", probability=m.probability, action=m.action, limit=m.limit) for m in course.path]
    restored = None if course.restored is None else f"{course.restored:%Y-%m}"
    return Course(steps=steps, effort=course.effort, restored=restored, path=path)
