"""The accounts of a hold-out as arrays, and the limits that a policy gives them.

:func:`limits_under` is :func:`serving.decision.policy.outcome.apply` for arrays: the same
operations in the same order, so that its limits equal the served ones to the last bit (a test
compares both, for policies of every kind).  The hard rules are applied by the served policy itself.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from features.types import Mask, Vector
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.scoring.score import logit
from training.data.labels import soon_after
from training.evaluate.holdout import Evaluation

# At this probability the model cuts no account: the outcome is that of the hard rules alone.
_NO_RISK = 1e-12


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Arrays in order of account, float64 (accounts,) unless stated; CNY.

    ``limit`` and ``balance`` as of now; ``probability`` of label 1 and its ``log_odds``; ``label``
    0 or 1; ``rule_limit``, the limit under the hard rules alone; ``rule_suspends`` (bool), whether
    they allow no new drawings.
    """

    limit: Vector
    balance: Vector
    probability: Vector
    log_odds: Vector
    label: Vector
    rule_limit: Vector
    rule_suspends: Mask

    def with_probability(self, probability: Vector) -> Portfolio:
        """Return the same accounts with other probabilities, in [0, 1].

        The model never cuts an account at 0, and always cuts it at 1.
        """
        with np.errstate(divide="ignore"):
            log_odds = np.log(probability) - np.log1p(-probability)
        return replace(self, probability=probability, log_odds=log_odds)

    def exposure(self, limit: Vector, policy: Policy) -> Vector:
        """Return the debt expected at default under these limits, CNY."""
        owed = np.maximum(self.balance, 0.0)
        unused = np.maximum(limit - owed, 0.0)
        exposure: Vector = owed + policy.economics.credit_conversion * unused
        return exposure


def portfolio_of(evaluation: Evaluation) -> Portfolio:
    """Return the accounts of a hold-out, with the limits under its bundle's hard rules."""
    features = evaluation.stages.features
    probability = evaluation.probability
    by_rules = _apply_rules(evaluation)
    return Portfolio(
        limit=features.column("limit_now"),
        balance=features.column("balance_now"),
        probability=probability,
        # The served logit, because NumPy's logarithm differs in the last bit.
        log_odds=np.array([logit(p) for p in probability.tolist()]),
        label=evaluation.label,
        rule_limit=limits_of(by_rules),
        rule_suspends=np.array([outcome.suspends for outcome in by_rules]),
    )


def _apply_rules(evaluation: Evaluation) -> list[Outcome]:
    """The outcome of the hard rules alone for each account."""
    as_ofs = evaluation.stages.features.accounts["as_of"].to_list()
    decided_at = soon_after(evaluation.hold_out.as_of)
    policy = evaluation.bundle.policy
    return [
        apply(replace(account, probability=_NO_RISK), policy, decided_at)
        for account in accounts_of(evaluation, as_ofs)
    ]


def limits_of(outcomes: Sequence[Outcome]) -> Vector:
    """Return the limit of each outcome, CNY; under review the one proposed to the reviewer."""
    limits = []
    for outcome in outcomes:
        proposed = outcome.proposed_limit
        limits.append(outcome.new_limit if proposed is None else proposed)
    return np.array(limits)


def accounts_of(evaluation: Evaluation, as_ofs: Sequence[datetime.date]) -> list[Account]:
    """Return the served policy's input for each account, with these as_ofs."""
    products = evaluation.stages.features.accounts["product"].to_list()
    probabilities = evaluation.probability.tolist()
    rows = zip(products, as_ofs, probabilities, evaluation.stages.evidence, strict=True)
    return [
        Account(product, as_of, probability, evidence.values)
        for product, as_of, probability, evidence in rows
    ]


def served(evaluation: Evaluation) -> tuple[Vector, Mask]:
    """Return the limits that were decided or proposed, CNY, and which accounts are cut.

    An account is cut if its limit is reduced or suspended, or if that is proposed.
    """
    before, after = evaluation.limits
    suspends = np.array([outcome.suspends for outcome in evaluation.stages.outcomes])
    return after, (after < before) | suspends


def limits_under(portfolio: Portfolio, policy: Policy) -> tuple[Vector, Mask]:
    """Return the limits that a policy decides or proposes, CNY, and which accounts it cuts.

    The hard rules are those of the portfolio, not of ``policy``.
    """
    suspended = portfolio.rule_suspends | (portfolio.probability >= policy.suspend.probability)
    drawn = np.minimum(portfolio.limit, np.maximum(portfolio.balance, 0.0))
    by_model = _by_model(portfolio, policy)
    after = np.where(suspended, drawn, np.minimum(by_model, portfolio.rule_limit))
    return after, (after < portfolio.limit) | suspended


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
