"""One row by LightGBM's C API, against LightGBM's own Python package."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.types import Matrix
from serving.decision.bundle import read
from serving.decision.scoring.score import Scorer
from serving.decision.scoring.single_row import SingleRow
from tests.support.each import each
from tests.support.paths import GOLDEN


@cache
def scorer() -> Scorer:
    return read(GOLDEN).scorer


def single_row() -> SingleRow:
    found = scorer().single_row
    assert found is not None
    return found


def by_lightgbm(rows: Matrix) -> list[float]:
    scores = scorer().model.predict(rows, raw_score=True, num_threads=1)
    return [float(score) for score in np.asarray(scores)]


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(), min_size=1, max_size=20))
def test_a_row_has_the_bits_of_lightgbm(seed: int, extremes: list[float]) -> None:
    draw = np.random.default_rng(seed)
    row = draw.lognormal(0.0, 4.0, single_row().features)
    places = draw.choice(len(row), size=min(len(row), len(extremes)), replace=False)
    row[places] = extremes[: len(places)]
    assert single_row().predict(row) == by_lightgbm(row[np.newaxis])[0]


def test_threads_get_the_scores_of_their_own_rows() -> None:
    rows = np.random.default_rng(3).lognormal(0.0, 4.0, (400, single_row().features))
    with ThreadPoolExecutor(4) as pool:
        scores = list(pool.map(single_row().predict, rows))
    assert scores == by_lightgbm(rows)
    assert len(set(scores)) > 100


def test_a_row_of_another_length_or_a_view_is_no_other_row() -> None:
    width = single_row().features
    rows = np.random.default_rng(4).lognormal(0.0, 4.0, (3, width))
    for place, column in each(enumerate(np.asfortranarray(rows))):
        assert single_row().predict(column) == by_lightgbm(rows)[place]
    with pytest.raises(ValueError, match=f"expected a row of {width} features, got"):
        single_row().predict(rows[0, :-1])


def test_a_copy_predicts_the_same() -> None:
    row = np.random.default_rng(5).lognormal(0.0, 4.0, single_row().features)
    copied = pickle.loads(pickle.dumps(single_row()))
    assert copied.predict(row) == single_row().predict(row)
