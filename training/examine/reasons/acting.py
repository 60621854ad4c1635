"""How often would a reader act wrongly who takes the first reason for the cause?

A reason says what moved the decision, not what to do; advice says that.  This measures what the
confusion would cost.  The reader changes the behaviour of the first reason that has one.  The
change *helps* if that driver is a cause for the account: its true effect is above twice its
standard error (:mod:`training.examine.reasons.true_causes`).  It is *wrong* if it is no cause, its
effect lying within its error or below zero, while another group's driver is one.  Otherwise no
behaviour would have helped.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from features.types import Mask
from training.evaluate.metrics import wilson
from training.examine.reasons.rankings import GROUPS
from training.examine.reasons.true_causes import TrueEffects
from training.examine.truth.cut_accounts import CutAccounts
from training.fit.reason_quality.stated import stated_in

SCHEMA = {
    "first_reason": pl.String,
    "accounts": pl.Int64,
    "helps": pl.Float64,
    "wrong": pl.Float64,
    "wrong_low": pl.Float64,
    "wrong_high": pl.Float64,
    "nothing_helps": pl.Float64,
}


def acting_on_reasons(cohort: CutAccounts, effects: TrueEffects) -> pl.DataFrame:
    """Return one row for all first reasons with a driver, and one for each, the commonest first.

    Columns: ``first_reason`` ("all", or the group); ``accounts``; the shares of these where
    changing its behaviour ``helps``, is ``wrong`` (with a 95 % interval), or ``nothing_helps``.
    Accounts whose first reason of the model has no driver, or that have none, are left out: there
    is nothing to act on.
    """
    first = np.array([stated_in(own.decision).first or "" for own in cohort.advised])
    is_cause = np.column_stack([effects.is_cause(group) for group in GROUPS])
    has_driver = np.isin(first, GROUPS)
    place = np.array([GROUPS.index(group) if group in GROUPS else 0 for group in first.tolist()])
    helps = has_driver & is_cause[np.arange(len(first)), place]
    wrong = has_driver & ~helps & is_cause.any(axis=1)
    groups, counts = np.unique(first[has_driver], return_counts=True)
    commonest = groups[np.argsort(-counts, kind="stable")].tolist()
    members = {"all": has_driver} | {group: first == group for group in commonest}
    rows = [_row(name, of, helps, wrong) for name, of in members.items() if of.any()]
    return pl.DataFrame(rows, SCHEMA)


def _row(name: str, members: Mask, helps: Mask, wrong: Mask) -> dict[str, object]:
    count = int(members.sum())
    share_helped = float(helps[members].mean())
    share_wrong = float(wrong[members].mean())
    low, high = wilson(share_wrong, count)
    return {
        "first_reason": name,
        "accounts": count,
        "helps": share_helped,
        "wrong": share_wrong,
        "wrong_low": low,
        "wrong_high": high,
        "nothing_helps": 1.0 - share_helped - share_wrong,
    }
