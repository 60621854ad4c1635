"""The raw score by look-ups, against LightGBM's own prediction, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from features.types import Matrix, Vector
from serving.decision.bundle import read
from serving.decision.scoring.leaf_values import LeafValues, make_leaf_values
from serving.decision.scoring.lightgbm_trees import Forest, Tree, read_trees
from serving.decision.scoring.score import (
    AdditivityError,
    check_tables,
    log_odds_by_tables,
    log_odds_of,
    score,
)
from serving.decision.scoring.shapley_tables import flatten_trees
from tests.support.boosters import Case, cases
from tests.support.paths import GOLDEN


def by_lightgbm(case: Case) -> Vector:
    return np.asarray(case.model.predict(case.rows, raw_score=True, num_threads=1))


def tables_of(forest: Forest) -> LeafValues:
    return make_leaf_values(forest, flatten_trees(forest))


@given(cases())
def test_a_row_has_the_bits_of_lightgbm(case: Case) -> None:
    tables, expected = tables_of(read_trees(case.model)), by_lightgbm(case)
    np.testing.assert_array_equal(tables.predict(case.rows), expected)
    alone = np.concatenate([tables.predict(row[None]) for row in case.rows])
    np.testing.assert_array_equal(alone, expected)


def test_other_leaves_are_found() -> None:
    """The control: a leaf whose value moves by a bit."""
    bundle = read(GOLDEN)
    forest = read_trees(bundle.scorer.model)
    rows = golden_rows()
    first = forest.trees[0]
    moved = replace(first, leaf=tuple(float(np.nextafter(leaf, 9.0)) for leaf in first.leaf))
    others = tables_of(Forest(forest.features, (moved, *forest.trees[1:])))
    as_it_is = np.asarray(bundle.scorer.model.predict(rows, raw_score=True))
    assert (others.predict(rows) != as_it_is).any()
    np.testing.assert_array_equal(tables_of(forest).predict(rows), as_it_is)
    scorer = replace(bundle.scorer, leaf_values=others)
    scores = score(rows, ["pay_later"] * len(rows), bundle.scorer)
    check_tables(rows, scores, bundle.scorer)
    with pytest.raises(AdditivityError, match=r"got others for \d+ of 1100 rows"):
        check_tables(rows, scores, scorer)


def test_trees_without_splits_are_added_in_their_order() -> None:
    """1 + 1e16 - 1e16 is 0 from the left, and 1 from the right."""
    trees = tuple(leaf_alone(value) for value in (1.0, 1e16, -1e16))
    assert tables_of(Forest(2, trees)).predict(np.zeros((3, 2))).tolist() == [0.0, 0.0, 0.0]
    assert tables_of(Forest(2, trees[::-1])).predict(np.zeros((1, 2))).tolist() == [1.0]


def leaf_alone(value: float) -> Tree:
    return Tree((), (), (), (), (), (), (), (value,), (1,))


def test_log_odds_by_tables_are_those_of_the_model() -> None:
    bundle, rows = read(GOLDEN), golden_rows()
    assert bundle.scorer.leaf_values is not None
    expected = log_odds_of(rows, bundle.scorer, threads=1)
    # In another order, and among other columns.
    places = np.arange(rows.shape[1], 0, -1)
    wide = np.full((len(rows), rows.shape[1] + 1), np.nan)
    wide[:, places] = rows
    np.testing.assert_array_equal(log_odds_by_tables(wide, bundle.scorer, places), expected)
    np.testing.assert_array_equal(log_odds_by_tables(rows, bundle.scorer), expected)
    without = replace(bundle.scorer, leaf_values=None)
    np.testing.assert_array_equal(log_odds_by_tables(rows, without), expected)


def test_rows_of_another_width_are_refused() -> None:
    tables = read(GOLDEN).scorer.leaf_values
    assert tables is not None
    with pytest.raises(ValueError, match=r"expected rows of \d+ features, got \(1, 2\)"):
        tables.predict(np.zeros((1, 2)))


def golden_rows() -> Matrix:
    """More rows than a block, over many leaves."""
    draw = np.random.default_rng(7)
    width = read(GOLDEN).scorer.model.num_feature()
    rows = draw.lognormal(0.0, 4.0, (1_100, width))
    rows[draw.random(rows.shape) < 0.1] = np.nan
    return rows
