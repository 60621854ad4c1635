"""Probability and exposure to action, new limit and dates.

Conventions
-----------
``probability``   calibrated probability of 60 days past due or worse within six months, in (0, 1)
``cut_off``       the probability at which the expected loss of a unit of limit equals what keeping it earns and what cutting
                  a good customer costs: ``cut_off * lgd = (1 - cut_off) * (margin + harm)``
``exposure(L)``   balance + credit_conversion * (limit L - balance)
Expected loss at limit L is ``probability * lgd * exposure(L)``.  Above the cut-off the new limit is the largest on the
rounding grid whose expected loss is at most ``tolerated_share`` of what an account at the cut-off with the present limit
carries; never below the balance with head-room, never below the floor, never above the present limit.

Hard rules come first.  No number stands in this file: all are in policy.toml.
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, replace
from typing import Literal

from features.months import add_months, months_between
from serving.decision.config.policy import Policy, Rule, RuleHit
from serving.decision.policy.dates import local_date, review_due_date
from serving.decision.policy.limit import Account, grid_down, grid_up, limit_by_model, near_cut_off

Action = Literal["keep", "reduce", "suspend", "review"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the policy says.

    ``new_limit`` is in force from ``effective_on``; under ``review`` the limit stays and
    ``proposed_limit`` is what a person is asked to confirm (null otherwise).  ``hits`` are the
    rules that decided; ``by_model``: the model decided, alone or with them.  ``review_on``: when
    the account is looked at again, or the day by which a person decides.  Whoever decided:
    ``model_cuts``, the model alone would cut or suspend; ``suspends``, nothing may be drawn, or a
    person is asked that.
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
    """The outcome for one account.  ``decided_at`` is aware of its time zone."""
    limit, balance = account.features["limit_now"], account.features["balance_now"]
    today = local_date(decided_at, policy)
    hits = tuple(hit for rule in policy.rules if (hit := _hit(rule, account)) is not None)
    in_band = near_cut_off(account, policy)
    model_limit = limit_by_model(account, policy, in_band)
    capped = {
        hit.rule.code: _capped(hit, limit, balance, policy) for hit in hits if hit.cap is not None
    }
    rule_limit = min(capped.values(), default=limit)
    suspending = tuple(hit for hit in hits if hit.rule.suspend)
    model_suspends = account.probability >= policy.suspend.probability

    by_model = model_suspends or model_limit < rule_limit or (in_band and model_limit < limit)
    suspended = model_suspends or bool(suspending)
    new_limit = min(limit, max(balance, 0.0)) if suspended else min(model_limit, rule_limit)
    deciding = (
        suspending
        if suspending
        else tuple(hit for hit in hits if capped.get(hit.rule.code, limit) < limit)
    )
    by_model = by_model and not suspending

    review_hits = tuple(hit for hit in hits if hit.rule.review)
    because = tuple(hit.rule.code for hit in review_hits)
    cut = suspended or new_limit < limit
    if cut:
        because += _grounds_for_review(account, policy, in_band, by_model, limit - new_limit, today)
    objections = (model_suspends or model_limit < limit, suspended)
    if because:
        due = review_due_date(today, policy)
        return Outcome(
            "review",
            limit,
            new_limit,
            None,
            due,
            deciding + review_hits,
            by_model,
            because,
            *objections,
        )
    if not cut:
        return Outcome("keep", limit, None, None, None, (), False, (), *objections)
    effective_on = today + datetime.timedelta(days=policy.dates.effective_after_days)
    review_on = add_months(today, int(policy.dates.review_after_months))
    action: Action = "suspend" if suspended else "reduce"
    return Outcome(
        action, new_limit, None, effective_on, review_on, deciding, by_model, (), *objections
    )


def refer_to_reviewer(
    outcome: Outcome,
    because: tuple[str, ...],
    limit: float,
    policy: Policy,
    decided_at: datetime.datetime,
) -> Outcome:
    """The same outcome as a proposal to a person, for these reasons."""
    proposed = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    due = review_due_date(local_date(decided_at, policy), policy)
    reasons = outcome.review_because + because
    return replace(
        outcome,
        action="review",
        new_limit=limit,
        proposed_limit=proposed,
        effective_on=None,
        review_on=due,
        review_because=reasons,
    )


def _grounds_for_review(
    account: Account,
    policy: Policy,
    in_band: bool,
    by_model: bool,
    reduction: float,
    today: datetime.date,
) -> tuple[str, ...]:
    """Why a cut is a person's; a rule needs no long history, and the band is the model's."""
    grounds = {
        "near_cut_off": by_model and in_band,
        "high_impact": reduction > policy.review.high_impact_amount,
        "short_history": by_model
        and account.features["months_observed"] < policy.review.minimum_months,
        "stale_data": months_between(account.as_of, today) > policy.review.stale_months,
    }
    return tuple(name for name, holds in grounds.items() if holds)


def _hit(rule: Rule, account: Account) -> RuleHit | None:
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


def _capped(hit: RuleHit, limit: float, balance: float, policy: Policy) -> float:
    """A cap on the grid; what is drawn already stays drawn."""
    cap = limit if hit.cap is None else hit.cap
    drawn = grid_up(max(balance, 0.0), policy.cut.rounding)
    return min(limit, max(grid_down(cap, policy.cut.rounding), drawn))
