"""Steps, expiry dates and notes of a plan in words."""

from __future__ import annotations

import datetime
import itertools
import math

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
from serving.decision.reasons.wording import number
from serving.decision.scoring.score import probability_of


def plan_path(
    plan: Plans,
    effort: float,
    income: float,
    course: int,
    back: Restored | None,
    outlook: Projection,
    bundle: Bundle,
) -> PlanPath:
    """One plan of the projection as it is shown: its steps, and what each month brings."""
    cut = outlook.cuts[outlook.owner[course]]
    probabilities = probability_of(outlook.log_odds[:, course]).tolist()
    return PlanPath(
        steps=plan_steps(plan, income, bundle.advice),
        effort=effort,
        restored=None if back is None else add_months(cut.as_of, back.month + 1),
        path=tuple(
            PathMonth(
                month=add_months(cut.as_of, month + 1),
                payment=float(outlook.paid[month, course]),
                balance=outlook.balance(course, month),
                probability=probability,
                action=outlook.outcome(course, month, probability, bundle).action,
                limit=cut.limit_after if back is None or month < back.month else back.limit,
            )
            for month, probability in enumerate(probabilities)
        ),
    )


def plan_steps(plan: Plans, income: float, rules: AdviceRules) -> tuple[Step, ...]:
    """What the plan changes, worded, in the order of the levers; ``income`` NaN = not known."""
    steps = []
    for name, lever in rules.levers.items():
        value = float(getattr(plan, name)[0])
        if math.isinf(value) if name == "spending" else value == 0.0:
            continue
        share = float(plan.paid_share[0]) if name == "on_time" else value / income
        text = lever.variants.get(_variant(name, value, share), lever.text)
        en = text.en.format(amount=number(value, "CNY", "en"), share=number(share, "share", "en"))
        zh = text.zh.format(amount=number(value, "CNY", "zh"), share=number(share, "share", "zh"))
        stated = name in ("extra", "spending", "repay_elsewhere")
        of_balance = share if name == "on_time" and share > 0 else None
        steps.append(Step(name, value if stated else None, of_balance, Text(en, zh)))
    return tuple(steps)


def _variant(lever: LeverName, value: float, share: float) -> str:
    """Which wording is meant: a share is told where it is known, and shows as more than 0 %."""
    if lever == "on_time":
        return "of_balance" if share > 0 else ""
    if value == 0:
        return "nothing"
    return "of_income" if share >= 0.005 else ""


def aging_out(
    window: Window, account: int, as_of: datetime.date, rules: AdviceRules
) -> tuple[AgingOut, ...]:
    """What happened within the months in which it counts, the soonest gone first."""
    found = []
    for code, ageing in rules.ageing.items():
        happened = np.flatnonzero(window[ageing.column][: ageing.months, account] > 0)
        if len(happened):
            last, until = (
                add_months(as_of, months - int(happened[0])) for months in (0, ageing.months)
            )
            said = {"month": f"{last:%Y-%m}", "until": f"{until:%Y-%m}"}
            found.append(
                AgingOut(
                    code,
                    last,
                    until,
                    Text(ageing.text.en.format(**said), ageing.text.zh.format(**said)),
                )
            )
    return tuple(sorted(found, key=lambda aged: aged.until))


def plan_notes(
    window: Window,
    account: int,
    plan: PlanPath,
    choices: Constraints,
    rules: AdviceRules,
    today: datetime.date,
) -> tuple[Text, ...]:
    """What must be known beside the plan."""
    most = choices.monthly_payment
    settled = bool(choices.fixed()) or most is not None
    begins, kept = plan.path[0].month, _kept_to_the_end(plan)
    elsewhere = sum(step.amount or 0.0 for step in plan.steps if step.lever == "repay_elsewhere")
    beyond = next(
        (m for m in plan.path if most is not None and m.payment + elsewhere > most + HALF_CENT),
        plan.path[0],
    )
    asked = beyond.payment + elsewhere
    said: dict[NoteName, bool] = {
        "no_plan": plan.restored is None and kept is None and not settled,
        "no_plan_as_settled": plan.restored is None and kept is None and settled,
        "too_narrow": plan.restored is None and kept is not None,
        "old_statements": begins < today.replace(day=1),
        "beyond_payment": most is not None and asked > most + HALF_CENT,
        "income_unknown": most is None and bool(np.isnan(window.last_known("income")[account])),
        "debt_unknown": bool(np.isnan(window.last_known("external_debt")[account])),
    }
    months = {
        "too_narrow": kept or begins,
        "old_statements": add_months(begins, -1),
        "beyond_payment": beyond.month,
    }
    texts = ((months.get(name, begins), rules.notes[name]) for name, holds in said.items() if holds)
    en, zh = number(asked, "CNY", "en"), number(asked, "CNY", "zh")
    return tuple(
        Text(
            text.en.format(amount=en, month=f"{month:%Y-%m}"),
            text.zh.format(amount=zh, month=f"{month:%Y-%m}"),
        )
        for month, text in texts
    )


def _kept_to_the_end(plan: PlanPath) -> datetime.date | None:
    """The first of the months at the end of the path in all of which the limit from before the cut
    would be kept.
    """
    kept = [
        month.month
        for month in itertools.takewhile(lambda month: month.action == "keep", reversed(plan.path))
    ]
    return kept[-1] if kept else None
