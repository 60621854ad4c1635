"""Resamples by what they contain, intervals by their definitions.

``test_coverage.py`` measures how often they hold the truth.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap, ttest_1samp

from tests.support.each import each
from training.evaluate.bootstrap import (
    basic_interval,
    bootstrap_counts,
    cluster,
    count_fewest,
    interval_above_zero,
    interval_of_mean,
    one_row_each,
    percentile_interval,
    resample_counts,
    resample_rows,
)


def test_a_resample_has_as_many_accounts() -> None:
    drawn = bootstrap_counts(50, seed=3)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean() == 1.0
    assert np.array_equal(drawn, bootstrap_counts(50, seed=3))
    assert not np.array_equal(drawn, bootstrap_counts(50, seed=4))


def test_the_number_of_defaults_is_as_random_as_in_a_hold_out() -> None:
    label = np.repeat([0.0, 1.0], [900, 100])
    ones = [counts @ label for counts in resample_counts(label, 2000, seed=1)]
    assert np.mean(ones) == pytest.approx(100, abs=4 * np.sqrt(90 / 2000))
    assert np.var(ones) == pytest.approx(90, rel=0.15)


def test_the_interval_of_a_mean_is_scipy_s_but_for_the_draws() -> None:
    values = np.random.default_rng(0).exponential(size=400)
    means = [float(values[rows].mean()) for rows in resample_rows(400, 4000, seed=2)]
    expected = bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=5)
    tolerance = 0.15 * expected.standard_error
    low, high = percentile_interval(means)
    assert abs(low - expected.confidence_interval.low) < tolerance
    assert abs(high - expected.confidence_interval.high) < tolerance
    low, high = interval_of_mean(values)
    student = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((student.low, student.high))


@given(st.sampled_from([39, 199, 399, 999]), st.integers(0, 2**32 - 1))
def test_an_interval_holds_another_draw_nineteen_times_in_twenty(count: int, seed: int) -> None:
    """Another draw is equally likely to fall into each of the gaps between the values."""
    values = np.sort(np.random.default_rng(seed).normal(size=count))
    low, high = percentile_interval(values)
    gaps_inside = np.sum((values > low) & (values <= high))
    assert gaps_inside / (count + 1) == pytest.approx(0.95)
    # The control: NumPy's own quantiles lie further inside.
    low, high = np.quantile(values, [0.025, 0.975])
    assert np.mean((values >= low) & (values <= high)) <= 0.95


@given(st.floats(-5, 5), st.integers(0, 2**32 - 1))
def test_a_basic_interval_is_the_percentile_interval_in_a_mirror(value: float, seed: int) -> None:
    draws = np.random.default_rng(seed).exponential(size=99)
    low, high = basic_interval(value, draws)
    mirrored = percentile_interval(2.0 * value - draws)
    assert (low, high) == pytest.approx(mirrored)
    size = abs(value)
    low, high = interval_above_zero(size, draws)
    assert 0.0 <= low <= size <= high


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
def test_every_resample_has_both_labels(accounts: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    label = random.integers(0, 2, len(accounts) + 2).astype(np.float64)
    label[:2] = 0.0, 1.0
    clusters = cluster(pl.Series(["a", "b", *accounts]))
    for counts in each(resample_counts(label, 20, seed, clusters)):
        assert set(label[counts > 0]) == {0.0, 1.0}
        first_rows = np.unique(clusters.owner, return_index=True)[1]
        assert counts[first_rows].sum() == clusters.count
        assert np.array_equal(counts, counts[first_rows][clusters.owner])


@given(names, st.integers(0, 2**32 - 1))
def test_the_fewest_are_accounts_and_not_rows(accounts: list[str], seed: int) -> None:
    label = np.random.default_rng(seed).integers(0, 2, len(accounts)).astype(np.float64)
    by_label = {0.0: set(), 1.0: set()}  # type: dict[float, set[str]]
    for name, outcome in zip(accounts, label.tolist(), strict=True):
        by_label[outcome].add(name)
    expected = min(len(owners) for owners in each(by_label.values()))
    assert count_fewest(label, cluster(pl.Series(accounts))) == expected
