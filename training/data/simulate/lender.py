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


def _raise_limits(
    state: State,
    draws: Draws,
    config: SimulationConfig,
) -> Vector:
    limit = state.credit_limit
    used = state.balance / limit
    is_used_well = (used > 0.1) & (used < 0.8)
    is_on_time = state.good_months >= _GOOD_MONTHS
    in_good_standing = is_on_time & is_used_well
    requests = np.minimum(state.limit_requests, 2)
    chance = config.limit_increase_rate * (1.0 + 4.0 * requests)
    is_raised = in_good_standing & draws.happens(Event.INCREASE, chance)
    most_incomes = state.traits.by_product(
        pay_later=5.0,
        cash_loan=8.0,
    )
    ceiling = np.minimum(most_incomes * state.reported_income, MOST_LIMIT)
    quarter_more = _down_to_step(1.25 * limit)
    # A limit above the ceiling stays: an increase never lowers it.
    higher = np.maximum(np.minimum(quarter_more, ceiling), limit)
    return np.where(is_raised, higher, limit)


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
    score = _incumbent_score(state, owed / limit, draws, config)
    # The deviation of signal and noise together.  A rate of 0 makes the threshold infinite.
    deviation = np.sqrt(1.0 + config.incumbent_noise**2)
    threshold = -ndtri(config.incumbent_cut_rate) * deviation
    depth = 0.3 + 0.5 * draws.uniform(Event.CUT_DEPTH)
    # No cut puts an account over its limit.
    owed_in_steps = np.ceil(owed / LIMIT_STEP) * LIMIT_STEP
    floor = np.maximum(owed_in_steps, LEAST_LIMIT)
    remaining = (1.0 - depth) * limit
    lower = np.maximum(_down_to_step(remaining), floor)
    # Not soon after an earlier cut, and not in default: such an account has no use of its limit.
    is_long_ago = state.months_since_cut >= _BETWEEN_CUTS
    may_be_cut = is_long_ago & (state.days_past_due < 60)
    is_cut = may_be_cut & (score > threshold)
    return np.where(is_cut, np.minimum(lower, limit), limit)


def _incumbent_score(
    state: State,
    used: Vector,
    draws: Draws,
    config: SimulationConfig,
) -> Vector:
    """Return the incumbent's score: use of the line, late payments and noise; high = risky."""
    late = 0.3 * (state.days_past_due > 0)
    good = 0.005 * np.minimum(state.good_months, 24)
    signal = np.minimum(used, 1.5) + late - good
    # Standardised by mean and deviation of the population: those of the block would make an
    # account's history depend on the partition.
    standardised = (signal - 0.25) / 0.40
    noise = config.incumbent_noise * draws.normal(Event.INCUMBENT)
    score: Vector = standardised + noise
    return score


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
    turn = traits.cap_turn * config.cap_phase_in_months
    is_reached = turn < months + 1
    is_capped = traits.cash_loan & traits.income_known & is_reached
    hundreds = np.floor(config.cap_multiple * state.reported_income / 100.0)
    # At least 100: a limit of 0 would divide by zero wherever the use of the line is measured.
    cap = np.maximum(hundreds * 100.0, 100.0)
    return np.where(is_capped, np.minimum(limit, cap), limit)


def _down_to_step(limit: Vector) -> Vector:
    """Round down to a multiple of :data:`LIMIT_STEP`."""
    rounded: Vector = np.floor(limit / LIMIT_STEP) * LIMIT_STEP
    return rounded
