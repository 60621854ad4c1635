"""The steps, expiry dates and notes of a plan in words."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from features.months import add_months, last_day
from features.types import Rows
from features.window import HALF_CENT, Window
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.result import AgingOut, FoundPaths, Hardship, PathMonth, PlanPath, Step
from serving.decision.advice.rollout import Plans
from serving.decision.advice.staircase import CourseMonths, Decided, LimitCut
from serving.decision.config.advice import (
    AdviceRules,
    Ageing,
    HardshipRules,
    Lever,
    LeverName,
    NoteName,
)
from serving.decision.config.reasons import Text
from serving.decision.reasons.wording import (
    amount_due_in_both,
    day_in_both,
    fill_in_both,
    month_in_both,
    number_in_both,
    round_up_to_pay,
)


def plan_path(
    plan: Plans,
    effort: float,
    months: CourseMonths,
    promises: bool,
    cut: LimitCut,
    teller: Teller,
) -> PlanPath:
    """A plan as it is shown: its steps, and the state after each of its months.

    ``promises``: whether the month in which the whole limit is back may be promised.
    """
    back = months.decided.month_back(cut.limit_before) if promises else None
    path = _path_months(cut, months.paid, months.balance, months.probability, months.decided)
    return PlanPath(
        steps=plan_steps(plan, teller),
        effort=effort,
        restored=None if back is None else path[back].month,
        path=path,
    )


def carry_on_path(
    paid: Sequence[float],
    balance: Sequence[float],
    probability: Sequence[float],
    decided: Decided,
    cut: LimitCut,
) -> PlanPath:
    """Carrying on as it is shown: the means over the orders in which the habits can come.

    ``decided`` are the decisions on them.  It promises nothing, because a promise may not depend on
    good months that no plan asks for.
    """
    path = _path_months(
        cut,
        [round(payment, 2) for payment in paid],
        [round(owed, 2) for owed in balance],
        probability,
        decided,
    )
    return PlanPath(steps=(), effort=0.0, restored=None, path=path)


def _path_months(
    cut: LimitCut,
    paid: Sequence[float],
    balance: Sequence[float],
    probability: Sequence[float],
    decided: Decided,
) -> tuple[PathMonth, ...]:
    months = map(
        PathMonth,
        _months_after(cut.as_of, len(decided.actions)),
        paid,
        balance,
        probability,
        decided.actions,
        decided.limits,
        decided.suspended,
    )
    return tuple(months)


@lru_cache(maxsize=64)
def _months_after(as_of: datetime.date, months: int) -> tuple[datetime.date, ...]:
    return tuple(add_months(as_of, month) for month in range(1, months + 1))


@dataclass(frozen=True, slots=True)
class Teller:
    """What the words of an account's steps depend on.

    Attributes:
        rules: With the texts.
        income: CNY a month; NaN = unknown.
        paid_months: The months whose mean payment a plan starts from; 0 = it starts from less.
        suspended: Whether the account is suspended.
    """

    rules: AdviceRules
    income: float
    paid_months: int
    suspended: bool


def plan_steps(plan: Plans, teller: Teller) -> tuple[Step, ...]:
    """The levers that one plan changes, worded, in the order of advice.toml."""
    amounts: dict[LeverName, float] = {
        "on_time": float(plan.on_time[0]),
        "extra": float(plan.extra[0]),
        "spending": float(plan.spending[0]),
        "no_cash": float(plan.no_cash[0]),
        "no_new_credit": float(plan.no_new_credit[0]),
        "repay_elsewhere": float(plan.repay_elsewhere[0]),
    }
    steps = []
    for name, lever in teller.rules.levers.items():
        unchanged = math.inf if name == "spending" else 0.0
        if amounts[name] == unchanged:
            continue
        if name == "on_time":
            steps.append(_pay_on_time(plan, lever, teller.paid_months))
        else:
            step = _step(lever, amounts[name], amounts[name] / teller.income)
            steps.append(_after_suspension(step, teller))
    return tuple(steps)


def _after_suspension(step: Step, teller: Teller) -> Step:
    """A step about the use of the account; while it is suspended, there is none to speak of."""
    text = teller.rules.suspended
    if text is None or not teller.suspended or step.lever not in ("spending", "no_cash"):
        return step
    # Within the English sentence.
    lowered = step.text.en[:1].lower() + step.text.en[1:]
    told = fill_in_both(text, {"step": (lowered, step.text.zh)})
    return replace(step, text=told)


def _pay_on_time(plan: Plans, lever: Lever, paid_months: int) -> Step:
    """The step that says from which payment the plan starts."""
    share, amount = float(plan.paid_share[0]), float(plan.paid_now[0])
    variants = {
        (True, True): "of_both",
        (True, False): "of_balance",
        (False, True): "of_amount",
        (False, False): "",
    }
    variant = variants[share > 0, amount > 0]
    return Step(
        lever="on_time",
        amount=amount or None,
        share=share or None,
        text=_fill(lever, variant, amount, share, paid_months),
    )


def _step(lever: Lever, amount: float, of_income: float) -> Step:
    """The step of another lever; ``of_income`` is NaN if the income is unknown."""
    # A smaller share is not worth saying.  False for NaN.
    variant = "of_income" if of_income >= 0.005 else ""
    if amount == 0:
        variant = "nothing"
    has_amount = lever.name in ("extra", "spending", "repay_elsewhere")
    return Step(
        lever=lever.name,
        amount=amount if has_amount else None,
        share=None,
        text=_fill(lever, variant, amount, of_income),
    )


def _fill(
    lever: Lever,
    variant: str,
    amount: float,
    share: float,
    paid_months: int = 0,
) -> Text:
    """The text of a lever in that variant, or its only text."""
    text, average = lever.variants.get(variant, lever.text), lever.variants.get("average")
    if average is None or paid_months < 2:  # one month has no average
        average = Text("", "")
    # At most so much may be spent, at least so much be paid.
    is_most = lever.name == "spending" and amount >= 1
    written = number_in_both(math.floor(amount), "CNY") if is_most else amount_due_in_both(amount)
    of_average = fill_in_both(average, {"months": (str(paid_months), str(paid_months))})
    words = {
        "amount": written,
        "share": number_in_both(share, "share"),
        "average": (of_average.en, of_average.zh),
    }
    return fill_in_both(text, words)


def find_events(window: Window, rules: AdviceRules) -> Rows:
    """How many months ago each of the events last happened, int64 (accounts, events).

    -1 = not in the months for which it counts.
    """
    months_ago = np.empty((len(window.products), len(rules.ageing)), dtype=np.int64)
    for place, ageing in enumerate(rules.ageing.values()):
        happened = window[ageing.column][: ageing.months] > 0
        months_ago[:, place] = np.where(happened.any(axis=0), happened.argmax(axis=0), -1)
    return months_ago


def aging_out(
    months_ago: Sequence[int],
    as_of: datetime.date,
    rules: AdviceRules,
) -> tuple[AgingOut, ...]:
    """The events of an account that still count, the first to expire first.

    ``months_ago`` is its row of :func:`find_events`.
    """
    events = [
        _event(code, ageing, as_of, ago)
        for (code, ageing), ago in zip(rules.ageing.items(), months_ago, strict=True)
        if ago >= 0
    ]
    return tuple(sorted(events, key=lambda event: event.until))


@lru_cache(maxsize=1024)  # the accounts of a day have the same few
def _event(code: str, ageing: Ageing, as_of: datetime.date, months_ago: int) -> AgingOut:
    last = add_months(as_of, -months_ago)
    until = add_months(last, ageing.months)
    words = {"month": month_in_both(last), "until": month_in_both(until)}
    return AgingOut(code, last, until, fill_in_both(ageing.text, words))


def plan_notes(
    window: Window,
    account: int,
    found: FoundPaths,
    constraints: Constraints,
    rules: AdviceRules,
    today: datetime.date,
) -> tuple[Text, ...]:
    """The notes that a customer has to read with the plan, in the order of their definition."""
    most, plan = constraints.monthly_payment, found.plan
    begins, ends = plan.path[0].month, plan.path[-1].month
    kept_from, partly = _whole_from(found), _partly_back(found)
    payment, payment_month = _first_payment_above(plan, math.inf if most is None else most, today)
    outcome = _outcome_note(found, constraints, kept_from)
    # "Other steps" than those shown, unless no step is; files of before have one text for both.
    has_others = bool(plan.steps) and "others_harmful" in rules.notes
    harmful = "others_harmful" if has_others else "only_harmful"
    applies: dict[NoteName, bool] = {
        "no_plan": outcome == "no_plan",
        "no_plan_as_settled": outcome == "no_plan_as_settled",
        "too_narrow": outcome == "too_narrow",
        "no_sound_plan": outcome == "no_sound_plan",
        "only_harmful": found.only_harmful and harmful == "only_harmful",
        "others_harmful": found.only_harmful and harmful == "others_harmful",
        "partly_back": partly is not None,
        "application_later": _delays(found),
        "application_lost": found.application is not None and found.application.restored is None,
        "old_statements": begins < today.replace(day=1),
        "beyond_payment": payment is not None,
        "income_unknown": most is None and bool(np.isnan(window.last_known("income")[account])),
        "debt_unknown": bool(np.isnan(window.last_known("external_debt")[account])),
    }
    months: dict[NoteName, datetime.date] = {
        "no_plan": ends,
        "no_plan_as_settled": ends,
        "no_sound_plan": ends,
        "too_narrow": kept_from or begins,
        "partly_back": begins if partly is None else partly.month,
        "old_statements": add_months(begins, -1),
        "beyond_payment": payment_month or begins,
    }
    priced = found.application
    if priced is not None:
        months["application_later"] = priced.restored or ends
        months["application_lost"] = ends
    amounts: dict[NoteName, float] = {
        "beyond_payment": round_up_to_pay(payment or 0.0),
        "partly_back": 0.0 if partly is None else partly.limit,
        "application_later": 0.0 if priced is None else priced.amount,
        "application_lost": 0.0 if priced is None else priced.amount,
    }
    notes = []
    for name, note_applies in applies.items():
        if note_applies:
            amount = amounts.get(name, 0.0)
            notes.append(_fill_note(rules.notes[name], months.get(name, begins), amount))
    return tuple(notes)


def hardship_of(
    plan: PlanPath,
    income: float,
    rules: HardshipRules,
    today: datetime.date,
) -> Hardship | None:
    """What to say of a plan that asks for a large part of the income; None if it does not.

    ``income`` is CNY a month; NaN = unknown, and nothing is said.  Of months that are over nothing
    is said either.
    """
    asked, month = _first_payment_above(plan, rules.share * income, today)
    if asked is None or month is None or not plan.steps:
        return None
    payment = round_up_to_pay(asked)
    share = payment / income
    words = {
        "amount": amount_due_in_both(payment),
        "month": month_in_both(month),
        "day": day_in_both(last_day(month)),
        "share": number_in_both(share, "share"),
    }
    text = fill_in_both(rules.text, words)
    return Hardship(month, payment, share, text, rules.contact, rules.debt_advice)


def _delays(found: FoundPaths) -> bool:
    """Whether one application elsewhere makes the promised month a later one."""
    priced, promised = found.application, found.plan.restored
    if priced is None or priced.restored is None or promised is None:
        return False
    return priced.restored > promised


def _outcome_note(
    found: FoundPaths,
    constraints: Constraints,
    kept_from: datetime.date | None,
) -> NoteName | None:
    """The note on a plan that restores nothing; None if it restores the limit."""
    if found.plan.restored is not None:
        return None
    if found.plan.steps and kept_from is not None:
        return "too_narrow"
    fixed = bool(constraints.fixed_by_customer()) or constraints.monthly_payment is not None
    if fixed:
        return "no_plan_as_settled"
    return "no_plan" if found.plan.steps else "no_sound_plan"


def _fill_note(text: Text, month: datetime.date, amount: float) -> Text:
    words = {
        "amount": number_in_both(amount, "CNY"),
        "month": month_in_both(month),
        "day": day_in_both(last_day(month)),
    }
    return fill_in_both(text, words)


def _first_payment_above(
    plan: PlanPath,
    most: float,
    today: datetime.date,
) -> tuple[float | None, datetime.date | None]:
    """The first payment to come, here and elsewhere together, above ``most``, and its month."""
    repaid = [step.amount for step in plan.steps if step.lever == "repay_elsewhere"]
    elsewhere = sum(amount or 0.0 for amount in repaid)
    for month in plan.path:
        payment = month.payment + elsewhere
        if payment > most + HALF_CENT and today <= last_day(month.month):
            return payment, month.month
    return None, None


def _whole_from(found: FoundPaths) -> datetime.date | None:
    """The first of the months at the end of the plan in which the whole limit is in force."""
    first = None
    for month in reversed(found.plan.path):
        if month.limit < found.limit_before or month.suspended:
            break
        first = month.month
    return first


def _partly_back(found: FoundPaths) -> PathMonth | None:
    """The last step back of a plan that brings back a part of the limit only; None without one."""
    plan, last = found.plan, found.plan.path[-1]
    if not plan.steps or last.suspended or not found.limit_now < last.limit < found.limit_before:
        return None
    return next(month for month in plan.path if month.limit == last.limit)
