"""How far the reasons of cut hold-out accounts agree under another reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from features.types import Mask, Matrix, Rows, Vector
from features.window import Window, lay_out
from serving.decision.bundle import Bundle, medians_of
from serving.decision.reasons.effects import DRIVEN, compute_effects, effects_by_group
from serving.decision.reasons.ranking import principal_groups, visible_effects
from serving.decision.scoring.score import log_odds_of
from serving.decision.scoring.shapley import Explainer, explain_many, make_explainer, path_dependent
from training.data.labels import Labelled, select_windows
from training.fit.fit import last_rows
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
    """An explainer, and the baseline of the effects that it is combined with."""

    explainer: Explainer
    medians: Mapping[str, float] | None  # baseline of the effects; None = reasons without effects


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two views; ``sample`` is the size of their reference samples."""

    sample: int | None
    one: _View
    other: _View


@dataclass(frozen=True, slots=True)
class _Accounts:
    """Some accounts of one product."""

    product: str
    matrix: Matrix  # model features
    windows: Sequence[tuple[Rows, Window]]  # rows of ``matrix``, and their windows


def reason_agreement(
    data: Labelled,
    statements: pl.DataFrame,
    held_out: Rows,
    bundle: Bundle,
    references: Mapping[str, Population],
    seed: int = 0,
) -> pl.DataFrame:
    """Compare the principal reasons of cut hold-out accounts under two ways of explaining.

    ``statements`` are those that ``data`` was labelled from.  One row a product and comparison;
    ``against`` names the comparison:

    second_sample   the served reference, and a second one by the same rule without common accounts
    random_samples  two random samples of the pool: the gain from the rule of drawing
    contributions   the served reasons, and those from contributions without effects
    path_dependent  the contributions, and LightGBM's own values

    ``accounts`` is the size of the sample (null for the last two); ``cut`` counts the accounts that
    the policy cuts by the model or refers to a reviewer, each at its last as_of; ``same_set`` and
    ``same_first`` are the shares of these whose reason groups, in any order, and whose first group
    are the same (null without such accounts).
    """
    matrix = data.features.matrix(bundle.features)
    labelled = data.features.accounts
    products = labelled["product"].cast(pl.String).to_numpy()
    once = last_rows(data, held_out)
    is_cut = _cut_by_model(data, once, matrix, bundle)
    cut = once[is_cut]
    table: list[dict[str, object]] = []
    for product, population in references.items():
        rows = cut[products[cut] == product]
        accounts = _Accounts(
            product,
            matrix=matrix[rows],
            windows=_windows(statements, labelled[rows.tolist()]),
        )
        comparisons = _comparisons(matrix, bundle, product, population, seed)
        for name, comparison in comparisons.items():
            one = _reasons(accounts, comparison.one, bundle)
            other = _reasons(accounts, comparison.other, bundle)
            row: dict[str, object] = {
                "product": product,
                "against": name,
                "accounts": comparison.sample,
                "cut": len(rows),
            }
            table.append(row | same_sets(one, other))
    return pl.DataFrame(table, SCHEMA)


def _comparisons(
    matrix: Matrix,
    bundle: Bundle,
    product: str,
    population: Population,
    seed: int,
) -> dict[str, _Comparison]:
    """Return the comparisons of a product by name."""
    explainer = bundle.scorer.explainers[product]
    layout = explainer.layout
    served = _View(explainer, bundle.medians[product])

    def against(rows: Rows) -> _View:
        reference = matrix[rows]
        table = pl.from_numpy(reference, schema=list(bundle.features))
        medians = medians_of(table.fill_nan(None))
        return _View(make_explainer(layout, reference), medians)

    comparisons = {}
    # Both samples of a comparison have this size: a larger one would agree more by its size alone.
    size = len(population.second)
    if size:
        drawn = np.random.default_rng(seed).permutation(population.pool)
        second = against(population.second)
        comparisons["second_sample"] = _Comparison(size, served, second)
        comparisons["random_samples"] = _Comparison(
            size,
            against(drawn[:size]),
            against(drawn[size : 2 * size]),
        )
    # LightGBM's own values have no reference, and effects need one: neither side has effects.
    without_effects = _View(explainer, None)
    own_values = _View(path_dependent(layout), None)
    comparisons["contributions"] = _Comparison(None, served, without_effects)
    comparisons["path_dependent"] = _Comparison(None, without_effects, own_values)
    return comparisons


def agreement_metrics(table: pl.DataFrame) -> dict[str, float]:
    """Return ``reasons_<against>_same_set`` and ``..._same_first`` over all products.

    ``table`` is that of :func:`reason_agreement`; products are weighted by their cut accounts.
    """
    metrics = {}
    with_cuts = table.drop_nulls("same_set")
    for (name,), rows in with_cuts.group_by("against", maintain_order=True):
        weights = rows["cut"].to_numpy()
        for share in ("same_set", "same_first"):
            mean = np.average(rows[share].to_numpy(), weights=weights)
            metrics[f"reasons_{name}_{share}"] = float(mean)
    return metrics


def same_sets(
    some: list[tuple[str, ...]],
    others: list[tuple[str, ...]],
) -> dict[str, float | None]:
    """Return the shares of accounts with the same reason set, and with the same first reason.

    None without accounts.
    """
    if not some:
        return {"same_set": None, "same_first": None}
    same_set = same_first = 0
    for one, other in zip(some, others, strict=True):
        same_set += set(one) == set(other)
        # Slices and not [0]: an account may have no reason.
        same_first += one[:1] == other[:1]
    count = len(some)
    return {
        "same_set": same_set / count,
        "same_first": same_first / count,
    }


def _reasons(accounts: _Accounts, view: _View, bundle: Bundle) -> list[tuple[str, ...]]:
    """Return the principal reason groups of each account, ranked."""
    matrix = accounts.matrix
    # Raw scores to calibrated log-odds: the scale of the effects and of the policy's thresholds.
    slope = bundle.scorer.calibration.slope
    contributions = slope * explain_many(matrix, view.explainer)
    driven = np.full((len(matrix), len(DRIVEN)), np.nan)
    if view.medians is not None:
        compared = replace(bundle, medians={accounts.product: view.medians})
        for places, window in accounts.windows:
            products = [accounts.product] * len(places)
            driven[places] = compute_effects(window, products, compared)
    ranked = []
    for row in range(len(matrix)):
        groups = _ranked_groups(
            contributions[row],
            driven[row],
            matrix[row],
            view,
            bundle,
        )
        ranked.append(groups)
    return ranked


def _ranked_groups(
    contributions: Vector,
    driven: Vector,
    values: Vector,
    view: _View,
    bundle: Bundle,
) -> tuple[str, ...]:
    names = bundle.features
    by_feature = dict(zip(names, contributions.tolist(), strict=True))
    value_of = dict(zip(names, values.tolist(), strict=True))
    visible = visible_effects(
        effects_by_group(driven.tolist()),
        names,
        value_of,
        view.medians or {},
    )
    ranked = principal_groups(by_feature, visible, bundle.wording)
    return tuple(group for group, _ in ranked)


def _windows(statements: pl.DataFrame, accounts: pl.DataFrame) -> list[tuple[Rows, Window]]:
    """Return the windows of the rows of ``accounts`` by month: (their places, the windows)."""
    windows = []
    by_month = accounts.with_row_index("place").group_by("as_of", maintain_order=True)
    for (as_of,), group in by_month:
        # Sorted as the statements are: lay_out returns the windows in the order of the accounts.
        own = group.sort("account_id")
        is_own = pl.col("account_id").is_in(own["account_id"].implode())
        window = select_windows(statements, as_of).filter(is_own)
        places = own["place"].cast(pl.Int64).to_numpy()
        windows.append((places, lay_out(window)))
    return windows


def _cut_by_model(
    data: Labelled,
    held_out: Rows,
    matrix: Matrix,
    bundle: Bundle,
) -> Mask:
    """Return which accounts the policy cuts by the model or refers to a reviewer."""
    log_odds = log_odds_of(matrix[held_out], bundle.scorer)
    by_model = []
    for row, score in zip(held_out.tolist(), log_odds.tolist(), strict=True):
        outcome = decide_row(bundle.policy, data, row, score)
        by_model.append(outcome.by_model)
    return np.array(by_model, dtype=np.bool_)
