"""The limit formula: exposure, expected loss, and the new limit that follows from them."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.decision.config.policy import Policy
from serving.decision.scoring.score import logit


@dataclass(frozen=True, slots=True)
class Account:
    """What the policy sees of an account: its features by name (NaN = unknown), product, as_of and
    probability.
    """

    product: str
    as_of: datetime.date
    probability: float
    features: Mapping[str, float]


def limit_by_model(account: Account, policy: Policy, in_band: bool) -> float:
    """The limit that the probability allows, CNY: the present one where no cut is due or it would
    be too small to make.

    Inside the band on either side of the cut-off it is the cut that a person is asked about.
    """
    limit, balance = account.features["limit_now"], max(account.features["balance_now"], 0.0)
    economics, cut = policy.economics, policy.cut
    small = expected_loss(account, policy) < cut.minimum_expected_loss
    if (account.probability <= policy.cut_off and not in_band) or small:
        return limit
    tolerated_exposure = (
        cut.tolerated_share * policy.cut_off * exposure(account, policy) / account.probability
    )
    spare = max(tolerated_exposure - balance, 0.0)
    room = spare / economics.credit_conversion if economics.credit_conversion > 0 else limit
    least = max(grid_up(balance * (1.0 + cut.headroom), cut.rounding), cut.floor)
    new_limit = min(max(grid_down(balance + room, cut.rounding), least), limit)
    trifling = limit - new_limit < max(cut.minimum_cut_share * limit, cut.minimum_cut_amount)
    return limit if trifling else new_limit


def certainly_cut(
    probability: NDArray[np.float64],
    limit: NDArray[np.float64],
    balance: NDArray[np.float64],
    policy: Policy,
) -> NDArray[np.bool_]:
    """Whether the model alone certainly cuts or suspends, for arrays of one shape: a bound, not the
    policy.

    False tells nothing; :func:`apply` does.  It is there for who asks about a million months of
    which the policy leaves few.
    """
    economics, cut = policy.economics, policy.cut
    owed = np.maximum(balance, 0.0)
    exposed = owed + economics.credit_conversion * np.maximum(limit - owed, 0.0)
    # A little below each bound: the last bits may differ from those of limit_by_model.
    risky = probability > policy.cut_off * (1 + ROUNDING_ERROR)
    large = probability * economics.loss_given_default * exposed > cut.minimum_expected_loss * (
        1 + ROUNDING_ERROR
    )
    spare = np.maximum(cut.tolerated_share * policy.cut_off * exposed / probability - owed, 0.0)
    room = spare / economics.credit_conversion if economics.credit_conversion > 0 else limit
    highest = np.maximum(
        np.maximum(owed + room, owed * (1.0 + cut.headroom) + cut.rounding), cut.floor
    )
    trifle = np.maximum(cut.minimum_cut_share * limit, cut.minimum_cut_amount)
    reduction = limit - highest * (1 + ROUNDING_ERROR)
    felt = (reduction > 0) & (reduction >= trifle)
    sure: NDArray[np.bool_] = (risky & large & felt) | (probability >= policy.suspend.probability)
    return sure


ROUNDING_ERROR = 1e-9


def exposure(account: Account, policy: Policy) -> float:
    """What is expected to be owed at a default under the present limit, CNY."""
    limit, balance = account.features["limit_now"], max(account.features["balance_now"], 0.0)
    return balance + policy.economics.credit_conversion * max(limit - balance, 0.0)


def expected_loss(account: Account, policy: Policy) -> float:
    """Probability x loss given default x exposure under the present limit, CNY."""
    return account.probability * policy.economics.loss_given_default * exposure(account, policy)


def near_cut_off(account: Account, policy: Policy) -> bool:
    """Whether the probability lies in the band round the cut-off within which a person decides."""
    return abs(logit(account.probability) - logit(policy.cut_off)) < policy.review.band


def grid_down(amount: float, rounding: float) -> float:
    """The largest multiple of ``rounding`` that is at most ``amount``."""
    return math.floor(amount / rounding + 1e-9) * rounding


def grid_up(amount: float, rounding: float) -> float:
    """The smallest multiple of ``rounding`` that is at least ``amount``."""
    return math.ceil(amount / rounding - 1e-9) * rounding
