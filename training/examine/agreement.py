"""Replays the served decision on the hold-out: would another reference have given a customer other reasons?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.decision.bundle import Bundle
from serving.decision.reasons import principal_groups
from serving.decision.score import log_odds_of
from serving.decision.shapley import Explainer, against, explain_many, path_dependent
from training.data import Labelled
from training.reference import Population, outcome_of

SCHEMA = {
    "product": pl.String,
    "against": pl.String,
    "accounts": pl.Int64,
    "cut": pl.Int64,
    "same_set": pl.Float64,
    "same_first": pl.Float64,
}


def reason_agreement(
    data: Labelled, held_out: NDArray[np.int64], bundle: Bundle, chosen: Mapping[str, Population], seed: int = 0
) -> pl.DataFrame:
    """How many accounts of the hold-out that the model cuts would be given the same principal reasons against something else.

    One row a product and comparison: ``against`` is ``second_sample`` (drawn by the same rule, no account in common),
    ``random_samples`` (two random samples of the pool, compared with each other: what the rule of drawing wins) or
    ``path_dependent`` (LightGBM's own values); ``accounts`` of the sample, null for the last; ``cut`` accounts that
    the served policy cuts on the model's word, or asks a person to; ``same_set`` and ``same_first`` are shares of these, null
    where there are none, whose reasons are the same reason groups in any order, and whose first is the same.
    """
    matrix = data.features.matrix(bundle.features)
    products = data.features.accounts["product"].cast(pl.String).to_numpy()
    cut = held_out[_cut_by_model(data, held_out, matrix, bundle)]
    rows: list[dict[str, object]] = []
    for product, population in chosen.items():
        accounts = matrix[cut[products[cut] == product]]
        for name, (sample, one, other) in _comparisons(matrix, bundle.scorer.explainers[product], population, seed).items():
            same = _same(_reasons(accounts, one, bundle), _reasons(accounts, other, bundle))
            rows.append({"product": product, "against": name, "accounts": sample, "cut": len(accounts), **same})
    return pl.DataFrame(rows, SCHEMA)


def _comparisons(
    matrix: NDArray[np.float64], served: Explainer, population: Population, seed: int
) -> dict[str, tuple[int | None, Explainer, Explainer]]:
    """Name -> size of the samples, and the two explainers to compare."""
    layout, size = served.layout, len(population.second)
    found: dict[str, tuple[int | None, Explainer, Explainer]] = {}
    if size:
        found["second_sample"] = size, served, against(layout, matrix[population.second])
        drawn = matrix[np.random.default_rng(seed).permutation(population.pool)]
        found["random_samples"] = size, against(layout, drawn[:size]), against(layout, drawn[size : 2 * size])
    return found | {"path_dependent": (None, served, path_dependent(layout))}


def agreement_metrics(table: pl.DataFrame) -> dict[str, float]:
    """``reasons_<against>_same_set`` and ``..._same_first`` over all products, each weighted by its cut accounts."""
    found = table.drop_nulls("same_set").group_by("against", maintain_order=True)
    return {
        f"reasons_{name}_{share}": float(np.average(rows[share].to_numpy(), weights=rows["cut"].to_numpy()))
        for (name,), rows in found
        for share in ("same_set", "same_first")
    }


def _same(some: list[tuple[str, ...]], others: list[tuple[str, ...]]) -> dict[str, float | None]:
    if not some:
        return {"same_set": None, "same_first": None}
    pairs = list(zip(some, others, strict=True))
    return {
        "same_set": sum(set(one) == set(other) for one, other in pairs) / len(pairs),
        "same_first": sum(one[:1] == other[:1] for one, other in pairs) / len(pairs),
    }


def _reasons(accounts: NDArray[np.float64], explainer: Explainer, bundle: Bundle) -> list[tuple[str, ...]]:
    """The principal reason groups of each account, ranked.  Calibration scales all contributions alike and changes none."""
    return [
        tuple(group for group, _ in principal_groups(dict(zip(bundle.features, row, strict=True)), bundle.wording))
        for row in explain_many(accounts, explainer).tolist()
    ]


def _cut_by_model(
    data: Labelled, held_out: NDArray[np.int64], matrix: NDArray[np.float64], bundle: Bundle
) -> NDArray[np.bool_]:
    log_odds = log_odds_of(matrix[held_out], bundle.scorer)
    outcomes = (
        outcome_of(bundle.policy, data, row, score) for row, score in zip(held_out.tolist(), log_odds.tolist(), strict=True)
    )
    return np.fromiter((outcome.by_model for outcome in outcomes), np.bool_, len(held_out))
