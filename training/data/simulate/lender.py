"""The simulated lender, before the month's purchases: limit increases, noisy cuts, the cap.

Its rules are its own.  The served decision is not used here: a model is measured on accounts that
another policy has treated.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from features.types import Vector
from training.data.simulate.config import SimulationConfig, month_number_of
from training.data.simulate.draws import Draws, Event
from training.data.simulate.population import LEAST_LIMIT, LIMIT_STEP, MOST_LIMIT
from training.data.simulate.state import State

_BETWEEN_CUTS = 6  # months
_GOOD_MONTHS = 6  # without a late payment before a limit is raised


def set_limits(
    state: State,
    month_number: int,
    draws: Draws,
    config: SimulationConfig,
) -> Vector:
    """Return the credit limits in force when this month's statement closes, CNY."""
    raised = _raise_limits(state, draws, config)
    cut = _cut_limits(state, raised, draws, config)
    return _cap_limits(cut, state, month_number, config)


def _raise_limits(state: State, draws: Draws, config: SimulationConfig) -> Vector:
    limit = state.credit_limit
    used = state.balance / limit
    in_good_standing = (state.good_months >= _GOOD_MONTHS) & (used > 0.1) & (used < 0.8)
    chance = config.limit_increase_rate * (1.0 + 4.0 * np.minimum(state.limit_requests, 2))
    is_raised = in_good_standing & draws.happens(Event.INCREASE, chance)
    incomes = np.where(state.traits.cash_loan, 8.0, 5.0)
    ceiling = np.minimum(incomes * state.reported_income, MOST_LIMIT)
    higher = np.minimum(np.floor(1.25 * limit / LIMIT_STEP) * LIMIT_STEP, ceiling)
    return np.where(is_raised, np.maximum(higher, limit), limit)


def _cut_limits(
    state: State,
    limit: Vector,
    draws: Draws,
    config: SimulationConfig,
) -> Vector:
    """Cut the accounts whose score is above a threshold.

    Half of the incumbent's score is noise, so many good customers are cut.
    """
    owed = np.maximum(state.balance, 0.0)
    used = np.minimum(owed / limit, 1.5)
    signal = used + 0.3 * (state.days_past_due > 0) - 0.005 * np.minimum(state.good_months, 24)
    # Standardised by mean and deviation of the population: those of the block would make an
    # account's history depend on the partition.
    score = (signal - 0.25) / 0.40 + config.incumbent_noise * draws.normal(Event.INCUMBENT)
    # A rate of 0 makes the threshold infinite.
    threshold = -ndtri(config.incumbent_cut_rate) * np.sqrt(1.0 + config.incumbent_noise**2)
    depth = 0.3 + 0.5 * draws.uniform(Event.CUT_DEPTH)
    # No cut puts an account over its limit.
    floor = np.maximum(np.ceil(owed / LIMIT_STEP) * LIMIT_STEP, LEAST_LIMIT)
    lower = np.maximum(np.floor((1.0 - depth) * limit / LIMIT_STEP) * LIMIT_STEP, floor)
    may_be_cut = (state.months_since_cut >= _BETWEEN_CUTS) & (state.days_past_due < 60)
    return np.where(may_be_cut & (score > threshold), np.minimum(lower, limit), limit)


def _cap_limits(
    limit: Vector,
    state: State,
    month_number: int,
    config: SimulationConfig,
) -> Vector:
    """Cap cash loan lines with a known income, from their turn in the phase-in on."""
    months = month_number - month_number_of(config.cap_from, config)
    if months < 0:
        return limit
    traits = state.traits
    is_reached = traits.cap_turn * config.cap_phase_in_months < months + 1
    is_capped = traits.cash_loan & traits.income_known & is_reached
    cap = np.floor(config.cap_multiple * state.reported_income / 100.0) * 100.0
    return np.where(is_capped, np.minimum(limit, np.maximum(cap, 100.0)), limit)
