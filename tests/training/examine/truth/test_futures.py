from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.data.simulate.config import SimulationConfig
from training.data.simulate.state import State
from training.examine.truth import futures
from training.examine.truth.futures import (
    default_probability,
    simulate_defaults,
    untreated,
    worst_days_past_due,
)
from training.examine.truth.interventions import simulate_months
from training.examine.truth.population import Population

FUTURES = 6


@pytest.fixture(scope="module")
def config(examined: Population) -> SimulationConfig:
    return untreated(examined.config)


@pytest.fixture(scope="module")
def state(examined: Population) -> State:
    """Every eighth of the accounts under most strain.

    Accounts under less do not default in six futures; the very first default in each.
    """
    lives = ~examined.state.ended & (
        examined.state.traits.opened_month < examined.state.months_done
    )
    by_strain = np.argsort(np.where(lives, -examined.state.strain, 0.0), kind="stable")
    return examined.state.take(by_strain[:1200:8])


def test_an_outcome_is_that_of_the_account_alone_in_that_future(
    state: State, config: SimulationConfig
) -> None:
    found = simulate_defaults(state, config, FUTURES, first=3)
    assert 0.05 < found.mean() < 0.95
    for account in range(0, state.count, 15):
        for future in range(FUTURES):
            shown = [
                columns["open"][0] and columns["days_past_due"][0] >= 60
                for _, columns in simulate_months(
                    state.take(np.array([account])), 6, config, 3 + future
                )
            ]
            assert found[future, account] == any(shown)


def test_a_probability_is_the_mean_of_outcomes(state: State, config: SimulationConfig) -> None:
    found = default_probability(state, config, FUTURES)
    assert np.array_equal(found, simulate_defaults(state, config, FUTURES).mean(axis=0))
    assert len(set(found)) > 3


@pytest.mark.parametrize("rows", [1, 29, 30, 31, 75, 1_000])
def test_futures_lived_together_are_those_lived_apart(
    state: State, config: SimulationConfig, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = state.take(np.arange(0, state.count, 5))
    whole = simulate_defaults(few, config, FUTURES)
    assert few.count == 30
    monkeypatch.setattr(futures, "ROWS", rows)
    assert np.array_equal(simulate_defaults(few, config, FUTURES), whole)
    assert np.array_equal(simulate_defaults(few, config, FUTURES - 2, first=3), whole[2:])


def test_who_is_changed_alone_has_another_outcome(state: State, config: SimulationConfig) -> None:
    """Futures are common: changes to other accounts do not change an account's own."""
    odd = np.arange(state.count) % 2 == 1
    poorer = replace(
        state,
        savings=np.where(odd, 0.0, state.savings),
        external_debt=state.external_debt * np.where(odd, 3, 1),
    )
    before, after = (
        simulate_defaults(state, config, FUTURES),
        simulate_defaults(poorer, config, FUTURES),
    )
    assert np.array_equal(before[:, ~odd], after[:, ~odd])
    assert after[:, odd].sum() > before[:, odd].sum()


def test_a_default_begins_at_sixty_days(examined: Population, config: SimulationConfig) -> None:
    ((_, columns),) = simulate_months(examined.state, 1, config, 1)
    days = np.where(columns["open"], columns["days_past_due"], 0)
    assert {30, 60} <= set(days.tolist())
    assert np.array_equal(simulate_defaults(examined.state, config, 1, months=1)[0], days >= 60)


def test_a_longer_horizon_only_adds_outcomes(state: State, config: SimulationConfig) -> None:
    shorter, longer = (
        simulate_defaults(state, config, FUTURES, months=3),
        simulate_defaults(state, config, FUTURES, months=6),
    )
    assert not (shorter & ~longer).any()
    assert (longer & ~shorter).any()


def test_who_has_ended_shows_no_days_past_due(state: State, config: SimulationConfig) -> None:
    ended = replace(state, ended=np.ones_like(state.ended))
    assert not worst_days_past_due(ended, config, 1).any()
    assert worst_days_past_due(state, config, 1).any()


def test_untreated_changes_the_incumbent_alone() -> None:
    config = SimulationConfig(seed=9, incumbent_cut_rate=0.3)
    assert replace(untreated(config), incumbent_cut_rate=0.3) == config
    assert untreated(config).incumbent_cut_rate == 0.0
