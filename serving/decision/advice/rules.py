"""The rules that every plan keeps: a way back must not do harm on the way.

1. No month ends over the limit that is in force in it.
2. The last month ends with no more owed than at the beginning.
3. The probability, on average over the months, is no higher than that of carrying on.
4. No month's payment is lower than what the customer pays now.

The fourth holds by how plans are made (:func:`serving.decision.advice.rollout.planned_payment`);
the functions here check the others, for the trajectories of one account.  Arrays are (months,
trajectories), the next month first, or (trajectories,); amounts are in CNY.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.types import Mask
from features.window import HALF_CENT, Months, Values


def stays_within_limit(balance: Months, limit: Months, balance_now: float) -> Mask:
    """Whether each month ends within the limit that is in force in it, (months, trajectories).

    An account that begins over its limit, as after a cap by a rule, has to come closer to it each
    month until it is within it, and to stay there.
    """
    owed = np.vstack([np.full(balance.shape[1], balance_now), balance])
    in_force = np.vstack([limit[:1], limit])
    excess = owed - in_force
    within: Mask = (excess[1:] <= HALF_CENT) | (excess[1:] < excess[:-1] - HALF_CENT)
    return within


def owes_no_more(last_balance: Values, balance_now: float) -> Mask:
    """Whether no more is owed after the last month than now, (trajectories,)."""
    no_more: Mask = last_balance <= max(balance_now, 0.0) + HALF_CENT
    return no_more


def is_sound(balance: Sequence[float], limit: Sequence[float], balance_now: float) -> bool:
    """Whether one trajectory keeps the first two rules; a few months cost less without arrays."""
    before = balance_now - limit[0]
    for owed, in_force in zip(balance, limit, strict=True):
        excess = owed - in_force
        if not (excess <= HALF_CENT or excess < before - HALF_CENT):
            return False
        before = excess
    return balance[-1] <= max(balance_now, 0.0) + HALF_CENT


def is_no_riskier(probability: Months, as_before: float) -> Mask:
    """Whether the mean probability is no higher than carrying on's mean, (trajectories,).

    ``as_before`` is that mean.
    """
    no_riskier: Mask = probability.mean(axis=0) <= as_before
    return no_riskier


def keep_all(
    balance: Months,
    limits: Months,
    probability: Months,
    balance_now: float,
    risk_as_before: float,
) -> Mask:
    """Whether trajectories of one account keep all of these rules, (trajectories,).

    ``balance``, ``limits`` and ``probability`` are (months, trajectories); ``risk_as_before`` is
    the mean probability of carrying on.
    """
    within = stays_within_limit(balance, limits, balance_now).all(axis=0)
    owes = owes_no_more(balance[-1], balance_now)
    keeps: Mask = within & owes & is_no_riskier(probability, risk_as_before)
    return keeps
