"""Replays the served decision on the hold-out: would another reference have given a customer other
reasons?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.window import Window, lay_out
from serving.decision.bundle import Bundle, medians_of
from serving.decision.reasons.effects import DRIVEN, compute_effects, effects_by_group
from serving.decision.reasons.ranking import principal_groups, visible_effects
from serving.decision.scoring.score import log_odds_of
from serving.decision.scoring.shapley import Explainer, explain_many, make_explainer, path_dependent
from training.data.labels import Labelled, select_windows
from training.fit.reference_population import Population, decide_row

SCHEMA = {
    "product": pl.String,
    "against": pl.String,
    "accounts": pl.Int64,
    "cut": pl.Int64,
    "same_set": pl.Float64,
    "same_first": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class _View:
    """A way of explaining: the explainer, and the medians that the effects are taken from (null =
    reasons without effects).
    """

    explainer: Explainer
    medians: Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class _Accounts:
    """Some accounts of one product: their model features, and their windows with the rows of
    ``matrix`` that each holds.
    """

    product: str
    matrix: NDArray[np.float64]
    windows: Sequence[tuple[NDArray[np.int64], Window]]


def reason_agreement(
    data: Labelled,
    statements: pl.DataFrame,
    held_out: NDArray[np.int64],
    bundle: Bundle,
    chosen: Mapping[str, Population],
    seed: int = 0,
) -> pl.DataFrame:
    """How many accounts of the hold-out that the model cuts would be given the same principal
    reasons against something else.

    ``statements`` are those that ``data`` was labelled from.  One row a product and comparison:
    ``make_explainer`` is ``second_sample`` (drawn by the same rule, no account in common),
    ``random_samples`` (two random samples of the pool, compared with each other: what the rule of
    drawing wins), ``contributions`` (the same reference without the effects) or ``path_dependent``
    (LightGBM's own values, compared with the contributions); ``accounts`` of the sample, null for
    the last two; ``cut`` accounts that the served policy cuts on the model's word, or asks a person
    to; ``same_set`` and ``same_first`` are shares of these, null where there are none, whose
    reasons are the same reason groups in any order, and whose first is the same.
    """
    matrix = data.features.matrix(bundle.features)
    products = data.features.accounts["product"].cast(pl.String).to_numpy()
    cut = held_out[_cut_by_model(data, held_out, matrix, bundle)]
    rows: list[dict[str, object]] = []
    for product, population in chosen.items():
        own = cut[products[cut] == product]
        accounts = _Accounts(
            product, matrix[own], _windows(statements, data.features.accounts[own.tolist()])
        )
        for name, (sample, one, other) in _comparisons(
            matrix, product, bundle, population, seed
        ).items():
            same = same_sets(_reasons(accounts, one, bundle), _reasons(accounts, other, bundle))
            rows.append(
                {"product": product, "against": name, "accounts": sample, "cut": len(own), **same}
            )
    return pl.DataFrame(rows, SCHEMA)


def _comparisons(
    matrix: NDArray[np.float64], product: str, bundle: Bundle, population: Population, seed: int
) -> dict[str, tuple[int | None, _View, _View]]:
    """Name -> size of the samples, and the two views to compare."""
    explainer, size = bundle.scorer.explainers[product], len(population.second)
    served = _View(explainer, bundle.medians[product])

    def of(rows: NDArray[np.int64]) -> _View:
        table = pl.from_numpy(matrix[rows], schema=list(bundle.features)).fill_nan(None)
        return _View(make_explainer(explainer.layout, matrix[rows]), medians_of(table))

    found: dict[str, tuple[int | None, _View, _View]] = {}
    if size:
        drawn = np.random.default_rng(seed).permutation(population.pool)
        found["second_sample"] = size, served, of(population.second)
        found["random_samples"] = size, of(drawn[:size]), of(drawn[size : 2 * size])
    alone = _View(explainer, None)
    return found | {
        "contributions": (None, served, alone),
        "path_dependent": (None, alone, _View(path_dependent(explainer.layout), None)),
    }


def agreement_metrics(table: pl.DataFrame) -> dict[str, float]:
    """``reasons_<against>_same_set`` and ``..._same_first`` over all products, each weighted by its
    cut accounts.
    """
    found = table.drop_nulls("same_set").group_by("against", maintain_order=True)
    return {
        f"reasons_{name}_{share}": float(
            np.average(rows[share].to_numpy(), weights=rows["cut"].to_numpy())
        )
        for (name,), rows in found
        for share in ("same_set", "same_first")
    }


def same_sets(
    some: list[tuple[str, ...]], others: list[tuple[str, ...]]
) -> dict[str, float | None]:
    """The shares of accounts whose whole reason set, and whose first reason, are the same; None
    without accounts.
    """
    if not some:
        return {"same_set": None, "same_first": None}
    pairs = list(zip(some, others, strict=True))
    return {
        "same_set": sum(set(one) == set(other) for one, other in pairs) / len(pairs),
        "same_first": sum(one[:1] == other[:1] for one, other in pairs) / len(pairs),
    }


def _reasons(accounts: _Accounts, view: _View, bundle: Bundle) -> list[tuple[str, ...]]:
    """The principal reason groups of each account, ranked."""
    contributions = bundle.scorer.calibration.slope * explain_many(accounts.matrix, view.explainer)
    driven = np.full((len(accounts.matrix), len(DRIVEN)), np.nan)
    if view.medians is not None:
        compared = replace(bundle, medians={accounts.product: view.medians})
        for places, seen in accounts.windows:
            driven[places] = compute_effects(seen, [accounts.product] * len(places), compared)
    return [
        tuple(
            group
            for group, _ in principal_groups(
                dict(zip(bundle.features, own, strict=True)),
                visible_effects(
                    effects_by_group(did),
                    bundle.features,
                    dict(zip(bundle.features, row, strict=True)),
                    view.medians or {},
                ),
                bundle.wording,
            )
        )
        for own, did, row in zip(
            contributions.tolist(), driven.tolist(), accounts.matrix.tolist(), strict=True
        )
    ]


def _windows(
    statements: pl.DataFrame, accounts: pl.DataFrame
) -> list[tuple[NDArray[np.int64], Window]]:
    """The windows that the rows of ``accounts`` were decided on, one a month of decision, with the
    places of their rows.
    """
    found = []
    for (as_of,), group in accounts.with_row_index("place").group_by("as_of", maintain_order=True):
        own = group.sort("account_id")
        seen = select_windows(statements, as_of).filter(
            pl.col("account_id").is_in(own["account_id"].implode())
        )
        found.append((own["place"].cast(pl.Int64).to_numpy(), lay_out(seen)))
    return found


def _cut_by_model(
    data: Labelled, held_out: NDArray[np.int64], matrix: NDArray[np.float64], bundle: Bundle
) -> NDArray[np.bool_]:
    log_odds = log_odds_of(matrix[held_out], bundle.scorer)
    outcomes = (
        decide_row(bundle.policy, data, row, score)
        for row, score in zip(held_out.tolist(), log_odds.tolist(), strict=True)
    )
    return np.fromiter((outcome.by_model for outcome in outcomes), np.bool_, len(held_out))
