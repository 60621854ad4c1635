from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.simulate.config import SimulationConfig
from training.evaluate.bootstrap import bootstrap_counts
from training.evaluate.metrics import auc, expected_auc, expected_log_loss
from training.examine.truth.futures import default_probability, untreated
from training.examine.truth.outcomes import simulate_untreated
from training.examine.truth.population import ExamineConfig, draw_population

CONFIG = ExamineConfig(accounts=300, futures=10)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 20))
def test_the_expected_auc_counts_pairs(seed: int, accounts: int, scores: int) -> None:
    random = np.random.default_rng(seed)
    chance, score = random.random(accounts), random.integers(0, scores, accounts).astype(np.float64)
    counts = random.integers(1, 4, accounts).astype(np.float64)
    right = total = 0.0
    for one in range(accounts):
        for other in range(accounts):
            # Nobody is compared with another copy of himself.
            if one != other:
                pair = counts[one] * chance[one] * counts[other] * (1.0 - chance[other])
                total += pair
                right += pair * (
                    float(score[one] > score[other]) + 0.5 * float(score[one] == score[other])
                )
    assert expected_auc(chance, score, counts) == pytest.approx(right / total, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_of_certain_outcomes_it_is_the_auc_also_of_a_resample(seed: int) -> None:
    random = np.random.default_rng(seed)
    label, score = (random.random(50) < 0.4).astype(np.float64), np.round(random.random(50), 1)
    label[:2] = 0.0, 1.0
    counts = random.integers(0, 4, 50)
    counts[:2] = 1
    assert expected_auc(label, score) == pytest.approx(auc(label, score), abs=1e-12)
    again = auc(np.repeat(label, counts), np.repeat(score, counts))
    assert expected_auc(label, score, counts.astype(np.float64)) == pytest.approx(again, abs=1e-12)


def test_it_is_the_mean_auc_of_outcomes_that_come_about() -> None:
    random = np.random.default_rng(0)
    chance = random.beta(0.5, 3.0, 2000)
    score = chance + random.normal(0, 0.1, 2000)
    drawn = [auc((random.random(2000) < chance).astype(np.float64), score) for _ in range(300)]
    assert expected_auc(chance, score) == pytest.approx(
        np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(300)
    )


def test_the_expected_log_loss_is_that_of_both_outcomes_and_least_at_the_truth() -> None:
    chance = np.array([0.0, 0.1, 0.5, 1.0])
    log_odds = np.array([-3.0, 0.4, 2.0, 5.0])
    mean = 1.0 / (1.0 + np.exp(-log_odds))
    by_hand = -(chance * np.log(mean) + (1.0 - chance) * np.log(1.0 - mean))
    assert expected_log_loss(chance, log_odds) == pytest.approx(by_hand, abs=1e-12)
    grid = np.linspace(-5, 5, 1001)
    best = grid[np.argmin(expected_log_loss(np.full(1001, 0.3), grid))]
    assert best == pytest.approx(np.log(0.3 / 0.7), abs=0.01)


def test_a_resample_has_as_many_accounts() -> None:
    drawn = bootstrap_counts(50, seed=3)
    assert (drawn.sum(axis=1) == 50).all()
    assert drawn.mean() == 1.0
    assert np.array_equal(drawn, bootstrap_counts(50, seed=3))


def test_the_quarters_are_the_futures_apart_and_untreated() -> None:
    # Many cuts, so that a future in which they are made is another.
    world = draw_population(SimulationConfig(incumbent_cut_rate=0.3, incumbent_noise=0.0), CONFIG)
    truth = simulate_untreated(world, CONFIG)
    assert truth.sizes == (3, 3, 2, 2)
    places = world.places(truth.features.accounts["account_id"])
    state = world.state.take(places)
    assert truth.probability == pytest.approx(
        default_probability(state, untreated(world.config), 10), abs=1e-12
    )
    assert np.array_equal(
        truth.quarters[2], default_probability(state, untreated(world.config), 2, first=7)
    )
    assert not np.array_equal(truth.probability, default_probability(state, world.config, 10))
    assert np.array_equal(truth.realised, world.realised()[places])
    assert (truth.labelled().split == "test").all()


def test_too_few_futures_to_see_their_noise_are_refused() -> None:
    with pytest.raises(ValueError, match="futures: expected 4 to 100000, got 3"):
        ExamineConfig(accounts=20, futures=3)
