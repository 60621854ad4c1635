"""What befalls a customer: loss of income, illness, recovery; a Markov chain by month."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from features.types import Vector
from training.data.simulate.config import SimulationConfig
from training.data.simulate.draws import Draws, Event
from training.data.simulate.state import State, Whole

SHOCKS = ("none", "income_loss", "illness", "recovery")
NONE, INCOME_LOSS, ILLNESS, RECOVERY = range(4)
# Monthly chances
_LOSS = 0.012  # at the mean volatility; people with volatile incomes lose them more often
_ILLNESS = 0.005
_LOSS_ENDS = 0.12
_ILLNESS_ENDS = 0.20
_RECOVERED = 0.25
_MEAN_VOLATILITY = 0.117


@dataclass(frozen=True, slots=True)
class Means:
    """A month's ``income`` and the extra ``costs`` of an illness, CNY, with the shock that they
    come from.
    """

    shock: Whole
    severity: Vector
    income: Vector
    costs: Vector


def draw_shocks(state: State, draws: Draws, config: SimulationConfig) -> Means:
    """Move the chain by a month and draw the month's income."""
    traits, shock = state.traits, state.shock
    u = draws.uniform(Event.SHOCK)
    loss = config.shock_rate * _LOSS * traits.volatility / _MEAN_VOLATILITY
    illness = config.shock_rate * _ILLNESS
    well = (shock == NONE) | (shock == RECOVERY)
    new = np.where(well & (u < loss), INCOME_LOSS, shock)
    new = np.where(well & (u >= loss) & (u < loss + illness), ILLNESS, new)
    # Ends are read from the other side of the same number: the two never overlap.
    new = np.where((shock == RECOVERY) & (u > 1 - _RECOVERED), NONE, new)
    new = np.where((shock == INCOME_LOSS) & (u > 1 - _LOSS_ENDS), RECOVERY, new)
    new = np.where((shock == ILLNESS) & (u > 1 - _ILLNESS_ENDS), RECOVERY, new).astype(np.int32)
    struck = well & ((new == INCOME_LOSS) | (new == ILLNESS))
    severity = np.where(
        struck,
        0.3 + 0.6 * draws.uniform(Event.SEVERITY),
        np.where(new == NONE, 0.0, state.severity),
    )
    taken = np.where(
        new == INCOME_LOSS, severity, np.where(new == ILLNESS, 0.4 * severity, 0.25 * severity)
    )
    noise = traits.volatility * draws.normal(Event.INCOME) - 0.5 * traits.volatility**2
    income = traits.income_level * (1.0 - taken) * np.exp(noise)
    return Means(
        new, severity, income, np.where(new == ILLNESS, 0.5 * severity * traits.income_level, 0.0)
    )
