"""The way back from a cut: the least effort by which the limit comes back, and what each month
would then be decided.

A plan is behaviour of coming months, relived through the account's own ledger
(:mod:`serving.decision.advice.rollout`) and judged each month by the same features, the same model
and the same policy (:mod:`serving.decision.advice.projection`), with the reduced limit in force
meanwhile.  All plans of a declared grid (:mod:`serving.decision.advice.plans`) are tried; the
answer is the first by effort that brings the limit back within the months looked ahead, with a
margin, at payments that the customer can make.

Reasons and advice are different things: a reason is what moved the decision, advice is what would
move it back.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from features.window import Window
from serving.decision.advice.constraints import Constraints
from serving.decision.advice.plans import habits_of, make_plan_grid
from serving.decision.advice.projection import LimitCut
from serving.decision.advice.result import Advice, PlanPath
from serving.decision.advice.search import PlanSearch, explore_plans
from serving.decision.advice.wording import aging_out, plan_notes
from serving.decision.bundle import Bundle

_ACCOUNTS_A_BLOCK = 16  # that look ahead together: more leave the processor's cache


def advise_many(
    window: Window,
    cuts: Sequence[LimitCut],
    choices: Sequence[Constraints],
    bundle: Bundle,
    today: datetime.date,
    threads: int = 1,
) -> list[Advice]:
    """The advice for the accounts of ``window``, whose limit the model cut, in their order.

    The same account, cut, choices and bundle give the same advice, whatever other accounts stand
    beside it.
    """
    grids = [
        make_plan_grid(
            means, cut.limit_before, bundle.advice, chosen, bundle.policy.terms.minimum_share
        )
        for means, cut, chosen in zip(habits_of(window), cuts, choices, strict=True)
    ]

    def explored(start: int) -> list[tuple[int, list[PlanPath]]]:
        searches = [
            PlanSearch(start + k, grid)
            for k, grid in enumerate(grids[start : start + _ACCOUNTS_A_BLOCK])
        ]
        courses = explore_plans(searches, window, cuts, bundle)
        return [(search.account, courses[search.account]) for search in searches]

    starts = range(0, len(cuts), _ACCOUNTS_A_BLOCK)
    # NumPy and LightGBM let go of the interpreter while they work
    with ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(explored, starts) if threads > 1 else map(explored, starts))
    return [
        Advice(
            plan=plan,
            on_time_only=on_time_only,
            carry_on=carry_on,
            ageing=aging_out(window, account, cuts[account].as_of, bundle.advice),
            notes=plan_notes(window, account, plan, choices[account], bundle.advice, today),
            expires_on=today + datetime.timedelta(days=bundle.advice.search.expires_after_days),
            tried=len(grids[account].plans),
        )
        for block in blocks
        for account, (plan, on_time_only, carry_on) in block
    ]
