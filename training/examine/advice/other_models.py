"""Do the plans outlive the model?  Every plan's promise, judged by models that were fitted
otherwise or on other accounts.

The *challenger* is a larger model of the same data.  The refits are of bootstrapped accounts: as
many as there are, drawn with replacement, each with all its rows; what differs between them is what
another sample of customers would have changed. A plan holds under a model where, followed to the
letter, that model has nothing against the limit in the promised month or the one after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.window import lay_out
from serving.decision.advice.projection import (
    LimitCut,
    Projection,
    Trajectories,
    outcome_after,
    project,
    restores_limit,
)
from serving.decision.scoring.score import probability_of
from training.data.labels import Labelled
from training.examine.truth.cut_accounts import CutAccounts, plans_of
from training.fit.config import FitConfig
from training.fit.fit import Fitted, fit, predict_log_odds
from training.tracking.progress import CountProgress

CHALLENGER = FitConfig(trees=400, leaves=31, depth=6, learning_rate=0.03, seed=1)


def under_other_models(
    cohort: CutAccounts,
    data: Labelled,
    config: FitConfig,
    refits: int,
    progress: CountProgress | None = None,
) -> pl.DataFrame:
    """One row a model, ``served`` first: ``plans``, the share that ``hold`` under it, and of
    accounts cut ``as_well``.
    """
    outlook = to_the_letter(cohort)
    rows: list[dict[str, object]] = [
        _row("served", _holding(cohort, outlook, probability_of(outlook.log_odds)), None)
    ]
    for done, (name, model) in enumerate(_models(data, config, refits)):
        months, count = outlook.log_odds.shape
        matrix = outlook.features[
            ..., [cohort.names.index(name) for name in model.features]
        ].reshape(months * count, -1)
        risks = probability_of(predict_log_odds(model, np.ascontiguousarray(matrix))).reshape(
            months, count
        )
        now = probability_of(predict_log_odds(model, cohort.matrix))
        rows.append(_row(name, _holding(cohort, outlook, risks), _cut_now(cohort, now)))
        if progress is not None:
            progress(done + 1, refits + 1)
    return pl.DataFrame(rows)


def to_the_letter(cohort: CutAccounts) -> Projection:
    """The plans followed exactly as advice rolls them forward, with the reduced limit in force all
    along.
    """
    months = cohort.bundle.advice.search.months
    trajectories = Trajectories(
        account=np.arange(len(cohort)),
        plans=plans_of(cohort.plans),
        cut_in_force=np.ones((months, len(cohort)), dtype=np.bool_),
    )
    return project(lay_out(cohort.statements), trajectories, cohort.cuts, cohort.bundle)


def _models(data: Labelled, config: FitConfig, refits: int) -> Iterator[tuple[str, Fitted]]:
    yield "challenger", fit(data, CHALLENGER)
    for number in range(refits):
        yield f"refit {number + 1}", fit(resampled(data, number), replace(config, seed=number))


def resampled(data: Labelled, seed: int) -> Labelled:
    """The rows of as many accounts as there are, drawn with replacement within each split: none
    stands on two sides.
    """
    names = data.features.accounts["account_id"].to_numpy()
    random = np.random.default_rng(seed)
    rows = []
    for split in sorted(set(data.split.tolist())):
        of_split = data.rows(split)
        accounts, owner = np.unique(names[of_split], return_inverse=True)
        order = np.argsort(owner, kind="stable")
        starts = np.searchsorted(owner[order], np.arange(len(accounts) + 1))
        drawn = random.integers(0, len(accounts), len(accounts))
        rows.append(np.concatenate([of_split[order[starts[k] : starts[k + 1]]] for k in drawn]))
    return data.take(np.concatenate(rows))


def _holding(
    cohort: CutAccounts, outlook: Projection, risks: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each promise holds at these probabilities, (plans with a promise,)."""
    months = len(risks)
    held, cuts = [], cohort.cuts
    for account, promised in enumerate(cohort.promised.tolist()):
        if promised:
            asked = range(promised - 1, min(promised + 1, months))
            held.append(
                any(
                    _free(
                        cohort, outlook, cuts[account], float(risks[month, account]), account, month
                    )
                    for month in asked
                )
            )
    return np.array(held)


def _free(
    cohort: CutAccounts, outlook: Projection, cut: LimitCut, risk: float, account: int, month: int
) -> bool:
    return restores_limit(
        outcome_after(month, cut, risk, outlook.features[month, account], cohort.bundle)
    )


def _cut_now(cohort: CutAccounts, risks: NDArray[np.float64]) -> float:
    """Share of the cut accounts that a model's probabilities cut too; the day of decision is month
    -1.
    """
    outcomes = [
        outcome_after(-1, cut, risk, values, cohort.bundle)
        for cut, risk, values in zip(cohort.cuts, risks.tolist(), cohort.values, strict=True)
    ]
    return float(np.mean([outcome.by_model for outcome in outcomes]))


def _row(name: str, held: NDArray[np.bool_], as_well: float | None) -> dict[str, object]:
    return {
        "model": name,
        "plans": len(held),
        "hold": float(held.mean()),
        "as_well": 1.0 if as_well is None else as_well,
    }
