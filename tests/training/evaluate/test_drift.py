from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving.decision.bundle import Bundle
from tests.support.decision_lines import labels_of
from tests.training.conftest import STORE_WARNINGS
from training.data.config import DataConfig, DataError
from training.data.dataset import Source
from training.data.labels import choose_as_ofs
from training.evaluate.bootstrap import LEAST_OF_A_LABEL
from training.evaluate.drift import (
    FIRST_REASON,
    compare_reasons,
    drift_by_month,
    drift_table,
    psi,
    psi_interval,
    psi_noise,
    psi_parts,
    wasserstein,
)
from training.evaluate.holdout import Evaluation, evaluate, select_hold_out
from training.evaluate.unseen_accounts import caveats

pytestmark = STORE_WARNINGS
values = arrays(
    np.float64,
    st.integers(1, 60),
    elements=st.sampled_from([-3.0, 0.0, 0.5, 1.0, 2.0, 7.0, np.nan]),
)


@pytest.fixture(scope="module")
def evaluated(bundle: Bundle, source: Source) -> Evaluation:
    return evaluate("champion", bundle, select_hold_out(source, DataConfig()))


def part(evaluated: Evaluation, rows: np.ndarray) -> Evaluation:
    return evaluate("part", evaluated.bundle, evaluated.hold_out.take(np.sort(rows)))


@given(values)
def test_equal_samples_have_none(sample: np.ndarray) -> None:
    assert psi(sample, sample) == 0
    assert psi(sample, np.random.default_rng(0).permutation(np.tile(sample, 3))) == pytest.approx(
        0, abs=1e-12
    )


@given(values, values)
def test_it_is_never_below_nothing_and_finite(expected: np.ndarray, actual: np.ndarray) -> None:
    assert 0 <= psi(expected, actual) < np.inf


@given(
    values,
    arrays(np.float64, st.integers(1, 60), elements=st.integers(-300, 700).map(lambda n: n / 100)),
)
def test_a_rising_transformation_changes_nothing(expected: np.ndarray, actual: np.ndarray) -> None:
    assert psi(np.exp(expected), np.exp(actual)) == psi(expected, actual)
    assert psi(expected * 100 - 7, actual * 100 - 7) == psi(expected, actual)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8), st.integers(0, 2**32 - 1))
def test_over_the_same_bins_it_is_the_same_both_ways(counts: list[int], seed: int) -> None:
    was = np.array(counts, float) + 1
    now = np.random.default_rng(seed).permutation(was)
    assert psi_parts(was, now).sum() == pytest.approx(psi_parts(now, was).sum())


def test_it_is_the_sum_that_the_books_give() -> None:
    # 1,000 in ten equal bins; then the lowest bin's move to the highest.
    expected = np.arange(1000.0)
    actual = np.where(expected < 100, 999.5, expected)
    # Shares with the one account more: both samples together hold 100 and 300 of 2,000 in those two
    # bins.
    shares = [((100 + 0.05) / 1001, (0 + 0.05) / 1001), ((100 + 0.15) / 1001, (200 + 0.15) / 1001)]
    assert psi(expected, actual) == pytest.approx(sum((a - e) * np.log(a / e) for e, a in shares))


@pytest.mark.parametrize("moved", [0.5, -0.5])
def test_a_constant_that_moves_is_seen_whichever_way(moved: float) -> None:
    constant = np.zeros(500)
    assert psi(constant, constant + moved) > 5
    assert psi(constant, np.where(np.arange(500) < 25, moved, 0.0)) > 0.1


def test_values_that_go_missing_are_seen() -> None:
    known = np.random.default_rng(0).normal(size=2000)
    assert psi(known, np.where(np.arange(2000) < 400, np.nan, known)) > 0.2
    assert psi(np.full(100, np.nan), np.full(70, np.nan)) == 0
    assert psi(np.full(100, np.nan), np.zeros(100)) > 5


def test_without_change_it_stays_within_its_noise() -> None:
    random = np.random.default_rng(3)
    drawn = [psi(random.normal(size=900), random.normal(size=400)) for _ in range(400)]
    assert np.mean(np.array(drawn) > psi_noise(900, 400, level=0.95)) == pytest.approx(
        0.05, abs=0.03
    )
    assert np.mean(drawn) == pytest.approx(9 * (1 / 900 + 1 / 400), rel=0.12)


def test_samples_of_the_same_accounts_are_the_more_certain() -> None:
    random = np.random.default_rng(3)
    was = random.normal(size=2000)
    now = was + random.normal(0.5, 0.2, 2000)
    names = pl.Series(np.arange(2000)).cast(pl.String)
    value = psi(was, now)
    widths = []
    for others in (names, names + " of another person"):
        low, high = psi_interval(was, now, (names, others))
        assert low is not None
        assert high is not None
        assert low < value < high
        widths.append(high - low)
    assert widths[0] < 0.8 * widths[1]
    few = names[: LEAST_OF_A_LABEL - 1]
    assert psi_interval(was[: len(few)], now, (few, names)) == (None, None)


@pytest.mark.parametrize(
    ("expected", "actual", "bins", "told"),
    [
        (np.empty(0), np.ones(3), 10, "values in expected"),
        (np.ones(3), np.empty(0), 10, "values in actual"),
        (np.ones(3), np.array([np.inf]), 10, "none infinite"),
        (np.ones(3), np.ones(3), 1, "at least 2 bins"),
    ],
)
def test_what_has_no_index_is_refused(
    expected: np.ndarray, actual: np.ndarray, bins: int, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        psi(expected, actual, bins)


def test_the_distance_is_in_standard_deviations_and_does_not_know_units() -> None:
    sample = np.random.default_rng(0).normal(3, 2, 4000)
    assert wasserstein(sample, sample + 1.0) == pytest.approx(1.0 / sample.std())
    assert wasserstein(sample * 1000, (sample + 1.0) * 1000) == pytest.approx(1.0 / sample.std())
    assert wasserstein(np.zeros(5), np.full(5, 3.0)) == 3.0
    assert wasserstein(np.full(5, np.nan), sample) is None


def test_the_mix_is_what_its_codes_add() -> None:
    rows = compare_reasons(["", "", "late", "cash"], ["", "late", "late", "regulation"])
    by_name = {str(name): value for _, name, value, _ in rows}
    assert set(by_name) == {FIRST_REASON, "none", "late", "cash", "regulation"}
    whole = by_name.pop(FIRST_REASON)
    assert sum(float(str(part)) for part in by_name.values()) == pytest.approx(whole)


def test_planted_drift_is_found_and_other_accounts_of_the_same_month_are_not(
    evaluated: Evaluation,
) -> None:
    rows = np.random.default_rng(0).permutation(len(evaluated.label))
    half = len(rows) // 2
    one, other = part(evaluated, rows[:half]), part(evaluated, rows[half:])
    still = drift_table(one, other)
    assert still["kind"].unique(maintain_order=True).to_list() == ["feature", "score", "reason"]
    assert still.filter(kind="feature")["name"].to_list() == list(evaluated.bundle.features)
    assert still["psi"].max() < psi_noise(half, half) * 1.5  # type: ignore[operator]
    high = np.sort(np.argsort(evaluated.log_odds)[-half:])
    moved = drift_table(one, part(evaluated, high)).filter(kind="score")
    assert moved["psi"][0] > 0.25
    assert moved["wasserstein"][0] > 0.5


def test_every_month_is_held_against_the_reference(evaluated: Evaluation, source: Source) -> None:
    table = drift_by_month(evaluated, source, DataConfig(as_of_every=8))
    months = [
        month for month, _ in choose_as_ofs(source.statements["month"], DataConfig(as_of_every=8))
    ]
    assert table["as_of"].unique(maintain_order=True).to_list() == months
    last = table.filter(pl.col("as_of") == months[-1]).drop("as_of")
    assert last.equals(drift_table(evaluated, evaluated))
    assert last["psi"].max() == 0
    # Nobody was capped before the cap: that reason came, and is seen.
    assert table.filter(as_of=months[0], name="income_multiple_cap")["psi"][0] > 0
    with pytest.raises(DataError, match="at least"):
        drift_by_month(evaluated, source, DataConfig(earliest_history=60))


def test_where_the_data_bring_labels_each_of_their_months_is_looked_at(
    evaluated: Evaluation, source: Source
) -> None:
    months = [datetime.date(2026, 1, 1), datetime.date(2026, 3, 1)]
    named = evaluated.hold_out.people.select("account_id").head(400)
    labels = pl.concat([labels_of(source.statements, month) for month in months]).join(
        named, on="account_id", how="semi"
    )
    own = replace(source, labels=labels)
    table = drift_by_month(evaluated, own, DataConfig())
    assert table["as_of"].unique(maintain_order=True).to_list() == months
    assert table.filter(kind="score")["psi"].max() < psi_noise(len(evaluated.label), 400) * 1.5  # type: ignore[operator]
    assert caveats(source) == ()
    assert "the model saw these accounts" in caveats(own)[0]
