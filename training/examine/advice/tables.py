"""Tables of how the advice came true."""

from __future__ import annotations

import polars as pl

from features.types import Mask
from training.evaluate.metrics import wilson
from training.examine.advice.follow import FollowedPlans
from training.examine.advice.plan_risk import PlanRisk
from training.examine.truth.cut_accounts import CutAccounts


def validity(cohort: CutAccounts, followed: FollowedPlans, risk: PlanRisk) -> pl.DataFrame:
    """Return one row for each segment of the cohort that has a promise.

    - ``segment``, ``accounts``; ``plans`` with a promise; ``months`` to it on average
    - ``kept`` and ``kept_unshocked``: shares of plans and futures, with 95 % intervals that count
      accounts and not futures; null where every account was closed or shocked
    - ``fell``, ``tied`` and ``rose``: shares of plans by the change of the true probability, with
      the limit still reduced; ``fell_limit_back``, with the limit restored.  Falls have intervals
    - ``risk_plan``, ``risk_limit_back`` and ``risk_carry_on``: mean probabilities
    - ``default_on_the_way`` and ``default_during``: the mean probability of default by the promised
      month, when carrying on and when following the plan
    """
    promised = followed.promised > 0
    rows: list[dict[str, object]] = []
    # Segments overlap: each account is in "all" and in one of each kind.
    for name, members in cohort.segments().items():
        plans = members & promised
        if not plans.any():
            continue
        rows.append(
            {
                "segment": name,
                "accounts": int(members.sum()),
                "plans": int(plans.sum()),
                "months": float(followed.promised[plans].mean()),
                **_kept_columns(followed, plans),
                **_risk_columns(risk, plans),
            }
        )
    return pl.DataFrame(rows)


def validity_by_month(followed: FollowedPlans) -> pl.DataFrame:
    """Return one row for each promised month: ``plans``, and the shares kept."""
    last = int(followed.promised.max())
    rows: list[dict[str, object]] = []
    for month in range(1, last + 1):
        plans = followed.promised == month
        if not plans.any():
            continue
        rows.append(
            {
                "month": month,
                "plans": int(plans.sum()),
                **_kept_columns(followed, plans),
            }
        )
    return pl.DataFrame(rows)


def _kept_columns(followed: FollowedPlans, plans: Mask) -> dict[str, object]:
    # An account that the customer closed is asked about no more.
    is_open = ~followed.closed[:, plans]
    quiet = is_open & ~followed.shocked[:, plans]
    kept = followed.kept[:, plans]
    return {
        **_share_of("kept", kept, is_open),
        **_share_of("kept_unshocked", kept, quiet),
    }


def _share_of(name: str, kept: Mask, of: Mask) -> dict[str, object]:
    if not of.any():
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    # Intervals count accounts: the futures of one account are not independent.
    accounts = int(of.any(axis=0).sum())
    return _share_columns(name, float(kept[of].mean()), accounts)


def _risk_columns(risk: PlanRisk, plans: Mask) -> dict[str, object]:
    plan = risk.plan[plans]
    limit_back = risk.limit_back[plans]
    carry_on = risk.carry_on[plans]
    count = len(plan)
    fell = plan < carry_on
    # Common random numbers: an account that defaults in no future ties exactly.
    tied = plan == carry_on
    rose = plan > carry_on
    fell_limit_back = limit_back < carry_on
    return {
        **_share_columns("fell", float(fell.mean()), count),
        "tied": float(tied.mean()),
        "rose": float(rose.mean()),
        **_share_columns("fell_limit_back", float(fell_limit_back.mean()), count),
        "risk_plan": float(plan.mean()),
        "risk_limit_back": float(limit_back.mean()),
        "risk_carry_on": float(carry_on.mean()),
        "default_on_the_way": float(risk.on_the_way[plans].mean()),
        "default_during": float(risk.during[plans].mean()),
    }


def _share_columns(name: str, share: float, count: int) -> dict[str, object]:
    low, high = wilson(share, count)
    return {
        name: share,
        f"{name}_low": low,
        f"{name}_high": high,
    }
