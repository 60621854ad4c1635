"""Does the limit come back to who goes on with what the reasons named?

The customers live the half-year before the cut again (:mod:`training.examine.advice.relived`), and
the served decision is asked every month.  In the months in which the half-year is complete, the
statements say what they said at the cut.  In the months between, the same acts stand in another
order, and a model that weighs recent months more finds some of these orders less risky.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from features.types import Mask, Rows
from serving.decision.policy.restore import share_back
from serving.decision.result import Decision
from serving.decision.scoring.score import logit
from training.evaluate.metrics import wilson_clustered
from training.examine.advice.follow import RELIVE, FollowedPlans, follow_plans
from training.examine.advice.relived import recall_acts
from training.examine.truth.cut_accounts import CutAccounts

MOST = 0.05  # the aim for ``complete``


@dataclass(slots=True)
class _Answers:
    """A witness of :func:`follow_plans`: whether each answer's margin would give back all."""

    cohort: CutAccounts
    accounts: list[int] = field(default_factory=list)
    months: list[int] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)

    def __call__(self, month: int, accounts: Rows, decisions: Sequence[Decision]) -> None:
        cut_offs = np.array([logit(decision.cut_off) for decision in decisions])
        log_odds = np.array([decision.log_odds for decision in decisions])
        share = share_back(cut_offs - log_odds, self.cohort.bundle.policy.restore)
        self.accounts += accounts.tolist()
        self.months += [month] * len(decisions)
        self.whole += (share >= 1.0).tolist()


def same_again(cohort: CutAccounts) -> pl.DataFrame:
    """Return one row for all accounts, and one for each action that they were cut by.

    - ``action``; ``accounts``
    - ``complete`` and ``between``: shares of the answers by whose margin the whole limit would come
      back, in months in which the half-year is complete and in the others of twelve months
    - ``restored``: the whole limit came back in some month; ``cut_after``: of these, cut again
      within twelve months
    - ``written_off``: 180 days past due before the limit came back

    Shares have 95 % intervals that count accounts, null where there is nothing to count.
    """
    answers = _Answers(cohort)
    months = cohort.bundle.advice.search.months
    found = follow_plans(cohort, replace(RELIVE, months_after=months), answers)
    length = recall_acts(cohort).length
    account = np.array(answers.accounts, dtype=np.int64)
    month = np.array(answers.months, dtype=np.int64)
    is_asked = month < months
    is_complete = (month + 1) % length[account] == 0
    whole = np.array(answers.whole)
    actions = np.array([advised.decision.action for advised in cohort.advised])
    rows = []
    for name in ("all", *np.unique(actions).tolist()):
        members = np.ones(len(cohort), dtype=np.bool_) if name == "all" else actions == name
        own = is_asked & members[account]
        complete, between = own & is_complete, own & ~is_complete
        rows.append(
            {
                "action": name,
                "accounts": int(members.sum()),
                **_share("complete", whole[complete], account[complete]),
                **_share("between", whole[between], account[between]),
                **_outcomes(found, members),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def _outcomes(found: FollowedPlans, members: Mask) -> dict[str, float | None]:
    of = members & ~found.closed
    _, owner = np.nonzero(of)
    back = of & found.kept
    _, owner_back = np.nonzero(back)
    return {
        **_share("restored", found.kept[of], owner),
        **_share("cut_after", found.cut_after[back], owner_back),
        **_share("written_off", found.written_off[of], owner),
    }


def _share(name: str, hits: Mask, owner: Rows) -> dict[str, float | None]:
    keys = (name, f"{name}_low", f"{name}_high")
    if not len(hits):
        return dict.fromkeys(keys)
    counted = hits.astype(np.float64)
    low, high = wilson_clustered(counted, owner)
    return dict(zip(keys, (float(counted.mean()), low, high), strict=True))
