"""The hard rules of the policy: which apply to an account, and the limit that they allow.

One rule is here and not in policy.toml: no machine takes a limit on a statement that says what
cannot be (the ground ``implausible_data``).  Its list is short on purpose, and no account of the
UCI Taiwan data or of the default simulation is on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from features.program.evaluate import plain_array
from features.types import Mask
from features.window import STORED_COLUMNS, Window
from serving.decision.config.policy import Policy, Rule, RuleHit
from serving.decision.config.quick_init import quick_init
from serving.decision.policy.compiled import limits
from serving.decision.policy.compiled.implausible import mark_implausible
from serving.decision.policy.compiled.numbers import numbers_of
from serving.decision.policy.limit import Account
from serving.decision.policy.one_limit import limit_without_drawings

# What find_implausible looks at, in the order of its compiled loop.
_PLACES = tuple(map(STORED_COLUMNS.index, ("days_past_due", "balance", "minimum_due")))


@quick_init
@dataclass(frozen=True, slots=True)
class RuleResult:
    """The rules that apply to an account.

    Attributes:
        caps: Those that cap the limit, each with the highest limit that it allows, CNY.
        suspending: Those that allow no new drawing.
        reviewing: Those that ask a person.
    """

    caps: tuple[tuple[RuleHit, float], ...]
    suspending: tuple[RuleHit, ...]
    reviewing: tuple[RuleHit, ...]

    def allow(self, limit: float) -> float:
        """``limit``, or the highest limit that the rules allow if that is less."""
        limits = [limit]
        for _, allowed in self.caps:
            limits.append(allowed)
        return min(limits)

    def capping(self, limit: float) -> tuple[RuleHit, ...]:
        """The rules that allow less than ``limit``."""
        return tuple(hit for hit, allowed in self.caps if allowed < limit)

    def stopping(self, limit: float) -> tuple[RuleHit, ...]:
        """The rules that suspend, then those that allow less than ``limit``, which that leaves.

        Empty where no rule suspends.
        """
        return self.suspending + self.capping(limit) if self.suspending else ()


def find_implausible(window: Window) -> Mask:
    """Whether each account's last statement is implausible, bool (accounts,).

    It is, if

    - ``days_past_due`` is more than 62 days above that of the statement before;
    - 60 days or more are past due, and nothing is owed on it or on the statement before;
    - ``minimum_due`` is above the balance.

    What is unknown, as in a first statement the one before, makes nothing implausible.
    """
    implausible: Mask = np.zeros(len(window.months_observed), dtype=np.bool_)
    days, balance, minimum_due = _PLACES
    mark_implausible(plain_array(window.stored), days, balance, minimum_due, implausible)
    return implausible


def apply_rules(account: Account, policy: Policy) -> RuleResult:
    """The rules that apply to an account, in order of precedence."""
    caps: list[tuple[RuleHit, float]] = []
    suspending: list[RuleHit] = []
    reviewing: list[RuleHit] = []
    for rule in policy.rules:
        hit = _hit(rule, account)
        if hit is None:
            continue
        if hit.cap is not None:
            allowed = _allowed_limit(hit, account, policy)
            caps.append((hit, allowed))
        if rule.suspend:
            suspending.append(hit)
        if rule.review:
            reviewing.append(hit)
    return RuleResult(
        tuple(caps),
        tuple(suspending),
        tuple(reviewing),
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
    return RuleHit(rule, account.features[rule.when[0].feature], cap, account.as_of)


def _allowed_limit(hit: RuleHit, account: Account, policy: Policy) -> float:
    """The limit under a cap, on the rounding grid: an amount that is already drawn stays drawn.

    While a cut is in force, the amount is that at the first cut, so that no payment is answered by
    a further cut.  It has head-room for the interest that comes on top.  A regulation's cap allows
    no new drawing above it, so there it is what is owed, with a month's interest alone.
    """
    if hit.cap is None:
        raise ValueError(f"expected a rule that caps the limit, got {hit.rule.code}")
    settings = numbers_of(policy).settings
    rounding = settings[limits.ROUNDING]
    if hit.rule.cause == "regulation":
        next_balance = limits.next_balance_of(float(account.balance), 0.0, settings)
        drawn = limits.round_up(next_balance, rounding)
    else:
        drawn = limit_without_drawings(account, policy)
    allowed: float = max(limits.round_down(float(hit.cap), rounding), drawn)
    return allowed
