"""The accounts of a hold-out as arrays, and the limits that a policy gives them.

:func:`limits_under` is :func:`serving.decision.policy.outcome.apply_many` for arrays: it uses the
same limit formula, so that its limits equal the served ones to the last bit (a test compares both,
for policies of every kind).  The hard rules are applied by the served policy itself.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from features.types import Mask, Vector
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import (
    USUAL_SPEND,
    Account,
    Lines,
    exposure,
    limit_by_model,
    limit_for_balance,
    lines_of,
    next_balance_of,
    without_small_cut,
)
from serving.decision.policy.outcome import Outcome, apply_many
from training.data.labels import soon_after
from training.evaluate.holdout import Evaluation

# At this probability the model cuts no account: the outcome is that of the hard rules alone.
_NO_RISK = 1e-12


@dataclass(frozen=True, slots=True)
class Portfolio:
    """Arrays in order of account, float64 (accounts,) unless stated; CNY.

    ``product``, a name each; ``limit`` and ``balance`` as of now; ``spend`` of a usual month;
    ``probability`` of label 1; ``label`` 0 or 1; ``rule_limit``, the limit under the hard rules
    alone; ``rule_suspends`` (bool), whether they allow no new drawings.
    """

    product: Sequence[str]
    limit: Vector
    balance: Vector
    spend: Vector
    probability: Vector
    label: Vector
    rule_limit: Vector
    rule_suspends: Mask

    def with_probability(self, probability: Vector) -> Portfolio:
        """Return the same accounts with other probabilities, in [0, 1].

        The model never cuts an account at 0, and always cuts it at 1.
        """
        return replace(self, probability=probability)

    def lines(self, policy: Policy) -> Lines:
        """Return what the policy measures the accounts' new limits against."""
        next_balance = next_balance_of(self.balance, self.spend, policy)
        return lines_of(self.product, self.limit, self.balance, next_balance, policy)

    def limit_of_suspension(self, policy: Policy) -> Vector:
        """Return the limits that a suspension leaves: those of now where the cut is too small."""
        drawn = limit_for_balance(self.balance, policy)
        return without_small_cut(drawn, self.limit, self.limit, policy)

    def exposure(self, limit: Vector, policy: Policy) -> Vector:
        """Return the debt expected at default under these limits, CNY."""
        # The conversion is that of the present utilization: a cut changes no customer.
        return exposure(limit, self.balance, self.lines(policy).conversion)

    def margin(self, policy: Policy) -> Vector:
        """Return what a unit of the limit of each account earns in six months if it is good."""
        margins = {name: policy.economics.of(name).margin for name in set(self.product)}
        return np.array([margins[name] for name in self.product])


def portfolio_of(evaluation: Evaluation) -> Portfolio:
    """Return the accounts of a hold-out, with the limits under its bundle's hard rules."""
    features = evaluation.stages.features
    probability = evaluation.probability
    by_rules = _apply_rules(evaluation)
    return Portfolio(
        product=features.accounts["product"].cast(pl.String).to_list(),
        limit=features.column("limit_now"),
        balance=features.column("balance_now"),
        spend=features.column(USUAL_SPEND),
        probability=probability,
        label=evaluation.label,
        rule_limit=limits_of(by_rules),
        rule_suspends=np.array([outcome.suspends for outcome in by_rules]),
    )


def _apply_rules(evaluation: Evaluation) -> list[Outcome]:
    """The outcome of the hard rules alone for each account."""
    as_ofs = evaluation.stages.features.accounts["as_of"].to_list()
    decided_at = soon_after(evaluation.hold_out.as_of)
    policy = evaluation.bundle.policy
    accounts = accounts_of(evaluation, as_ofs)
    without_risk = [replace(account, probability=_NO_RISK) for account in accounts]
    return apply_many(without_risk, policy, decided_at)


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
    # The outcomes, because a proposed suspension has the action "review".
    suspends = np.array([outcome.suspends for outcome in evaluation.stages.outcomes])
    cut: Mask = (after < before) | suspends
    return after, cut


def limits_under(portfolio: Portfolio, policy: Policy) -> tuple[Vector, Mask]:
    """Return the limits that a policy decides or proposes, CNY, and which accounts it cuts.

    The hard rules are those of the portfolio, not of ``policy``.
    """
    suspended_by_model = portfolio.probability >= policy.suspend.probability
    suspended = portfolio.rule_suspends | suspended_by_model
    by_suspension = portfolio.limit_of_suspension(policy)
    lines = portfolio.lines(policy)
    by_model = limit_by_model(portfolio.probability, lines, policy)
    reduced = np.minimum(by_model, portfolio.rule_limit)
    after = np.where(suspended, np.minimum(by_suspension, portfolio.rule_limit), reduced)
    # A suspended account that has drawn nearly all of its limit keeps it, and is cut all the same.
    cut: Mask = (after < portfolio.limit) | suspended
    return after, cut
