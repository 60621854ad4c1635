from __future__ import annotations

import dataclasses
import re
from itertools import pairwise
from typing import TYPE_CHECKING

import lightgbm as lgb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import BY_NAME
from serving.decision.bundle import Bundle
from serving.decision.scoring import kernels
from serving.decision.scoring.lightgbm_trees import Forest, Tree, TreeError, read_trees
from serving.decision.scoring.score import score
from serving.decision.scoring.shapley import (
    Explainer,
    explain_many,
    explain_one,
    make_explainer,
    path_dependent,
)
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support.boosters import MISSING, Case, case, cases
from tests.support.brute_force import shapley_values
from tests.support.each import each

if TYPE_CHECKING:
    from training.data.labels import Labelled
    from training.fit.fit import Fitted

EXACT = 1e-10
seeds = st.integers(0, 2**32 - 1)


def explainer_of(model: lgb.Booster, reference: np.ndarray) -> Explainer:
    return make_explainer(flatten_trees(read_trees(model)), reference)


def raw(model: lgb.Booster, rows: np.ndarray) -> np.ndarray:
    return np.asarray(model.predict(rows, raw_score=True, num_threads=1))


def check_against_brute_force(drawn: Case) -> None:
    explainer = explainer_of(drawn.model, drawn.reference)
    assert explainer.base == pytest.approx(
        raw(drawn.model, drawn.reference).mean(), abs=EXACT, rel=0
    )
    for row, found in zip(drawn.rows, explain_many(drawn.rows, explainer), strict=True):
        assert np.abs(found - shapley_values(row, drawn.reference, drawn.model)).max() <= EXACT


@pytest.mark.integration
@settings(max_examples=300)
@given(cases())
def test_equal_to_brute_force(drawn: Case) -> None:
    check_against_brute_force(drawn)


@pytest.mark.torture
@settings(max_examples=5000)
@given(cases())
def test_equal_to_brute_force_at_length(drawn: Case) -> None:
    check_against_brute_force(drawn)


@pytest.mark.parametrize("missing", sorted(MISSING))
def test_equal_to_brute_force_with_each_missing_type(missing: str) -> None:
    found = set()
    for seed in range(6):
        drawn = case(
            features=4,
            reference=30,
            missing=missing,
            depth=6,
            leaves=30,
            trees=6,
            levels=0,
            kind="binary",
            seed=seed,
        )
        check_against_brute_force(drawn)
        found |= {kind for tree in read_trees(drawn.model).trees for kind in tree.missing}
    # Without a split of that type, nothing was tried.
    assert {"none seen": 0, "seen": 2, "not used": 0, "zero is missing": 1}[missing] in found


def test_brute_force_notices_another_reference() -> None:
    """The control: the same tables against half of the reference are not equal."""
    drawn = case(
        features=5,
        reference=40,
        missing="seen",
        depth=4,
        leaves=16,
        trees=5,
        levels=0,
        kind="binary",
        seed=1,
    )
    found = explain_one(drawn.rows[0], explainer_of(drawn.model, drawn.reference[:20]))
    assert np.abs(found - shapley_values(drawn.rows[0], drawn.reference, drawn.model)).max() > 1e-3


def rows_like(data: Labelled, fitted: Fitted, rows: int, seed: int = 0) -> np.ndarray:
    """Rows whose every value occurs in the data, each column shuffled by itself, some of them
    unknown.
    """
    random = np.random.default_rng(seed)
    matrix = data.features.matrix(fitted.features)
    drawn = np.column_stack([random.choice(column, rows) for column in matrix.T])
    return np.where(random.random(drawn.shape) < 0.02, np.nan, drawn)


def test_additive_for_a_hundred_thousand_rows(
    data: Labelled, fitted: Fitted, bundle: Bundle
) -> None:
    matrix = rows_like(data, fitted, 100_000)
    found = score(matrix, [*bundle.comparisons] * 50_000, bundle.scorer)
    gap = np.abs(found.base_log_odds + found.contributions.sum(axis=1) - found.log_odds)
    assert gap.max() <= 1e-9


def test_one_row_and_many_give_the_same_bits(
    data: Labelled, fitted: Fitted, bundle: Bundle
) -> None:
    explainer = next(iter(bundle.scorer.explainers.values()))
    matrix = rows_like(data, fitted, 10_000)
    together = explain_many(matrix, explainer)
    for rows in (1, 7, 8, 9, 1023, 1024, 1025, 4096, 4097):
        assert np.array_equal(explain_many(matrix[:rows], explainer), together[:rows]), rows
    for row in (0, 1, 4095, 4096, 9999):
        assert np.array_equal(explain_one(matrix[row], explainer), together[row])


def test_any_kind_of_array_is_read_and_none_is_compiled_for_anew(
    data: Labelled, fitted: Fitted, bundle: Bundle
) -> None:
    explainer = next(iter(bundle.scorer.explainers.values()))
    matrix = rows_like(data, fitted, 40).round(3)
    expected = explain_many(matrix, explainer)
    compiled = [kernels.explain_rows, kernels.find_patterns, kernels.add_lines]
    before = [len(kernel.signatures) for kernel in compiled]  # type: ignore[attr-defined]
    frozen = matrix.copy()
    frozen.flags.writeable = False
    wide = np.zeros((40, 2 * matrix.shape[1]))
    wide[:, ::2] = matrix
    for rows in (frozen, np.asfortranarray(matrix), wide[:, ::2], matrix.astype(">f8")):
        assert np.array_equal(explain_many(rows, explainer), expected)
        assert np.array_equal(explain_many(rows[:5], explainer), expected[:5])
    assert [len(kernel.signatures) for kernel in compiled] == before == [1, 1, 1]  # type: ignore[attr-defined]


@settings(max_examples=40)
@given(cases(most_reference=60), seeds)
def test_the_order_of_the_reference_does_not_matter(drawn: Case, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(drawn.reference)
    one, other = explainer_of(drawn.model, drawn.reference), explainer_of(drawn.model, shuffled)
    assert one.base == other.base
    assert np.array_equal(explain_many(drawn.rows, one), explain_many(drawn.rows, other))


@settings(max_examples=40)
@given(cases(), st.integers(1, 700))
def test_copies_of_one_row_are_that_row_alone(drawn: Case, copies: int) -> None:
    alone = explainer_of(drawn.model, drawn.reference[:1])
    many = explainer_of(drawn.model, np.repeat(drawn.reference[:1], copies, axis=0))
    assert alone.base == many.base
    assert np.array_equal(explain_many(drawn.rows, alone), explain_many(drawn.rows, many))


@settings(max_examples=40)
@given(cases())
def test_a_feature_that_decides_nothing_contributes_nothing(drawn: Case) -> None:
    used = {feature for tree in read_trees(drawn.model).trees for feature in tree.feature}
    dummies = sorted(set(range(drawn.rows.shape[1])) - used)
    explainer = explainer_of(drawn.model, drawn.reference)
    assert (explain_many(drawn.rows, explainer)[:, dummies] == 0.0).all()
    # So does one in which the row and the whole reference agree.
    agreed = drawn.reference.copy()
    agreed[:, 0] = drawn.rows[0, 0]
    assert explain_many(drawn.rows[:1], explainer_of(drawn.model, agreed))[0, 0] == 0.0


def mirrored(tree: Tree) -> Tree:
    """The same tree with features 0 and 1 in each other's place."""
    return dataclasses.replace(
        tree, feature=tuple({0: 1, 1: 0}.get(feature, feature) for feature in tree.feature)
    )


@settings(max_examples=40)
@given(cases(most_reference=60))
def test_features_in_the_same_position_contribute_the_same(drawn: Case) -> None:
    """A forest and a reference that stay the same when features 0 and 1 are swapped, a row with the
    same value in both.
    """
    rows, reference = (
        matrix if matrix.shape[1] > 1 else np.repeat(matrix, 2, axis=1)
        for matrix in (drawn.rows, drawn.reference)
    )
    trees = read_trees(drawn.model).trees
    both_ways = Forest(rows.shape[1], (*trees, *map(mirrored, trees)))
    swapped = reference[:, [1, 0, *range(2, reference.shape[1])]]
    rows = rows.copy()
    rows[:, 1] = rows[:, 0]
    found = explain_many(
        rows, make_explainer(flatten_trees(both_ways), np.vstack([reference, swapped]))
    )
    assert np.abs(found[:, 0] - found[:, 1]).max() <= EXACT


@settings(max_examples=60)
@given(cases())
def test_with_cover_instead_of_a_reference_it_is_pred_contrib(drawn: Case) -> None:
    explainer = path_dependent(flatten_trees(read_trees(drawn.model)))
    expected = np.asarray(drawn.model.predict(drawn.rows, pred_contrib=True, num_threads=1))
    assert np.abs(explain_many(drawn.rows, explainer) - expected[:, :-1]).max() <= 1e-9
    assert explainer.base == pytest.approx(expected[0, -1], abs=1e-9, rel=0)


@pytest.mark.parametrize("counts", ["", "0"], ids=["no counts", "zeros"])
def test_a_model_without_counts_is_explained_against_a_reference(counts: str) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 5))
    settings = {"num_leaves": 7, "max_depth": 4, "verbose": -1}
    with_counts = lgb.train(settings, lgb.Dataset(rows, rows[:, 0] + rows[:, 1] ** 2), 5)

    def replace_counts(line: re.Match[str]) -> str:
        numbers = " ".join([counts] * len(line[2].split()))
        return f"{line[1]}={numbers}\n" if counts else ""

    text = re.sub(r"tree_sizes=.*\n", "", with_counts.model_to_string())
    text = re.sub(r"(leaf_count|internal_count)=(.*)\n", replace_counts, text)
    layouts = [
        flatten_trees(read_trees(model)) for model in (with_counts, lgb.Booster(model_str=text))
    ]
    expected, found = (explain_many(rows, make_explainer(layout, rows[:50])) for layout in layouts)
    assert np.abs(expected).max() > 0.1
    assert (found == expected).all()
    with pytest.raises(TreeError, match="expected counts of training rows"):
        path_dependent(layouts[1])


def test_with_cover_the_served_model_is_pred_contrib(data: Labelled, fitted: Fitted) -> None:
    matrix = rows_like(data, fitted, 3000)
    explainer = path_dependent(flatten_trees(read_trees(fitted.booster)))
    expected = np.asarray(fitted.booster.predict(matrix, pred_contrib=True))
    assert np.abs(explain_many(matrix, explainer) - expected[:, :-1]).max() <= 1e-9


@pytest.mark.torture
def test_worse_than_the_whole_reference_in_one_thing_has_the_declared_sign(
    data: Labelled, fitted: Fitted, bundle: Bundle
) -> None:
    """Equal in all else: the contribution is the whole difference, and no other feature has any."""
    random = np.random.default_rng(0)
    layout = next(iter(bundle.scorer.explainers.values())).layout
    matrix, moved = data.features.matrix(fitted.features), 0
    for place, name in enumerate(fitted.features):
        known = matrix[~np.isnan(matrix[:, place])]
        if len(known) == 0:
            continue
        direction = BY_NAME[name].direction
        for row in random.choice(known, 10):
            reference = np.repeat(row[None], 50, axis=0)
            reference[:, place] -= direction * random.exponential(
                np.ptp(known[:, place]) + 1e-6, 50
            )
            found = explain_one(row, make_explainer(layout, reference))
            assert found[place] >= 0, name
            assert (np.delete(found, place) == 0).all()
            moved += found[place] > 0
    assert moved > 50, "hardly anything was tried"


def test_the_base_is_the_mean_of_the_reference(bundle: Bundle) -> None:
    for product, explainer in each(bundle.scorer.explainers.items()):
        rows = bundle.reference.filter(product=product).drop("product").fill_null(np.nan).to_numpy()
        assert explainer.base == pytest.approx(raw(bundle.scorer.model, rows).mean(), abs=1e-12)
        # Each row counts as often against the others as they against it.
        assert np.abs(explain_many(rows, explainer).mean(axis=0)).max() <= 1e-12


def test_a_model_of_leaves_alone_explains_nothing() -> None:
    random = np.random.default_rng(0)
    model = lgb.train(
        {"objective": "binary", "verbose": -1},
        lgb.Dataset(random.normal(size=(50, 3)), np.ones(50)),
        2,
    )
    assert all(not tree.feature for tree in read_trees(model).trees)
    rows = random.normal(size=(40, 3))
    explainer = explainer_of(model, rows[:5])
    assert explainer.base == pytest.approx(raw(model, rows)[0], abs=1e-12)
    assert (explain_many(rows, explainer) == 0).all()
    assert (explain_one(rows[0], explainer) == 0).all()


def test_another_width_is_refused(bundle: Bundle) -> None:
    explainer = next(iter(bundle.scorer.explainers.values()))
    features = len(bundle.features)
    with pytest.raises(
        ValueError, match=f"expected rows of {features} features, got \\(3, {features - 1}\\)"
    ):
        explain_many(np.zeros((3, features - 1)), explainer)
    with pytest.raises(ValueError, match="expected rows of"):
        explain_one(np.zeros(features + 1), explainer)
    for shape in ((0, features), (3, features + 1), (features,)):
        with pytest.raises(ValueError, match="reference: expected"):
            make_explainer(explainer.layout, np.zeros(shape))
    assert explain_many(np.zeros((0, features)), explainer).shape == (0, features)


def test_pieces_cover_every_leaf_once() -> None:
    for seed in range(10):
        drawn = case(
            features=6,
            reference=5,
            missing="seen",
            depth=8,
            leaves=40,
            trees=4,
            levels=0,
            kind="binary",
            seed=seed,
        )
        forest = read_trees(drawn.model)
        layout = flatten_trees(forest)
        assert sum(len(piece.leaves) for piece in layout.pieces) == sum(
            len(tree.leaf) for tree in forest.trees
        )
        assert all(len(piece.splits) <= kernels.WIDTH for piece in layout.pieces)
        assert all(a < b for a, b in pairwise(layout.starts))
