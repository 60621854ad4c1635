"""The gate ``nudges``: a change of 0.1 % in one amount moves few accounts near the cut-off."""

from __future__ import annotations

import polars as pl

from training.evaluate.holdout import Evaluation
from training.evaluate.nudges import ANY, MOVED, NEAR, THOUSANDTH, measure_nudges
from training.release.findings import Estimate, Finding, Measured, at_most


def check_knife_edges(version: Evaluation, max_moved: float) -> Finding:
    """Return the finding on the column of amounts that moves most accounts.

    It is not decided if no account is near the cut-off.
    """
    table = measure_nudges(
        version.stages.window,
        version.log_odds,
        version.bundle,
        [THOUSANDTH],
    )
    by_column = table.filter(pl.col("column") != ANY)
    worst = by_column.sort("moved", descending=True, nulls_last=True).row(0, named=True)
    accounts = worst["accounts"]
    estimate = Estimate(worst["moved"], worst["moved_low"], worst["moved_high"])
    near = f"{accounts:,} accounts within {NEAR:g} log-odds of the cut-off"
    note = f"0.1 % of {worst['column']}, by more than {MOVED:g} log-odds, of {near}"
    measured = Measured("moved", estimate, accounts, note)
    return at_most(measured, max_moved)
