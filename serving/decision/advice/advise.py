"""The way back from a cut: the least effort that restores the limit, and each month's decision.

A plan is behaviour of coming months.  It is rolled forward through the account's own ledger
(:mod:`serving.decision.advice.rollout`) and decided each month by the same features, the same model
and the same policy (:mod:`serving.decision.advice.projection`), with the reduced limit in force
until it is restored.  All plans of a declared grid (:mod:`serving.decision.advice.plans`) are
tried; the answer is the first in order of effort that restores the limit within the months looked
ahead, with a margin, at payments that the customer can make, and keeps the rules of
:mod:`serving.decision.advice.rules`.

Reasons and advice differ: a reason moved the decision, advice would move it back.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from features.months import last_day
from features.window import Window
from serving.decision.advice.arrears import ways_out_of_arrears
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.plans import PlanGrid, finances_of, make_plan_grid
from serving.decision.advice.result import (
    Advice,
    ApplicationPrice,
    ArrearsStep,
    FoundPaths,
    PlanPath,
)
from serving.decision.advice.search import (
    FIRST_PLANS,
    NEXT_PLANS,
    PlanSearch,
    evaluate_plans,
    settle_courses,
)
from serving.decision.advice.staircase import LimitCut, decide_months
from serving.decision.advice.wording import (
    ShownPlan,
    Teller,
    aging_out,
    carry_on_path,
    hardship_of,
    plan_notes,
    plan_path,
)
from serving.decision.bundle import Bundle

_ACCOUNTS_PER_BLOCK = 64  # projected together; the arrays of more do not fit the caches


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
    grids = _make_grids(window, cuts, constraints, bundle)
    paths = _search_in_blocks(grids, window, cuts, bundle, threads)
    advice = []
    for account, (cut, own, grid) in enumerate(
        zip(
            cuts,
            constraints,
            grids,
            strict=True,
        )
    ):
        found = paths[account]
        advice.append(
            Advice(
                plan=found.plan,
                on_time_only=found.on_time_only,
                carry_on=found.carry_on,
                arrears=_arrears(window, account, cut.as_of, bundle, today),
                application=found.application,
                hardship=hardship_of(found.plan, grid.income, bundle.advice.hardship, today),
                ageing=aging_out(window, account, cut.as_of, bundle.advice),
                notes=plan_notes(window, account, found, own, bundle.advice, today),
                expires_on=today + datetime.timedelta(days=bundle.advice.search.expires_after_days),
                tried=len(grid.plans),
            )
        )
    return advice


def _arrears(
    window: Window,
    account: int,
    as_of: datetime.date,
    bundle: Bundle,
    today: datetime.date,
) -> tuple[ArrearsStep, ...]:
    """The steps out of arrears; none where the month in which to pay is over.

    After it the amounts are others, and the last statement does not show them.
    """
    steps = ways_out_of_arrears(
        window,
        account,
        as_of,
        bundle.policy.terms,
        bundle.advice.arrears,
    )
    return tuple(step for step in steps if today <= last_day(step.month))


def _make_grids(
    window: Window,
    cuts: Sequence[LimitCut],
    constraints: Sequence[Constraints],
    bundle: Bundle,
) -> list[PlanGrid]:
    minimum_share = bundle.policy.terms.minimum_share
    return [
        make_plan_grid(finances, cut.limit_before, bundle.advice, own, minimum_share)
        for finances, cut, own in zip(finances_of(window), cuts, constraints, strict=True)
    ]


def _search_in_blocks(
    grids: Sequence[PlanGrid],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
    threads: int,
) -> dict[int, FoundPaths]:
    """The paths of each account, by position."""
    balances = window.now("balance").tolist()
    searches = [
        PlanSearch(account, grid, cut, balance)
        for account, (grid, cut, balance) in enumerate(
            zip(
                grids,
                cuts,
                balances,
                strict=True,
            )
        )
    ]
    blocks = [
        searches[start : start + _ACCOUNTS_PER_BLOCK]
        for start in range(0, len(searches), _ACCOUNTS_PER_BLOCK)
    ]

    def search(block: Sequence[PlanSearch]) -> dict[int, FoundPaths]:
        return search_plans(block, window, cuts, bundle)

    if threads == 1:
        found = [search(block) for block in blocks]
    else:
        # Threads help because NumPy and LightGBM release the GIL while they work.
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(search, blocks))
    return {account: paths for block in found for account, paths in block.items()}


def search_plans(
    searches: Sequence[PlanSearch],
    window: Window,
    cuts: Sequence[LimitCut],
    bundle: Bundle,
) -> dict[int, FoundPaths]:
    """For each account the chosen plan and the baselines, month by month.

    First evaluates FIRST_PLANS plans of all accounts in one batch, then NEXT_PLANS at a time for
    accounts without a solution.
    """
    evaluate_plans(searches, FIRST_PLANS, window, cuts, bundle)
    pending = list(searches)
    while pending:
        still_open = [search for search in pending if search.is_open]
        if still_open:
            evaluate_plans(still_open, NEXT_PLANS, window, cuts, bundle)
        settle_courses(pending, window, cuts, bundle)
        for search in pending:
            search.check(bundle)
        pending = [
            search
            for search in pending
            if search.unsettled or search.is_open or search.prices_application
        ]
    as_before = decide_months(
        [search.cut for search in searches],
        np.column_stack([search.carry_on.probability for search in searches]),
        np.stack([search.carry_on.features for search in searches], axis=1),
        bundle,
    )
    found = {}
    for search, decided in zip(searches, as_before, strict=True):
        carry_on = carry_on_path(search.carry_on, decided, search.cut)
        found[search.account] = _found(search, carry_on, bundle)
    return found


def _found(search: PlanSearch, carry_on: PlanPath, bundle: Bundle) -> FoundPaths:
    grid, paths = search.grid, []
    teller = Teller(bundle.advice, grid.income, grid.paid_months, search.cut.suspended)
    for course, effort in ((search.on_time_only, 0.0), (search.chosen, search.effort)):
        if course is None or course.settled is None:
            paths.append(carry_on)
            continue
        months = course.settled
        promises = search.keeps_rules(months) and search.is_safe(months, bundle)
        shown = ShownPlan(course.plans, effort, months, promises)
        paths.append(plan_path(shown, search.cut, teller))
    on_time_only, plan = paths
    return FoundPaths(
        plan=plan,
        on_time_only=on_time_only,
        carry_on=carry_on,
        only_harmful=search.only_harmful and plan.restored is None,
        limit_before=search.cut.limit_before,
        limit_now=search.cut.limit_after,
        application=_price_application(search, plan),
    )


def _price_application(search: PlanSearch, plan: PlanPath) -> ApplicationPrice | None:
    if plan.restored is None or search.applied is None:
        return None
    back = search.applied.month_back(search.cut.limit_before)
    month = None if back is None else max(plan.path[back].month, plan.restored)
    return ApplicationPrice(search.grid.application, month)
