"""The staircase on which a limit comes back.

Conventions
-----------
``below_cut_off`` is the margin of the log-odds below the cut-off: the cut-off's log-odds minus the
account's; negative = above the cut-off.  Functions take and return arrays of one shape, or scalars.
All are monotone: at lower log-odds never less is given back.

The decision, the path of advice and the letter use these functions, so they promise the same.
"""

from __future__ import annotations

import datetime

import numpy as np

from features.months import add_months
from features.types import Mask, Vector
from serving.decision.config.policy import Policy, Restore
from serving.decision.policy.limit import round_down


def share_back(below_cut_off: Vector, restore: Restore) -> Vector:
    """The share of what was taken that is given back at that margin, in [0, 1].

    >>> from serving.decision.config.policy import Restore, Step
    >>> stairs = Restore(3, (Step(0.3, 0.5), Step(1.0, 1.0)))
    >>> share_back(np.array([-2.0, 0.2, 0.3, 0.9, 1.0, 7.0]), stairs)
    array([0. , 0. , 0.5, 0.5, 1. , 1. ])
    """
    margins = np.array([step.margin for step in restore.steps])
    shares = np.array([0.0, *(step.share for step in restore.steps)])
    steps_reached = np.searchsorted(
        margins,
        below_cut_off,
        side="right",
    )
    given: Vector = shares[steps_reached]
    return given


def limit_back(
    below_cut_off: Vector, limit_before: Vector, limit_after: Vector, policy: Policy
) -> Vector:
    """The limit that the staircase allows at that margin, CNY.

    It lies between ``limit_after``, which the latest cut left, and ``limit_before``, from before
    the first cut in force; between them it is rounded down.
    """
    share = share_back(below_cut_off, policy.restore)
    on_the_way = limit_after + share * (limit_before - limit_after)
    rounded = round_down(on_the_way, policy.cut.rounding)
    part = np.clip(rounded, limit_after, limit_before)
    # Rounded down, a limit that is no whole multiple would never be back.
    limit: Vector = np.where(share == 1.0, limit_before, part)
    return limit


def lifts_suspension(below_cut_off: Vector, restore: Restore) -> Mask:
    """Whether the first step is reached, which allows new drawings again."""
    lifts: Mask = np.asarray(below_cut_off) >= restore.first_margin
    return lifts


def may_step_back(last_cut_on: datetime.date, today: datetime.date, restore: Restore) -> bool:
    """Whether the latest cut is long enough ago for anything to be given back."""
    return today >= add_months(last_cut_on, restore.after_months)


def is_look_due(review_on: datetime.date | None, today: datetime.date) -> bool:
    """Whether the day of the next look has come; an account without such a day is looked at."""
    return review_on is None or today >= review_on
