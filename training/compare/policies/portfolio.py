"""Accounts as the policy sees them, as arrays, and what a policy does with all of them at once.

:func:`limits_under` is :func:`serving.decision.policy.outcome.apply` for arrays: the same
operations in the same order, so that its limits equal the served ones to the last bit (a test holds
both together, for policies of every kind).  What the hard rules do is asked of the served policy
itself.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace

import numpy as np

from features.types import Mask, Vector
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import apply
from serving.decision.scoring.score import logit
from training.data.labels import soon_after
from training.evaluate.holdout import Evaluation

# a probability at which the model cuts nobody: what is then decided, the rules decide
_SAFE = 1e-12


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Arrays in order of account, float64 (accounts,) unless stated; CNY.

    ``limit`` and ``balance`` as of now; ``probability`` of label 1 and its ``log_odds``; ``label``
    0 or 1; ``rule_limit`` what the hard rules alone leave, ``rule_suspends`` (bool) whether they
    allow no new drawings.
    """

    limit: Vector
    balance: Vector
    probability: Vector
    log_odds: Vector
    label: Vector
    rule_limit: Vector
    rule_suspends: Mask

    def with_probability(self, probability: Vector) -> Portfolio:
        """The same accounts with other probabilities, in [0, 1]: 0 is never cut by the model and 1
        always.
        """
        with np.errstate(divide="ignore"):
            return replace(
                self, probability=probability, log_odds=np.log(probability) - np.log1p(-probability)
            )

    def exposure(self, limit: Vector, policy: Policy) -> Vector:
        """What is expected to be owed at a default under these limits."""
        owed = np.maximum(self.balance, 0.0)
        found: Vector = owed + policy.economics.credit_conversion * np.maximum(limit - owed, 0.0)
        return found


def portfolio_of(evaluated: Evaluation) -> Portfolio:
    """The accounts of a hold-out as its bundle's policy sees them."""
    features, policy = evaluated.stages.features, evaluated.bundle.policy
    accounts = accounts_of(evaluated, features.accounts["as_of"].to_list())
    decided_at = soon_after(evaluated.hold_out.as_of)
    by_rule = [
        apply(replace(account, probability=_SAFE), policy, decided_at) for account in accounts
    ]
    # Under review the policy proposes what it would have done.
    left = [
        made.new_limit if made.proposed_limit is None else made.proposed_limit for made in by_rule
    ]
    return Portfolio(
        limit=features.column("limit_now"),
        balance=features.column("balance_now"),
        probability=evaluated.probability,
        log_odds=np.array([logit(probability) for probability in evaluated.probability.tolist()]),
        label=evaluated.label,
        rule_limit=np.array(left),
        rule_suspends=np.array([made.suspends for made in by_rule]),
    )


def accounts_of(evaluated: Evaluation, as_ofs: list[datetime.date]) -> list[Account]:
    """What the served policy takes, one an account, with these as_ofs."""
    products = evaluated.stages.features.accounts["product"].to_list()
    rows = zip(
        products, as_ofs, evaluated.probability.tolist(), evaluated.stages.evidence, strict=True
    )
    return [
        Account(product, as_of, probability, proof.values)
        for product, as_of, probability, proof in rows
    ]


def served(evaluated: Evaluation) -> tuple[Vector, Mask]:
    """The limits that were decided or proposed, CNY, and whose limit is cut, suspended or proposed
    to be.
    """
    before, after = evaluated.limits
    suspends = np.array([outcome.suspends for outcome in evaluated.stages.outcomes])
    return after, (after < before) | suspends


def limits_under(book: Portfolio, policy: Policy) -> tuple[Vector, Mask]:
    """The limits that a policy with the book's own rules decides or proposes, and whose limit it
    cuts or suspends.
    """
    suspended = book.rule_suspends | (book.probability >= policy.suspend.probability)
    drawn = np.minimum(book.limit, np.maximum(book.balance, 0.0))
    after = np.where(suspended, drawn, np.minimum(_by_model(book, policy), book.rule_limit))
    return after, (after < book.limit) | suspended


def _by_model(book: Portfolio, policy: Policy) -> Vector:
    """:func:`serving.decision.policy.limit.limit_by_model` for arrays."""
    economics, cut, cut_off = policy.economics, policy.cut, policy.cut_off
    limit, balance, p = book.limit, np.maximum(book.balance, 0.0), book.probability
    exposure = balance + economics.credit_conversion * np.maximum(limit - balance, 0.0)
    in_band = np.abs(book.log_odds - logit(cut_off)) < policy.review.band
    small = p * economics.loss_given_default * exposure < cut.minimum_expected_loss
    left_alone = ((p <= cut_off) & ~in_band) | small
    with np.errstate(divide="ignore", invalid="ignore"):  # a probability of 0 is left alone
        tolerated = cut.tolerated_share * cut_off * exposure / p
    spare = np.maximum(tolerated - balance, 0.0)
    room = spare / economics.credit_conversion if economics.credit_conversion > 0 else limit
    least = np.maximum(
        np.ceil(balance * (1.0 + cut.headroom) / cut.rounding - 1e-9) * cut.rounding, cut.floor
    )
    new_limit = np.minimum(
        np.maximum(np.floor((balance + room) / cut.rounding + 1e-9) * cut.rounding, least), limit
    )
    trifling = limit - new_limit < np.maximum(cut.minimum_cut_share * limit, cut.minimum_cut_amount)
    return np.where(left_alone | trifling, limit, new_limit)
