"""Reference populations, and how far the reasons depend on the reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import BY_NAME
from features.types import Matrix, Vector
from serving.decision.bundle import Bundle
from serving.decision.policy.limit import cut_offs_of
from serving.decision.reasons.comparison import make_comparison
from serving.decision.reasons.ranking import PrincipalGroup
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.score import logit
from serving.decision.scoring.shapley import explain_many, make_explainer
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support.each import each
from tests.support.policies import cut_more
from training.data.dataset import Source
from training.data.labels import Labelled
from training.fit.bundle import BundleConfig, FitResult, choose_references, make_parts
from training.fit.config import FitError
from training.fit.fit import Fitted, last_rows, predict_log_odds
from training.fit.reason_quality.agreement import (
    SCHEMA,
    agreement_metrics,
    compare_reasons,
    reason_agreement,
)
from training.fit.reference_population import Population, decide_row, draw_balanced

SIZE = 100


@pytest.fixture(scope="module")
def chosen(fitted: Fitted, data: Labelled) -> dict[str, Population]:
    """The reference population of each product."""
    return choose_references(fitted, data, BundleConfig(reference_size=SIZE))


def scores_of(fitted: Fitted, data: Labelled) -> Vector:
    return predict_log_odds(fitted, data.features.matrix(fitted.features))


def imbalance_of(population: Population, fitted: Fitted, data: Labelled) -> float:
    """The largest mean of a reason group's contributions, measured against the pool."""
    matrix = data.features.matrix(fitted.features)
    explainer = make_explainer(flatten_trees(read_trees(fitted.booster)), matrix[population.pool])
    means = explain_many(matrix[population.rows], explainer).mean(axis=0)
    sums: dict[str, float] = {}
    for name, mean in zip(fitted.features, means, strict=True):
        group = BY_NAME[name].group
        sums[group] = sums.get(group, 0.0) + mean * fitted.calibration.slope
    return max(abs(value) for value in sums.values())


def highest_of(bundle: Bundle, product: str) -> float:
    """Log-odds below which the policy keeps accounts of the product without a review."""
    return logit(bundle.policy.cut_off(product)) - bundle.policy.review.band


def test_a_population_is_kept_accounts_just_inside_the_cut_off(
    chosen: dict[str, Population], fitted: Fitted, data: Labelled, bundle: Bundle
) -> None:
    scores = scores_of(fitted, data)
    for product, population in each(chosen.items()):
        highest = highest_of(bundle, product)
        table = data.features.accounts[population.pool]
        assert set(table["product"]) == {product}
        assert table["account_id"].n_unique() == table.height, "one as_of each"
        assert not (data.split[population.pool] == "test").any()
        inside = scores[population.pool]
        assert inside.max() <= highest
        assert (np.diff(inside) <= 0).all(), "nearest first"
        assert set(population.rows) <= set(population.pool)
        note = population.note
        assert note.accounts == len(population.rows) == SIZE
        assert note.pool == len(population.pool)
        drawn = scores[population.rows]
        assert note.lowest_log_odds == pytest.approx(drawn.min())
        assert note.highest_log_odds == pytest.approx(drawn.max())
        assert note.reach == pytest.approx(highest - inside.min())
        assert note.imbalance == pytest.approx(imbalance_of(population, fitted, data))
        assert note.imbalance < 0.02


def test_no_nearer_kept_account_is_left_out(fitted: Fitted, data: Labelled, bundle: Bundle) -> None:
    """No account outside the pool is kept, nearer, of the product, and not a test account."""
    scores, outside = scores_of(fitted, data), 0
    # A deep band, so that the largest pools are reached.
    config = BundleConfig(reference_size=300, reference_band=8.0)
    table = data.features.accounts.with_row_index("row").with_columns(
        score=pl.Series(scores), split=pl.Series(data.split.astype(str))
    )
    for product, population in choose_references(fitted, data, config).items():
        farthest = scores[population.pool].min()
        in_pool = set(data.features.accounts["account_id"][population.pool])
        nearer = table.filter(
            pl.col("product") == product,
            pl.col("split") != "test",
            pl.col("score").is_between(farthest, highest_of(bundle, product), closed="right"),
            ~pl.col("account_id").is_in(in_pool),
        )
        outside += nearer.height
        for row, score in nearer.select("row", "score").iter_rows():
            assert decide_row(bundle.policy, data, row, score).action != "keep"
    assert outside > 0


def test_a_pool_too_small_is_widened_and_says_so(fitted: Fitted, data: Labelled) -> None:
    narrow = choose_references(fitted, data, BundleConfig(reference_size=SIZE, reference_band=0.05))
    wide = choose_references(fitted, data, BundleConfig(reference_size=SIZE, reference_band=8.0))
    for product, population in each(narrow.items()):
        assert population.note.widened
        assert population.note.reach > 0.05
        assert len(population.pool) == 2 * SIZE
        assert not wide[product].note.widened
        assert 2 * SIZE < len(wide[product].pool) <= 10 * SIZE
        assert set(population.pool) <= set(wide[product].pool)


def test_the_second_sample_shares_no_account(chosen: dict[str, Population]) -> None:
    for population in each(chosen.values()):
        assert len(population.second) == min(SIZE, len(population.pool) - SIZE) > 0
        assert not set(population.second) & set(population.rows)
        assert set(population.second) <= set(population.pool)


def test_too_few_kept_accounts_are_refused(fitted: Fitted, data: Labelled) -> None:
    message = r"reference population of cash_loan: expected 100000 kept accounts, got \d+"
    with pytest.raises(FitError, match=message):
        choose_references(fitted, data, BundleConfig(reference_size=100_000))


@pytest.mark.slow
def test_the_manifest_has_the_population_and_its_note(
    fitted: Fitted, data: Labelled, source: Source
) -> None:
    config = BundleConfig(reference_size=SIZE)
    found = choose_references(fitted, data, config)
    parts = make_parts(FitResult(fitted, data, source, config), found)
    matrix = data.features.matrix(fitted.features)
    assert set(parts.reference_notes) == set(found)
    for product, population in each(found.items()):
        assert parts.reference_notes[product] == population.note
        own = parts.reference.filter(pl.col("product") == product).select(fitted.features)
        rows = own.fill_null(np.nan).to_numpy()
        assert np.array_equal(rows, matrix[population.rows], equal_nan=True)


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_a_balanced_sample_is_one_of_each_stratum(rows: int, size: int, seed: int) -> None:
    weights = np.random.default_rng(seed).normal(size=(rows + size, 3))
    sample = draw_balanced(weights, size)
    assert len(sample) == size
    strata = np.array_split(np.arange(len(weights)), size)
    for stratum, row in each(zip(strata, sample, strict=True)):
        assert row in stratum


def test_a_balanced_sample_is_nearer_to_all_than_random_ones() -> None:
    random = np.random.default_rng(0)
    # Heavy tails, and a trend along the rows.
    weights = np.sort(random.standard_t(3, size=(4000, 6)), axis=0)

    def distance(sample: Matrix) -> float:
        return float(np.abs(sample.mean(axis=0) - weights.mean(axis=0)).max())

    of_random = [distance(random.permutation(weights)[:1000]) for _ in range(20)]
    assert distance(weights[draw_balanced(weights, 1000)]) < min(of_random) / 3


def test_agreement_has_a_row_for_each_product_and_comparison(
    chosen: dict[str, Population], fitted: Fitted, data: Labelled, bundle: Bundle
) -> None:
    table = reason_agreement(data, fitted.held_out, bundle, chosen)
    assert dict(table.schema) == SCHEMA
    names = ["second_sample", "random_samples", "path_dependent"]
    assert table["against"].to_list() == names * 2
    # Two samples, and not one twice.
    assert (table.filter(pl.col("against") == "random_samples")["same_set"] < 1).all()
    metrics = agreement_metrics(table)
    assert metrics["reasons_second_sample_same_first"] > 0.9
    among = metrics["reasons_second_sample_first_among_leaders"]
    assert among >= metrics["reasons_second_sample_same_first"]
    assert metrics["reasons_second_sample_same_set"] > metrics["reasons_path_dependent_same_set"]


def test_the_same_sample_again_agrees_in_everything(
    chosen: dict[str, Population], fitted: Fitted, data: Labelled, bundle: Bundle
) -> None:
    """The control: the sample is all that differs between the two."""
    matrix = data.features.matrix(bundle.features)
    references, explainers, comparisons = {}, {}, {}
    for product, population in chosen.items():
        rows = matrix[population.rows]
        table = pl.from_numpy(rows, schema=list(bundle.features)).fill_nan(None)
        references[product] = dataclasses.replace(population, second=population.rows)
        explainers[product] = make_explainer(bundle.scorer.explainers[product].layout, rows)
        comparisons[product] = make_comparison(product, table, "drawn")
    scorer = dataclasses.replace(bundle.scorer, explainers=explainers)
    served = dataclasses.replace(bundle, scorer=scorer, comparisons=comparisons)
    table = reason_agreement(data, fitted.held_out, served, references)
    same = table.filter(pl.col("against") == "second_sample")
    assert same["same_set"].to_list() == [1.0, 1.0]
    assert same["same_first"].to_list() == [1.0, 1.0]
    assert same["first_among_leaders"].to_list() == [1.0, 1.0]


def groups(*codes: str) -> list[PrincipalGroup]:
    """The groups stated to an account; those with a star are leaders."""
    return [
        PrincipalGroup(
            code.rstrip("*"), 1.0, 0.5, "a_feature", fact=None, leader=code.endswith("*")
        )
        for code in codes
    ]


def test_agreement_counts_sets_and_first_reasons_and_weighs_products() -> None:
    some = [groups("late*", "cash*"), groups("cash*", "late"), groups("debt*"), groups()]
    others = [groups("cash*", "late"), groups("late*"), groups("debt*", "late"), groups()]
    expected = {"same_set": 0.5, "same_first": 0.5, "first_among_leaders": 0.75}
    assert compare_reasons(some, others) == expected
    rows = [
        ("one", "second_sample", 10, 30, 1.0, 0.5, 1.0),
        ("two", "second_sample", 10, 10, 0.0, 0.5, 0.6),
    ]
    metrics = agreement_metrics(pl.DataFrame(rows, SCHEMA, orient="row"))
    assert metrics == {
        "reasons_second_sample_same_set": 0.75,
        "reasons_second_sample_same_first": 0.5,
        "reasons_second_sample_first_among_leaders": 0.9,
    }


@pytest.mark.slow
def test_agreement_is_of_accounts_that_the_policy_cuts(
    chosen: dict[str, Population], fitted: Fitted, data: Labelled, bundle: Bundle
) -> None:
    # The project's own policy cuts too few of these accounts for a count that means anything.
    bundle = cut_more(bundle)
    scores = scores_of(fitted, data)
    cut = 0
    for row in fitted.held_out.tolist():
        cut += decide_row(bundle.policy, data, row, float(scores[row])).by_model
    table = reason_agreement(data, fitted.held_out, bundle, chosen)
    assert table.filter(pl.col("against") == "path_dependent")["cut"].sum() == cut > 50
    # Some accounts above the cut-off keep their limit.
    products = data.features.accounts["product"][last_rows(data, fitted.held_out).tolist()]
    assert cut < (fitted.probability > cut_offs_of(products.to_list(), bundle.policy)).sum()


def test_agreement_without_cut_accounts_is_unknown(
    chosen: dict[str, Population], fitted: Fitted, data: Labelled, bundle: Bundle
) -> None:
    safe = fitted.held_out[fitted.probability < 0.01]
    table = reason_agreement(data, safe, bundle, chosen)
    assert table["cut"].to_list() == [0] * 6
    assert table["same_set"].null_count() == 6
    assert agreement_metrics(table) == {}
