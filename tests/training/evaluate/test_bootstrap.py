"""Resamples by what they contain, percentile intervals by what they cover."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap

from tests.support.each import each
from training.evaluate.bootstrap import (
    bootstrap_counts,
    cluster,
    one_row_each,
    percentile_interval,
    resample_rows,
    resample_strata,
)


def test_a_resample_has_as_many_accounts() -> None:
    drawn = bootstrap_counts(50, seed=3)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean() == 1.0
    assert np.array_equal(drawn, bootstrap_counts(50, seed=3))
    assert not np.array_equal(drawn, bootstrap_counts(50, seed=4))


def test_a_stratified_resample_has_as_many_accounts_of_each_stratum() -> None:
    strata = np.arange(0, 30), np.arange(30, 37)
    for rows in each(resample_strata(strata, resamples=20, seed=1)):
        assert len(rows) == 37
        assert (rows < 30).sum() == 30


def test_the_interval_of_a_mean_is_scipy_s_but_for_the_draws() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    means = [float(values[rows].mean()) for rows in resample_rows(400, 4000, seed=2)]
    expected = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=5)
    low, high = percentile_interval(means)
    tolerance = 0.1 * expected.standard_error
    assert abs(low - expected.confidence_interval.low) < tolerance
    assert abs(high - expected.confidence_interval.high) < tolerance


names = st.lists(st.sampled_from(["b", "a", "c", "0012", "12"]), min_size=1, max_size=40)


@given(names, st.integers(0, 2**32 - 1))
def test_a_drawn_account_brings_all_of_its_rows(accounts: list[str], seed: int) -> None:
    clusters = cluster(pl.Series(accounts))
    assert clusters.count == len(set(accounts))
    drawn = np.random.default_rng(seed).integers(0, clusters.count, 7)
    rows = clusters.rows_of(drawn)
    expected: list[int] = []
    for account in each(drawn.tolist()):
        name = accounts[int(np.flatnonzero(clusters.owner == account)[0])]
        expected += [row for row, other in enumerate(accounts) if other == name]
    assert rows.tolist() == expected


def test_accounts_of_one_row_are_numbered_as_their_rows() -> None:
    clusters = cluster(pl.Series(["b", "c", "a", "0012"]))
    assert clusters.single
    assert clusters.owner.tolist() == one_row_each(4).owner.tolist()
    drawn = np.array([3, 1, 1, 0])
    assert clusters.rows_of(drawn).tolist() == drawn.tolist()
    assert not cluster(pl.Series(["b", "c", "b"])).single


@given(names, st.integers(0, 2**32 - 1))
def test_resamples_within_outcomes_have_both_labels(accounts: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, len(accounts) + 2).astype(np.float64)
    label[:2] = 0.0, 1.0
    clusters = cluster(pl.Series(["a", "b", *accounts]))
    strata = clusters.split_by_outcome(label)
    for drawn in each(resample_strata(strata, resamples=20, seed=seed)):
        assert set(label[clusters.rows_of(drawn)]) == {0.0, 1.0}
