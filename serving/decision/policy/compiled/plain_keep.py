"""Which accounts of a portfolio certainly keep their limit, and nothing else happens to them.

Eight of nine accounts of a portfolio keep their limit and get no notice.  A few comparisons of
arrays tell so, in a thousandth of the time of a decision with its reasons.

What is said here is certain, and silent otherwise: an account that is not named may keep its limit
too.  So whoever decides an account that is not named by
:func:`serving.decision.pipeline.decide_many` gets what all accounts would get by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np

from features.build import FEATURE_NAMES, matrix_of
from features.schema import PRODUCTS
from features.types import Mask, Matrix, Rows, Vector
from serving.decision.bundle import Bundle
from serving.decision.config.policy import Policy, Rule
from serving.decision.policy.limit import round_down
from serving.decision.scoring.score import probability_of


@dataclass(frozen=True, slots=True)
class Scored:
    """Accounts of which nothing is in force and that no earlier decision is known of.

    ``values`` are float64 (accounts, features of the catalogue), NaN = unknown; ``products`` int64
    (accounts,), the positions in :data:`features.schema.PRODUCTS`; ``log_odds`` float64
    (accounts,).
    """

    values: Matrix
    products: Rows
    log_odds: Vector


def plain_keeps(accounts: Scored, bundle: Bundle) -> Mask:
    """Which accounts certainly keep their limit without a notice, a review or an arm; (accounts,).

    The model does not cut or suspend, no rule applies, and nothing is unknown that no account of
    the training data lacked.
    """
    policy = bundle.policy
    probability = probability_of(accounts.log_odds)
    is_safe = probability <= _cut_offs(accounts.products, bundle)
    is_safe &= probability < policy.suspend.probability
    for rule in policy.rules:
        is_safe &= ~rule_may_apply(rule, accounts, policy)
    lacked = matrix_of(accounts.values, bundle.never_missing)
    keeps: Mask = is_safe & ~np.isnan(lacked).any(axis=1)
    return keeps


def _cut_offs(products: Rows, bundle: Bundle) -> Vector:
    """The cut-off of each account; NaN for a product that the bundle does not know."""
    of_product = np.full(len(PRODUCTS), np.nan)
    for place in np.unique(products).tolist():
        if PRODUCTS[place] in bundle.comparisons:
            of_product[place] = bundle.policy.cut_off(PRODUCTS[place])
    cut_offs: Vector = of_product[products]
    return cut_offs


def rule_may_apply(rule: Rule, accounts: Scored, policy: Policy) -> Mask:
    """Whether a rule may do something to each account; its first month is left out.

    A cap that is not below the limit does nothing, and neither does a share of an unknown amount.
    """
    holds = [condition.holds_each(_feature(condition.feature, accounts)) for condition in rule.when]
    if rule.products is not None:
        is_meant = np.array([product in rule.products for product in PRODUCTS])
        holds.append(is_meant[accounts.products])
    cap = None if rule.cap is None else np.full(len(accounts.products), rule.cap)
    if rule.cap_of is not None:
        cap = rule.times * _feature(rule.cap_of, accounts)
    if cap is not None:
        holds.append(round_down(cap, policy.cut.rounding) < _feature("limit_now", accounts))
    applies: Mask = reduce(np.logical_and, holds)
    return applies


def _feature(name: str, accounts: Scored) -> Vector:
    values: Vector = accounts.values[:, FEATURE_NAMES.index(name)]
    return values
