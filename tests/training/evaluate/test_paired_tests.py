"""DeLong and the paired bootstrap against what they are by definition."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from features.types import Vector
from tests.support.each import each
from training.evaluate.bootstrap import (
    LEAST_OF_A_LABEL,
    Clusters,
    cluster,
    one_row_each,
    resample_counts,
)
from training.evaluate.metrics import MEASURES, SortedScores, auc, brier, ks
from training.evaluate.paired_tests import BETTER, delong, differences, favours


def drawn(seed: int, count: int = 300, ties: int = 0) -> tuple[Vector, Vector, Vector]:
    """Draw labels, and two scores that are correlated with them and with each other.

    ``ties`` rounds the scores to so many digits.
    """
    random = np.random.default_rng(seed)
    hidden = random.normal(size=count)
    label = (hidden + random.normal(size=count) > 1.0).astype(np.float64)
    label[:2], label[2:4] = 1.0, 0.0
    scores = [1 / (1 + np.exp(-(hidden + random.normal(size=count)))) for _ in range(2)]
    if ties:
        scores = [np.clip(np.round(score, ties), 0.1, 0.9) for score in scores]
    return label, scores[0], scores[1]


def covariance_by_definition(
    label: Vector, scores: tuple[Vector, ...]
) -> tuple[Vector, NDArray[np.float64]]:
    """AUCs and their covariance as DeLong et al. define them: over every pair of a 1 and a 0."""
    kernels = []
    for score in scores:
        ones, zeros = score[label == 1], score[label == 0]
        kernels.append((ones[:, None] > zeros[None, :]) + 0.5 * (ones[:, None] == zeros[None, :]))
    stacked = np.array(kernels)
    aucs = stacked.mean(axis=(1, 2))
    m, n = stacked.shape[1:]
    s10 = (
        (stacked.mean(axis=2) - aucs[:, None]) @ (stacked.mean(axis=2) - aucs[:, None]).T / (m - 1)
    )
    s01 = (
        (stacked.mean(axis=1) - aucs[:, None]) @ (stacked.mean(axis=1) - aucs[:, None]).T / (n - 1)
    )
    return aucs, s10 / m + s01 / n


@pytest.mark.parametrize("ties", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_delong_is_what_its_authors_define(seed: int, ties: int) -> None:
    label, first, second = drawn(seed, ties=ties)
    aucs, covariance = covariance_by_definition(label, (first, second))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    found = delong(label, first, second)
    assert (found.first, found.second) == pytest.approx(aucs, abs=1e-12)
    assert found.error == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(
        found.difference + np.array([-1, 1]) * 1.959964 * found.error, abs=1e-6
    )
    assert found.first == pytest.approx(auc(label, first), abs=1e-12)


def test_delong_agrees_with_a_bootstrap_of_the_difference() -> None:
    label, first, second = drawn(3, count=2000)
    draws = []
    for counts in resample_counts(label, 400, seed=1):
        rows = np.repeat(np.arange(len(label)), counts.astype(int))
        draws.append(auc(label[rows], second[rows]) - auc(label[rows], first[rows]))
    assert delong(label, first, second).error == pytest.approx(np.std(draws), rel=0.12)


def test_delong_finds_noise_in_one_of_twenty_pairs_that_are_equally_good() -> None:
    found = [delong(*drawn(seed, count=250)).p for seed in range(400)]
    assert 0.025 <= np.mean(np.array(found) < 0.05) <= 0.085  # 0.05 within three standard errors


@given(st.integers(0, 10_000), st.sampled_from([0, 1]))
def test_a_measure_of_a_resample_is_that_of_its_rows(seed: int, ties: int) -> None:
    label, first, _ = drawn(seed, count=60, ties=ties)
    for counts in each(resample_counts(label, 2, seed)):
        rows = np.repeat(np.arange(len(label)), counts.astype(int))
        taken = label[rows], first[rows]
        expected = [auc(*taken), ks(*taken), brier(*taken), log_loss(*taken)]
        assert SortedScores(label, first).measures(counts) == pytest.approx(expected, abs=1e-12)


@pytest.mark.integration
@given(st.integers(0, 10_000))
def test_turned_round_every_difference_changes_its_sign(seed: int) -> None:
    label, first, second = drawn(seed, count=600)
    there = differences(label, first, second, resamples=40).sort("measure")
    back = differences(label, second, first, resamples=40).sort("measure")
    assert there["difference"].to_numpy() == pytest.approx(
        -back["difference"].to_numpy(), abs=1e-12
    )
    assert there["low"].to_numpy() == pytest.approx(-back["high"].to_numpy(), abs=1e-12)
    turned = {"first": "second", "second": "first", "neither": "neither"}
    assert there["favours"].to_list() == [turned[side] for side in back["favours"]]


def test_a_model_differs_from_itself_in_nothing() -> None:
    label, first, _ = drawn(0)
    found = differences(label, first, first)
    assert found["measure"].to_list() == list(BETTER)
    assert found.select("difference", "low", "high").to_numpy().tolist() == [[0.0] * 3] * len(
        BETTER
    )
    assert set(found["favours"]) == {"neither"}
    assert delong(label, first, first).p == 1.0


def test_pairing_sees_what_intervals_of_each_alone_do_not() -> None:
    label, first, _ = drawn(1, count=1000)
    worse = np.clip(first + np.random.default_rng(0).normal(0, 0.15, 1000), 0.01, 0.99)
    found = delong(label, first, worse)
    in_table = differences(label, first, worse).filter(measure="auc").row(0, named=True)
    assert (in_table["low"], in_table["high"], in_table["favours"]) == (
        found.low,
        found.high,
        "first",
    )
    alone = np.sqrt(covariance_by_definition(label, (first,))[1][0, 0])
    assert found.high < 0
    assert abs(found.difference) < 2 * alone


def test_measures_have_one_order() -> None:
    assert tuple(BETTER) == MEASURES


def test_few_defaults_have_no_interval_and_favour_nobody() -> None:
    label, first, second = drawn(0, count=900)
    ones = np.flatnonzero(label)
    for count in (LEAST_OF_A_LABEL - 1, LEAST_OF_A_LABEL):
        few = np.zeros(900)
        few[ones[:count]] = 1.0
        found = differences(few, first, second, 40)
        unknown = count < LEAST_OF_A_LABEL
        expected = [len(MEASURES) if unknown else 0] * 2
        assert [found[end].null_count() for end in ("low", "high")] == expected
        assert not unknown or set(found["favours"]) == {"neither"}
        assert found["difference"].null_count() == 0


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [(None, None, "neither"), (0.0, 0.1, "neither"), (0.1, 0.2, "second"), (-0.2, -0.1, "first")],
)
def test_only_a_whole_interval_favours(low: float | None, high: float | None, side: str) -> None:
    assert favours(low, high) == side


def test_what_cannot_be_compared_is_refused() -> None:
    label, first, second = drawn(0)
    with pytest.raises(ValueError, match="one length"):
        delong(label, first[:-1], second)
    with pytest.raises(ValueError, match="both present"):
        delong(np.zeros(300), first, second)
    with pytest.raises(ValueError, match="at least two accounts of each label, got 1 of one"):
        delong(np.eye(1, 300)[0], first, second)


def repeat_accounts(seed: int, accounts: int) -> tuple[Vector, Vector, Vector, Clusters]:
    """Labels and scores of accounts with up to five months, alike within an account."""
    random = np.random.default_rng(seed)
    label, first, second = drawn(seed, accounts)
    owner = random.permutation(np.repeat(np.arange(accounts), random.integers(1, 6, accounts)))
    # Some months of a defaulting account have the other outcome.
    label = label[owner] * (random.random(len(owner)) < 0.8)
    scores = []
    for score in (first, second):
        noise = random.normal(0, 0.02, len(owner))
        scores.append(np.clip(score[owner] + noise, 0.001, 0.999))
    clusters = cluster(pl.Series(owner).cast(pl.String))
    return label, scores[0], scores[1], clusters


def variance_of_obuchowski(
    label: Vector,
    first: Vector,
    second: Vector,
    clusters: Clusters,
) -> float:
    """The variance of a difference of AUCs as Obuchowski (1997) writes it, pair by pair."""
    kernels = []
    for score in (first, second):
        ones, zeros = score[label == 1], score[label == 0]
        kernels.append((ones[:, None] > zeros[None, :]) + 0.5 * (ones[:, None] == zeros[None, :]))
    gap = kernels[1] - kernels[0]
    m, n = gap.shape
    theta = gap.mean()
    owner_of_ones, owner_of_zeros = clusters.owner[label == 1], clusters.owner[label == 0]
    s10 = s01 = s11 = 0.0
    for account in range(clusters.count):
        mine, other = owner_of_ones == account, owner_of_zeros == account
        of_ones = gap.mean(axis=1)[mine].sum() - mine.sum() * theta
        of_zeros = gap.mean(axis=0)[other].sum() - other.sum() * theta
        s10, s01, s11 = s10 + of_ones**2, s01 + of_zeros**2, s11 + of_ones * of_zeros
    i10, i01, i = len(set(owner_of_ones)), len(set(owner_of_zeros)), clusters.count
    s10, s01, s11 = s10 * i10 / ((i10 - 1) * m), s01 * i01 / ((i01 - 1) * n), s11 * i / (i - 1)
    return float(s10 / m + s01 / n + 2 * s11 / (m * n))


@pytest.mark.parametrize("seed", range(5))
def test_delong_of_accounts_that_repeat_is_obuchowski_s(seed: int) -> None:
    label, first, second, clusters = repeat_accounts(seed, 80)
    variance = variance_of_obuchowski(label, first, second, clusters)
    found = delong(label, first, second, clusters)
    assert found.error == pytest.approx(np.sqrt(variance), rel=1e-9)
    # The control: rows taken for accounts look far more certain.
    assert delong(label, first, second).error < 0.8 * found.error


@pytest.mark.parametrize("seed", range(3))
def test_with_one_row_an_account_it_is_delong_s(seed: int) -> None:
    label, first, second = drawn(seed)
    alone = delong(label, first, second)
    names = pl.Series(np.random.default_rng(seed).permutation(len(label))).cast(pl.String)
    assert delong(label, first, second, cluster(names)) == alone
    variance = variance_of_obuchowski(label, first, second, one_row_each(len(label)))
    assert alone.error == pytest.approx(np.sqrt(variance), rel=1e-12)
    table = differences(label, first, second, 40, clusters=cluster(names))
    assert table.equals(differences(label, first, second, 40))


@pytest.mark.integration
def test_two_equally_good_scores_of_accounts_that_repeat_differ_in_one_of_twenty() -> None:
    p_values = []
    rowwise = []
    for seed in range(200):
        label, first, second, clusters = repeat_accounts(seed, 150)
        p_values.append(delong(label, first, second, clusters).p)
        rowwise.append(delong(label, first, second).p)
    # 0.05 within three standard errors and the error of a normal limit.
    assert np.mean(np.array(p_values) < 0.05) <= 0.11
    # The control: rows taken for accounts find a difference far too often.
    assert np.mean(np.array(rowwise) < 0.05) > 0.15


def test_the_intervals_of_differences_widen_where_accounts_repeat() -> None:
    label, first, second, clusters = repeat_accounts(0, 300)
    whole = differences(label, first, second, 200, clusters=clusters)
    by_row = differences(label, first, second, 200)
    assert whole["difference"].equals(by_row["difference"])
    width = pl.col("high") - pl.col("low")
    ratio = whole.select(width).to_series() / by_row.select(width).to_series()
    assert (ratio > 1.2).all()
