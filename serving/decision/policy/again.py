"""Whether the model may cut, suspend or refer an account again.

Nobody is cut twice for one thing: after a cut or a referral, the model does neither again within
``cut.again_after_months`` unless the log-odds rose by ``cut.again_if_worse`` since, and after these
months only if they rose at all.  Where a person overturned a cut, it is the same.  Rules may cut at
any time, but not on statements that a person was asked about.
"""

from __future__ import annotations

import datetime

from features.months import add_months
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import Account

# The log-odds of a decision and those of its probability differ by the rounding of exp and log.
_ROUNDING = 1e-9


def may_cut_again(account: Account, policy: Policy, today: datetime.date) -> bool:
    """Whether the model may cut or suspend this account.

    After a referral too: the model does not do a month later by itself what a person was asked.
    """
    prior = account.prior
    if prior is None:
        return True
    for day in (prior.last_cut_on, prior.referred_on):
        if day is not None and not _may_act_again(day, account, policy, today):
            return False
    return True


def may_refer_again(account: Account, policy: Policy, today: datetime.date) -> bool:
    """Whether this account may be referred to a person."""
    referred_on = _referred_on(account)
    if referred_on is None:
        return True
    return _may_act_again(referred_on, account, policy, today)


def is_answered(account: Account, policy: Policy, today: datetime.date) -> bool:
    """Whether a person was asked about these statements, or has overturned a cut on them.

    A rule then waits for later statements, unless the account has become clearly worse.
    """
    referred_on = _referred_on(account)
    if referred_on is None:
        return False
    known_to_person = add_months(account.as_of.replace(day=1), 1) <= referred_on
    return known_to_person and not _may_act_again(referred_on, account, policy, today)


def may_refer_for_return(account: Account, policy: Policy, today: datetime.date) -> bool:
    """Whether a person may be asked to give back what a machine may not."""
    referred_on = _referred_on(account)
    if referred_on is None:
        return True
    return today >= add_months(referred_on, policy.cut.again_after_months)


def _referred_on(account: Account) -> datetime.date | None:
    return None if account.prior is None else account.prior.referred_on


def _may_act_again(
    since: datetime.date, account: Account, policy: Policy, today: datetime.date
) -> bool:
    recently = today < add_months(since, policy.cut.again_after_months)
    then = None if account.prior is None else account.prior.log_odds
    if then is None:
        return not recently
    rise = account.log_odds_measured - then
    if recently:
        return rise >= policy.cut.again_if_worse - _ROUNDING
    return rise > _ROUNDING
