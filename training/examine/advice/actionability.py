"""Recourse: can a customer do anything about the reasons?

A reason is *movable* for an account if some plan of the grid, in some month of the projection,
lowers the contribution of its reason group below that of carrying on, by at least half of today's
contribution.  Carrying on is the baseline because time alone is no action of the customer.  Reasons
that are not movable are stated too: they moved the decision.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import polars as pl

from features.types import Mask, Matrix, Rows
from features.window import lay_out
from serving.decision.advice.constraints import UNCONSTRAINED
from serving.decision.advice.plans import finances_of, make_plan_grid
from serving.decision.advice.projection import Trajectories, project
from serving.decision.advice.rollout import Plans, concatenate_plans
from serving.decision.reasons.naming import group_of
from serving.decision.result import Advised
from serving.decision.scoring.shapley import explain_many
from training.examine.truth.cut_accounts import CutAccounts

_ACCOUNTS_A_BLOCK = 64  # projected together: bounds the memory
_MOVED = 0.5  # share of today's contribution


def actionability(cohort: CutAccounts) -> pl.DataFrame:
    """Return one row for all reasons, and one for each reason group, the most stated first.

    - ``reason``: "all" or a group
    - ``accounts``: to which it is stated as a reason of the model
    - ``movable``: the share of them for which it is movable
    - ``without``: in the row of all, the share of accounts without a movable reason; else null
    """
    reasons = [_model_reasons(advised) for advised in cohort.advised]
    movable = find_movable(cohort)
    hits: dict[str, list[bool]] = {}
    without_recourse = []
    for account, groups in enumerate(reasons):
        # An account may have several reasons; one that can be moved is a recourse.
        moved = [bool(movable[group][account]) for group in groups]
        without_recourse.append(not any(moved))
        for group, hit in zip(groups, moved, strict=True):
            hits.setdefault(group, []).append(hit)
    every_hit = list(chain.from_iterable(hits.values()))
    rows: list[dict[str, object]] = [
        {
            "reason": "all",
            "accounts": len(cohort),
            "movable": float(np.mean(every_hit)),
            "without": float(np.mean(without_recourse)),
        }
    ]
    by_frequency = sorted(hits, key=lambda group: (-len(hits[group]), group))
    rows += [
        {
            "reason": group,
            "accounts": len(hits[group]),
            "movable": float(np.mean(hits[group])),
            "without": None,
        }
        for group in by_frequency
    ]
    return pl.DataFrame(rows)


def _model_reasons(advised: Advised) -> list[str]:
    """The groups stated as reasons of the model; a reason of a hard rule has no share."""
    reasons = advised.decision.reasons
    return [reason.code for reason in reasons if reason.share is not None]


def find_movable(cohort: CutAccounts) -> dict[str, Mask]:
    """Return for which accounts each reason group is movable, bool (accounts,).

    A group that does not push toward the cut is not movable.
    """
    groups, members = _group_members(cohort)
    now = cohort.contributions @ members
    reduction = np.empty_like(now)
    for start in range(0, len(cohort), _ACCOUNTS_A_BLOCK):
        stop = min(start + _ACCOUNTS_A_BLOCK, len(cohort))
        block = range(start, stop)
        reduction[start:stop] = max_reduction(cohort, block, members)
    is_movable = (now > 0) & (reduction >= _MOVED * now)
    return {group: is_movable[:, place] for place, group in enumerate(groups)}


def _group_members(cohort: CutAccounts) -> tuple[list[str], Matrix]:
    """The reason groups, and which features they sum: float64 (features, groups)."""
    group_of_feature = np.array([group_of(name) for name in cohort.bundle.features])
    groups = np.unique(group_of_feature)
    in_group = group_of_feature[:, None] == groups[None, :]
    return groups.tolist(), in_group.astype(np.float64)


def max_reduction(
    cohort: CutAccounts,
    accounts: range,
    members: Matrix,
) -> Matrix:
    """Return by how much plans can lower each group's contribution, float64 (accounts, groups).

    The maximum over plans and months of the reduction against carrying on.  ``members`` (features,
    groups) are the weights that sum contributions by group.
    """
    plans = _plans_with_baseline(cohort, accounts)
    plans_of_account = [len(own) for own in plans]
    owner = np.repeat(np.array(accounts), plans_of_account)
    contributions = _project_contributions(cohort, concatenate_plans(plans), owner)
    sums = contributions @ members
    reductions = []
    for account in accounts:
        of_account = sums[:, owner == account]
        # The last two are the baselines; carrying on is the last.
        carry_on = of_account[:, -1:]
        of_plans = of_account[:, :-2]
        reduction = carry_on - of_plans
        reductions.append(reduction.max(axis=(0, 1)))
    return np.array(reductions)


def _plans_with_baseline(cohort: CutAccounts, accounts: range) -> list[Plans]:
    """The plans of each account's grid, and after them its two baselines."""
    bundle = cohort.bundle
    finances = finances_of(lay_out(cohort.statements))
    minimum_share = bundle.policy.terms.minimum_share
    plans = []
    for account in accounts:
        limit = cohort.cuts[account].limit_before
        # Every plan, also those that the customer ruled out: the question is about the reason.
        grid = make_plan_grid(
            finances[account],
            limit,
            bundle.advice,
            UNCONSTRAINED,
            minimum_share,
        )
        # One order of the habits: the contributions of carrying on are no mean.
        plans.append(concatenate_plans([grid.plans, grid.baselines.take([0, 1])]))
    return plans


def _project_contributions(
    cohort: CutAccounts,
    plans: Plans,
    owner: Rows,
) -> Matrix:
    """Contributions under plans in each month ahead, float64 (months, plans, model features)."""
    bundle = cohort.bundle
    months = bundle.advice.search.months
    trajectories = Trajectories(
        account=owner,
        plans=plans,
    )
    projection = project(lay_out(cohort.statements), trajectories, cohort.cuts, bundle)
    features = projection.features[..., cohort.model_places]
    rows_by_month = features.reshape(months * len(owner), -1)
    matrix = np.ascontiguousarray(rows_by_month)
    products = np.tile(cohort.products[owner], months)
    contributions = np.empty_like(matrix)
    for product, explainer in bundle.scorer.explainers.items():
        rows = products == product
        contributions[rows] = explain_many(matrix[rows], explainer)
    contributions *= bundle.scorer.calibration.slope
    return contributions.reshape(months, len(owner), -1)
