"""The steps, expiry dates and notes of a plan in words."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

import numpy as np

from features.months import add_months
from features.window import HALF_CENT, Window
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.projection import Projection, Restored
from serving.decision.advice.result import AgingOut, PathMonth, PlanPath, Step
from serving.decision.advice.rollout import Plans
from serving.decision.bundle import Bundle
from serving.decision.config.advice import AdviceRules, LeverName, NoteName
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
                balance=projection.balance(trajectory, month),
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
        amount = amounts[name]
        unchanged = math.inf if name == "spending" else 0.0
        if amount == unchanged:
            continue
        share = float(plan.paid_share[0]) if name == "on_time" else amount / income
        text = lever.variants.get(_variant(name, amount, share), lever.text)
        has_amount = name in ("extra", "spending", "repay_elsewhere")
        steps.append(
            Step(
                lever=name,
                amount=amount if has_amount else None,
                share=share if name == "on_time" and share > 0 else None,
                text=Text(
                    en=text.en.format(
                        amount=number(amount, "CNY", "en"), share=number(share, "share", "en")
                    ),
                    zh=text.zh.format(
                        amount=number(amount, "CNY", "zh"), share=number(share, "share", "zh")
                    ),
                ),
            )
        )
    return tuple(steps)


def _variant(
    lever: LeverName,
    amount: float,
    share: float,
) -> str:
    """The variant of a lever's text; "" = the text itself."""
    if lever == "on_time":
        return "of_balance" if share > 0 else ""
    if amount == 0:
        return "nothing"
    # A smaller share is not worth saying.  False for NaN, where the income is unknown.
    return "of_income" if share >= 0.005 else ""


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
    plan: PlanPath,
    constraints: Constraints,
    rules: AdviceRules,
    today: datetime.date,
) -> tuple[Text, ...]:
    """The notes that a customer has to read with the plan, in the order of their definition."""
    most = constraints.monthly_payment
    fixed = bool(constraints.fixed_by_customer()) or most is not None
    begins, kept_from = plan.path[0].month, _kept_to_the_end(plan)
    never_kept = plan.restored is None and kept_from is None
    payment, payment_month = _first_payment_above(plan, math.inf if most is None else most)
    applies: dict[NoteName, bool] = {
        "no_plan": never_kept and not fixed,
        "no_plan_as_settled": never_kept and fixed,
        "too_narrow": plan.restored is None and kept_from is not None,
        "old_statements": begins < today.replace(day=1),
        "beyond_payment": payment is not None,
        "income_unknown": most is None and bool(np.isnan(window.last_known("income")[account])),
        "debt_unknown": bool(np.isnan(window.last_known("external_debt")[account])),
    }
    months = {
        "too_narrow": kept_from or begins,
        "old_statements": add_months(begins, -1),
        "beyond_payment": payment_month or begins,
    }
    notes = []
    for name, note_applies in applies.items():
        if note_applies:
            text = rules.notes[name]
            date = months.get(name, begins)
            amount = payment or 0.0
            notes.append(
                Text(
                    text.en.format(
                        amount=number(amount, "CNY", "en"), month=month_name(date, "en")
                    ),
                    text.zh.format(
                        amount=number(amount, "CNY", "zh"), month=month_name(date, "zh")
                    ),
                )
            )
    return tuple(notes)


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
