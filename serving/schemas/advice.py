"""The way back as JSON: the part of an answer that tells it."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field

from serving.decision.advice.result import Advice as Found
from serving.decision.advice.result import PlanPath as LivedCourse
from serving.decision.result import Advised
from serving.web.models import Strict, Text

Action = Literal["keep", "reduce", "suspend", "review"]


class Step(Strict):
    """One thing to do, every month."""

    lever: Literal["on_time", "extra", "spending", "no_cash", "no_new_credit", "repay_elsewhere"]
    amount: Annotated[
        float | None, Field(description="CNY a month; null where there is none to state")
    ]
    share: Annotated[
        float | None,
        Field(description="of the balance that is paid at least; null where the minimum is enough"),
    ]
    text: Text


class PathMonth(Strict):
    """How the account stands after a month."""

    month: Annotated[str, Field(description="YYYY-MM")]
    payment: Annotated[
        float, Field(description="on this account in the month, CNY, as far as can be foreseen")
    ]
    balance: Annotated[float, Field(description="owed after the month, CNY; negative = overpaid")]
    probability: float
    action: Annotated[
        Action,
        Field(
            description="what would be decided on the limit from before the cut, without the margin that restoring it takes"
        ),
    ]
    limit: Annotated[float, Field(description="in force after that decision, CNY")]


class Course(Strict):
    """A plan and where it leads."""

    steps: Annotated[list[Step], Field(description="empty: as before")]
    effort: Annotated[
        float, Field(description="money a month in monthly incomes, and what is gone without")
    ]
    restored: Annotated[
        str | None,
        Field(description="month after which the limit comes back; null: not within the path"),
    ]
    path: list[PathMonth]


class Aged(Strict):
    """What only time takes away."""

    code: str
    last: Annotated[str, Field(description="month in which it last happened, YYYY-MM")]
    until: Annotated[str, Field(description="first month that no longer counts it, YYYY-MM")]
    text: Text


class WayBack(Strict):
    """The least effort that brings the limit back, beside what happens otherwise."""

    plan: Annotated[
        Course, Field(description="where nothing brings the limit back, what lowers the risk most")
    ]
    on_time_only: Course
    carry_on: Course
    ageing: list[Aged]
    expires_on: Annotated[datetime.date, Field(description="the day after which to ask anew")]


class Advice(Strict):
    """How the account stands to the cut-off, and the way back where the model cut the limit."""

    below_cut_off: Annotated[
        float,
        Field(description="log-odds by which the account is below the cut-off; negative = above"),
    ]
    notes: Annotated[
        list[Text],
        Field(description="what must be known beside the way back, or why there is none"),
    ]
    way_back: Annotated[WayBack | None, Field(description="null: nothing to win back by behaviour")]


def make_advice(advised: Advised) -> Advice:
    """The advice as it is sent; the decision that it is on is not in it."""
    return Advice(
        below_cut_off=advised.below_cut_off,
        notes=[Text(en=note.en, zh=note.zh) for note in advised.notes],
        way_back=None if advised.advice is None else _way_back(advised.advice),
    )


def _way_back(found: Found) -> WayBack:
    return WayBack(
        plan=_course(found.plan),
        on_time_only=_course(found.on_time_only),
        carry_on=_course(found.carry_on),
        ageing=[
            Aged(
                code=a.code,
                last=f"{a.last:%Y-%m}",
                until=f"{a.until:%Y-%m}",
                text=Text(en=a.text.en, zh=a.text.zh),
            )
            for a in found.ageing
        ],
        expires_on=found.expires_on,
    )


def _course(course: LivedCourse) -> Course:
    steps = [
        Step(lever=s.lever, amount=s.amount, share=s.share, text=Text(en=s.text.en, zh=s.text.zh))
        for s in course.steps
    ]
    path = [
        PathMonth(
            month=f"{m.month:%Y-%m}",
            payment=m.payment,
            balance=m.balance,
            probability=m.probability,
            action=m.action,
            limit=m.limit,
        )
        for m in course.path
    ]
    restored = None if course.restored is None else f"{course.restored:%Y-%m}"
    return Course(steps=steps, effort=course.effort, restored=restored, path=path)
