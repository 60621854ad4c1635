"""The way back that customers are told, where their limit is cut."""

from __future__ import annotations

import numpy as np
import polars as pl

from features.months import months_between
from serving.decision.pipeline import advise_many
from serving.decision.result import Advised
from training.data.labels import soon_after
from training.evaluate.holdout import Evaluation
from training.release.report.page import Section, Shown

ACCOUNTS = 200  # of the cut ones, drawn


def advice_section(evaluated: Evaluation, seed: int = 0) -> Section:
    """What plans ask for and promise; whether promises come true is examined on simulated accounts
    (``examine``).
    """
    cut = np.flatnonzero(evaluated.cut)
    if not len(cut):
        return Section("The way back", ("No limit is cut.",))
    drawn = np.sort(np.random.default_rng(seed).permutation(cut)[:ACCOUNTS])
    chosen = evaluated.hold_out.take(drawn)
    advised = advise_many(chosen.statements, evaluated.bundle, soon_after(chosen.as_of))
    text = (
        f"Of {len(advised)} accounts whose limit is cut. A plan is behaviour of the coming "
        "months, lived through the account's own ledger; a limit counts as back where the served "
        "policy would give it back with a margin. Whether plans keep their promise can only be "
        "examined where the truth is known: `python -m training examine`.",
    )
    return Section("The way back", text, (Shown("What the answers promise.", _table(advised)),))


def _table(advised: list[Advised]) -> pl.DataFrame:
    plans = [one.advice.plan for one in advised if one.advice is not None]
    by_itself = sum(
        one.advice is not None and one.advice.carry_on.restored is not None for one in advised
    )
    on_time = sum(
        one.advice is not None and one.advice.on_time_only.restored is not None for one in advised
    )
    restored = [(one, one.advice.plan.restored) for one in advised if one.advice is not None]
    months = [
        months_between(one.decision.as_of, month) for one, month in restored if month is not None
    ]
    efforts = [plan.effort for plan in plans if plan.restored is not None]
    rows = {
        "a rule alone decided, which no behaviour wins back": f"{len(advised) - len(plans)}",
        "a plan restores the limit": f"{len(months)} ({len(months) / len(advised):.0%})",
        "so does only paying on time": f"{on_time}",
        "so does carrying on as before": f"{by_itself}",
        "months until it is back, median": f"{np.median(months):.0f}" if months else "-",
        "effort of such a plan, in monthly incomes, median": f"{np.median(efforts):.2f}"
        if efforts
        else "-",
    }
    return pl.DataFrame({"what": list(rows), "accounts": list(rows.values())})
