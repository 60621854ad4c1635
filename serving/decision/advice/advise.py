"""The way back from a cut: the least effort that restores the limit, and each month's decision.

A plan is behaviour of coming months.  It is rolled forward through the account's own ledger
(:mod:`serving.decision.advice.rollout`) and decided each month by the same features, the same model
and the same policy (:mod:`serving.decision.advice.projection`), with the reduced limit in force
until it is restored.  All plans of a declared grid (:mod:`serving.decision.advice.plans`) are
tried; the answer is the first in order of effort that restores the limit within the months looked
ahead, with a margin, at payments that the customer can make, and keeps the rules of
:mod:`serving.decision.advice.ahead.judge`.

Reasons and advice differ: a reason moved the decision, advice would move it back.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.months import last_day
from features.window import Window
from serving.decision.advice import rounds
from serving.decision.advice.arrears import ways_out_of_arrears
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.plans import Finances, PlanGrid, finances_of, make_plan_grid
from serving.decision.advice.projection import MeanCourses
from serving.decision.advice.result import (
    Advice,
    ApplicationPrice,
    ArrearsStep,
    FoundPaths,
    PlanPath,
)
from serving.decision.advice.rollout import Plans
from serving.decision.advice.rounds import (
    Block,
    evaluate_baselines,
    evaluate_plans,
    look_for_harmful,
    make_block,
    settle_courses,
)
from serving.decision.advice.search import Course, PlanSearch
from serving.decision.advice.staircase import LimitCut, decide_as_numbers, decided_on
from serving.decision.advice.wording import (
    Teller,
    aging_out,
    carry_on_path,
    find_events,
    hardship_of,
    plan_notes,
    plan_path,
)
from serving.decision.bundle import Bundle

# Searched for together. 64 take some 6 % more CPU an account, and the arrays of more than these do
# not fit the caches.
_ACCOUNTS_PER_BLOCK = 128
# Plans that are settled together: a round costs about as much for one as for ten, and a few
# accounts have few of them.
_FEW_ACCOUNTS = 8
_MOST_TOGETHER = 12


@dataclass(frozen=True, slots=True)
class _Asked:
    """The accounts of a window whose limit was cut, with what is known of each.

    Attributes:
        window: Their statements.
        cuts: A cut each.
        constraints: What each customer has fixed.
        finances: What the plans of each are measured by.
        arrears: The steps out of arrears of each.
        events: Of each, how many months ago the events that age happened.
        bundle: The model, the policy, the rules and the texts of advice.
        today: On the lender's clock.
    """

    window: Window
    cuts: Sequence[LimitCut]
    constraints: Sequence[Constraints]
    finances: Sequence[Finances]
    arrears: Sequence[Sequence[ArrearsStep]]
    events: Sequence[Sequence[int]]
    bundle: Bundle
    today: datetime.date


def advise_many(
    window: Window,
    cuts: Sequence[LimitCut],
    constraints: Sequence[Constraints],
    bundle: Bundle,
    today: datetime.date,
    threads: int = 1,
) -> list[Advice]:
    """The advice for the accounts of ``window``, whose limit was cut, in their order.

    ``cuts`` and ``constraints`` have one entry per account.  The same account, cut, constraints and
    bundle give the same advice, whichever other accounts are advised in the same call and in
    however many threads.
    """
    rules = bundle.advice
    as_of = [cut.as_of for cut in cuts]
    asked = _Asked(
        window=window,
        cuts=cuts,
        constraints=constraints,
        finances=finances_of(window),
        arrears=ways_out_of_arrears(
            window,
            as_of,
            bundle.policy.terms,
            rules.arrears,
        ),
        events=find_events(window, rules).tolist(),
        bundle=bundle,
        today=today,
    )
    blocks = [
        range(start, min(start + _ACCOUNTS_PER_BLOCK, len(cuts)))
        for start in range(0, len(cuts), _ACCOUNTS_PER_BLOCK)
    ]

    def advise(accounts: range) -> list[Advice]:
        return _advise_block(accounts, asked)

    if threads == 1 or len(blocks) == 1:
        advised = [advise(block) for block in blocks]
    else:
        # Threads help because the compiled loops release the GIL while they work.
        with ThreadPoolExecutor(threads) as pool:
            advised = list(pool.map(advise, blocks))
    return [advice for block in advised for advice in block]


def _advise_block(accounts: range, asked: _Asked) -> list[Advice]:
    """The advice for these accounts, which are searched for together."""
    cuts = [asked.cuts[account] for account in accounts]
    block = make_block(
        asked.window,
        np.array(accounts),
        cuts,
        asked.bundle,
    )
    searches = [
        PlanSearch(
            place,
            _make_grid(account, asked),
            cuts[place],
            asked.bundle,
        )
        for place, account in enumerate(accounts)
    ]
    found = search_plans(searches, block)
    return [
        _advice(
            account,
            searches[place].grid,
            found[place],
            asked,
        )
        for place, account in enumerate(accounts)
    ]


def _make_grid(account: int, asked: _Asked) -> PlanGrid:
    return make_plan_grid(
        asked.finances[account],
        asked.cuts[account].limit_before,
        asked.bundle.advice,
        asked.constraints[account],
        asked.bundle.policy.terms.minimum_share,
    )


def _advice(
    account: int,
    grid: PlanGrid,
    found: FoundPaths,
    asked: _Asked,
) -> Advice:
    window, cut, today = asked.window, asked.cuts[account], asked.today
    rules = asked.bundle.advice
    return Advice(
        plan=found.plan,
        on_time_only=found.on_time_only,
        carry_on=found.carry_on,
        # After the month in which to pay the amounts are others, and the last statement does not
        # show them.
        arrears=tuple(step for step in asked.arrears[account] if today <= last_day(step.month)),
        application=found.application,
        hardship=hardship_of(
            found.plan,
            grid.income,
            rules.hardship,
            today,
        ),
        ageing=aging_out(
            asked.events[account],
            cut.as_of,
            rules,
        ),
        notes=plan_notes(
            window,
            account,
            found,
            asked.constraints[account],
            rules,
            today,
        ),
        expires_on=today + datetime.timedelta(days=rules.search.expires_after_days),
        tried=len(grid),
    )


def search_plans(searches: Sequence[PlanSearch], block: Block) -> list[FoundPaths]:
    """For each account of the block the chosen plan and the baselines, month by month.

    First evaluates FIRST_PLANS plans of all accounts together, then NEXT_PLANS at a time for
    accounts without a plan that seems to restore the limit.
    """
    has_few = len(searches) < _FEW_ACCOUNTS
    means = evaluate_baselines(searches, block)
    evaluate_plans(searches, rounds.FIRST_PLANS, block)
    pending = list(searches)
    while pending:
        still_open = [search for search in pending if search.is_open]
        if still_open:
            evaluate_plans(still_open, rounds.NEXT_PLANS, block)
        settle_courses(pending, block, price_at_once=has_few)
        for search in pending:
            search.choose(3 if has_few else 1, _MOST_TOGETHER)
        pending = [search for search in pending if search.is_pending]
    look_for_harmful([search for search in searches if not search.brings_back], block)
    decided = decide_as_numbers(
        block.numbers,
        np.arange(len(searches)),
        means.probability,
        means.features,
        block.bundle.policy,
    )
    return [_found(search, _carry_on(search, means, decided), block.bundle) for search in searches]


def _carry_on(
    search: PlanSearch,
    means: MeanCourses,
    decided: NDArray[np.float64],
) -> PlanPath:
    place = search.place
    return carry_on_path(
        means.paid[:, place].tolist(),
        means.balance[:, place].tolist(),
        means.probability[:, place].tolist(),
        decided_on(decided, place),
        search.cut,
    )


def _found(
    search: PlanSearch,
    carry_on: PlanPath,
    bundle: Bundle,
) -> FoundPaths:
    grid, cut = search.grid, search.cut
    teller = Teller(
        bundle.advice,
        grid.income,
        grid.paid_months,
        cut.suspended,
    )
    plan = carry_on
    on_time_only = _path(
        search.on_time_only,
        0.0,
        cut,
        teller,
    )
    if search.chosen is not None:
        effort = float(grid.effort[search.chosen.position])
        plan = _path(
            search.chosen,
            effort,
            cut,
            teller,
        )
    return FoundPaths(
        plan=plan,
        on_time_only=on_time_only,
        carry_on=carry_on,
        only_harmful=search.only_harmful and plan.restored is None,
        limit_before=cut.limit_before,
        limit_now=cut.limit_after,
        application=_price_application(search, plan),
    )


def _path(
    course: Course,
    effort: float,
    cut: LimitCut,
    teller: Teller,
) -> PlanPath:
    promises = course.keeps_rules and course.restores
    return plan_path(
        Plans.from_rows(course.plan[np.newaxis]),
        effort,
        course.months(),
        promises,
        cut,
        teller,
    )


def _price_application(search: PlanSearch, plan: PlanPath) -> ApplicationPrice | None:
    if plan.restored is None or search.applied is None:
        return None
    back = search.applied.month_back(search.cut.limit_before)
    month = None if back is None else max(plan.path[back].month, plan.restored)
    return ApplicationPrice(search.grid.application, month)
