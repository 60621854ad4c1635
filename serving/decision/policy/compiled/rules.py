"""The hard rules that apply to an account, as :func:`serving.decision.policy.rules.apply_rules`.

``rules`` is float64 (rules, 9) and ``conditions`` float64 (conditions, 4), with the places below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled_with
from serving.decision.policy.compiled import limits

# Places in a rule.  ``CAP`` is NaN where the rule has none of its own, ``CAP_OF`` where the cap is
# no multiple of a feature, ``FIRST_MONTH`` -inf where it applies to all months.
PRODUCTS = 0
FIRST_MONTH = 1
CAP = 2
CAP_OF = 3
TIMES = 4
REGULATES = 5
SUSPENDS = 6
REVIEWS = 7
WIDTH = 8
# Places in a condition: its rule, the feature, the comparison (0 at least, 1 at most, 2 above, 3
# below), the number.
RULE = 0
FEATURE = 1
COMPARISON = 2
NUMBER = 3

_larger = limits.larger
_round_down = limits.round_down
_round_up = limits.round_up
_next_balance_of = limits.next_balance_of
_limit_for_balance = limits.limit_for_balance
_ROUNDING = limits.ROUNDING


@compiled_with(limits)
def holds(
    value: float,
    comparison: int,
    number: float,
) -> bool:
    """Whether a value meets a condition; NaN does not."""
    if comparison == 0:
        return value >= number
    if comparison == 1:
        return value <= number
    return value > number if comparison == 2 else value < number


@compiled_with(limits)
def all_hold(
    rule: int,
    conditions: Any,
    features: Any,
) -> bool:
    """Whether all conditions of a rule hold."""
    for place in range(conditions.shape[0]):
        condition = conditions[place]
        if condition[RULE] != rule:
            continue
        value = features[int(condition[FEATURE])]
        if not holds(value, int(condition[COMPARISON]), condition[NUMBER]):
            return False
    return True


@compiled_with(limits)
def cap_of(
    rule: Any,
    features: Any,
) -> Any:
    """The cap of a rule, CNY; NaN where it has none or it is unknown."""
    if np.isnan(rule[CAP_OF]):
        return rule[CAP]
    return rule[TIMES] * features[int(rule[CAP_OF])]


@compiled_with(limits)
def allowed_limit(
    cap: float,
    rule: Any,
    balance: float,
    measured: float,
    policy: Any,
) -> float:
    """The limit under a cap: what is drawn already stays drawn.

    ``measured`` is what was owed at the first cut in force.
    """
    if rule[REGULATES] > 0:
        drawn = _round_up(_next_balance_of(balance, 0.0, policy), policy[_ROUNDING])
    else:
        drawn = _limit_for_balance(_larger(balance, measured), policy)
    return _larger(_round_down(cap, policy[_ROUNDING]), drawn)


@compiled_with(limits)
def applies(
    rule: int,
    rules: Any,
    conditions: Any,
    features: Any,
    product: int,
    as_of: float,
) -> bool:
    """Whether a rule applies to an account; one with an unknown cap does not."""
    own = rules[rule]
    if (int(own[PRODUCTS]) >> product) & 1 == 0 or as_of < own[FIRST_MONTH]:
        return False
    if not all_hold(rule, conditions, features):
        return False
    return np.isnan(own[CAP_OF]) or not np.isnan(cap_of(own, features))


@compiled_with(limits)
def apply_rules(  # noqa: PLR0913  # numba takes plain arrays
    rules: Any,
    conditions: Any,
    features: Any,
    product: int,
    as_of: float,
    balance: float,
    measured: float,
    policy: Any,
) -> tuple[float, bool, bool]:
    """The lowest limit of the caps that apply (inf = none); whether a rule suspends, or reviews."""
    cap, suspending, reviewing = np.inf, False, False
    for rule in range(rules.shape[0]):
        if not applies(rule, rules, conditions, features, product, as_of):
            continue
        own = rules[rule]
        limit = cap_of(own, features)
        if not np.isnan(limit):
            cap = min(cap, allowed_limit(limit, own, balance, measured, policy))
        suspending = suspending or own[SUSPENDS] > 0
        reviewing = reviewing or own[REVIEWS] > 0
    return cap, suspending, reviewing
