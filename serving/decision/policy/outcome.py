"""Probability and exposure to action, new limit and dates.

Conventions
-----------
``probability`` is the calibrated probability, in (0, 1), of 60 days past due or worse within six
months.

``cut_off`` of a product is the probability at which the expected loss of a unit of unused limit
equals the margin that it earns plus the harm of cutting a good customer:
``cut_off * lgd * credit_conversion = (1 - cut_off) * (margin + harm)``, with the margin and the
conversion of the product's accounts near the cut-off.

``exposure(L)`` at limit L is ``balance + conversion * (L - balance)`` with the credit conversion of
the product and the account's fifth of utilization, and the expected loss is
``probability * lgd * exposure(L)``.

Above the cut-off, the new limit is the largest on the rounding grid whose expected loss is at most
the tolerated one.  At the cut-off that is the expected loss of the present limit, and above the
cut-off it falls with the probability (``cut.depth``): the limit is continuous.  The new limit is
never below the balance with head-room, never below the floor and never above the present limit, and
one decision takes at most ``cut.largest_step`` of the limit.  A suspension leaves what is drawn,
with head-room.  No cut is smaller than the smallest one, but for a cap that a rule asks for.

With a cut in force, limit and balance are those from before the first such cut, so the same account
asked again gets the same answer (:mod:`serving.decision.policy.again` says when there is a second
cut).  What was taken comes back by :mod:`serving.decision.policy.restore`.  From the prior's
``review_on`` on, an account whose limit does not come back is told why.
Hard rules come first.  This file contains no numbers: all are in policy.toml.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from features.months import add_months, months_between
from serving.decision.config.policy import Policy, ReviewSettings, RuleHit
from serving.decision.config.quick_init import quick_init
from serving.decision.policy import again, restore
from serving.decision.policy.compiled import limits
from serving.decision.policy.compiled.numbers import numbers_of
from serving.decision.policy.dates import effective_date, local_date, review_due_date
from serving.decision.policy.limit import Account
from serving.decision.policy.one_limit import limit_of_one, limit_of_suspension
from serving.decision.policy.prior import Change, Prior
from serving.decision.policy.rules import RuleResult, apply_rules
from serving.decision.scoring.score import logit

Action = Literal["keep", "reduce", "suspend", "restore", "review"]


@quick_init
@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the policy for one account.  Amounts in CNY.

    Attributes:
        action: The action.
        new_limit: The limit in force from ``effective_on``; under ``review`` the present limit.
        proposed_limit: The limit that a person is asked to confirm; None unless under ``review``.
        effective_on: The day of the decision for ``restore``; None for ``keep`` and ``review``.
        review_on: The day of the next look at the account; under ``review`` the day by which a
            person decides; None for ``keep`` without a cut in force, and if all came back.
        hits: The rules that decided, or that leave a limit reduced.
        by_model: Whether the model decided, or leaves a limit reduced, alone or together with
            rules.
        review_because: The grounds of a review.
        model_cuts: Whether the model alone would cut or suspend, whichever of model and rules
            decided.
        suspends: Whether new drawings are stopped, or a person is asked to confirm that.
        suspended: Whether no new drawing is allowed after the decision, be it by an earlier one.
        lifts: Whether a suspension is lifted, or a person is asked to confirm that.
        looked: Whether the day has come to look at a cut in force, and nothing is given back.
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
    suspended: bool = False
    lifts: bool = False
    looked: bool = False


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
    outcomes = []
    for account in accounts:
        limit, is_near = limit_of_one(account, policy)
        suspends = account.probability_measured >= policy.suspend.probability
        model = _ModelResult(limit, is_near, suspends)
        case = _Case(account, apply_rules(account, policy), policy, today)
        outcomes.append(_combine(case, model))
    return outcomes


def refer_to_reviewer(
    outcome: Outcome,
    because: tuple[str, ...],
    account: Account,
    policy: Policy,
    decided_at: datetime.datetime,
) -> Outcome:
    """The same outcome as a proposal to a person, on these further grounds.

    An account that was referred lately, and has not become clearly worse, is not referred again:
    what the model would do is then not done at all, and what rules alone do is done.
    """
    if outcome.action == "keep" and account.cut_in_force is not None and not outcome.looked:
        return outcome  # there is nothing to decide before the next look
    today = local_date(decided_at, policy)
    by_rules_alone = bool(outcome.hits) and not outcome.by_model
    gives_back = outcome.action == "restore"
    may_refer = (
        again.may_refer_for_return if gives_back or outcome.looked else again.may_refer_again
    )
    if outcome.action != "review" and not may_refer(account, policy, today):
        acts = outcome.action in ("reduce", "suspend")
        return outcome if acts and by_rules_alone else _keep_without_model(account, policy, today)
    proposed = outcome.new_limit if outcome.proposed_limit is None else outcome.proposed_limit
    return replace(
        outcome,
        action="review",
        new_limit=account.limit,
        proposed_limit=proposed,
        effective_on=None,
        review_on=review_due_date(today, policy),
        review_because=outcome.review_because + because,
        suspended=account.is_suspended,
        looked=False,
    )


def change_of(outcome: Outcome, account: Account, decision_id: str, today: datetime.date) -> Change:
    """What an outcome puts in force, for :func:`serving.decision.policy.prior.after`.

    ``today`` is the day of the decision on the lender's clock.
    """
    refers = outcome.action == "review"
    return Change(
        decision_id=decision_id,
        on=today,
        limit_before=account.limit,
        limit=outcome.new_limit,
        effective_on=outcome.effective_on or today,
        suspended=outcome.suspended,
        balance=account.balance,
        log_odds=logit(account.probability),
        review_on=None if refers else outcome.review_on,
        refers=refers,
    )


@quick_init
@dataclass(frozen=True, slots=True)
class _ModelResult:
    """The result of the model alone; ``limit`` in CNY, that in force where it makes no cut."""

    limit: float
    near_cut_off: bool
    suspends: bool


@quick_init
@dataclass(frozen=True, slots=True)
class _Case:
    """What an outcome is made of, apart from the model's result."""

    account: Account
    rules: RuleResult
    policy: Policy
    today: datetime.date


@quick_init
@dataclass(frozen=True, slots=True)
class _Cut:
    """A cut that a person may have to decide; ``reduction`` in CNY."""

    reduction: float
    suspends: bool
    by_model: bool
    near_cut_off: bool


def _combine(case: _Case, measured: _ModelResult) -> Outcome:
    account, rules = case.account, case.rules
    limit, was_suspended = account.limit, account.is_suspended
    model = _remember(case, measured)
    suspends = (model.suspends or bool(rules.suspending)) and not was_suspended
    new_limit = min(model.limit, rules.allow(limit))
    deciding = rules.capping(limit)
    if suspends:
        left = limit_of_suspension(account, case.policy)
        new_limit = rules.allow(left)
        deciding = rules.stopping(left) or deciding
    is_cut = suspends or new_limit < limit
    by_model = _decided_by_model(model, rules, limit)

    grounds = tuple(hit.rule.code for hit in rules.reviewing)
    if is_cut:
        near = by_model and model.near_cut_off
        cut = _Cut(limit - new_limit, suspends, by_model, near)
        grounds += _grounds_for_review(case, cut)
    model_cuts = measured.suspends or measured.limit < account.limit_measured
    if grounds and again.may_refer_again(account, case.policy, case.today):
        return Outcome(
            action="review",
            new_limit=limit,
            proposed_limit=new_limit,
            effective_on=None,
            review_on=review_due_date(case.today, case.policy),
            hits=deciding + rules.reviewing,
            by_model=by_model,
            review_because=grounds,
            model_cuts=model_cuts,
            suspends=suspends,
            suspended=was_suspended,
        )
    if not is_cut or grounds or again.is_answered(account, case.policy, case.today):
        return _keep_or_restore(case, model_cuts)
    return Outcome(
        action="suspend" if suspends else "reduce",
        new_limit=new_limit,
        proposed_limit=None,
        effective_on=effective_date(case.today, case.policy),
        review_on=_next_look(case.today, case.policy),
        hits=deciding,
        by_model=by_model,
        review_because=(),
        model_cuts=model_cuts,
        suspends=suspends,
        suspended=suspends or was_suspended,
    )


def _kept(account: Account, model_cuts: bool, review_on: datetime.date | None) -> Outcome:
    """The outcome that leaves everything as it is."""
    return Outcome(
        action="keep",
        new_limit=account.limit,
        proposed_limit=None,
        effective_on=None,
        review_on=review_on,
        hits=(),
        by_model=False,
        review_because=(),
        model_cuts=model_cuts,
        suspends=False,
        suspended=account.is_suspended,
    )


def _remember(case: _Case, model: _ModelResult) -> _ModelResult:
    """The model's result where earlier decisions are in force: no second cut, or a further one.

    A suspension that is in force leaves it nothing to decide.  A further cut is no deeper than the
    present balance with its head-room, and as large as any other cut at least.
    """
    account, policy = case.account, case.policy
    if account.prior is None:
        return model
    limit, measured = account.limit, account.limit_measured
    if account.is_suspended or not again.may_cut_again(account, policy, case.today):
        return _ModelResult(limit, near_cut_off=False, suspends=False)
    if account.cut_in_force is None:
        return model
    if model.limit >= measured:
        return replace(model, limit=limit)
    with_headroom = max(account.balance, 0.0) * (1.0 + policy.cut.headroom)
    settings = numbers_of(policy).settings
    further = max(model.limit, limits.round_up(with_headroom, settings[limits.ROUNDING]))
    is_felt = limit - further >= limits.smallest_cut(float(measured), settings)
    return replace(model, limit=min(limit, further) if is_felt else limit)


def _keep_or_restore(case: _Case, model_cuts: bool) -> Outcome:
    """The outcome without a cut: what the staircase gives back, or a look, or nothing."""
    account, rules, policy, today = case.account, case.rules, case.policy, case.today
    cut = account.cut_in_force
    if cut is None:
        return _kept(account, model_cuts, None)
    is_time = restore.may_step_back(_last_cut_on(cut), today, policy.restore)
    if not is_time and not restore.is_look_due(cut.review_on, today):
        return _kept(account, model_cuts, cut.review_on)
    kept = _kept(account, model_cuts, None)
    numbers = numbers_of(policy)
    below = logit(policy.cut_off(account.product)) - logit(account.probability)
    share = limits.share_back(below, numbers.steps)
    lifts = below >= policy.restore.first_margin and not rules.suspending
    stays_suspended = cut.suspended and not lifts
    before, after = float(cut.limit_before), float(cut.limit_after)
    by_stairs = limits.limit_back(below, before, after, numbers.settings, numbers.steps)
    target = rules.allow(by_stairs)
    # A suspension that stays leaves nothing to draw: no limit comes back before it is lifted.  And
    # below the first step nothing does, even if the lender took more than the cut by other means.
    if stays_suspended or share == 0:
        target = account.limit
    gives_back = target > account.limit or (cut.suspended and lifts)
    hits = rules.suspending if stays_suspended else rules.capping(by_stairs)
    is_fresh = months_between(account.as_of, today) <= policy.review.stale_months
    if gives_back and is_fresh and is_time:
        new_limit = max(account.limit, target)
        is_all = new_limit >= cut.limit_before and not stays_suspended
        return replace(
            kept,
            action="restore",
            new_limit=new_limit,
            effective_on=today,
            review_on=None if is_all else _next_look(today, policy),
            hits=hits,
            suspended=stays_suspended,
            lifts=cut.suspended,
        )
    explained = replace(kept, hits=hits, by_model=share < 1.0)
    return _look(cut, kept, explained, policy, today)


def _keep_without_model(account: Account, policy: Policy, today: datetime.date) -> Outcome:
    """The outcome where a machine may not decide, and a person was asked already."""
    kept = _kept(account, model_cuts=False, review_on=None)
    cut = account.cut_in_force
    return kept if cut is None else _look(cut, kept, kept, policy, today)


def _look(
    cut: Prior, kept: Outcome, explained: Outcome, policy: Policy, today: datetime.date
) -> Outcome:
    """``explained`` with the next look if the day of a look has come, else ``kept`` until then."""
    if not restore.is_look_due(cut.review_on, today):
        return replace(kept, review_on=cut.review_on)
    return replace(explained, review_on=_next_look(today, policy), looked=True)


def _next_look(today: datetime.date, policy: Policy) -> datetime.date:
    return add_months(today, int(policy.dates.review_after_months))


def _last_cut_on(cut: Prior) -> datetime.date:
    if cut.last_cut_on is None:
        raise ValueError(f"expected a prior with a cut in force, got {cut}")
    return cut.last_cut_on


def _decided_by_model(model: _ModelResult, rules: RuleResult, limit: float) -> bool:
    """Whether the model goes further than the rules.

    A rule that suspends leaves the model nothing to add.
    """
    if rules.suspending:
        return False
    proposes_cut = model.near_cut_off and model.limit < limit
    return model.suspends or model.limit < rules.allow(limit) or proposes_cut


def _grounds_for_review(case: _Case, cut: _Cut) -> tuple[str, ...]:
    """The grounds on which a person decides about a cut."""
    account, review = case.account, case.policy.review
    grounds = {
        "near_cut_off": cut.near_cut_off,
        "high_impact": cut.reduction > review.high_impact_amount,
        "stale_data": months_between(account.as_of, case.today) > review.stale_months,
        "implausible_data": account.implausible,
    }
    if cut.by_model:
        grounds |= _grounds_against_model(account, cut, review)
    return tuple(name for name, applies in grounds.items() if applies)


def _grounds_against_model(account: Account, cut: _Cut, review: ReviewSettings) -> dict[str, bool]:
    """The grounds that concern cuts by the model only: a rule needs neither history nor size."""
    features = account.features
    months, late = features["months_observed"], features["days_past_due_now"]
    return {
        "short_history": months < review.minimum_months,
        "high_impact_share": cut.reduction > review.high_impact_share * account.limit,
        # Of an unknown income (NaN) no multiple is exceeded.
        "high_impact_incomes": cut.reduction > review.high_impact_incomes * features["income"],
        "suspends_not_past_due": cut.suspends and late <= 0,
    }
