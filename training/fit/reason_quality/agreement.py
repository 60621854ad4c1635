"""How far the reasons of cut hold-out accounts agree under another reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.types import Mask, Matrix, Rows
from serving.decision.bundle import Bundle
from serving.decision.reasons.comparison import Comparison, make_comparison
from serving.decision.reasons.ranking import Evidence, PrincipalGroup, principal_groups
from serving.decision.scoring.score import log_odds_of
from serving.decision.scoring.shapley import Explainer, explain_many, make_explainer, path_dependent
from training.data.labels import Labelled
from training.fit.fit import last_rows
from training.fit.reference_population import Population, decide_row

MEASURES = ("same_set", "same_first", "first_among_leaders")
SCHEMA = {
    "product": pl.String,
    "against": pl.String,
    "accounts": pl.Int64,
    "cut": pl.Int64,
    **dict.fromkeys(MEASURES, pl.Float64),
}
Reasons = Sequence[PrincipalGroup]  # of one account, ranked


@dataclass(frozen=True, slots=True)
class _View:
    """An explainer, and the accounts with which customers are compared."""

    explainer: Explainer
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two views; ``sample`` is the size of their reference samples."""

    sample: int | None
    one: _View
    other: _View


def reason_agreement(
    data: Labelled,
    held_out: Rows,
    bundle: Bundle,
    references: Mapping[str, Population],
    seed: int = 0,
) -> pl.DataFrame:
    """Compare the principal reasons of cut hold-out accounts under two ways of explaining.

    One row a product and comparison; ``against`` names the comparison:

    second_sample   the served reference, and a second one by the same rule without common accounts
    random_samples  two random samples of the pool: the gain from the rule of drawing
    path_dependent  the served contributions, and LightGBM's own values

    ``accounts`` is the size of the sample (null for the last); ``cut`` counts the accounts that the
    policy cuts by the model or refers to a reviewer, each at its last as_of.  The others are shares
    of these (null without such accounts): ``same_set`` have the same reason groups, in any order;
    ``same_first`` the same first group; ``first_among_leaders`` a second first group that is the
    first one's first or one of its equals.
    """
    matrix = data.features.matrix(bundle.features)
    products = data.features.accounts["product"].cast(pl.String).to_numpy()
    once = last_rows(data, held_out)
    is_cut = _cut_by_model(data, once, matrix, bundle)
    cut = once[is_cut]
    table: list[dict[str, object]] = []
    for product, population in references.items():
        rows = cut[products[cut] == product]
        for name, pair in _pairs(matrix, bundle, product, population, seed).items():
            one = _reasons(matrix[rows], pair.one, bundle)
            other = _reasons(matrix[rows], pair.other, bundle)
            row: dict[str, object] = {
                "product": product,
                "against": name,
                "accounts": pair.sample,
                "cut": len(rows),
            }
            table.append(row | compare_reasons(one, other))
    return pl.DataFrame(table, SCHEMA)


def _pairs(
    matrix: Matrix,
    bundle: Bundle,
    product: str,
    population: Population,
    seed: int,
) -> dict[str, _Pair]:
    """Return the comparisons of a product by name."""
    explainer = bundle.scorer.explainers[product]
    layout = explainer.layout
    served = _View(explainer, bundle.comparisons[product])

    def against(rows: Rows) -> _View:
        reference = matrix[rows]
        table = pl.from_numpy(reference, schema=list(bundle.features)).fill_nan(None)
        comparison = make_comparison(product, table, population.note.rule)
        return _View(make_explainer(layout, reference), comparison)

    pairs = {}
    # Both samples of a comparison have this size: a larger one would agree more by its size alone.
    size = len(population.second)
    if size:
        drawn = np.random.default_rng(seed).permutation(population.pool)
        second = against(population.second)
        pairs["second_sample"] = _Pair(size, served, second)
        pairs["random_samples"] = _Pair(
            size,
            against(drawn[:size]),
            against(drawn[size : 2 * size]),
        )
    # LightGBM's own values have no reference; the sentences compare with the served one.
    own_values = _View(path_dependent(layout), served.comparison)
    pairs["path_dependent"] = _Pair(None, served, own_values)
    return pairs


def agreement_metrics(table: pl.DataFrame) -> dict[str, float]:
    """Return ``reasons_<against>_same_set`` and the other measures over all products.

    ``table`` is that of :func:`reason_agreement`; products are weighted by their cut accounts.
    """
    metrics = {}
    with_cuts = table.drop_nulls("same_set")
    for (name,), rows in with_cuts.group_by("against", maintain_order=True):
        weights = rows["cut"].to_numpy()
        for share in MEASURES:
            mean = np.average(rows[share].to_numpy(), weights=weights)
            metrics[f"reasons_{name}_{share}"] = float(mean)
    return metrics


def compare_reasons(
    some: Sequence[Reasons],
    others: Sequence[Reasons],
) -> dict[str, float | None]:
    """Return the shares of accounts whose reasons agree, by :data:`MEASURES`; None without any."""
    if not some:
        return dict.fromkeys(MEASURES)
    counts = dict.fromkeys(MEASURES, 0)
    for one, other in zip(some, others, strict=True):
        codes = [group.code for group in one]
        other_codes = [group.code for group in other]
        leaders = {group.code for group in one if group.leader}
        counts["same_set"] += set(codes) == set(other_codes)
        # Slices and not [0]: an account may have no reason.
        counts["same_first"] += codes[:1] == other_codes[:1]
        agree = not codes if not other_codes else other_codes[0] in leaders
        counts["first_among_leaders"] += agree
    return {measure: count / len(some) for measure, count in counts.items()}


def _reasons(matrix: Matrix, view: _View, bundle: Bundle) -> list[Reasons]:
    """Return the principal reason groups of each account; ``matrix`` has the model's features."""
    # Raw scores to calibrated log-odds: the scale of the thresholds.
    slope = bundle.scorer.calibration.slope
    contributions = slope * explain_many(matrix, view.explainer)
    names = bundle.features
    reasons: list[Reasons] = []
    for own, values in zip(contributions.tolist(), matrix.tolist(), strict=True):
        evidence = Evidence(
            contributions=dict(zip(names, own, strict=True)),
            values=dict(zip(names, values, strict=True)),
            comparison=view.comparison,
        )
        reasons.append(principal_groups(evidence, bundle.wording))
    return reasons


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
