"""The way back from a cut: the least effort by which the limit comes back, and what each month would then be decided.

A plan is behaviour of coming months, relived through the account's own ledger (:mod:`serving.decision.course`) and judged
each month by the same features, the same model and the same policy, as if the limit from before the cut were asked for again,
with the reduced limit in force meanwhile.  All plans of a declared grid (advice.toml) are tried; the answer is the first by
effort that brings the limit back within the months looked ahead, with a margin, at payments that the customer can make.

Reasons and advice are different things: a reason is what moved the decision, advice is what would move it back.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.build import values_of
from features.catalogue import CATALOGUE
from features.window import Months, Values, Window, lay_out
from serving.decision.advice_file import LEVERS, AdviceRules, LeverName, NoteName
from serving.decision.bundle import Bundle
from serving.decision.course import Plans, live, spread, window_after
from serving.decision.policy import Account, Action, Outcome, add_months, apply, grid_down, grid_up
from serving.decision.score import log_odds_of, probability_of
from serving.decision.wording import Text, number

_NAMES = tuple(feature.name for feature in CATALOGUE)
_RECENT = 6  # months that tell what is spent, drawn and paid now


@dataclass(frozen=True, slots=True)
class Cut:
    """What was decided about an account: the limit before, the one after, and whether nothing may be drawn meanwhile."""

    product: str
    as_of: datetime.date
    limit_before: float
    limit_after: float
    suspended: bool


@dataclass(frozen=True, slots=True)
class Choices:
    """What a customer has settled already: the most they can pay a month, here and elsewhere together (None = not said)."""

    monthly_payment: float | None = None


UNDECIDED = Choices()


@dataclass(frozen=True, slots=True)
class Step:
    """One lever of a plan; ``amount`` in CNY a month, None where there is none to state."""

    lever: LeverName
    amount: float | None
    text: Text


@dataclass(frozen=True, slots=True)
class PathMonth:
    """After one month: the probability, what would be decided on the limit from before the cut, and the limit in force."""

    month: datetime.date
    probability: float
    action: Action
    limit: float


@dataclass(frozen=True, slots=True)
class Course:
    """A plan and where it leads.  ``restored`` is the month after which the limit comes back, None where it does not."""

    steps: tuple[Step, ...]
    effort: float
    restored: datetime.date | None
    path: tuple[PathMonth, ...]


@dataclass(frozen=True, slots=True)
class Aged:
    """Something that counts until a month, and no longer in that month's decision; ``last`` is when it last happened."""

    code: str
    last: datetime.date
    until: datetime.date
    text: Text


@dataclass(frozen=True, slots=True)
class Advice:
    """The way back, beside what happens otherwise.

    ``plan`` is the least effort that restores the limit, or, where none does within the months looked ahead, the feasible one
    that lowers the risk most: its ``restored`` is then None.  ``tried`` counts the plans, ``feasible`` those whose payments the
    customer can make.  ``ageing`` is what only time takes away, the soonest gone first; ``notes`` what must be known beside.
    """

    plan: Course
    on_time_only: Course
    carry_on: Course
    ageing: tuple[Aged, ...]
    notes: tuple[Text, ...]
    expires_on: datetime.date
    tried: int
    feasible: int


@dataclass(frozen=True, slots=True)
class _Grid:
    """The plans tried, by effort, the two to set beside them, and the most that may be paid a month (inf: income not known)."""

    plans: Plans
    effort: Values
    payable: float


def advise(statements: pl.DataFrame, cut: Cut, bundle: Bundle, today: datetime.date, choices: Choices = UNDECIDED) -> Advice:
    """The advice for one account whose limit the model cut; ``statements`` are its checked window.

    The same account, cut, bundle and choices give the same advice.
    """
    window = lay_out(statements)
    grid = _grid(window, cut, bundle.advice, choices)
    future = _Future(window, grid.plans, cut, bundle)
    tried = len(grid.plans) - 2
    asks_no_money = (grid.plans.extra == 0) & (grid.plans.repay_elsewhere == 0)
    # The minimum due is asked for whatever a customer can pay: only what goes beyond must be within reach.
    feasible = np.flatnonzero((asks_no_money | (future.payment <= grid.payable + _CENT))[:tried])
    place, month = _least_effort(future, feasible)
    places = (place, tried, tried + 1)
    restored = (month, future.restored(tried), future.restored(tried + 1))
    plan, on_time_only, carry_on = _courses(grid, places, restored, window, cut, bundle)
    return Advice(
        plan=plan,
        on_time_only=on_time_only,
        carry_on=carry_on,
        ageing=_ageing(window, cut.as_of, bundle.advice),
        notes=_notes(window, month, choices, bundle.advice),
        expires_on=today + datetime.timedelta(days=bundle.advice.search.expires_after_days),
        tried=tried,
        feasible=len(feasible),
    )


_CENT = 0.005


def _grid(window: Window, cut: Cut, rules: AdviceRules, choices: Choices) -> _Grid:
    """Every combination of what the levers can do for this account, by effort; then only paying on time, and carrying on.

    An amount that would change nothing (nothing was spent, no debt elsewhere is known) is not tried, and so never advised.
    """
    levers, search = rules.levers, rules.search
    balance = max(float(window.now("balance")[0]), 0.0)
    debt = float(np.nan_to_num(window.last_known("external_debt")[0]))
    spent = float(np.nan_to_num(window.mean("spend", _RECENT)[0]))
    income = float(window.last_known("income")[0])
    tried: dict[LeverName, list[float]] = {
        "on_time": [1.0],
        "extra": [grid_up(share * balance, search.rounding) for share in levers["extra"].grid],
        "spending": [
            math.inf if share == 1 else grid_down(share * spent, search.rounding) for share in levers["spending"].grid
        ],
        "no_cash": list(levers["no_cash"].grid),
        "no_new_credit": list(levers["no_new_credit"].grid),
        "repay_elsewhere": [grid_up(share * debt, search.rounding) for share in levers["repay_elsewhere"].grid],
    }
    if spent <= 0:
        tried["spending"] = [math.inf]
    combinations = np.array(list(product(*(dict.fromkeys(tried[name]) for name in LEVERS))))
    plans = Plans(*combinations.T)
    effort = _effort(plans, spent, income if income > 0 else max(cut.limit_before, 1.0), rules)
    order = np.argsort(effort, kind="stable")
    as_before = [math.inf if name == "spending" else 0.0 for name in LEVERS]
    on_time = [1.0 if name == "on_time" else value for name, value in zip(LEVERS, as_before, strict=True)]
    plans, effort = Plans(*np.vstack([combinations[order], on_time, as_before]).T), np.append(effort[order], [0.0, 0.0])
    if choices.monthly_payment is not None:
        payable = choices.monthly_payment
    elif math.isnan(income):
        payable = math.inf
    else:
        left = income * (1.0 - search.living_share) - search.instalment_share * debt
        payable = max(left, float(np.nan_to_num(window.most("payment", _RECENT)[0])))
    return _Grid(plans, effort, payable)


def _effort(plans: Plans, spent: float, unit: float, rules: AdviceRules) -> Values:
    """Money a month, paid or not spent, in monthly incomes (in limits, where no income is known), and what is gone without."""
    levers = rules.levers
    money = levers["extra"].weight * plans.extra + levers["repay_elsewhere"].weight * plans.repay_elsewhere
    money = money + levers["spending"].weight * np.maximum(spent - plans.spending, 0.0)
    without: Values = levers["no_cash"].weight * plans.no_cash + levers["no_new_credit"].weight * plans.no_new_credit
    return money / unit + without


class _Future:
    """What the months to come bring under each of some plans, as long as the reduced limit stays in force."""

    def __init__(self, window: Window, plans: Plans, cut: Cut, bundle: Bundle) -> None:
        search = bundle.advice.search
        months, courses = search.months, len(plans)
        limits = np.full((months, courses), cut.limit_after)
        suspended = np.full((months, courses), cut.suspended)
        many = spread(window, courses)
        lived = live(many, plans, limits, suspended, bundle.policy.terms)
        self.cut, self.bundle, self.margin, self.months = cut, bundle, search.margin, months
        self.features = [values_of(window_after(lived, many.months_observed, m, months)) for m in range(1, months + 1)]
        self.log_odds = _log_odds(self.features, bundle)
        self.payment: Values = lived["payment"][:months].max(axis=0) + plans.repay_elsewhere

    def outcome(self, place: int, month: int, margin: float) -> Outcome:
        """What is decided, after that month (0 = the next), on the limit from before the cut."""
        values = self.features[month][place].tolist()
        return _outcome(values, float(self.log_odds[month, place]) + margin, self.cut, month + 1, self.bundle)

    def restored(self, place: int) -> int | None:
        """The first month after which the model has nothing against the limit any more, with the margin."""
        return next((month for month in range(self.months) if _free(self.outcome(place, month, self.margin))), None)


def _least_effort(future: _Future, feasible: NDArray[np.int64]) -> tuple[int, int | None]:
    """(the first plan by effort that restores the limit, the month after which), or the feasible one with the least risk."""
    for place in feasible.tolist():
        month = future.restored(place)
        if month is not None:
            return place, month
    return int(feasible[np.argmin(future.log_odds[-1, feasible])]), None


def _courses(
    grid: _Grid, places: Sequence[int], restored: Sequence[int | None], window: Window, cut: Cut, bundle: Bundle
) -> list[Course]:
    """Plans month by month, with the limit back in force from the month after it is restored."""
    months = bundle.advice.search.months
    plans = grid.plans[list(places)]
    reduced = np.column_stack([np.arange(months) < (months if month is None else month + 1) for month in restored])
    limits = np.where(reduced, cut.limit_after, cut.limit_before)
    many = spread(window, len(plans))
    lived = live(many, plans, limits, reduced & cut.suspended, bundle.policy.terms)
    features = [values_of(window_after(lived, many.months_observed, m, months)) for m in range(1, months + 1)]
    log_odds = _log_odds(features, bundle)
    return [
        Course(
            steps=_steps(plans[[k]], bundle.advice),
            effort=float(grid.effort[place]),
            restored=None if back is None else add_months(cut.as_of, back + 1),
            path=tuple(
                PathMonth(
                    month=add_months(cut.as_of, m + 1),
                    probability=float(probability_of(log_odds[m : m + 1, k])[0]),
                    action=_outcome(features[m][k].tolist(), float(log_odds[m, k]), cut, m + 1, bundle).action,
                    limit=cut.limit_after if back is None or m < back else cut.limit_before,
                )
                for m in range(months)
            ),
        )
        for k, (place, back) in enumerate(zip(places, restored, strict=True))
    ]


def _steps(plan: Plans, rules: AdviceRules) -> tuple[Step, ...]:
    """What the plan changes, worded, in the order of the levers."""
    steps = []
    for name, lever in rules.levers.items():
        value = float(getattr(plan, name)[0])
        if math.isinf(value) if name == "spending" else value == 0.0:
            continue
        stated = name in ("extra", "spending", "repay_elsewhere")
        en, zh = (number(value, "CNY", "en"), number(value, "CNY", "zh")) if stated else ("", "")
        steps.append(
            Step(name, value if stated else None, Text(lever.text.en.format(amount=en), lever.text.zh.format(amount=zh)))
        )
    return tuple(steps)


def _ageing(window: Window, as_of: datetime.date, rules: AdviceRules) -> tuple[Aged, ...]:
    """What happened within the months in which it counts, the soonest gone first."""
    found = []
    for code, ageing in rules.ageing.items():
        happened = np.flatnonzero(getattr(window, ageing.column)[: ageing.months, 0] > 0)
        if len(happened):
            last, until = (add_months(as_of, months - int(happened[0])) for months in (0, ageing.months))
            said = {"month": f"{last:%Y-%m}", "until": f"{until:%Y-%m}"}
            found.append(Aged(code, last, until, Text(ageing.text.en.format(**said), ageing.text.zh.format(**said))))
    return tuple(sorted(found, key=lambda aged: aged.until))


def _notes(window: Window, month: int | None, choices: Choices, rules: AdviceRules) -> tuple[Text, ...]:
    """What must be known beside the plan."""
    most, due = choices.monthly_payment, float(window.now("minimum_due")[0])
    said: dict[NoteName, bool] = {
        "no_plan": month is None,
        "minimum_beyond_payment": most is not None and due > most + _CENT,
        "income_unknown": most is None and bool(np.isnan(window.last_known("income")[0])),
        "debt_unknown": bool(np.isnan(window.last_known("external_debt")[0])),
    }
    texts = (rules.notes[name] for name, holds in said.items() if holds)
    en, zh = number(due, "CNY", "en"), number(due, "CNY", "zh")
    return tuple(Text(text.en.format(amount=en), text.zh.format(amount=zh)) for text in texts)


def _free(outcome: Outcome) -> bool:
    """Whether the model has nothing against the limit: it is kept, or only a rule's cap stands."""
    return not outcome.by_model and outcome.action in ("keep", "reduce")


def _outcome(values: list[float], log_odds: float, cut: Cut, month: int, bundle: Bundle) -> Outcome:
    as_of = add_months(cut.as_of, month)
    probability = float(probability_of(np.array([log_odds]))[0])
    features = dict(zip(_NAMES, values, strict=True)) | {"limit_now": cut.limit_before}
    soon = datetime.datetime(as_of.year, as_of.month, 28, 12, tzinfo=datetime.UTC)
    return apply(Account(cut.product, as_of, probability, features), bundle.policy, soon)


def _log_odds(features: list[Values], bundle: Bundle) -> Months:
    """Calibrated log-odds, (months, courses)."""
    places = [_NAMES.index(name) for name in bundle.features]
    rows = np.ascontiguousarray(np.vstack(features)[:, places])
    return log_odds_of(rows, bundle.scorer, threads=1).reshape(len(features), -1)
