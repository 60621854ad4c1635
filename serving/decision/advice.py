"""The way back from a cut: the least effort by which the limit comes back, and what each month would then be decided.

A plan is behaviour of coming months, relived through the account's own ledger (:mod:`serving.decision.course`) and judged
each month by the same features, the same model and the same policy (:mod:`serving.decision.outlook`), with the reduced limit in
force meanwhile.  All plans of a declared grid (:mod:`serving.decision.grid`) are tried; the answer is the first by effort that
brings the limit back within the months looked ahead, with a margin, at payments that the customer can make.

Reasons and advice are different things: a reason is what moved the decision, advice is what would move it back.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.window import Window, lay_out
from serving.decision.advice_file import AdviceRules, LeverName, NoteName
from serving.decision.bundle import Bundle
from serving.decision.choices import Choices
from serving.decision.course import Plans, joined
from serving.decision.grid import Grid, grid_of, means_of
from serving.decision.outlook import Cut, Outlook, Restored, look_ahead
from serving.decision.policy import Action, add_months
from serving.decision.score import probability_of
from serving.decision.wording import Text, number

_CENT = 0.005
_ACCOUNTS_A_BLOCK = 16  # that look ahead together: more leave the processor's cache
_TRIED_FIRST = 12  # plans an account; half of all find theirs among them, and the others lose little


@dataclass(frozen=True, slots=True)
class Step:
    """One lever of a plan; ``amount`` in CNY a month, and ``share`` of the balance, None where there is none to state."""

    lever: LeverName
    amount: float | None
    share: float | None
    text: Text


@dataclass(frozen=True, slots=True)
class PathMonth:
    """After one month: the probability, what would be decided on the limit from before the cut, and the limit in force.

    ``payment`` is what the account is paid in the month, and ``balance`` what is owed after it, both CNY: as relived, where
    nothing new happens.
    """

    month: datetime.date
    payment: float
    balance: float
    probability: float
    action: Action
    limit: float


@dataclass(frozen=True, slots=True)
class Course:
    """A plan and where it leads.

    ``restored`` is the month after which the limit comes back to stay, as far as a rule allows; None where it does not.
    """

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
    that lowers the risk most: its ``restored`` is then None.  ``tried`` counts the plans.  ``ageing`` is what only time takes
    away, the soonest gone first; ``notes`` what must be known beside.
    """

    plan: Course
    on_time_only: Course
    carry_on: Course
    ageing: tuple[Aged, ...]
    notes: tuple[Text, ...]
    expires_on: datetime.date
    tried: int


def advise_many(
    statements: pl.DataFrame,
    cuts: Sequence[Cut],
    choices: Sequence[Choices],
    bundle: Bundle,
    today: datetime.date,
    threads: int = 1,
) -> list[Advice]:
    """The advice for accounts whose limit the model cut, one each; ``statements`` are their checked windows.

    The same account, cut, choices and bundle give the same advice, whatever other accounts stand beside it.
    """
    window = lay_out(statements)
    grids = [
        grid_of(means, cut.limit_before, bundle.advice, chosen, bundle.policy.terms.minimum_share)
        for means, cut, chosen in zip(means_of(window), cuts, choices, strict=True)
    ]

    def explored(start: int) -> list[tuple[int, list[Course]]]:
        searches = [_Search(start + k, grid) for k, grid in enumerate(grids[start : start + _ACCOUNTS_A_BLOCK])]
        courses = _told(searches, window, cuts, bundle)
        return [(search.account, courses[search.account]) for search in searches]

    starts = range(0, len(cuts), _ACCOUNTS_A_BLOCK)
    with ThreadPoolExecutor(threads) as pool:  # NumPy and LightGBM let go of the interpreter while they work
        blocks = list(pool.map(explored, starts) if threads > 1 else map(explored, starts))
    return [
        Advice(
            plan=plan,
            on_time_only=on_time_only,
            carry_on=carry_on,
            ageing=_ageing(window, account, cuts[account].as_of, bundle.advice),
            notes=_notes(window, account, plan, choices[account], bundle.advice, today),
            expires_on=today + datetime.timedelta(days=bundle.advice.search.expires_after_days),
            tried=len(grids[account].plans),
        )
        for block in blocks
        for account, (plan, on_time_only, carry_on) in block
    ]


class _Search:
    """An account's search: its plans are judged in order of effort, until one restores the limit.

    ``place`` of the plan and what it has ``restored``; before one is found, and where none is, the place of the feasible plan
    with the least risk in the end, and None.  ``beside``: what the two beside have restored.  What is offered is found with the
    cut in force; whether it holds with the limit back is told by :meth:`settle`.
    """

    def __init__(self, account: int, grid: Grid) -> None:
        self.account, self.grid = account, grid
        self.place = self.judged = 0
        self.restored: Restored | None = None
        self.beside: tuple[Restored | None, ...] = ()
        self._offers: Iterator[tuple[int, Restored]] = iter(())
        self._offers_beside: tuple[Iterator[Restored], ...] = ()
        self._least, self._least_at = math.inf, 0

    def judge(self, courses: NDArray[np.int64], outlook: Outlook, bundle: Bundle) -> None:
        """The next plans, which lie in these courses."""
        first, self.judged = self.judged, self.judged + len(courses)
        plans = self.grid.plans[first : self.judged]
        tried = self.grid.plans
        asks_least = (plans.extra == tried.extra.min()) & (plans.repay_elsewhere == tried.repay_elsewhere.min())
        # The minimum due is asked for whatever a customer can pay, and so is what they settled; only more must be within reach.
        feasible = courses[asks_least | (outlook.most_paid[courses] <= self.grid.payable + _CENT)]
        if len(feasible) and outlook.log_odds[-1, feasible].min() < self._least:
            best = feasible[np.argmin(outlook.log_odds[-1, feasible])]
            self._least_at, self._least = first + int(best - courses[0]), float(outlook.log_odds[-1, best])
        found = outlook.restorations(feasible, bundle.advice.search.margin, bundle)
        self._offers = ((first + one.course - int(courses[0]), one) for one in found)
        self._next()

    def compare(self, courses: NDArray[np.int64], outlook: Outlook, bundle: Bundle) -> None:
        """The two plans beside, which lie in these courses.

        Nothing is promised to who carries on: their months are as good as their best ones, for which no plan could ask.
        """
        margin, on_time = bundle.advice.search.margin, self.grid.beside.on_time > 0
        self._offers_beside = tuple(
            outlook.restorations(courses[[k]] if promises else courses[:0], margin, bundle)
            for k, promises in enumerate(on_time)
        )
        self.beside = tuple(next(offers, None) for offers in self._offers_beside)

    def settle(self, courses: NDArray[np.int64], outlook: Outlook, bundle: Bundle) -> bool:
        """Whether what is told stays with the limit back, as these courses live it; the next offer stands where it does not."""
        told = (self.restored, *self.beside)
        stays = [one is None or outlook.stays(int(k), one.month, bundle) for one, k in zip(told, courses, strict=True)]
        if not stays[0]:
            self._next()
        self.beside = tuple(
            one if holds else next(offers, None)
            for one, holds, offers in zip(self.beside, stays[1:], self._offers_beside, strict=True)
        )
        return all(stays)

    @property
    def unsure(self) -> bool:
        """Whether nothing is found yet and plans are left to judge."""
        return self.restored is None and self.judged < len(self.grid.plans)

    def _next(self) -> None:
        self.place, self.restored = next(self._offers, (self._least_at, None))


def _told(searches: Sequence[_Search], window: Window, cuts: Sequence[Cut], bundle: Bundle) -> dict[int, list[Course]]:
    """Of each account the plan and the two beside month by month, with the limit back in force when it is restored.

    The first few plans of all accounts look ahead together, then the others of who needs them.
    """
    _look(searches, _TRIED_FIRST, window, cuts, bundle)
    found: dict[int, list[Course]] = {}
    pending = list(searches)
    while pending:
        _look([search for search in pending if search.unsure], None, window, cuts, bundle)
        plans = [(search, joined([search.grid.plans[[search.place]], search.grid.beside])) for search in pending]
        back = [restored for search in pending for restored in (search.restored, *search.beside)]
        outlook, courses = _ahead(plans, window, cuts, bundle, back)
        unsettled = []
        for (search, own_plans), own in zip(plans, courses, strict=True):
            efforts, restored = (float(search.grid.effort[search.place]), 0.0, 0.0), (search.restored, *search.beside)
            if search.settle(own, outlook, bundle):
                found[search.account] = [
                    _course(own_plans[[k]], effort, search.grid.income, int(course), one, outlook, bundle)
                    for k, (course, effort, one) in enumerate(zip(own, efforts, restored, strict=True))
                ]
            else:
                unsettled.append(search)
        pending = unsettled
    return found


def _look(searches: Sequence[_Search], most: int | None, window: Window, cuts: Sequence[Cut], bundle: Bundle) -> None:
    """Judge the next plans of these accounts, ``most`` each (None = all), and with the first of them those beside."""
    if not searches:
        return
    wanted = [
        (search, search.grid.plans[search.judged : None if most is None else search.judged + most]) for search in searches
    ]
    # Those beside look ahead with the first, for a look ahead costs what a hundred courses cost.
    beside = [(search, search.grid.beside) for search in searches if search.judged == 0]
    outlook, courses = _ahead(wanted + beside, window, cuts, bundle)
    for (search, _), own in zip(beside, courses[len(wanted) :], strict=True):
        search.compare(own, outlook, bundle)
    for (search, _), own in zip(wanted, courses, strict=False):
        search.judge(own, outlook, bundle)


def _ahead(
    wanted: Sequence[tuple[_Search, Plans]],
    window: Window,
    cuts: Sequence[Cut],
    bundle: Bundle,
    back: Sequence[Restored | None] | None = None,
) -> tuple[Outlook, list[NDArray[np.int64]]]:
    """The outlook of some accounts' plans, and where each one's courses lie in it.

    ``back`` has, for every course, from when on which limit is in force again; the cut stays in force without it.
    """
    months = bundle.advice.search.months
    lengths = [len(plans) for _, plans in wanted]
    ends = np.cumsum(lengths)
    owner = np.repeat([search.account for search, _ in wanted], lengths)
    restored = back or [None] * len(owner)
    until = np.array([months if one is None else one.month + 1 for one in restored])
    limits = np.array([cuts[k].limit_before if one is None else one.limit for k, one in zip(owner, restored, strict=True)])
    reduced = np.arange(months)[:, None] < until
    outlook = look_ahead(window, owner, joined([plans for _, plans in wanted]), cuts, reduced, bundle, limits)
    return outlook, [np.arange(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def _course(
    plan: Plans, effort: float, income: float, course: int, back: Restored | None, outlook: Outlook, bundle: Bundle
) -> Course:
    cut = outlook.cuts[outlook.owner[course]]
    probabilities = probability_of(outlook.log_odds[:, course]).tolist()
    return Course(
        steps=_steps(plan, income, bundle.advice),
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


def _steps(plan: Plans, income: float, rules: AdviceRules) -> tuple[Step, ...]:
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


def _ageing(window: Window, account: int, as_of: datetime.date, rules: AdviceRules) -> tuple[Aged, ...]:
    """What happened within the months in which it counts, the soonest gone first."""
    found = []
    for code, ageing in rules.ageing.items():
        happened = np.flatnonzero(getattr(window, ageing.column)[: ageing.months, account] > 0)
        if len(happened):
            last, until = (add_months(as_of, months - int(happened[0])) for months in (0, ageing.months))
            said = {"month": f"{last:%Y-%m}", "until": f"{until:%Y-%m}"}
            found.append(Aged(code, last, until, Text(ageing.text.en.format(**said), ageing.text.zh.format(**said))))
    return tuple(sorted(found, key=lambda aged: aged.until))


def _notes(
    window: Window, account: int, plan: Course, choices: Choices, rules: AdviceRules, today: datetime.date
) -> tuple[Text, ...]:
    """What must be known beside the plan."""
    most = choices.monthly_payment
    settled = bool(choices.fixed()) or most is not None
    begins, kept = plan.path[0].month, _kept_to_the_end(plan)
    elsewhere = sum(step.amount or 0.0 for step in plan.steps if step.lever == "repay_elsewhere")
    beyond = next((m for m in plan.path if most is not None and m.payment + elsewhere > most + _CENT), plan.path[0])
    asked = beyond.payment + elsewhere
    said: dict[NoteName, bool] = {
        "no_plan": plan.restored is None and kept is None and not settled,
        "no_plan_as_settled": plan.restored is None and kept is None and settled,
        "too_narrow": plan.restored is None and kept is not None,
        "old_statements": begins < today.replace(day=1),
        "beyond_payment": most is not None and asked > most + _CENT,
        "income_unknown": most is None and bool(np.isnan(window.last_known("income")[account])),
        "debt_unknown": bool(np.isnan(window.last_known("external_debt")[account])),
    }
    months = {"too_narrow": kept or begins, "old_statements": add_months(begins, -1), "beyond_payment": beyond.month}
    texts = ((months.get(name, begins), rules.notes[name]) for name, holds in said.items() if holds)
    en, zh = number(asked, "CNY", "en"), number(asked, "CNY", "zh")
    return tuple(
        Text(text.en.format(amount=en, month=f"{month:%Y-%m}"), text.zh.format(amount=zh, month=f"{month:%Y-%m}"))
        for month, text in texts
    )


def _kept_to_the_end(plan: Course) -> datetime.date | None:
    """The first of the months at the end of the path in all of which the limit from before the cut would be kept."""
    kept = [month.month for month in itertools.takewhile(lambda month: month.action == "keep", reversed(plan.path))]
    return kept[-1] if kept else None
