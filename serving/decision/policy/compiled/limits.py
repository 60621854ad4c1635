"""The limit formula and the staircase of one account: the arithmetic of limit.py and restore.py.

``policy`` is float64, with the settings at the places below; ``product`` is float64 (7,): the
cut-off, its log-odds, then the conversions by fifth of utilization.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled

# Places in ``policy``, named after the fields of policy.toml.
DEPTH = 0
HEADROOM = 1
LARGEST_STEP = 2
FLOOR = 3
ROUNDING = 4
SMALLEST_SHARE = 5
SMALLEST_AMOUNT = 6
SMALLEST_LOSS = 7
AGAIN_MONTHS = 8
AGAIN_WORSE = 9
SUSPEND = 10
RESTORE_MONTHS = 11
BAND = 12
MOST_AMOUNT = 13
MOST_SHARE = 14
MOST_INCOMES = 15
LEAST_MONTHS = 16
STALE_MONTHS = 17
EFFECTIVE_DAYS = 18
LOOK_MONTHS = 19
DECIDE_DAYS = 20
LOSS = 21
RATE = 22
# Places in ``product``.
CUT_OFF = 0
CUT_OFF_LOG_ODDS = 1
CONVERSIONS = 2
FIFTHS = 5
GRID_TOLERANCE = 1e-9


@compiled
def larger(
    one: float,
    other: float,
) -> float:
    """The larger of two, or NaN if one is; as np.maximum."""
    return one if one >= other or one != one else other


@compiled
def smaller(
    one: float,
    other: float,
) -> float:
    """The smaller of two, or NaN if one is; as np.minimum."""
    return one if one <= other or one != one else other


@compiled
def round_down(
    amount: float,
    rounding: float,
) -> Any:
    """The largest multiple of ``rounding`` that is at most ``amount``."""
    return np.floor(amount / rounding + GRID_TOLERANCE) * rounding


@compiled
def round_up(
    amount: float,
    rounding: float,
) -> Any:
    """The smallest multiple of ``rounding`` that is at least ``amount``."""
    return np.ceil(amount / rounding - GRID_TOLERANCE) * rounding


@compiled
def next_balance_of(
    balance: float,
    spend: float,
    policy: Any,
) -> Any:
    """What the next statement shows of an account that pays nothing."""
    owed = larger(balance, 0.0)
    interest = policy[RATE] * owed
    return owed + interest + spend


@compiled
def limit_for_balance(
    balance: float,
    policy: Any,
) -> Any:
    """The limit of an account that draws nothing more."""
    owed = larger(balance, 0.0)
    with_headroom = owed * (1.0 + policy[HEADROOM])
    lowest = larger(with_headroom, next_balance_of(owed, 0.0, policy))
    return round_up(lowest, policy[ROUNDING]) + 0.0


@compiled
def smallest_cut(
    limit: float,
    policy: Any,
) -> Any:
    """The smallest reduction that is made."""
    return larger(policy[SMALLEST_SHARE] * limit, policy[SMALLEST_AMOUNT])


@compiled
def without_small_cut(
    new_limit: float,
    in_force: float,
    measured: float,
    policy: Any,
) -> float:
    """``new_limit``, or that in force where the cut would be too small."""
    if in_force - new_limit < smallest_cut(measured, policy):
        return in_force
    return new_limit


@compiled
def conversion_of(
    limit: float,
    balance: float,
    product: Any,
) -> Any:
    """The credit conversion of the account's fifth of utilization."""
    owed = larger(balance, 0.0)
    utilization = owed / limit if limit > 0.0 else 1.0
    fifth = smaller(np.floor(utilization * FIFTHS), FIFTHS - 1.0)
    return product[CONVERSIONS + int(fifth)]


@compiled
def tolerated_limit(
    probability: float,
    limit: float,
    balance: float,
    policy: Any,
    product: Any,
) -> Any:
    """The limit with the largest expected loss that is tolerated, before rounding."""
    cut_off = product[CUT_OFF]
    conversion = conversion_of(limit, balance, product)
    owed = larger(balance, 0.0)
    if not conversion > 0.0:
        return owed + limit
    unused = conversion * larger(limit - owed, 0.0)
    at_default = owed + unused
    excess = policy[DEPTH] * (probability - cut_off)
    share = cut_off / (cut_off + excess)
    at_cut_off = cut_off * policy[LOSS] * at_default
    loss = larger(share * at_cut_off, policy[SMALLEST_LOSS])
    exposure = loss / (probability * policy[LOSS])
    undrawn = larger(exposure - owed, 0.0) / conversion
    return owed + undrawn


@compiled
def lowest_limit(
    limit: float,
    balance: float,
    next_balance: float,
    in_force: float,
    policy: Any,
) -> Any:
    """The lowest limit that one decision may leave, before rounding."""
    owed = larger(balance, 0.0)
    room = larger(owed * (1.0 + policy[HEADROOM]), next_balance)
    step = policy[LARGEST_STEP] * limit
    return larger(larger(room, in_force - step), policy[FLOOR])


@compiled
def limit_by_model(  # noqa: PLR0913  # numba takes plain numbers
    probability: float,
    limit: float,
    balance: float,
    next_balance: float,
    in_force: float,
    policy: Any,
    product: Any,
) -> float:
    """The limit that the probability allows; ``limit`` where no cut is due or it is too small."""
    if probability <= product[CUT_OFF]:
        return limit
    rounding = policy[ROUNDING]
    tolerated = tolerated_limit(probability, limit, balance, policy, product)
    lowest = lowest_limit(limit, balance, next_balance, in_force, policy)
    new_limit = larger(round_down(tolerated, rounding), round_up(lowest, rounding))
    return without_small_cut(smaller(new_limit, limit), limit, limit, policy)


@compiled
def share_back(
    below: float,
    steps: Any,
) -> float:
    """The share of what was taken that is given back at that margin below the cut-off.

    ``steps`` is float64 (steps, 2): margin and share, the smallest first.
    """
    share = 0.0
    for step in range(steps.shape[0]):
        if below >= steps[step, 0]:
            share = steps[step, 1]
    return share


@compiled
def limit_back(
    below: float,
    before: float,
    after: float,
    policy: Any,
    steps: Any,
) -> float:
    """The limit that the staircase allows at that margin below the cut-off."""
    share = share_back(below, steps)
    if share == 1.0:
        return before
    on_the_way = after + share * (before - after)
    rounded = round_down(on_the_way, policy[ROUNDING])
    return smaller(larger(rounded, after), before)
