"""The hard rules of the policy: which apply to an account, and the limit that they allow.

One rule is here and not in policy.toml: no machine takes a limit on a statement that says what
cannot be (the ground ``implausible_data``).  Its list is short on purpose, and no account of the
UCI Taiwan data or of the default simulation is on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from features.types import Mask
from features.window import Window
from serving.decision.config.policy import Policy, Rule, RuleHit
from serving.decision.policy.limit import (
    Account,
    grid_down,
    grid_up,
    next_balance_of,
)

# A payment gets 31 days later in a month at most; a delay in steps of 30 days may be rounded up.
_MOST_DAYS_MORE = 62
# So long a delay is of a bill that the statement before still showed.
_DAYS_OF_OLDER_BILL = 60
_TOLERANCE = 0.005  # CNY: half of the smallest amount


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
    days, owed = window.now("days_past_due"), np.maximum(window.now("balance"), 0.0)
    # Comparisons with an unknown value (NaN) are false.
    grew = days > window.ago("days_past_due", 1) + _MOST_DAYS_MORE
    owed_nothing = (owed == 0.0) & (window.ago("balance", 1) <= 0.0)
    without_debt = (days >= _DAYS_OF_OLDER_BILL) & owed_nothing
    more_due = window.now("minimum_due") > owed + _TOLERANCE
    implausible: Mask = grew | without_debt | more_due
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
    return RuleHit(rule, account.features[rule.when[0].feature], cap)


def _allowed_limit(hit: RuleHit, account: Account, policy: Policy) -> float:
    """The limit under a cap, on the rounding grid: an amount that is already drawn stays drawn.

    While a cut is in force, the amount is that at the first cut, so that no payment is answered by
    a further cut.  It has head-room for the interest that comes on top.  A regulation's cap allows
    no new drawing above it, so there it is what is owed, with a month's interest alone.
    """
    if hit.cap is None:
        raise ValueError(f"expected a rule that caps the limit, got {hit.rule.code}")
    if hit.rule.cause == "regulation":
        next_balance = next_balance_of(np.array(account.balance), np.array(0.0), policy)
        drawn = grid_up(float(next_balance), policy.cut.rounding)
    else:
        drawn = account.limit_without_drawings(policy)
    return max(grid_down(hit.cap, policy.cut.rounding), drawn)
