"""Simulated accounts that no model saw, as they stand on the day of decision: their statements, and
their true state.

They are the population of the simulation that the model was fitted on, drawn anew: only the seed
differs.  The day of decision is that of the model's own hold-out, the last one whose outcome lies
within the months simulated.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import polars as pl

from features.schema import LONGEST_WINDOW, check
from features.types import Vector
from training.data.config import DataError
from training.data.labels import soon_after
from training.data.simulate.config import SimulationConfig, calendar_month
from training.data.simulate.output import SUMMARY, account_names, as_table
from training.data.simulate.state import Numbers, State
from training.data.simulate.step import Columns, begin, step
from training.examine.truth.futures import DEFAULT_DAYS, HORIZON, untreated, worst_days
from training.tracking.config import check_ranges, override

LOOKED_BACK = 12  # months before the day of decision from which the past can be lived again


@dataclass(frozen=True, slots=True)
class ExamineConfig:
    """How many accounts are examined, and in how many futures each."""

    accounts: int = 20_000  # drawn; about one in 25 has its limit cut by the model
    seed: int = 1001  # of the population; another than the data's, or the model saw it
    # that a probability is the share of; four quarters tell how much it would differ
    futures: int = 200
    refits: int = 20  # bootstrapped models that plans are held against

    def __post_init__(self) -> None:
        check_ranges(
            self,
            accounts=(1, 1_000_000),
            seed=(0, 2**63 - 1),
            futures=(4, 100_000),
            refits=(1, 1000),
        )


@dataclass(frozen=True, slots=True)
class Population:
    """The accounts drawn; arrays and states have one entry an account, whether it is open or not.

    ``before`` and ``now`` are their states LOOKED_BACK months before the day of decision and on it;
    ``lived`` the months up to it with their numbers, the oldest first; ``statements`` the checked
    windows of those who have a statement of ``as_of`` and are not in default.  ``digest`` is the
    sha256 of all that was simulated: the same digest, the same simulator and population.
    """

    config: SimulationConfig
    as_of: datetime.date
    before: State
    now: State
    lived: tuple[tuple[int, Columns], ...]
    statements: pl.DataFrame
    digest: str

    @property
    def decided_at(self) -> datetime.datetime:
        """When the decisions are made."""
        return soon_after(self.as_of)

    @property
    def names(self) -> pl.Series:
        """The accounts' ids."""
        return account_names(self.now.accounts)

    def places(self, account_ids: pl.Series) -> Numbers:
        """Where accounts of these ids stand, int64."""
        return account_ids.str.slice(4).cast(pl.Int64).to_numpy() - 1

    def realised(self) -> Vector:
        """Whether each account defaults in the one future that is its history's own, if nothing is
        done: 0 or 1.
        """
        return (worst_days(self.now, untreated(self.config), 0) >= DEFAULT_DAYS).astype(np.float64)


def simulation_of(folder: Path) -> SimulationConfig:
    """The config that ``simulate`` wrote its data with.

    DataError where the folder does not hold a simulation.
    """
    file = folder / SUMMARY
    if not file.exists():
        raise DataError(
            f"{file}: expected simulated data, whose true causes are known; found no such file"
        )
    kept = json.loads(file.read_text())["config"]
    known = {field.name for field in fields(SimulationConfig)}
    if kept.keys() != known:
        raise DataError(
            f"{file}: expected the fields of this version's simulation, differs in {sorted(kept.keys() ^ known)}"
        )
    (config,) = override([SimulationConfig()], [f"{name}={value}" for name, value in kept.items()])
    found: SimulationConfig = config
    return found


def draw(simulation: SimulationConfig, config: ExamineConfig) -> Population:
    """Live the population up to its day of decision.

    DataError where it would be the one that the model was fitted on, or the simulation has too few
    months.
    """
    if config.seed == simulation.seed:
        raise DataError(
            f"ExamineConfig.seed: expected another seed than the data's, got {config.seed} for both"
        )
    day = simulation.months - 1 - HORIZON
    if day < LOOKED_BACK:
        raise DataError(
            f"expected data of at least {LOOKED_BACK + HORIZON + 1} months, got {simulation.months}"
        )
    world = replace(simulation, seed=config.seed, accounts=config.accounts)
    state = before = begin(world, 0, world.accounts)
    lived = []
    for month in range(day + 1):
        if month == day + 1 - LOOKED_BACK:
            before = state
        state, columns = step(state, month, world)
        lived.append((month, columns))
    names = account_names(state.accounts)
    statements = as_table(names, state.traits.cash_loan, lived[-LONGEST_WINDOW:], world)
    open_now = lived[-1][1]["open"].astype(np.bool_) & (state.days_past_due < DEFAULT_DAYS)
    seen = statements.filter(
        pl.col("account_id").is_in(names.filter(pl.Series(open_now)).implode())
    )
    return Population(
        world,
        calendar_month(day, world),
        before,
        state,
        tuple(lived[-LONGEST_WINDOW:]),
        check(seen),
        _digest(lived),
    )


def _digest(lived: list[tuple[int, Columns]]) -> str:
    """sha256 over the months' columns in order."""
    total = hashlib.sha256()
    for _, columns in lived:
        for name in sorted(columns):
            total.update(np.ascontiguousarray(columns[name]).tobytes())
    return total.hexdigest()
