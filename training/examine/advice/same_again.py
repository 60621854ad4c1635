"""Does the limit come back to who goes on with what the reasons named?

The customers live the half-year before the cut again (:mod:`training.examine.advice.relived`), and
the served decision is asked every month.  In the months in which the half-year is complete, the
statements say what they said at the cut.  In the months between, the same acts stand in another
order, and a model that weighs recent months more finds some of these orders less risky.  Each month
between repeats one before the cut, and the last acts of the statements are those of that month.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from features.build import matrix_of, values_of
from features.types import Mask, Rows, Vector
from features.window import Months, Window, lay_out
from serving.decision.advice.ahead.habits import HABIT_MONTHS
from serving.decision.policy.restore import share_back
from serving.decision.result import Decision
from serving.decision.scoring.score import log_odds_of, logit
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
    - ``uncut_before``: of the answers between that would give back all, the share that repeats a
      month before the cut after which the account was at or below the cut-off
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
    repeated = months_before_cut(month, length[account])
    is_complete = repeated == 0
    whole = np.array(answers.whole)
    was_uncut = _was_uncut(cohort)[repeated, account]
    actions = np.array([advised.decision.action for advised in cohort.advised])
    rows = []
    for name in ("all", *np.unique(actions).tolist()):
        members = np.ones(len(cohort), dtype=np.bool_) if name == "all" else actions == name
        own = is_asked & members[account]
        complete, between = own & is_complete, own & ~is_complete
        back_between = between & whole
        rows.append(
            {
                "action": name,
                "accounts": int(members.sum()),
                **_share("complete", whole[complete], account[complete]),
                **_share("between", whole[between], account[between]),
                **_share("uncut_before", was_uncut[back_between], account[back_between]),
                **_outcomes(found, members),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def months_before_cut(month: Rows, length: Rows) -> Rows:
    """Return how many months before the cut each month repeats, 0 = the last one.

    ``month`` counts from 0, the first after the cut; ``length`` is that of the half-year, which an
    account of less history does not fill.
    """
    before: Rows = -(month + 1) % length
    return before


def log_odds_before(cohort: CutAccounts, months: int) -> Months:
    """Return the log-odds on the statements up to each of the last months, (months, accounts).

    Row 0 are those of the cut, row k those of k months earlier; NaN before the first statement.
    """
    return np.array([_log_odds_on(cohort, before) for before in range(months)])


def _log_odds_on(cohort: CutAccounts, before: int) -> Vector:
    window = lay_out(cohort.statements)
    observed = (window.months_observed - before).astype(np.int64)
    known = Window(
        window.stored[:, before:],
        np.maximum(observed, 0),
        window.products,
    )
    bundle = cohort.bundle
    rows = matrix_of(values_of(known), bundle.features)
    log_odds = log_odds_of(rows, bundle.scorer, threads=1)
    return np.where(observed > 0, log_odds, np.nan)


def _was_uncut(cohort: CutAccounts) -> Mask:
    """Whether the account was at or below the cut-off so many months before the cut."""
    cut_offs = [logit(advised.decision.cut_off) for advised in cohort.advised]
    was_uncut: Mask = log_odds_before(cohort, HABIT_MONTHS) <= np.array(cut_offs)
    return was_uncut


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
