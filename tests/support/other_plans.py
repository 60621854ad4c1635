"""The same cut accounts with other plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from serving.decision.advice.result import PlanPath
from training.examine.truth.cut_accounts import CutAccounts


def with_plans(cut: CutAccounts, change: Callable[[PlanPath], PlanPath]) -> CutAccounts:
    """The same accounts, each plan changed."""
    changed = []
    for advised in cut.advised:
        if advised.advice is None:
            raise ValueError(f"expected advice for {advised.decision.account_id}, got none")
        advice = replace(advised.advice, plan=change(advised.advice.plan))
        changed.append(replace(advised, advice=advice))
    return replace(cut, advised=tuple(changed))


def without_promises(cut: CutAccounts) -> CutAccounts:
    return with_plans(cut, lambda plan: replace(plan, restored=None))


def without_steps(cut: CutAccounts) -> CutAccounts:
    return with_plans(cut, lambda plan: replace(plan, steps=()))
