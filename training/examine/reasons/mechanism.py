"""What the served model makes of the year that the simulator itself would have lived under each
driver.

The served effects relive a year through the ledger, which knows statements alone.  Here the
mechanism lives it, with hidden state, luck and purse: the same question without the ledger's
ignorance.  What still parts it from the true causes is the model's.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.build import build
from features.schema import LONGEST_WINDOW, check
from serving.decision.reasons.counterfactual import Levels
from serving.decision.reasons.effects import DRIVEN, levels_of
from serving.decision.scoring.score import log_odds_of
from training.data.simulate.output import account_names, as_table
from training.examine.truth.cut_accounts import CutAccounts
from training.examine.truth.drivers import Driver, replay_without_driver
from training.examine.truth.population import LOOKED_BACK


def effects_by_mechanism(cohort: CutAccounts) -> NDArray[np.float64]:
    """By how much each driver raised the served log-odds, float64 (accounts, DRIVEN); 0 for who
    would have closed by then.
    """
    levels = levels_of(cohort.bundle.medians, cohort.products.tolist())
    as_it_was = log_odds_under(cohort, None, levels)
    falls = np.column_stack(
        [as_it_was - log_odds_under(cohort, driver, levels) for driver in DRIVEN]
    )
    return np.nan_to_num(falls)


def log_odds_under(
    cohort: CutAccounts, driver: Driver | None, levels: Levels
) -> NDArray[np.float64]:
    """The served log-odds had the last year been lived under the driver (None: as it was),
    (accounts,); NaN = closed.
    """
    world, places = cohort.world, cohort.places
    before = [
        (number, {name: values[places] for name, values in columns.items()})
        for number, columns in world.lived[:-LOOKED_BACK]
    ]
    again = [
        (state.months_done - 1, columns)
        for state, columns in replay_without_driver(
            world.before.take(places), LOOKED_BACK, world.config, driver, levels
        )
    ]
    names = account_names(world.now.accounts[places])
    lived = [*before, *again][-LONGEST_WINDOW:]
    statements = as_table(names, world.now.traits.cash_loan[places], lived, world.config)
    open_now = names.filter(pl.Series(again[-1][1]["open"].astype(np.bool_)))
    features = build(check(statements.filter(pl.col("account_id").is_in(open_now.implode()))))
    found = np.full(len(places), np.nan)
    found[np.flatnonzero(names.is_in(open_now.implode()).to_numpy())] = log_odds_of(
        features.matrix(cohort.bundle.features), cohort.bundle.scorer
    )
    return found
