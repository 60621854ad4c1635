"""What advice consists of: the plan with its steps, and the months ahead with and without it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from features.display import notebook_display
from serving.decision.config.advice import LeverName
from serving.decision.config.quick_init import quick_init
from serving.decision.config.reasons import Text
from serving.decision.policy.outcome import Action


@quick_init
@dataclass(frozen=True, slots=True)
class Step:
    """One lever of a plan."""

    lever: LeverName
    # CNY a month; None = the lever has no amount.  Of on_time: what is paid at least; None = the
    # minimum due, or the share, is enough.
    amount: float | None
    share: float | None  # of the balance that is paid at least; None = the minimum due is enough
    text: Text


@quick_init
@dataclass(frozen=True, slots=True)
class PathMonth:
    """The state after one month to come."""

    month: datetime.date
    payment: float  # on the account in the month, CNY, if nothing unforeseen happens
    balance: float  # owed after the month, CNY
    probability: float
    action: Action  # what would be decided then, with what the decisions before it left in force
    limit: float  # in force after that decision, CNY
    suspended: bool  # whether nothing may be drawn after that decision


@quick_init
@dataclass(frozen=True, slots=True)
class PlanPath:
    """A plan and the months that follow from it."""

    steps: tuple[Step, ...]
    effort: float
    # Month after which the whole limit from before the cut is back, to stay; None = not within the
    # path.  A part may be back before, or instead.
    restored: datetime.date | None
    path: tuple[PathMonth, ...]


@dataclass(frozen=True, slots=True)
class ApplicationPrice:
    """What one application for credit elsewhere costs a customer who follows the plan.

    Attributes:
        amount: Borrowed by it in the first month, CNY.
        restored: The month after which the whole limit is back then; None = not within the path.
    """

    amount: float
    restored: datetime.date | None


@quick_init
@dataclass(frozen=True, slots=True)
class FoundPaths:
    """What a search found for one account.

    Attributes:
        plan: The chosen plan; carrying on, without a step, if no plan that can be paid keeps the
            rules (:mod:`serving.decision.advice.ahead.judge`).
        on_time_only: Paying on time only.
        carry_on: Carrying on, the mean over the orders in which its months can come.
        only_harmful: Whether plans would restore the limit, but each of them breaks a rule.
        limit_before: From before the cut, CNY.
        limit_now: In force now, CNY.
        application: The price of one application elsewhere; None if the plan promises nothing, or
            the lender does not know of applications.
    """

    plan: PlanPath
    on_time_only: PlanPath
    carry_on: PlanPath
    only_harmful: bool
    limit_before: float
    limit_now: float
    application: ApplicationPrice | None


@quick_init
@dataclass(frozen=True, slots=True)
class AgingOut:
    """An event that counts until a month, and no longer in that month's decision."""

    code: str
    last: datetime.date  # when it last happened
    until: datetime.date
    text: Text


@quick_init
@dataclass(frozen=True, slots=True)
class ArrearsStep:
    """A payment that brings an account under so many days past due with the next statement.

    Attributes:
        under: 60 or 30 days.
        amount: To be paid before that statement, CNY.
        month: Of the statement.
        days_past_due: That the statement then shows.
        minimum_due: That the statement then asks for, CNY.
        text: The step in words.
    """

    under: int
    amount: float
    month: datetime.date
    days_past_due: int
    minimum_due: float
    text: Text


@dataclass(frozen=True, slots=True)
class Hardship:
    """A plan that asks for a large part of the income, and who can help.

    Attributes:
        month: The first month, of those that are not over, in which it asks for more than the share
            of advice.toml.
        amount: What it asks for in that month, here and elsewhere together, rounded up, CNY.
        share: That amount, of the monthly income.
        text: That in words.
        contact: The lender's contact for customers in hardship.
        debt_advice: A neutral line on independent debt advice.
    """

    month: datetime.date
    amount: float
    share: float
    text: Text
    contact: Text
    debt_advice: Text


@notebook_display
@dataclass(frozen=True, slots=True)
class Advice:
    """The way back from a cut, compared with what happens otherwise."""

    # The least effort that restores the limit and keeps the rules.  If no plan does within the
    # months looked ahead: the feasible plan that lowers the risk most and keeps the rules, whose
    # ``restored`` is None.  Carrying on, without a step, if no plan keeps them.
    plan: PlanPath
    on_time_only: PlanPath
    carry_on: PlanPath
    # The smaller payment first; empty below 30 days past due, and where their month is over.
    arrears: tuple[ArrearsStep, ...]
    # None: nothing is promised, or the lender does not know of applications.
    application: ApplicationPrice | None
    hardship: Hardship | None  # None: the plan asks for no large part of a known income
    ageing: tuple[AgingOut, ...]  # the first to expire first
    notes: tuple[Text, ...]
    expires_on: datetime.date
    tried: int  # number of plans
