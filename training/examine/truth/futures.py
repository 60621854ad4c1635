"""The true probability of the outcome: the share of many futures of one state in which it comes
about.

The futures are common random numbers: future k is the same luck whatever is changed, so that two
probabilities of one account differ by what was changed and by little else.  ``untreated`` futures
are those that the decision's probability speaks of: in them the simulated lender cuts nobody's
limit.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from features.types import Mask, Vector
from training.data.simulate.config import SimulationConfig
from training.data.simulate.state import Numbers, State
from training.examine.truth.interventions import Change, live_on

DEFAULT_DAYS = 60
HORIZON = 6  # months
_ROWS = 100_000  # accounts x futures lived at a time


def untreated(config: SimulationConfig) -> SimulationConfig:
    """The same world, in which the incumbent cuts nobody."""
    return replace(config, incumbent_cut_rate=0.0)


def probability(
    state: State, config: SimulationConfig, futures: int, first: int = 1, months: int = HORIZON
) -> Vector:
    """The share of the futures ``first`` to ``first + futures - 1`` in which each account defaults,
    float64 (accounts,).

    To default is to show 60 days past due or more on one of the next ``months`` statements; an
    account that has ended has none.
    """
    share: Vector = outcomes(state, config, futures, first, months).mean(axis=0)
    return share


def outcomes(
    state: State, config: SimulationConfig, futures: int, first: int = 1, months: int = HORIZON
) -> Mask:
    """Whether each account defaults in each future, bool (futures, accounts)."""
    count = state.count
    found = np.zeros((futures, count), dtype=np.bool_)
    step = max(_ROWS // max(count, 1), 1)
    for start in range(0, futures, step):
        numbers = np.arange(start, min(start + step, futures))
        many = state.take(np.tile(np.arange(count), len(numbers)))
        worst = worst_days(many, config, np.repeat(first + numbers, count), months)
        found[numbers] = (worst >= DEFAULT_DAYS).reshape(len(numbers), count)
    return found


def worst_days(
    state: State,
    config: SimulationConfig,
    future: int | Numbers,
    months: int = HORIZON,
    change: Change | None = None,
    limit: Vector | None = None,
) -> Vector:
    """The most days past due that the next months' statements show, float64 (accounts,); 0 where
    there is none.
    """
    worst = np.zeros(state.count)
    for _, columns in live_on(state, months, config, future, change, limit):
        worst = np.maximum(worst, np.where(columns["open"], columns["days_past_due"], 0))
    return worst
