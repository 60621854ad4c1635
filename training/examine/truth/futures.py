"""The true probability of the outcome: the share of many futures of an account with a default.

Futures use common random numbers: future k has the same random draws whatever is changed, so two
probabilities of one account differ by the change and by little else.  ``untreated`` futures are
those that the model's probability is defined for: the simulated lender cuts no limit in them.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat

import numpy as np

from features.types import Mask, Vector
from training.cluster import map_in_order
from training.data.simulate.config import SimulationConfig
from training.data.simulate.state import Numbers, State
from training.examine.truth.interventions import Intervention, simulate_months

DEFAULT_DAYS = 60
HORIZON = 6  # months
ROWS = 100_000  # accounts x futures simulated at a time: bounds the memory


def untreated(config: SimulationConfig) -> SimulationConfig:
    """Return the same simulation, in which the incumbent lender cuts no limit."""
    return replace(config, incumbent_cut_rate=0.0)


def default_probability(
    state: State,
    config: SimulationConfig,
    futures: int,
    first: int = 1,
    months: int = HORIZON,
) -> Vector:
    """Return the share of futures in which each account defaults, float64 (accounts,).

    The futures are ``first`` to ``first + futures - 1``.  An account defaults if one of its next
    ``months`` statements shows 60 days past due or more; a closed account has no statements.
    """
    defaults = simulate_defaults(state, config, futures, first, months)
    share: Vector = defaults.mean(axis=0)
    return share


def simulate_defaults(
    state: State,
    config: SimulationConfig,
    futures: int,
    first: int = 1,
    months: int = HORIZON,
) -> Mask:
    """Return whether each account defaults in each future, bool (futures, accounts)."""
    futures_a_block = max(ROWS // max(state.count, 1), 1)
    starts = range(0, futures, futures_a_block)
    blocks = [
        range(first + start, first + min(start + futures_a_block, futures)) for start in starts
    ]
    found = map_in_order(_defaults_in, repeat(state), repeat(config), blocks, repeat(months))
    none = np.zeros((0, state.count), dtype=np.bool_)
    defaults: Mask = np.concatenate([none, *found])
    return defaults


def _defaults_in(
    state: State,
    config: SimulationConfig,
    futures: range,
    months: int,
) -> Mask:
    """Return whether each account defaults in each of these futures."""
    # Futures are tiled along the accounts' axis: one step simulates a whole block.
    places = np.tile(np.arange(state.count), len(futures))
    future = np.repeat(np.array(futures), state.count)
    worst = worst_days_past_due(state.take(places), config, future, months)
    in_default: Mask = worst >= DEFAULT_DAYS
    return in_default.reshape(len(futures), state.count)


def worst_days_past_due(
    state: State,
    config: SimulationConfig,
    future: int | Numbers,
    months: int = HORIZON,
    intervention: Intervention | None = None,
    limit: Vector | None = None,
) -> Vector:
    """Return the most days past due on the next months' statements, float64 (accounts,).

    0 where an account has no statement.
    """
    worst = np.zeros(state.count)
    for _, columns in simulate_months(
        state,
        months,
        config,
        future,
        intervention,
        limit,
    ):
        days = np.where(columns["open"], columns["days_past_due"], 0)
        worst = np.maximum(worst, days)
    return worst
