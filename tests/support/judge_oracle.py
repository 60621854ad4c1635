"""The rules of plans and the staircase in NumPy, the oracle of the compiled loops.

Arrays of months are (months, trajectories) of one account, the next month first; amounts in CNY.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Mask
from features.window import HALF_CENT, Months
from serving.decision.config.policy import Policy
from serving.decision.policy.restore import lifts_suspension, limit_back


@dataclass(frozen=True)
class Case:
    """An account whose limit was cut; the fields of :mod:`serving.decision.advice.ahead.judge`."""

    cut_off_log_odds: float
    whole: float
    limit: float
    suspended: bool
    before: float
    after: float
    first: int
    balance: float
    risk: float


def guess_steps(log_odds: Months, case: Case, policy: Policy) -> tuple[Months, Mask]:
    """The limit, and whether drawings are stopped, after each decision."""
    is_time = np.arange(len(log_odds)) >= case.first
    below = case.cut_off_log_odds - log_odds
    lifts = lifts_suspension(below, policy.restore) & is_time[:, None]
    stopped = np.logical_not(np.logical_or.accumulate(lifts, axis=0)) & case.suspended
    back = limit_back(below, np.array(case.before), np.array(case.after), policy)
    given = np.where(is_time[:, None] & ~stopped, back, case.limit)
    limits: Months = np.maximum.accumulate(np.maximum(given, case.limit), axis=0)
    return limits, stopped


def stays_within_limit(balance: Months, limit: Months, balance_now: float) -> Mask:
    """Whether each month ends within its limit, or comes closer to it."""
    owed = np.vstack([np.full(balance.shape[1], balance_now), balance])
    in_force = np.vstack([limit[:1], limit])
    excess = owed - in_force
    within: Mask = (excess[1:] <= HALF_CENT) | (excess[1:] < excess[:-1] - HALF_CENT)
    return within


def owes_no_more(balance: Months, balance_now: float) -> Mask:
    """Whether no more is owed after the last month than now, (trajectories,)."""
    no_more: Mask = balance[-1] <= max(balance_now, 0.0) + HALF_CENT
    return no_more


def flags_of(
    log_odds: Months, probability: Months, balance: Months, case: Case, policy: Policy
) -> Mask:
    """Whether plans restore the limit, are sound, and keep all rules, (trajectories, 3)."""
    limits, stopped = guess_steps(log_odds, case, policy)
    restores = ((limits >= case.whole) & ~stopped).any(axis=0)
    within = stays_within_limit(balance, np.full_like(balance, case.limit), case.balance)
    owes = owes_no_more(balance, case.balance)
    is_better = (limits > case.limit) | (stopped != case.suspended)
    until_step = np.cumsum(is_better, axis=0) <= 1
    sound = owes & (within | ~until_step).all(axis=0)
    keeps = within.all(axis=0) & owes
    # Rows of their own, as np.mean adds the numbers of one trajectory.
    means = np.ascontiguousarray(probability.T).mean(axis=1)
    return np.stack([restores, sound, keeps & (means <= case.risk)], axis=1)
