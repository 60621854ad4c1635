"""Whether advice came true, in tables."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.evaluate.metrics import wilson
from training.examine.advice.follow import FollowedPlans, Risk
from training.examine.truth.cut_accounts import CutAccounts


def validity(cohort: CutAccounts, followed: FollowedPlans, risk: Risk) -> pl.DataFrame:
    """One row a segment of the cut accounts.

    ``accounts``; ``plans`` of them with a promise; ``months`` to it on average; ``kept`` and
    ``kept_unshocked``: shares of plans and futures, with 95 % intervals that count accounts and not
    futures, the latter null where everybody was struck; ``fell``, ``tied`` and ``rose``: shares of
    the plans whose true probability did, under one limit, and ``fell_limit_back``, the falls with
    intervals; ``risk_plan``, ``risk_limit_back`` and ``risk_carry_on``: its mean;
    ``default_on_the_way``: the mean probability of having defaulted by the promised month when
    carrying on, ``default_during`` when following the plan.
    """
    promised = followed.promised > 0
    rows: list[dict[str, object]] = []
    for name, members in cohort.segments().items():
        mine = members & promised
        counts = {"segment": name, "accounts": int(members.sum()), "plans": int(mine.sum())}
        if mine.any():
            rows.append(
                counts
                | {"months": float(followed.promised[mine].mean())}
                | _kept(followed, mine)
                | _fell(risk, mine)
            )
    return pl.DataFrame(rows)


def by_month(followed: FollowedPlans) -> pl.DataFrame:
    """One row a promised month: ``plans``, and the shares kept as in :func:`validity`."""
    rows: list[dict[str, object]] = []
    for month in range(1, int(followed.promised.max()) + 1):
        members = followed.promised == month
        if members.any():
            rows.append({"month": month, "plans": int(members.sum())} | _kept(followed, members))
    return pl.DataFrame(rows)


def _kept(followed: FollowedPlans, members: NDArray[np.bool_]) -> dict[str, object]:
    kept, quiet = followed.kept[:, members], ~followed.shocked[:, members]
    share, count = float(kept.mean()), int(members.sum())
    low, high = wilson(share, count)
    found: dict[str, object] = {"kept": share, "kept_low": low, "kept_high": high}
    names = ("kept_unshocked", "kept_unshocked_low", "kept_unshocked_high")
    if not quiet.any():
        return found | dict.fromkeys(names)
    unshocked, accounts = float(kept[quiet].mean()), int(quiet.any(axis=0).sum())
    return found | dict(zip(names, (unshocked, *wilson(unshocked, accounts)), strict=True))


def _fell(risk: Risk, members: NDArray[np.bool_]) -> dict[str, object]:
    plan, carry_on = risk.plan[members], risk.carry_on[members]
    return {
        **_share("fell", plan < carry_on),
        "tied": float((plan == carry_on).mean()),
        "rose": float((plan > carry_on).mean()),
        **_share("fell_limit_back", risk.limit_back[members] < carry_on),
        "risk_plan": float(plan.mean()),
        "risk_limit_back": float(risk.limit_back[members].mean()),
        "risk_carry_on": float(carry_on.mean()),
        "default_on_the_way": float(risk.on_the_way[members].mean()),
        "default_during": float(risk.during[members].mean()),
    }


def _share(name: str, of_plans: NDArray[np.bool_]) -> dict[str, object]:
    share = float(of_plans.mean())
    low, high = wilson(share, len(of_plans))
    return {name: share, f"{name}_low": low, f"{name}_high": high}
