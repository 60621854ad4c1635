"""Reasons without recourse: is there anything that a customer told these reasons could do about
them?

A reason is *movable* for an account where some plan of the grid, in some month looked ahead, brings
the contribution of its reason group below what carrying on as before would bring it to, by at least
half of what it is now: what time alone takes away is nothing that a customer could do.  Where the
group is a reason only for what followed from it, its own features contributing nothing, the
log-odds have to come down by half of its effect.  A reason that is not movable is stated all the
same, for it moved the decision.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.window import lay_out
from serving.decision.advice.constraints import UNCONSTRAINED
from serving.decision.advice.plans import finances_of, make_plan_grid
from serving.decision.advice.projection import Trajectories, project
from serving.decision.advice.rollout import concatenate_plans
from serving.decision.reasons.effects import DRIVEN
from serving.decision.reasons.ranking import group_of
from serving.decision.scoring.shapley import explain_many
from training.examine.truth.cut_accounts import CutAccounts

_ACCOUNTS_A_BLOCK = 64


def actionability(cohort: CutAccounts) -> pl.DataFrame:
    """One row a reason group, in order of how often it is stated, and ``all``.

    ``accounts`` that are told it as a reason of the model's; the share of them for whom it is
    ``movable``; and in the row of all, ``without``: the share of accounts none of whose reasons
    is.  Null where a row says nothing of it.
    """
    told = [
        [reason.code for reason in a.decision.reasons if reason.share is not None]
        for a in cohort.advised
    ]
    movable = _movable(cohort)
    groups = sorted(
        {group for reasons in told for group in reasons},
        key=lambda g: -sum(g in reasons for reasons in told),
    )
    stated = [(account, group) for account, reasons in enumerate(told) for group in reasons]
    moved = {pair: bool(movable[pair[1]][pair[0]]) for pair in stated}
    without = np.mean(
        [
            not any(moved[account, group] for group in reasons)
            for account, reasons in enumerate(told)
        ]
    )
    rows: list[dict[str, object]] = [
        {
            "reason": "all",
            "accounts": len(cohort),
            "movable": float(np.mean(list(moved.values()))),
            "without": float(without),
        }
    ]
    for group in groups:
        hits = [hit for (_, own), hit in moved.items() if own == group]
        rows.append(
            {
                "reason": group,
                "accounts": len(hits),
                "movable": float(np.mean(hits)),
                "without": None,
            }
        )
    return pl.DataFrame(rows)


def _movable(cohort: CutAccounts) -> dict[str, NDArray[np.bool_]]:
    """Reason group -> for which accounts it is movable."""
    groups = sorted({group_of(name) for name in cohort.bundle.features})
    members = np.array(
        [[group_of(name) == group for group in groups] for name in cohort.bundle.features],
        dtype=np.float64,
    )
    # All groups together are the log-odds, but for the base.
    members = np.column_stack([members, np.ones(len(members))])
    now = cohort.contributions @ members
    gained = np.empty_like(now)
    for start in range(0, len(cohort), _ACCOUNTS_A_BLOCK):
        stop = min(start + _ACCOUNTS_A_BLOCK, len(cohort))
        gained[start:stop] = _gained(cohort, range(start, stop), members)
    effect: dict[str, NDArray[np.float64]] = {
        group: cohort.effects[:, k] for k, group in enumerate(DRIVEN)
    }
    return {
        group: np.where(
            now[:, k] > 0,
            gained[:, k] >= 0.5 * now[:, k],
            gained[:, -1] >= 0.5 * effect.get(group, np.full(len(now), np.inf)),
        )
        for k, group in enumerate(groups)
    }


def _gained(
    cohort: CutAccounts, accounts: range, members: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The most by which any plan in any month lowers each group's contribution against carrying on,
    (accounts, groups).
    """
    bundle, window = cohort.bundle, lay_out(cohort.statements)
    finances = finances_of(window)
    asked = bundle.policy.terms.minimum_share
    grids = [
        make_plan_grid(finances[a], cohort.cuts[a].limit_before, bundle.advice, UNCONSTRAINED, asked)
        for a in accounts
    ]
    # The last plan of each is carrying on.
    plans = [concatenate_plans([grid.plans, grid.baselines]) for grid in grids]
    owner = np.repeat(np.array(accounts), [len(own) for own in plans])
    months = bundle.advice.search.months
    trajectories = Trajectories(
        account=owner,
        plans=concatenate_plans(plans),
        cut_in_force=np.ones((months, len(owner)), dtype=np.bool_),
    )
    outlook = project(window, trajectories, cohort.cuts, bundle)
    matrix = np.ascontiguousarray(
        outlook.features[..., cohort.model_places].reshape(months * len(owner), -1)
    )
    products = np.tile(cohort.products[owner], months)
    sums = np.empty((len(matrix), members.shape[1]))
    for product, explainer in bundle.scorer.explainers.items():
        rows = products == product
        sums[rows] = (
            bundle.scorer.calibration.slope * explain_many(matrix[rows], explainer) @ members
        )
    by_trajectory = sums.reshape(months, len(owner), -1)
    gained = []
    for account in accounts:
        own = by_trajectory[:, owner == account]
        gained.append((own[:, -1:] - own[:, :-2]).max(axis=(0, 1)))
    return np.array(gained)
