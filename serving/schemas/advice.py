"""The advice on a decision as JSON."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from serving.web.models import Strict, Text

if TYPE_CHECKING:  # at run time these would load numba
    from serving.decision.advice import result
    from serving.decision.result import Advised

Action = Literal["keep", "reduce", "suspend", "restore", "review"]


class Step(Strict):
    """One thing to do, every month."""

    lever: Literal["on_time", "extra", "spending", "no_cash", "no_new_credit", "repay_elsewhere"]
    amount: Annotated[
        float | None,
        Field(
            description=(
                "CNY a month; null = the step has no amount.  Of on_time: paid at least, as the "
                "customer does now; null = the minimum due, or the share, is enough"
            )
        ),
    ]
    share: Annotated[
        float | None,
        Field(description="smallest share of the balance to pay; null = the minimum is enough"),
    ]
    text: Text


class PathMonthOfAnyVersion(Strict):
    """The fields that every version has given a month of a plan."""

    month: Annotated[str, Field(description="YYYY-MM")]
    payment: Annotated[
        float, Field(description="expected payment on this account in the month, CNY")
    ]
    balance: Annotated[float, Field(description="owed after the month, CNY; negative = overpaid")]
    probability: float
    action: Annotated[
        Action,
        Field(description="the decision then, if asked monthly, with what was in force before it"),
    ]
    limit: Annotated[float, Field(description="in force after that decision, CNY")]


class PathMonth(PathMonthOfAnyVersion):
    """The account after one month of a plan."""

    suspended: Annotated[bool, Field(description="whether nothing may be drawn after it")]


class CourseOfAnyVersion(Strict):
    """The fields that every version has given a plan."""

    steps: Annotated[list[Step], Field(description="empty: no change of behaviour")]
    effort: Annotated[
        float,
        Field(description="money a month, and spending given up, in monthly incomes"),
    ]
    restored: Annotated[
        str | None,
        Field(
            description=(
                "promised month after which the whole limit is back; null: not within the path, "
                "or only a part of it"
            )
        ),
    ]


class Course(CourseOfAnyVersion):
    """A plan and the months it leads to."""

    path: list[PathMonth]


class Aged(Strict):
    """An event that only time removes from the assessment."""

    code: str
    last: Annotated[str, Field(description="month in which it last happened, YYYY-MM")]
    until: Annotated[str, Field(description="first month that no longer counts it, YYYY-MM")]
    text: Text


class ArrearsStep(Strict):
    """A payment that brings the account under so many days past due."""

    under: Annotated[Literal[60, 30], Field(description="days past due")]
    amount: Annotated[float, Field(description="to be paid before that statement, CNY")]
    month: Annotated[str, Field(description="month of the statement that shows it, YYYY-MM")]
    days_past_due: Annotated[int, Field(description="that the statement then shows")]
    minimum_due: Annotated[float, Field(description="that the statement then asks for, CNY")]
    text: Text


class ApplicationPrice(Strict):
    """What one application elsewhere costs a customer who follows the plan."""

    amount: Annotated[float, Field(description="borrowed by it in the first month, CNY")]
    restored: Annotated[
        str | None,
        Field(description="month after which the whole limit is back then; null: not in the path"),
    ]


class Hardship(Strict):
    """A plan that asks for a large part of the income, and who can help."""

    month: Annotated[
        str, Field(description="first month that asks for so much and is not over, YYYY-MM")
    ]
    amount: Annotated[
        float,
        Field(description="what the plan asks for in it, here and elsewhere, CNY, rounded up"),
    ]
    share: Annotated[float, Field(description="that amount, of the monthly income")]
    text: Text
    contact: Annotated[Text, Field(description="the lender's contact for customers in hardship")]
    debt_advice: Annotated[Text, Field(description="a neutral line on independent debt advice")]


class WayBack(Strict):
    """The plan of least effort that restores the limit, compared with two baselines."""

    plan: Annotated[
        Course,
        Field(
            description=(
                "if no plan restores the limit, the plan that lowers the risk most; "
                "without steps: no plan keeps the rules of a plan"
            )
        ),
    ]
    on_time_only: Annotated[Course, Field(description="only paying on time")]
    carry_on: Annotated[
        Course,
        Field(
            description=(
                "no change of behaviour: the mean over the orders in which the last half-year can "
                "come again"
            )
        ),
    ]
    arrears: Annotated[
        list[ArrearsStep],
        Field(
            description=(
                "out of arrears, the smaller payment first; empty below 30 days past due, and "
                "where the month of the next statement is over"
            )
        ),
    ]
    application: Annotated[
        ApplicationPrice | None,
        Field(description="null: nothing is promised, or applications are not known"),
    ]
    hardship: Annotated[
        Hardship | None,
        Field(description="null: the plan asks for no large part of a known income"),
    ]
    ageing: list[Aged]
    expires_on: Annotated[
        datetime.date, Field(description="the last day on which the advice holds")
    ]


class Advice(Strict):
    """The account's distance from the cut-off and, if the model cut the limit, the way back."""

    below_cut_off: Annotated[
        float | None,
        Field(
            description=(
                "log-odds by which the account is below the cut-off; negative = above; null = the "
                "cut-off is 1: the model cuts no limit of the product"
            )
        ),
    ]
    notes: Annotated[
        list[Text],
        Field(description="what else to know about the way back, or why there is none"),
    ]
    way_back: Annotated[
        WayBack | None, Field(description="null: no behaviour would restore anything")
    ]


def make_advice(advised: Advised) -> Advice:
    """Return the advice as JSON model, without the decision it is about."""
    return Advice(
        below_cut_off=advised.below_cut_off,
        notes=[Text(en=note.en, zh=note.zh) for note in advised.notes],
        way_back=None if advised.advice is None else _way_back(advised.advice),
    )


def _way_back(advice: result.Advice) -> WayBack:
    return WayBack(
        plan=_course(advice.plan),
        on_time_only=_course(advice.on_time_only),
        carry_on=_course(advice.carry_on),
        arrears=[_arrears_step(step) for step in advice.arrears],
        application=None if advice.application is None else _application(advice.application),
        hardship=None if advice.hardship is None else _hardship(advice.hardship),
        ageing=[
            Aged(
                code=event.code,
                last=f"{event.last:%Y-%m}",
                until=f"{event.until:%Y-%m}",
                text=Text(en=event.text.en, zh=event.text.zh),
            )
            for event in advice.ageing
        ],
        expires_on=advice.expires_on,
    )


def _arrears_step(step: result.ArrearsStep) -> ArrearsStep:
    return ArrearsStep(
        under=60 if step.under == 60 else 30,
        amount=step.amount,
        month=f"{step.month:%Y-%m}",
        days_past_due=step.days_past_due,
        minimum_due=step.minimum_due,
        text=Text(en=step.text.en, zh=step.text.zh),
    )


def _application(price: result.ApplicationPrice) -> ApplicationPrice:
    restored = None if price.restored is None else f"{price.restored:%Y-%m}"
    return ApplicationPrice(amount=price.amount, restored=restored)


def _hardship(hardship: result.Hardship) -> Hardship:
    return Hardship(
        month=f"{hardship.month:%Y-%m}",
        amount=hardship.amount,
        share=hardship.share,
        text=Text(en=hardship.text.en, zh=hardship.text.zh),
        contact=Text(en=hardship.contact.en, zh=hardship.contact.zh),
        debt_advice=Text(en=hardship.debt_advice.en, zh=hardship.debt_advice.zh),
    )


def _course(path: result.PlanPath) -> Course:
    return Course(
        steps=[
            Step(
                lever=step.lever,
                amount=step.amount,
                share=step.share,
                text=Text(en=step.text.en, zh=step.text.zh),
            )
            for step in path.steps
        ],
        effort=path.effort,
        restored=None if path.restored is None else f"{path.restored:%Y-%m}",
        path=[
            PathMonth(
                month=f"{month.month:%Y-%m}",
                payment=month.payment,
                balance=month.balance,
                probability=month.probability,
                action=month.action,
                limit=month.limit,
                suspended=month.suspended,
            )
            for month in path.path
        ],
    )
