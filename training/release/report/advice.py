"""The plans that customers get where their limit is cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from features.months import months_between
from serving.decision.pipeline import advise_many
from serving.decision.result import Advised
from training.data.labels import soon_after
from training.evaluate.holdout import Evaluation
from training.release.report.page import Exhibit, Section

TITLE = "The way back"
MAX_ACCOUNTS = 200  # drawn from the cut ones


def advice_section(evaluation: Evaluation, seed: int = 0) -> Section:
    """Return how much the plans ask for and what they promise, over a sample of the cut accounts.

    Whether plans keep their promise is measured elsewhere: :mod:`training.examine`.
    """
    cut = np.flatnonzero(evaluation.cut)
    if not len(cut):
        return Section(TITLE, ("No limit is cut.",))
    # A sample, because advice is a search over plans: far slower than a decision.
    sample = np.random.default_rng(seed).permutation(cut)[:MAX_ACCOUNTS]
    chosen = evaluation.hold_out.take(np.sort(sample))
    advised = advise_many(chosen.statements, evaluation.bundle, soon_after(chosen.as_of))
    text = (
        f"The table covers {len(advised)} accounts whose limit is suspended or reduced, or "
        "proposed to be reduced. A proposed suspension that keeps the amount of the limit is not "
        f"among them, and no more than {MAX_ACCOUNTS} accounts are drawn. A plan states behaviour "
        "over the coming months and is rolled forward through the account's own ledger. A limit "
        "counts as restored if the served policy would restore it with a margin. Plans can be "
        "checked only where the true outcome of following them is known: "
        "`python -m training examine`."
    )
    return Section(TITLE, (text,), (Exhibit("What the plans promise.", _make_table(advised)),))


def _make_table(advised: Sequence[Advised]) -> pl.DataFrame:
    given = [(one.decision, one.advice) for one in advised if one.advice is not None]
    months, efforts = [], []
    for decision, advice in given:
        plan = advice.plan
        if plan.restored is not None:
            months.append(months_between(decision.as_of, plan.restored))
            efforts.append(plan.effort)
    on_time = sum(advice.on_time_only.restored is not None for _, advice in given)
    unchanged = sum(advice.carry_on.restored is not None for _, advice in given)
    share = len(months) / len(advised)
    median_months = f"{np.median(months):.0f}" if months else "-"
    median_effort = f"{np.median(efforts):.2f}" if efforts else "-"
    rows = {
        "a hard rule decided, so no behaviour restores the limit": f"{len(advised) - len(given)}",
        "the plan restores the limit": f"{len(months)} ({share:.0%})",
        "paying on time alone restores it": f"{on_time}",
        "unchanged behaviour restores it": f"{unchanged}",
        "median months until the limit is restored": median_months,
        "median effort of such a plan, in monthly incomes": median_effort,
    }
    return pl.DataFrame({"measure": list(rows), "accounts": list(rows.values())})
