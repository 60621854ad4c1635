"""A simulated population that no model saw, on the day of decision: statements and true state.

It comes from the simulation that the model was fitted on; only the seed differs.  The day of
decision is that of the model's own hold-out: the last one whose outcome lies within the simulated
months.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
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
from training.examine.truth.futures import DEFAULT_DAYS, HORIZON, untreated, worst_days_past_due
from training.tracking.config import check_ranges, override

LOOKBACK = 12  # months before the day of decision that can be replayed


@dataclass(frozen=True, slots=True)
class ExamineConfig:
    """How many accounts are examined, and in how many futures each."""

    accounts: int = 20_000  # in the population; the model cuts about one in 75
    seed: int = 1001  # of the population; not the data's, whose accounts the model saw
    # from which a probability is estimated; their four quarters show its noise
    futures: int = 200
    refits: int = 20  # models of accounts drawn anew, which judge the plans and the reasons
    seeds: int = 5  # models with another seed, which judge the reasons

    def __post_init__(self) -> None:
        check_ranges(
            self,
            accounts=(1, 1_000_000),
            seed=(0, 2**63 - 1),
            futures=(4, 100_000),
            refits=(1, 1000),
            seeds=(1, 1000),
        )


@dataclass(frozen=True, slots=True)
class Population:
    """The accounts; arrays and states have one entry an account, open or closed.

    ``state`` is their state on the day of decision, ``state_before`` that LOOKBACK months earlier.
    ``months`` are the last months up to that day with their numbers, the oldest first.
    ``statements`` are the checked windows of accounts that have a statement of ``as_of`` and are
    not in default.  ``digest`` is the sha256 of everything simulated: equal digests mean the same
    simulator and population.
    """

    config: SimulationConfig
    as_of: datetime.date
    state_before: State
    state: State
    months: tuple[tuple[int, Columns], ...]
    statements: pl.DataFrame
    digest: str

    @property
    def decided_at(self) -> datetime.datetime:
        """When the decisions are made."""
        return soon_after(self.as_of)

    @property
    def names(self) -> pl.Series:
        """The accounts' ids."""
        return account_names(self.state.accounts)

    def places(self, account_ids: pl.Series) -> Numbers:
        """Return the positions of accounts in the arrays, int64."""
        return account_ids.str.slice(4).cast(pl.Int64).to_numpy() - 1

    def realised(self) -> Vector:
        """Return each account's outcome in its own future without cuts: float64, 0 or 1."""
        days = worst_days_past_due(self.state, untreated(self.config), 0)
        return (days >= DEFAULT_DAYS).astype(np.float64)


def simulation_of(folder: Path) -> SimulationConfig:
    """Return the config that ``simulate`` wrote the data in ``folder`` with.

    Raises DataError where the folder holds no simulation, or another version's.
    """
    file = folder / SUMMARY
    if not file.exists():
        raise DataError(
            f"{file}: expected simulated data, whose true causes are known; found no such file"
        )
    written = json.loads(file.read_text(encoding="utf-8"))["config"]
    expected = {field.name for field in fields(SimulationConfig)}
    if written.keys() != expected:
        raise DataError(
            f"{file}: expected the fields of this version's simulation, "
            f"differs in {sorted(written.keys() ^ expected)}"
        )
    settings = [f"{name}={value}" for name, value in written.items()]
    config: SimulationConfig
    (config,) = override([SimulationConfig()], settings)
    return config


def draw_population(simulation: SimulationConfig, config: ExamineConfig) -> Population:
    """Simulate another population up to its day of decision.

    Raises DataError where it would be the population that the model was fitted on, or where the
    simulation has too few months.
    """
    if config.seed == simulation.seed:
        raise DataError(
            f"ExamineConfig.seed: expected another seed than the data's, got {config.seed} for both"
        )
    day = simulation.months - 1 - HORIZON
    if day < LOOKBACK:
        raise DataError(
            f"expected data of at least {LOOKBACK + HORIZON + 1} months, got {simulation.months}"
        )
    simulation = replace(
        simulation,
        seed=config.seed,
        accounts=config.accounts,
    )
    state = state_before = begin(simulation, 0, simulation.accounts)
    months: list[tuple[int, Columns]] = []
    for month in range(day + 1):
        if month == day + 1 - LOOKBACK:
            state_before = state
        state, columns = step(state, month, simulation)
        months.append((month, columns))
    window = months[-LONGEST_WINDOW:]
    return Population(
        config=simulation,
        as_of=calendar_month(day, simulation),
        state_before=state_before,
        state=state,
        months=tuple(window),
        statements=_statements_to_decide(state, window, simulation),
        digest=_digest(months),
    )


def take_rows(
    months: Sequence[tuple[int, Columns]],
    rows: Numbers,
) -> list[tuple[int, Columns]]:
    """Return the statements of these rows alone, with the number of each month."""
    taken: list[tuple[int, Columns]] = []
    for number, columns in months:
        of_rows = {name: values[rows] for name, values in columns.items()}
        taken.append((number, of_rows))
    return taken


def _statements_to_decide(
    state: State,
    window: list[tuple[int, Columns]],
    simulation: SimulationConfig,
) -> pl.DataFrame:
    """The checked windows of the accounts that are open and not in default."""
    names = account_names(state.accounts)
    _, last_month = window[-1]
    is_open = last_month["open"].astype(np.bool_)
    # An account in default has the outcome already: nothing is left to predict.
    not_in_default = state.days_past_due < DEFAULT_DAYS
    to_decide = names.filter(pl.Series(is_open & not_in_default))
    statements = as_table(names, state.traits.cash_loan, window, simulation)
    in_question = pl.col("account_id").is_in(to_decide.implode())
    return check(statements.filter(in_question))


def _digest(months: list[tuple[int, Columns]]) -> str:
    """sha256 over the months' columns in order."""
    total = hashlib.sha256()
    for _, columns in months:
        for name in sorted(columns):
            values = np.ascontiguousarray(columns[name])
            total.update(values.tobytes())
    return total.hexdigest()
