"""The steps, expiry dates and notes of a plan in words."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

import numpy as np

from features.months import add_months
from features.window import HALF_CENT, Window
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.projection import LimitCut, MeanCourse, Projection, Restored
from serving.decision.advice.result import AgingOut, FoundPaths, Hardship, PathMonth, PlanPath, Step
from serving.decision.advice.rollout import Plans
from serving.decision.bundle import Bundle
from serving.decision.config.advice import AdviceRules, HardshipRules, Lever, LeverName, NoteName
from serving.decision.config.reasons import Text
from serving.decision.reasons.wording import month_name, number
from serving.decision.scoring.score import probability_of


@dataclass(frozen=True, slots=True)
class PlanTrajectory:
    """A plan with its trajectory in a projection."""

    plan: Plans  # one
    effort: float
    income: float  # of the account, CNY a month; NaN = unknown
    trajectory: int
    restored: Restored | None  # None = the cut stays in force


def plan_path(
    shown: PlanTrajectory,
    projection: Projection,
    bundle: Bundle,
) -> PlanPath:
    """A plan as it is shown: its steps, and the state after each month."""
    trajectory, restored = shown.trajectory, shown.restored
    cut = projection.cuts[projection.account[trajectory]]
    probabilities = probability_of(projection.log_odds[:, trajectory]).tolist()
    months = []
    for month, probability in enumerate(probabilities):
        cut_in_force = restored is None or month < restored.month
        months.append(
            PathMonth(
                month=add_months(cut.as_of, month + 1),
                payment=float(projection.paid[month, trajectory]),
                balance=float(projection.balances[month, trajectory]),
                probability=probability,
                action=projection.outcome(trajectory, month, probability, bundle).action,
                limit=cut.limit_after if restored is None or cut_in_force else restored.limit,
            )
        )
    return PlanPath(
        steps=plan_steps(shown.plan, shown.income, bundle.advice),
        effort=shown.effort,
        restored=None if restored is None else add_months(cut.as_of, restored.month + 1),
        path=tuple(months),
    )


def carry_on_path(mean: MeanCourse, cut: LimitCut) -> PlanPath:
    """Carrying on as it is shown: the mean over the orders in which the habits can come.

    The limit never comes back, because a promise may not depend on good months that no plan asks
    for.
    """
    columns = zip(mean.outcomes, mean.paid.tolist(), mean.balance.tolist(), strict=True)
    months = [
        PathMonth(
            month=add_months(cut.as_of, month + 1),
            payment=round(payment, 2),
            balance=round(balance, 2),
            probability=float(mean.probability[month]),
            action=outcome.action,
            limit=cut.limit_after,
        )
        for month, (outcome, payment, balance) in enumerate(columns)
    ]
    return PlanPath(steps=(), effort=0.0, restored=None, path=tuple(months))


def plan_steps(
    plan: Plans,
    income: float,
    rules: AdviceRules,
) -> tuple[Step, ...]:
    """The levers that one plan changes, worded, in the order of advice.toml.

    ``income`` is CNY a month, NaN if unknown.
    """
    amounts: dict[LeverName, float] = {
        "on_time": float(plan.on_time[0]),
        "extra": float(plan.extra[0]),
        "spending": float(plan.spending[0]),
        "no_cash": float(plan.no_cash[0]),
        "no_new_credit": float(plan.no_new_credit[0]),
        "repay_elsewhere": float(plan.repay_elsewhere[0]),
    }
    steps = []
    for name, lever in rules.levers.items():
        unchanged = math.inf if name == "spending" else 0.0
        if amounts[name] == unchanged:
            continue
        if name == "on_time":
            steps.append(_pay_on_time(plan, lever))
        else:
            steps.append(_step(lever, amounts[name], amounts[name] / income))
    return tuple(steps)


def _pay_on_time(plan: Plans, lever: Lever) -> Step:
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
        text=_fill(lever, variant, amount, share),
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


def _fill(lever: Lever, variant: str, amount: float, share: float) -> Text:
    """The text of a lever in that variant, or its only text."""
    text = lever.variants.get(variant, lever.text)
    return Text(
        en=text.en.format(amount=number(amount, "CNY", "en"), share=number(share, "share", "en")),
        zh=text.zh.format(amount=number(amount, "CNY", "zh"), share=number(share, "share", "zh")),
    )


def aging_out(
    window: Window,
    account: int,
    as_of: datetime.date,
    rules: AdviceRules,
) -> tuple[AgingOut, ...]:
    """The events that still count, the first to expire first."""
    events = []
    for code, ageing in rules.ageing.items():
        column = window[ageing.column][: ageing.months, account]
        happened = np.flatnonzero(column > 0)
        if not len(happened):
            continue
        last = add_months(as_of, -int(happened[0]))
        until = add_months(last, ageing.months)
        text = Text(
            ageing.text.en.format(month=month_name(last, "en"), until=month_name(until, "en")),
            ageing.text.zh.format(month=month_name(last, "zh"), until=month_name(until, "zh")),
        )
        events.append(AgingOut(code, last, until, text))
    return tuple(sorted(events, key=lambda event: event.until))


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
    kept_from = _kept_to_the_end(plan)
    payment, payment_month = _first_payment_above(plan, math.inf if most is None else most)
    outcome = _outcome_note(found, constraints, kept_from)
    applies: dict[NoteName, bool] = {
        "no_plan": outcome == "no_plan",
        "no_plan_as_settled": outcome == "no_plan_as_settled",
        "too_narrow": outcome == "too_narrow",
        "no_sound_plan": outcome == "no_sound_plan",
        "only_harmful": found.only_harmful,
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
        "old_statements": add_months(begins, -1),
        "beyond_payment": payment_month or begins,
    }
    notes = []
    for name, note_applies in applies.items():
        if note_applies:
            notes.append(_fill_note(rules.notes[name], months.get(name, begins), payment or 0.0))
    return tuple(notes)


def hardship_of(plan: PlanPath, income: float, rules: HardshipRules) -> Hardship | None:
    """What to say of a plan that asks for a large part of the income; None if it does not.

    ``income`` is CNY a month; NaN = unknown, and nothing is said.
    """
    payment, month = _first_payment_above(plan, rules.share * income)
    if payment is None or month is None or not plan.steps:
        return None
    share = payment / income
    text = Text(
        rules.text.en.format(
            amount=number(payment, "CNY", "en"),
            month=month_name(month, "en"),
            share=number(share, "share", "en"),
        ),
        rules.text.zh.format(
            amount=number(payment, "CNY", "zh"),
            month=month_name(month, "zh"),
            share=number(share, "share", "zh"),
        ),
    )
    return Hardship(month, payment, share, text, rules.contact, rules.debt_advice)


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
    return Text(
        text.en.format(amount=number(amount, "CNY", "en"), month=month_name(month, "en")),
        text.zh.format(amount=number(amount, "CNY", "zh"), month=month_name(month, "zh")),
    )


def _first_payment_above(plan: PlanPath, most: float) -> tuple[float | None, datetime.date | None]:
    """The first payment, here and elsewhere together, above ``most``, and its month."""
    repaid = [step.amount for step in plan.steps if step.lever == "repay_elsewhere"]
    elsewhere = sum(amount or 0.0 for amount in repaid)
    for month in plan.path:
        payment = month.payment + elsewhere
        if payment > most + HALF_CENT:
            return payment, month.month
    return None, None


def _kept_to_the_end(plan: PlanPath) -> datetime.date | None:
    """The first of the months at the end of the path in which the limit would be kept."""
    first = None
    for month in reversed(plan.path):
        if month.action != "keep":
            break
        first = month.month
    return first
