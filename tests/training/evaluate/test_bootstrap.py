"""Resamples by what they contain, percentile intervals by what they cover."""

from __future__ import annotations

import numpy as np
from scipy.stats import bootstrap

from tests.support.each import each
from training.evaluate.bootstrap import (
    bootstrap_counts,
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
