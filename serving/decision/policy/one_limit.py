"""The limit formula for one account, in plain numbers.

A request is for one account.  NumPy takes about a microsecond for each operation on one number,
and the formula has about eighty: more than all else that the policy does.  Python's own numbers
give the same bits.  :mod:`serving.decision.policy.limit` states the formula and computes many
accounts; a test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from serving.decision.config.economics import FIFTHS
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import (
    GRID_TOLERANCE,
    USUAL_SPEND,
    Account,
    limits_by_model,
)
from serving.decision.scoring.score import logit


def limits_of(accounts: Sequence[Account], policy: Policy) -> list[tuple[float, bool]]:
    """The limit by the model of each account, CNY, and whether it is near the cut-off."""
    if len(accounts) == 1:
        return [limit_of_one(accounts[0], policy)]
    limits, near = limits_by_model(accounts, policy)
    return list(zip(limits.tolist(), near.tolist(), strict=True))


def limit_of_one(account: Account, policy: Policy) -> tuple[float, bool]:
    """What :func:`limits_of` gives for one account."""
    cut_off = policy.cut_off(account.product)
    near = abs(account.log_odds_measured - logit(cut_off)) < policy.review.band
    limit = account.limit_measured
    if account.probability_measured <= cut_off:
        return limit, near
    rounding = policy.cut.rounding
    tolerated = _round_down(_tolerated_limit(account, cut_off, policy), rounding)
    lowest = _round_up(_lowest_limit(account, policy), rounding)
    new_limit = min(max(tolerated, lowest), limit)
    smallest_cut = max(policy.cut.minimum_cut_share * limit, policy.cut.minimum_cut_amount)
    return (limit if limit - new_limit < smallest_cut else new_limit), near


def _tolerated_limit(account: Account, cut_off: float, policy: Policy) -> float:
    """The limit with the largest expected loss that is tolerated, before rounding."""
    probability, limit = account.probability_measured, account.limit_measured
    loss_given_default = policy.economics.loss_given_default
    owed = max(0.0, account.balance_measured)
    conversion = _conversion(account.product, limit, owed, policy)
    if conversion <= 0.0:
        return owed + limit
    at_default = owed + conversion * max(limit - owed, 0.0)
    excess = policy.cut.depth * (probability - cut_off)
    share = cut_off / (cut_off + excess)
    at_cut_off = cut_off * loss_given_default * at_default
    loss = max(share * at_cut_off, policy.cut.minimum_expected_loss)
    tolerated_exposure = loss / (probability * loss_given_default)
    return owed + max(tolerated_exposure - owed, 0.0) / conversion


def _conversion(product: str, limit: float, owed: float, policy: Policy) -> float:
    """The credit conversion of the account's fifth of utilization."""
    utilization = owed / limit if limit > 0.0 else 1.0
    # Before it is made a whole number: a tiny limit may be used millions of times.
    fifth = int(min(utilization * FIFTHS, FIFTHS - 1.0))
    return policy.economics.of(product).conversions[fifth]


def _lowest_limit(account: Account, policy: Policy) -> float:
    """The lowest limit that one decision may leave, before rounding."""
    cut = policy.cut
    owed = max(0.0, account.balance_measured)
    # Whoever owes more than at the first cut must not be over the limit either.
    owed_now = max(0.0, account.balance_measured, account.balance)
    interest = policy.terms.monthly_rate * owed_now
    next_balance = owed_now + interest + account.features[USUAL_SPEND]
    room = max(owed * (1.0 + cut.headroom), next_balance)
    step = cut.largest_step * account.limit_measured
    return max(room, account.limit - step, cut.floor)


def _round_down(amount: float, rounding: float) -> float:
    steps = amount / rounding + GRID_TOLERANCE
    return math.floor(steps) * rounding if math.isfinite(steps) else steps


def _round_up(amount: float, rounding: float) -> float:
    return math.ceil(amount / rounding - GRID_TOLERANCE) * rounding
