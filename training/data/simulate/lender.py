"""What the lender does to limits before the month's purchases: increases, the incumbent's noisy
cuts, the regulator's cap.
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


def set_limits(state: State, month_number: int, draws: Draws, config: SimulationConfig) -> Vector:
    """The credit limits in force when this month's statement closes, CNY."""
    raised = _raised(state, draws, config)
    return _capped(_cut(state, raised, draws, config), state, month_number, config)


def _raised(state: State, draws: Draws, config: SimulationConfig) -> Vector:
    limit = state.credit_limit
    used = state.balance / limit
    good = (state.good_months >= _GOOD_MONTHS) & (used > 0.1) & (used < 0.8)
    chance = config.limit_increase_rate * (1.0 + 4.0 * np.minimum(state.limit_requests, 2))
    raised = good & draws.happens(Event.INCREASE, chance)
    ceiling = np.where(state.traits.cash_loan, 8.0, 5.0) * state.reported_income
    higher = np.minimum(
        np.floor(1.25 * limit / LIMIT_STEP) * LIMIT_STEP, np.minimum(ceiling, MOST_LIMIT)
    )
    return np.where(raised, np.maximum(higher, limit), limit)


def _cut(state: State, limit: Vector, draws: Draws, config: SimulationConfig) -> Vector:
    """The incumbent cuts who scores above a threshold; its score is half noise, so many good
    customers are among them.
    """
    used = np.minimum(np.maximum(state.balance, 0.0) / limit, 1.5)
    signal = used + 0.3 * (state.days_past_due > 0) - 0.005 * np.minimum(state.good_months, 24)
    # Standardised by what the signal is over a population and not over this block: blocks must not
    # matter.
    score = (signal - 0.25) / 0.40 + config.incumbent_noise * draws.normal(Event.INCUMBENT)
    # A rate of 0 makes the threshold infinite.
    threshold = -ndtri(config.incumbent_cut_rate) * np.sqrt(1.0 + config.incumbent_noise**2)
    depth = 0.3 + 0.5 * draws.uniform(Event.CUT_DEPTH)
    # no cut makes an account over its limit
    owed = np.ceil(np.maximum(state.balance, 0.0) / LIMIT_STEP) * LIMIT_STEP
    lower = np.maximum(
        np.floor((1.0 - depth) * limit / LIMIT_STEP) * LIMIT_STEP, np.maximum(owed, LEAST_LIMIT)
    )
    cut = (
        (score > threshold) & (state.months_since_cut >= _BETWEEN_CUTS) & (state.days_past_due < 60)
    )
    return np.where(cut, np.minimum(lower, limit), limit)


def _capped(limit: Vector, state: State, month_number: int, config: SimulationConfig) -> Vector:
    """Cash loan lines with a known income come under the cap in their turn of the phase-in, and
    stay under it.
    """
    since = month_number - month_number_of(config.cap_from, config)
    if since < 0:
        return limit
    traits = state.traits
    reached = (
        traits.cash_loan
        & traits.income_known
        & (traits.cap_turn * config.cap_phase_in_months < since + 1)
    )
    cap = np.maximum(np.floor(config.cap_multiple * state.reported_income / 100.0) * 100.0, 100.0)
    return np.where(reached, np.minimum(limit, cap), limit)
