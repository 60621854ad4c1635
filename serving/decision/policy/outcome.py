"""Probability and exposure to action, new limit and dates.

Conventions
-----------
``probability`` is the calibrated probability, in (0, 1), of 60 days past due or worse within six
months.

``cut_off`` is the probability at which the expected loss of a unit of limit equals the margin that
it earns plus the harm of cutting a good customer:
``cut_off * lgd = (1 - cut_off) * (margin + harm)``.

``exposure(L)`` at limit L is ``balance + credit_conversion * (L - balance)``, and the expected loss
is ``probability * lgd * exposure(L)``.

Above the cut-off, the new limit is the largest on the rounding grid whose expected loss is at most
``tolerated_share`` of the expected loss of an account at the cut-off with the present limit.  It is
never below the balance with head-room, never below the floor and never above the present limit.

Hard rules come first.  This file contains no numbers: all are in policy.toml.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from features.months import add_months, months_between
from serving.decision.config.policy import Policy, Rule, RuleHit
from serving.decision.policy.dates import effective_date, local_date, review_due_date
from serving.decision.policy.limit import Account, grid_down, grid_up, limits_by_model

Action = Literal["keep", "reduce", "suspend", "restore", "review"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the policy for one account.  Amounts in CNY.

    Attributes:
        action: The action.
        new_limit: The limit in force from ``effective_on``; under ``review`` the present limit.
        proposed_limit: The limit that a person is asked to confirm; None unless under ``review``.
        effective_on: None for ``keep`` and ``review``.
        review_on: The day of the next look at the account; under ``review`` the day by which a
            person decides; None for ``keep``.
        hits: The rules that decided.
        by_model: Whether the model decided, alone or together with rules.
        review_because: The grounds of a review.
        model_cuts: Whether the model alone would cut or suspend, whichever of model and rules
            decided.
        suspends: Whether no new drawing is allowed, or a person is asked to confirm that.
    """

    action: Action
    new_limit: float
    proposed_limit: float | None
    effective_on: datetime.date | None
    review_on: datetime.date | None
    hits: tuple[RuleHit, ...]
    by_model: bool
    review_because: tuple[str, ...]
    model_cuts: bool
    suspends: bool


def apply(account: Account, policy: Policy, decided_at: datetime.datetime) -> Outcome:
    """The outcome for one account.  See :func:`apply_many`."""
    return apply_many([account], policy, decided_at)[0]


def apply_many(
    accounts: Sequence[Account], policy: Policy, decided_at: datetime.datetime
) -> list[Outcome]:
    """The outcome for each account, in order.

    Raises:
        ValueError: ``decided_at`` has no time zone.
    """
    today = local_date(decided_at, policy)
    limits, near = limits_by_model(accounts, policy)
    outcomes = []
    for account, limit, is_near in zip(accounts, limits.tolist(), near.tolist(), strict=True):
        suspends = account.probability >= policy.suspend.probability
        model = _ModelResult(limit=limit, near_cut_off=is_near, suspends=suspends)
        outcomes.append(_combine(account, model, _apply_rules(account, policy), policy, today))
    return outcomes


def refer_to_reviewer(
    outcome: Outcome,
    because: tuple[str, ...],
    limit: float,
    policy: Policy,
    decided_at: datetime.datetime,
) -> Outcome:
    """The same outcome as a proposal to a person, on these further grounds.

    ``limit`` is the present limit, CNY.
    """
    proposed = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    return replace(
        outcome,
        action="review",
        new_limit=limit,
        proposed_limit=proposed,
        effective_on=None,
        review_on=review_due_date(local_date(decided_at, policy), policy),
        review_because=outcome.review_because + because,
    )


@dataclass(frozen=True, slots=True)
class _ModelResult:
    """The result of the model alone; ``limit`` in CNY."""

    limit: float
    near_cut_off: bool
    suspends: bool


@dataclass(frozen=True, slots=True)
class _RuleResult:
    """The result of the hard rules alone: the lowest limit that they allow, and the rules that hit.

    ``capping`` are the rules that allow less than the present limit.
    """

    limit: float
    capping: tuple[RuleHit, ...]
    suspending: tuple[RuleHit, ...]
    reviewing: tuple[RuleHit, ...]


def _combine(
    account: Account, model: _ModelResult, rules: _RuleResult, policy: Policy, today: datetime.date
) -> Outcome:
    limit, balance = account.features["limit_now"], account.features["balance_now"]
    suspended = model.suspends or bool(rules.suspending)
    drawn = min(limit, max(balance, 0.0))
    new_limit = drawn if suspended else min(model.limit, rules.limit)
    is_cut = suspended or new_limit < limit
    by_model = _decided_by_model(model, rules, limit)

    grounds = tuple(hit.rule.code for hit in rules.reviewing)
    if is_cut:
        near = by_model and model.near_cut_off
        grounds += _grounds_for_review(account, policy, near, by_model, limit - new_limit, today)
    kept = Outcome(
        action="keep",
        new_limit=limit,
        proposed_limit=None,
        effective_on=None,
        review_on=None,
        hits=(),
        by_model=False,
        review_because=(),
        model_cuts=model.suspends or model.limit < limit,
        suspends=suspended,
    )
    deciding = rules.suspending or rules.capping
    if grounds:
        return replace(
            kept,
            action="review",
            proposed_limit=new_limit,
            review_on=review_due_date(today, policy),
            hits=deciding + rules.reviewing,
            by_model=by_model,
            review_because=grounds,
        )
    if not is_cut:
        return kept
    return replace(
        kept,
        action="suspend" if suspended else "reduce",
        new_limit=new_limit,
        effective_on=effective_date(today, policy),
        review_on=add_months(today, int(policy.dates.review_after_months)),
        hits=deciding,
        by_model=by_model,
    )


def _decided_by_model(model: _ModelResult, rules: _RuleResult, limit: float) -> bool:
    """Whether the model goes further than the rules.

    A rule that suspends leaves the model nothing to add.
    """
    if rules.suspending:
        return False
    proposes_cut = model.near_cut_off and model.limit < limit
    return model.suspends or model.limit < rules.limit or proposes_cut


def _grounds_for_review(
    account: Account,
    policy: Policy,
    near_cut_off: bool,
    by_model: bool,
    reduction: float,
    today: datetime.date,
) -> tuple[str, ...]:
    """The grounds on which a person decides about a cut of ``reduction`` CNY.

    Short history concerns cuts by the model only: a rule needs no long history.
    """
    has_short_history = account.features["months_observed"] < policy.review.minimum_months
    months_old = months_between(account.as_of, today)
    grounds = {
        "near_cut_off": near_cut_off,
        "high_impact": reduction > policy.review.high_impact_amount,
        "short_history": by_model and has_short_history,
        "stale_data": months_old > policy.review.stale_months,
    }
    return tuple(name for name, applies in grounds.items() if applies)


def _apply_rules(account: Account, policy: Policy) -> _RuleResult:
    hits = [hit for rule in policy.rules if (hit := _hit(rule, account)) is not None]
    limit = account.features["limit_now"]
    allowed = {
        hit.rule.code: _capped_limit(hit.cap, account, policy)
        for hit in hits
        if hit.cap is not None
    }
    return _RuleResult(
        limit=min(allowed.values(), default=limit),
        capping=tuple(hit for hit in hits if allowed.get(hit.rule.code, limit) < limit),
        suspending=tuple(hit for hit in hits if hit.rule.suspend),
        reviewing=tuple(hit for hit in hits if hit.rule.review),
    )


def _hit(rule: Rule, account: Account) -> RuleHit | None:
    """The rule with its cap in CNY, or None if it does not apply to the account."""
    if rule.products is not None and account.product not in rule.products:
        return None
    if rule.first_month is not None and account.as_of < rule.first_month:
        return None
    if not all(condition.holds(account.features[condition.feature]) for condition in rule.when):
        return None
    cap = rule.cap
    if rule.cap_of is not None:
        cap = rule.times * account.features[rule.cap_of]
        if math.isnan(cap):
            return None
    return RuleHit(rule, account.features[rule.when[0].feature], cap)


def _capped_limit(cap: float, account: Account, policy: Policy) -> float:
    """The limit under a cap, on the rounding grid: an amount that is already drawn stays drawn."""
    limit, balance = account.features["limit_now"], account.features["balance_now"]
    drawn = grid_up(max(balance, 0.0), policy.cut.rounding)
    return min(limit, max(grid_down(cap, policy.cut.rounding), drawn))
