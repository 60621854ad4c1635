"""Effects on the served log-odds, with the past year replayed by the simulator's mechanism.

The served effects replay a year through the ledger, which knows only statements.  Here the
mechanism replays it, with its hidden state, random draws and budget.  The difference between these
effects and the true causes is then due to the model alone.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from features.build import build
from features.schema import LONGEST_WINDOW, check
from features.types import Matrix, Vector
from serving.decision.scoring.score import log_odds_of
from training.data.simulate.output import account_names, as_table
from training.data.simulate.step import Columns
from training.examine.reasons.effects import DRIVEN, levels_of, medians_of
from training.examine.reasons.levels import Levels
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.drivers import Driver, replay_without_driver
from training.examine.truth.population import LOOKBACK, take_rows


def effects_by_mechanism(cohort: CutAccounts) -> Matrix:
    """Return how much each driver raised the served log-odds, float64 (accounts, DRIVEN).

    0 for accounts that would have closed by the day of decision.
    """
    levels = levels_of(medians_of(cohort.bundle), cohort.products.tolist())
    actual = log_odds_without(cohort, None, levels)
    effects = []
    for driver in DRIVEN:
        without = log_odds_without(cohort, driver, levels)
        effects.append(actual - without)
    return np.nan_to_num(np.column_stack(effects))


def log_odds_without(
    cohort: CutAccounts,
    driver: Driver | None,
    levels: Levels,
) -> Vector:
    """Return the served log-odds after a year with the driver at its reference level, (accounts,).

    ``driver`` null = the year as it was.  NaN = the account would have closed.
    """
    population = cohort.population
    accounts = population.state.take(cohort.places)
    months = _months_without(cohort, driver, levels)
    names = account_names(accounts.accounts)
    statements = as_table(names, accounts.traits.cash_loan, months, population.config)
    _, last_month = months[-1]
    is_open = last_month["open"].astype(np.bool_)
    open_names = names.filter(pl.Series(is_open)).implode()
    # Features are of accounts with a statement of the last month; closed ones stay unknown.
    of_open = statements.filter(pl.col("account_id").is_in(open_names))
    features = build(check(of_open))
    log_odds = np.full(len(cohort), np.nan)
    log_odds[is_open] = log_odds_of(
        features.matrix(cohort.bundle.features),
        cohort.bundle.scorer,
    )
    return log_odds


def _months_without(
    cohort: CutAccounts,
    driver: Driver | None,
    levels: Levels,
) -> list[tuple[int, Columns]]:
    """The cohort's months, the last LOOKBACK of them replayed."""
    population = cohort.population
    earlier = take_rows(population.months[:-LOOKBACK], cohort.places)
    replay = replay_without_driver(
        population.state_before.take(cohort.places),
        LOOKBACK,
        population.config,
        driver,
        levels,
    )
    replayed = [(state.months_done - 1, columns) for state, columns in replay]
    return [*earlier, *replayed][-LONGEST_WINDOW:]
