"""Action and new limit of one account, as :func:`serving.decision.policy.outcome.apply_many`.

``own`` is float64 (15,), the policy's view of an account, and ``out`` float64 (6,), the outcome,
with the places below; days are those of :mod:`serving.decision.policy.compiled.days`.  ``prior`` is
that of :mod:`serving.decision.policy.compiled.memory`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled_with
from serving.decision.policy.compiled import days, limits, memory, rules

# Places in ``own``.  ``PROBABILITY`` and ``LOG_ODDS`` are those that the policy measures by,
# ``AS_OF`` is a month index, ``CUTS`` and ``STOPPED`` are 0 or 1.
PROBABILITY = 0
LOG_ODDS = 1
AS_OF = 2
TODAY = 3
LIMIT = 4
MEASURED = 5
BALANCE = 6
BALANCE_MEASURED = 7
SPEND = 8
OBSERVED = 9
LATE = 10
INCOME = 11
CUTS = 12
STOPPED = 13
LOG_ODDS_NOW = 14
OWN_WIDTH = 15
# Places in ``out``.
ACTION = 0
NEW_LIMIT = 1
SUSPENDED = 2
PROPOSED = 3
EFFECTIVE = 4
REVIEW_ON = 5
OUT_WIDTH = 6
# The actions, in the order of serving.decision.policy.outcome.Action.
KEEP = 0.0
REDUCE = 1.0
SUSPEND = 2.0
RESTORE = 3.0
REVIEW = 4.0
# As serving.decision.policy.again has it.
ROUNDING = 1e-9

_compiled = compiled_with(days, limits, memory, rules)
_add_months = days.add_months
_add_days = days.add_days
_limit_by_model = limits.limit_by_model
_limit_back = limits.limit_back
_share_back = limits.share_back
_limit_for_balance = limits.limit_for_balance
_next_balance_of = limits.next_balance_of
_larger = limits.larger
_round_up = limits.round_up
_smallest_cut = limits.smallest_cut
_without_small_cut = limits.without_small_cut
_apply_rules = rules.apply_rules
_cuts = memory.cuts
_remember = memory.remember
_CUT_OFF_LOG_ODDS = limits.CUT_OFF_LOG_ODDS
_AGAIN_MONTHS = limits.AGAIN_MONTHS
_AGAIN_WORSE = limits.AGAIN_WORSE
_BAND = limits.BAND
_SUSPEND = limits.SUSPEND
_HEADROOM = limits.HEADROOM
_GRID = limits.ROUNDING
_STALE = limits.STALE_MONTHS
_RESTORE_MONTHS = limits.RESTORE_MONTHS
_MOST_AMOUNT = limits.MOST_AMOUNT
_MOST_SHARE = limits.MOST_SHARE
_MOST_INCOMES = limits.MOST_INCOMES
_LEAST_MONTHS = limits.LEAST_MONTHS
_EFFECTIVE_DAYS = limits.EFFECTIVE_DAYS
_DECIDE_DAYS = limits.DECIDE_DAYS
_LOOK_MONTHS = limits.LOOK_MONTHS
_HAS = memory.HAS
_BEFORE = memory.BEFORE
_BALANCE_BEFORE = memory.BALANCE_BEFORE
_LAST_CUT = memory.LAST_CUT
_THEN = memory.LOG_ODDS
_AFTER = memory.AFTER
_IN_FORCE = memory.IN_FORCE
_FROM = memory.FROM
_WAS_STOPPED = memory.STOPPED
_REFERRED = memory.REFERRED
_LOOK = memory.LOOK


@_compiled
def view(
    features: Any,
    places: Any,
    prior: Any,
    own: Any,
) -> None:
    """Write the amounts that the policy measures by into ``own``.

    ``places`` are those of limit_now, balance_now, spend_mean_6, months_observed, days_past_due_now
    and income in ``features``.  ``own`` has probability, log-odds, month and day already.
    """
    own[LIMIT] = features[places[0]]
    if prior[_HAS] > 0 and (own[AS_OF] + 1.0) * 32.0 + 1.0 <= prior[_FROM]:
        own[LIMIT] = prior[_IN_FORCE]
    own[BALANCE] = features[places[1]]
    own[SPEND] = features[places[2]]
    own[OBSERVED] = features[places[3]]
    own[LATE] = features[places[4]]
    own[INCOME] = features[places[5]]
    own[CUTS] = 1.0 if _cuts(prior) else 0.0
    own[STOPPED] = 1.0 if prior[_HAS] > 0 and prior[_WAS_STOPPED] > 0 else 0.0
    own[MEASURED] = own[LIMIT]
    own[BALANCE_MEASURED] = own[BALANCE]
    if own[CUTS] > 0:
        own[MEASURED] = prior[_BEFORE]
        own[BALANCE_MEASURED] = prior[_BALANCE_BEFORE]


@_compiled
def may_act_again(
    since: float,
    own: Any,
    prior: Any,
    policy: Any,
) -> Any:
    """Whether the model may act again, after it did on that day."""
    recently = own[TODAY] < _add_months(since, int(policy[_AGAIN_MONTHS]))
    if np.isnan(prior[_THEN]):
        return not recently
    rise = own[LOG_ODDS] - prior[_THEN]
    if recently:
        return rise >= policy[_AGAIN_WORSE] - ROUNDING
    return rise > ROUNDING


@_compiled
def may_cut_again(
    own: Any,
    prior: Any,
    policy: Any,
) -> Any:
    """Whether the model may cut or suspend."""
    if prior[_HAS] == 0.0:
        return True
    last_cut, referred = prior[_LAST_CUT], prior[_REFERRED]
    if not np.isnan(last_cut) and not may_act_again(last_cut, own, prior, policy):
        return False
    return np.isnan(referred) or may_act_again(referred, own, prior, policy)


@_compiled
def may_refer_again(
    own: Any,
    prior: Any,
    policy: Any,
) -> Any:
    """Whether the account may be referred to a person."""
    referred = prior[_REFERRED]
    if prior[_HAS] == 0.0 or np.isnan(referred):
        return True
    return may_act_again(referred, own, prior, policy)


@_compiled
def further_limit(
    limit: float,
    own: Any,
    policy: Any,
) -> Any:
    """The limit of a further cut to ``limit``: no deeper than what is owed, and not too small."""
    if limit >= own[MEASURED]:
        return own[LIMIT]
    with_headroom = max(own[BALANCE], 0.0) * (1.0 + policy[_HEADROOM])
    further = max(limit, _round_up(with_headroom, policy[_GRID]))
    if own[LIMIT] - further >= _smallest_cut(own[MEASURED], policy):
        return min(own[LIMIT], further)
    return own[LIMIT]


@_compiled
def ask_model(
    own: Any,
    prior: Any,
    policy: Any,
    product: Any,
) -> tuple[float, bool, bool]:
    """The model's limit, whether it is near the cut-off, and whether the model suspends."""
    if own[STOPPED] > 0 or not may_cut_again(own, prior, policy):
        return own[LIMIT], False, False
    owed = _larger(own[BALANCE_MEASURED], own[BALANCE])
    limit = _limit_by_model(
        own[PROBABILITY],
        own[MEASURED],
        own[BALANCE_MEASURED],
        _next_balance_of(owed, own[SPEND], policy),
        own[LIMIT],
        policy,
        product,
    )
    near = abs(own[LOG_ODDS] - product[_CUT_OFF_LOG_ODDS]) < policy[_BAND]
    suspends = own[PROBABILITY] >= policy[_SUSPEND]
    if own[CUTS] > 0:
        limit = further_limit(limit, own, policy)
    return limit, near, suspends


@_compiled
def needs_person(
    reduction: float,
    suspends: bool,
    by_model: bool,
    near: bool,
    own: Any,
    policy: Any,
) -> bool:
    """Whether a cut has a ground on which a person decides."""
    if (by_model and near) or reduction > policy[_MOST_AMOUNT]:
        return True
    if np.floor(own[TODAY] / 32.0) - own[AS_OF] > policy[_STALE]:
        return True
    if not by_model:
        return False
    if own[OBSERVED] < policy[_LEAST_MONTHS] or reduction > policy[_MOST_SHARE] * own[LIMIT]:
        return True
    if reduction > policy[_MOST_INCOMES] * own[INCOME]:
        return True
    return suspends and own[LATE] <= 0


@_compiled
def suspended_limit(
    own: Any,
    policy: Any,
) -> float:
    """The limit that a suspension leaves."""
    drawn = _limit_for_balance(max(own[BALANCE], own[BALANCE_MEASURED]), policy)
    return _without_small_cut(drawn, own[LIMIT], own[MEASURED], policy)


@_compiled
def combine(  # noqa: PLR0913
    cap: float,
    rule_suspends: bool,
    rule_reviews: bool,
    own: Any,
    prior: Any,
    policy: Any,
    product: Any,
    steps: Any,
    out: Any,
) -> None:
    """Write the outcome of model and rules into ``out``."""
    limit, near, model_suspends = ask_model(own, prior, policy, product)
    allowed = min(own[LIMIT], cap)
    suspends = (model_suspends or rule_suspends) and own[STOPPED] == 0.0
    new_limit = min(limit, allowed)
    if suspends:
        new_limit = min(suspended_limit(own, policy), cap)
    is_cut = suspends or new_limit < own[LIMIT]
    goes_further = limit < allowed or (near and limit < own[LIMIT])
    by_model = not rule_suspends and (model_suspends or goes_further)
    needed = rule_reviews
    if is_cut and not needed:
        reduction = own[LIMIT] - new_limit
        needed = needs_person(reduction, suspends, by_model, near, own, policy)
    out[:] = np.nan
    out[ACTION] = KEEP
    out[NEW_LIMIT] = own[LIMIT]
    out[SUSPENDED] = own[STOPPED]
    if needed and may_refer_again(own, prior, policy):
        out[ACTION] = REVIEW
        out[PROPOSED] = new_limit
        out[REVIEW_ON] = _add_days(own[TODAY], int(policy[_DECIDE_DAYS]))
    elif needed or not is_cut:
        keep_or_restore(cap, rule_suspends, own, prior, policy, product, steps, out)
    else:
        out[ACTION] = SUSPEND if suspends else REDUCE
        out[NEW_LIMIT] = new_limit
        out[SUSPENDED] = 1.0 if suspends else own[STOPPED]
        out[EFFECTIVE] = _add_days(own[TODAY], int(policy[_EFFECTIVE_DAYS]))
        out[REVIEW_ON] = _add_months(own[TODAY], int(policy[_LOOK_MONTHS]))


@_compiled
def keep_or_restore(  # noqa: PLR0913
    cap: float,
    rule_suspends: bool,
    own: Any,
    prior: Any,
    policy: Any,
    product: Any,
    steps: Any,
    out: Any,
) -> None:
    """Write what the staircase gives back, or a look, or nothing, into ``out``."""
    if own[CUTS] == 0.0:
        return
    today = own[TODAY]
    below = product[_CUT_OFF_LOG_ODDS] - own[LOG_ODDS_NOW]
    lifts = below >= steps[0, 0] and not rule_suspends
    stays_stopped = prior[_WAS_STOPPED] > 0 and not lifts
    target = min(_limit_back(below, prior[_BEFORE], prior[_AFTER], policy, steps), cap)
    if stays_stopped or _share_back(below, steps) == 0.0:
        target = own[LIMIT]
    gives_back = target > own[LIMIT] or (prior[_WAS_STOPPED] > 0 and lifts)
    is_fresh = np.floor(today / 32.0) - own[AS_OF] <= policy[_STALE]
    is_time = today >= _add_months(prior[_LAST_CUT], int(policy[_RESTORE_MONTHS]))
    if gives_back and is_fresh and is_time:
        out[ACTION] = RESTORE
        out[NEW_LIMIT] = max(own[LIMIT], target)
        out[SUSPENDED] = 1.0 if stays_stopped else 0.0
        out[EFFECTIVE] = today
        if out[NEW_LIMIT] < prior[_BEFORE] or stays_stopped:
            out[REVIEW_ON] = _add_months(today, int(policy[_LOOK_MONTHS]))
    elif today < prior[_LOOK]:
        out[REVIEW_ON] = prior[_LOOK]
    else:
        out[REVIEW_ON] = _add_months(today, int(policy[_LOOK_MONTHS]))


@_compiled
def put_in_force(
    out: Any,
    own: Any,
    change: Any,
    prior: Any,
) -> None:
    """Make the prior of the next decision; ``change`` is float64 (9,), which is written."""
    refers = out[ACTION] == REVIEW
    change[0] = own[TODAY]
    change[1] = own[LIMIT]
    change[2] = out[NEW_LIMIT]
    change[3] = own[TODAY] if np.isnan(out[EFFECTIVE]) else out[EFFECTIVE]
    change[4] = out[SUSPENDED]
    change[5] = own[BALANCE]
    change[6] = own[LOG_ODDS_NOW]
    change[7] = np.nan if refers else out[REVIEW_ON]
    change[8] = 1.0 if refers else 0.0
    _remember(prior, change)


@_compiled
def decide(  # noqa: PLR0913
    features: Any,
    places: Any,
    own: Any,
    prior: Any,
    policy: Any,
    product: int,
    products: Any,
    steps: Any,
    all_rules: Any,
    conditions: Any,
    out: Any,
) -> None:
    """Write the outcome of one account into ``out``.

    ``own`` has probability, log-odds, month and day; ``products`` is float64 (products, 7).
    """
    view(features, places, prior, own)
    cap, suspends, reviews = _apply_rules(
        all_rules,
        conditions,
        features,
        product,
        own[AS_OF],
        own[BALANCE],
        own[BALANCE_MEASURED],
        policy,
    )
    combine(cap, suspends, reviews, own, prior, policy, products[product], steps, out)
