"""The limits of one account, as a decision asks for them.

The formula is that of :mod:`serving.decision.policy.compiled.limits`, which advice runs too: NumPy
takes about a microsecond for each operation on one number, and the formula has about eighty.
:mod:`serving.decision.policy.limit` states the formula over arrays, for training; a test compares
the two.
"""

from __future__ import annotations

from features.schema import PRODUCTS
from serving.decision.config.policy import Policy
from serving.decision.policy.compiled import limits
from serving.decision.policy.compiled.numbers import numbers_of
from serving.decision.policy.limit import USUAL_SPEND, Account
from serving.decision.scoring.score import logit

# numba compiles a function again for whole numbers, so amounts that a caller may state as such are
# made floats.


def limit_of_one(account: Account, policy: Policy) -> tuple[float, bool]:
    """The limit by the model, CNY, and whether the account is near the cut-off.

    It is what :func:`serving.decision.policy.limit.limits_by_model` gives for the account.
    """
    cut_off = policy.cut_off(account.product)
    is_near = abs(account.log_odds_measured - logit(cut_off)) < policy.review.band
    limit, probability = account.limit_measured, account.probability_measured
    if probability <= cut_off:  # most accounts keep their limit
        return limit, is_near
    numbers = numbers_of(policy)
    balance = float(account.balance_measured)
    # Whoever owes more than at the first cut must not be over the limit either.
    owed = max(balance, account.balance)
    spend = float(account.features[USUAL_SPEND])
    by_model = limits.limit_by_model(
        probability,
        float(limit),
        balance,
        limits.next_balance_of(owed, spend, numbers.settings),
        float(account.limit),
        numbers.settings,
        numbers.products[PRODUCTS.index(account.product)],
    )
    return by_model, is_near


def limit_without_drawings(account: Account, policy: Policy) -> float:
    """The limit that leaves room for what is owed, or was at the first cut, and no more, CNY."""
    owed = float(max(account.balance, account.balance_measured))
    limit: float = limits.limit_for_balance(owed, numbers_of(policy).settings)
    return limit


def limit_of_suspension(account: Account, policy: Policy) -> float:
    """The limit that a suspension leaves, CNY: that in force where the cut would be too small."""
    return limits.without_small_cut(
        limit_without_drawings(account, policy),
        float(account.limit),
        float(account.limit_measured),
        numbers_of(policy).settings,
    )


def load_loops(policy: Policy) -> None:
    """Compile every loop that a decision on one account may call, or read it from disk.

    Otherwise the first account whose limit comes back, say, would wait for that, or a registered
    model would look for it where the process has other code.
    """
    numbers = numbers_of(policy)
    settings, steps = numbers.settings, numbers.steps
    rounding = settings[limits.ROUNDING]
    owed = limits.next_balance_of(0.0, 0.0, settings)
    limits.limit_by_model(0.5, 1.0, 0.0, owed, 1.0, settings, numbers.products[0])
    limits.without_small_cut(limits.limit_for_balance(0.0, settings), 1.0, 1.0, settings)
    limits.smallest_cut(1.0, settings)
    limits.round_down(1.0, rounding)
    limits.round_up(1.0, rounding)
    limits.share_back(0.0, steps)
    limits.limit_back(0.0, 1.0, 1.0, settings, steps)
