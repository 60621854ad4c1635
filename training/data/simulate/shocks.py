"""Shocks that happen to a customer: loss of income, illness, recovery; a Markov chain by month."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Mask, Vector
from training.data.simulate.config import SimulationConfig
from training.data.simulate.draws import Draws, Event
from training.data.simulate.state import State, Whole

NONE, INCOME_LOSS, ILLNESS, RECOVERY = range(4)
# Chances in a month
_LOSS = 0.012  # at the mean volatility, and proportional to it
_ILLNESS = 0.005
_LOSS_ENDS = 0.12
_ILLNESS_ENDS = 0.20
_RECOVERED = 0.25
_MEAN_VOLATILITY = 0.117


@dataclass(frozen=True, slots=True)
class Means:
    """A month's income and extra costs, with the shock that changes them."""

    shock: Whole
    severity: Vector  # 0 to 1
    income: Vector  # CNY
    costs: Vector  # CNY, of an illness


def draw_shocks(
    state: State,
    draws: Draws,
    config: SimulationConfig,
) -> Means:
    """Move the chain by a month and draw the month's income."""
    traits = state.traits
    shock = _next_shock(state, draws, config)
    is_loss, is_illness = shock == INCOME_LOSS, shock == ILLNESS
    severity = _draw_severity(state, shock, draws)
    # An illness takes 40 % of the income that a loss of this severity takes, a recovery 25 %.
    lost_share = np.where(is_illness, 0.4 * severity, 0.25 * severity)
    lost_share = np.where(is_loss, severity, lost_share)
    # Less half the variance: the mean of a lognormal income is then its level.
    volatility = traits.volatility
    deviation = volatility * draws.normal(Event.INCOME)
    log_noise = deviation - 0.5 * volatility**2
    expected_income = traits.income_level * (1.0 - lost_share)
    treatment = 0.5 * severity * traits.income_level
    return Means(
        shock=shock,
        severity=severity,
        income=expected_income * np.exp(log_noise),
        costs=np.where(is_illness, treatment, 0.0),
    )


def _draw_severity(
    state: State,
    shock: Whole,
    draws: Draws,
) -> Vector:
    # Drawn when the shock begins, and carried to its end and through the recovery.
    is_shock = (shock == INCOME_LOSS) | (shock == ILLNESS)
    is_struck = _is_well(state) & is_shock
    carried = np.where(shock == NONE, 0.0, state.severity)
    drawn = 0.3 + 0.6 * draws.uniform(Event.SEVERITY)
    return np.where(is_struck, drawn, carried)


def _next_shock(
    state: State,
    draws: Draws,
    config: SimulationConfig,
) -> Whole:
    shock = state.shock
    u = draws.uniform(Event.SHOCK)
    # Volatile incomes are lost more often; _LOSS is the rate at the population's mean volatility.
    volatility = state.traits.volatility
    loss = config.shock_rate * _LOSS * volatility / _MEAN_VOLATILITY
    illness = config.shock_rate * _ILLNESS
    is_well = _is_well(state)
    loses_income = is_well & (u < loss)
    is_in_next = (u >= loss) & (u < loss + illness)
    falls_ill = is_well & is_in_next
    new = np.where(loses_income, INCOME_LOSS, shock)
    new = np.where(falls_ill, ILLNESS, new)
    # Read from the upper end of the same uniform, so that no shock starts and ends at once.
    is_recovered = (shock == RECOVERY) & (u > 1 - _RECOVERED)
    finds_income = (shock == INCOME_LOSS) & (u > 1 - _LOSS_ENDS)
    is_healed = (shock == ILLNESS) & (u > 1 - _ILLNESS_ENDS)
    new = np.where(is_recovered, NONE, new)
    new = np.where(finds_income, RECOVERY, new)
    new = np.where(is_healed, RECOVERY, new)
    return new.astype(np.int32)


def _is_well(state: State) -> Mask:
    """Return which customers a new shock may strike: those without one, or recovering from one."""
    is_well: Mask = (state.shock == NONE) | (state.shock == RECOVERY)
    return is_well
