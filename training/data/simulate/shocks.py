"""Shocks that happen to a customer: loss of income, illness, recovery; a Markov chain by month."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Vector
from training.data.simulate.config import SimulationConfig
from training.data.simulate.draws import Draws, Event
from training.data.simulate.state import State, Whole

NONE, INCOME_LOSS, ILLNESS, RECOVERY = range(4)
# Monthly chances
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


def draw_shocks(state: State, draws: Draws, config: SimulationConfig) -> Means:
    """Move the chain by a month and draw the month's income."""
    traits = state.traits
    shock = _next_shock(state, draws, config)
    is_well = (state.shock == NONE) | (state.shock == RECOVERY)
    is_struck = is_well & ((shock == INCOME_LOSS) | (shock == ILLNESS))
    severity = np.where(shock == NONE, 0.0, state.severity)
    severity = np.where(is_struck, 0.3 + 0.6 * draws.uniform(Event.SEVERITY), severity)
    lost_share = np.where(shock == ILLNESS, 0.4 * severity, 0.25 * severity)
    lost_share = np.where(shock == INCOME_LOSS, severity, lost_share)
    noise = traits.volatility * draws.normal(Event.INCOME) - 0.5 * traits.volatility**2
    return Means(
        shock=shock,
        severity=severity,
        income=traits.income_level * (1.0 - lost_share) * np.exp(noise),
        costs=np.where(shock == ILLNESS, 0.5 * severity * traits.income_level, 0.0),
    )


def _next_shock(state: State, draws: Draws, config: SimulationConfig) -> Whole:
    shock = state.shock
    u = draws.uniform(Event.SHOCK)
    loss = config.shock_rate * _LOSS * state.traits.volatility / _MEAN_VOLATILITY
    illness = config.shock_rate * _ILLNESS
    is_well = (shock == NONE) | (shock == RECOVERY)
    new = np.where(is_well & (u < loss), INCOME_LOSS, shock)
    new = np.where(is_well & (u >= loss) & (u < loss + illness), ILLNESS, new)
    # Read from the upper end of the same uniform, so that no shock starts and ends at once.
    new = np.where((shock == RECOVERY) & (u > 1 - _RECOVERED), NONE, new)
    new = np.where((shock == INCOME_LOSS) & (u > 1 - _LOSS_ENDS), RECOVERY, new)
    new = np.where((shock == ILLNESS) & (u > 1 - _ILLNESS_ENDS), RECOVERY, new)
    return new.astype(np.int32)
