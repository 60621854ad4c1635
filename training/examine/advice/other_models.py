"""Do plans outlive the model?  Every promise, judged by models with other settings or other data.

The *challenger* is a larger model of the same data.  The refits are fitted on bootstrap samples of
accounts, each with all its rows; they differ as models of other samples of customers would.  A plan
holds under a model if, rolled forward exactly and decided each month with that model and with what
the decisions before left in force, the promised limit is back in the promised month or the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from features.types import Mask, Matrix, Rows, Vector
from features.window import lay_out
from serving.decision.advice.projection import (
    Projection,
    Trajectories,
    outcome_after,
    project,
)
from serving.decision.advice.staircase import LimitCut, decide_months
from serving.decision.policy.dates import local_date
from serving.decision.scoring.score import probability_of
from training.data.labels import Labelled
from training.examine.advice.follow import first_in_force
from training.examine.truth.cut_accounts import CutAccounts, plans_from_paths
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit, predict_log_odds

CHALLENGER = FitConfig(trees=400, leaves=31, depth=6, learning_rate=0.03, seed=1)
DECISION_MONTH = -1  # months are counted from the first statement after the decision


def judge_by_other_models(
    cohort: CutAccounts,
    models: Iterable[tuple[str, Fitted]],
) -> pl.DataFrame:
    """Return one row for each model, ``served`` first; ``models`` as of :func:`fit_models`.

    Columns: ``model``; ``plans`` with a promise; the share that ``hold``; ``as_well``, the share of
    the cohort that the model cuts too.
    """
    projection = project_plans(cohort)
    months, accounts = projection.log_odds.shape
    served = find_held_promises(cohort, projection, probability_of(projection.log_odds))
    rows = [_row("served", served, 1.0)]
    for name, model in models:
        places = [cohort.names.index(feature) for feature in model.features]
        features = projection.features[..., places]
        matrix = features.reshape(months * accounts, -1)
        log_odds = predict_log_odds(model, np.ascontiguousarray(matrix))
        probability = probability_of(log_odds).reshape(months, accounts)
        held = find_held_promises(cohort, projection, probability)
        log_odds_now = predict_log_odds(model, cohort.matrix)
        as_well = share_cut(cohort, probability_of(log_odds_now))
        rows.append(_row(name, held, as_well))
    return pl.DataFrame(rows)


def project_plans(cohort: CutAccounts) -> Projection:
    """Return the projection of the plans as advice rolls them forward, under the path's limits."""
    months = cohort.bundle.advice.search.months
    shape = (months, len(cohort))
    limits = np.empty(shape)
    suspended = np.empty(shape, dtype=np.bool_)
    pairs = zip(cohort.cuts, cohort.plans, strict=True)
    for account, (cut, plan) in enumerate(pairs):
        # What a decision puts in force holds from the next month on.
        decided = plan.path[: months - 1]
        limits[:, account] = [cut.limit_after, *(month.limit for month in decided)]
        suspended[:, account] = [cut.suspended, *(month.suspended for month in decided)]
    trajectories = Trajectories(
        account=np.arange(len(cohort)),
        plans=plans_from_paths(cohort.plans),
        limits=limits,
        suspended=suspended,
    )
    return project(lay_out(cohort.statements), trajectories, cohort.cuts, cohort.bundle)


def fit_models(
    data: Labelled,
    config: FitConfig,
    refits: int,
) -> Iterator[tuple[str, Fitted]]:
    """Yield the challenger and the refits, by name."""
    yield "challenger", fit(data, CHALLENGER)
    for number in range(refits):
        resampled = resample_accounts(data, number)
        refit = fit(resampled, replace(config, seed=number))
        yield f"refit {number + 1}", refit


def resample_accounts(data: Labelled, seed: int) -> Labelled:
    """Return the rows of as many accounts as there are, drawn with replacement.

    Drawn within each split, so that no account is in two splits.
    """
    names = data.features.accounts["account_id"].to_numpy()
    random = np.random.default_rng(seed)
    drawn_rows: list[Rows] = []
    for split in sorted(set(data.split.tolist())):
        rows = data.rows(split)
        # Whole accounts: rows of one account depend on each other, and single rows would look like
        # more data than there are.
        accounts, owner = np.unique(names[rows], return_inverse=True)
        by_account = rows[np.argsort(owner, kind="stable")]
        ends = np.arange(len(accounts) + 1)
        starts = np.searchsorted(np.sort(owner), ends)
        drawn = random.integers(0, len(accounts), len(accounts))
        for account in drawn:
            start = starts[account]
            stop = starts[account + 1]
            drawn_rows.append(by_account[start:stop])
    return data.take(np.concatenate(drawn_rows))


def find_held_promises(
    cohort: CutAccounts,
    projection: Projection,
    probability: Matrix,
) -> Mask:
    """Return whether each promise holds at these probabilities, bool (plans with a promise,).

    ``probability`` is float64 (months, accounts).
    """
    promised = np.flatnonzero(cohort.promised > 0)
    cuts = remembered_cuts(cohort)
    decided = decide_months(
        [cuts[account] for account in promised.tolist()],
        probability[:, promised],
        projection.features[:, promised],
        cohort.bundle,
    )
    limits = cohort.promised_limit[promised].tolist()
    months = cohort.promised[promised].tolist()
    held = []
    for answers, limit, month in zip(decided, limits, months, strict=True):
        # A promise for the last projected month has no next month to be judged in.
        judged = range(month - 1, min(month + 1, len(probability)))
        is_back = [answers.limits[at] >= limit and not answers.suspended[at] for at in judged]
        held.append(any(is_back))
    return np.array(held, dtype=np.bool_)


def remembered_cuts(cohort: CutAccounts) -> list[LimitCut]:
    """Return the cuts with what each left in force and its day, as monthly decisions take them."""
    today = local_date(cohort.population.decided_at, cohort.bundle.policy)
    priors = first_in_force(cohort).priors
    pairs = zip(cohort.cuts, priors, strict=True)
    return [replace(cut, prior=prior, decided_on=today) for cut, prior in pairs]


def share_cut(cohort: CutAccounts, probability: Vector) -> float:
    """Return the share of the cohort that a model's probabilities cut on the day of decision."""
    rows = zip(cohort.cuts, probability.tolist(), cohort.values, strict=True)
    by_model = [
        outcome_after(DECISION_MONTH, cut, p, values, cohort.bundle).by_model
        for cut, p, values in rows
    ]
    return float(np.mean(by_model))


def _row(name: str, held: Mask, as_well: float) -> dict[str, object]:
    return {
        "model": name,
        "plans": len(held),
        "hold": float(held.mean()),
        "as_well": as_well,
    }
