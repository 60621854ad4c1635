"""Do plans outlive the model?  Every promise, judged by models with other settings or other data.

The *challenger* is a larger model of the same data.  The refits are fitted on bootstrap samples of
accounts, each with all its rows; they differ as models of other samples of customers would.  A plan
holds under a model if, rolled forward exactly, that model no longer objects to the limit in the
promised month or the next.
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
    restores_limit,
)
from serving.decision.scoring.score import probability_of
from training.data.labels import Labelled
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
    """Return the projection of the plans as advice rolls them forward.

    The reduced limit stays in force, in the promised month too.
    """
    trajectories = Trajectories(
        account=np.arange(len(cohort)),
        plans=plans_from_paths(cohort.plans),
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
    cuts = cohort.cuts
    held = []
    for account, promised in enumerate(cohort.promised.tolist()):
        if promised == 0:
            continue
        # A promise for the last projected month has no next month to be judged in.
        end = min(promised + 1, len(probability))
        months = range(promised - 1, end)
        outcomes = (
            outcome_after(
                month,
                cuts[account],
                float(probability[month, account]),
                projection.features[month, account],
                cohort.bundle,
            )
            for month in months
        )
        held.append(any(restores_limit(outcome) for outcome in outcomes))
    return np.array(held)


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
