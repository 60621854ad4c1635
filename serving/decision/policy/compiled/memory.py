"""What a decision leaves in force, as :func:`serving.decision.policy.prior.after`.

``prior`` is float64 (12,), with the fields of :class:`~serving.decision.policy.prior.Prior` at the
places below; ``HAS`` is 0 where there is nothing to remember.  The day of the latest step back and
the ids decide nothing and are left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from features.program.numba_cache import compiled

# Places in ``prior``.
HAS = 0
BEFORE = 1
BALANCE_BEFORE = 2
FIRST_CUT = 3
LAST_CUT = 4
LOG_ODDS = 5
AFTER = 6
IN_FORCE = 7
FROM = 8
STOPPED = 9
REFERRED = 10
LOOK = 11
PRIOR_WIDTH = 12
# Places in ``change``, named as the fields of Change; ``REFERS`` and ``SUSPENDED`` are 0 or 1.
ON = 0
LIMIT_BEFORE = 1
LIMIT = 2
EFFECTIVE = 3
SUSPENDED = 4
BALANCE = 5
CHANGE_LOG_ODDS = 6
REVIEW_ON = 7
REFERS = 8
CHANGE_WIDTH = 9


@compiled
def cuts(prior: Any) -> bool:
    """Whether a cut or a suspension is in force."""
    return prior[HAS] > 0 and not np.isnan(prior[LAST_CUT])


@compiled
def begin(
    prior: Any,
    change: Any,
) -> None:
    """Write a prior with nothing in force yet."""
    prior[:] = np.nan
    prior[HAS] = 1.0
    prior[BEFORE] = change[LIMIT_BEFORE]
    prior[BALANCE_BEFORE] = change[BALANCE]
    prior[AFTER] = change[LIMIT_BEFORE]
    prior[IN_FORCE] = change[LIMIT_BEFORE]
    prior[FROM] = change[ON]
    prior[STOPPED] = 0.0


@compiled
def end_cut(
    prior: Any,
    limit: float,
) -> None:
    """Take the cut out of a prior; a referral is remembered."""
    prior[BEFORE] = limit
    prior[FIRST_CUT] = np.nan
    prior[LAST_CUT] = np.nan
    if np.isnan(prior[REFERRED]):
        prior[LOG_ODDS] = np.nan
    prior[AFTER] = limit
    prior[IN_FORCE] = limit
    prior[STOPPED] = 0.0
    prior[LOOK] = np.nan


@compiled
def remember_referral(
    prior: Any,
    change: Any,
) -> None:
    """After a referral to a person, which changes no limit."""
    log_odds = change[CHANGE_LOG_ODDS]
    if cuts(prior) and prior[LOG_ODDS] > log_odds:
        # A referral at lower log-odds must not make the next cut easier.
        log_odds = prior[LOG_ODDS]
    prior[LOG_ODDS] = log_odds
    prior[REFERRED] = change[ON]


@compiled
def remember_cut(
    prior: Any,
    change: Any,
) -> None:
    """After a cut or a suspension."""
    if not cuts(prior):
        prior[BEFORE] = change[LIMIT_BEFORE]
        prior[BALANCE_BEFORE] = change[BALANCE]
        prior[FIRST_CUT] = change[ON]
    prior[BEFORE] = max(prior[BEFORE], change[LIMIT])
    prior[LAST_CUT] = change[ON]
    prior[LOG_ODDS] = change[CHANGE_LOG_ODDS]
    prior[AFTER] = change[LIMIT]
    prior[IN_FORCE] = change[LIMIT]
    prior[FROM] = change[EFFECTIVE]
    prior[STOPPED] = change[SUSPENDED]
    prior[LOOK] = change[REVIEW_ON]


@compiled
def remember_step_back(
    prior: Any,
    change: Any,
) -> None:
    """After a step back, or the end of a suspension."""
    if change[LIMIT] >= prior[BEFORE] and change[SUSPENDED] == 0.0:
        end_cut(prior, change[LIMIT])
        prior[FROM] = change[EFFECTIVE]
        return
    prior[BEFORE] = max(prior[BEFORE], change[LIMIT])
    prior[IN_FORCE] = change[LIMIT]
    prior[FROM] = change[EFFECTIVE]
    prior[STOPPED] = change[SUSPENDED]
    prior[LOOK] = change[REVIEW_ON]


@compiled
def remember(
    prior: Any,
    change: Any,
) -> None:
    """Make the prior of the next decision of that of the decision that made ``change``."""
    if cuts(prior) and change[LIMIT_BEFORE] > prior[BEFORE]:
        has_referral = not np.isnan(prior[REFERRED])
        end_cut(prior, change[LIMIT_BEFORE])
        prior[HAS] = 1.0 if has_referral else 0.0
    was_stopped = prior[HAS] > 0 and prior[STOPPED] > 0
    suspends = change[SUSPENDED] > 0 and not was_stopped
    is_cut = suspends or change[LIMIT] < change[LIMIT_BEFORE]
    if prior[HAS] == 0.0 and (change[REFERS] > 0 or is_cut):
        begin(prior, change)
    if change[REFERS] > 0:
        remember_referral(prior, change)
    elif is_cut:
        remember_cut(prior, change)
    elif cuts(prior):
        lifts = was_stopped and change[SUSPENDED] == 0.0
        if lifts or change[LIMIT] > change[LIMIT_BEFORE]:
            remember_step_back(prior, change)
        elif not np.isnan(change[REVIEW_ON]):
            prior[LOOK] = change[REVIEW_ON]
