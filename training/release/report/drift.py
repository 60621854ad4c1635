"""Whether the accounts of later months still look like those that the model was fitted on."""

from __future__ import annotations

import polars as pl

from training.evaluate.drift import FIRST_REASON, drift_table
from training.evaluate.holdout import Evaluation
from training.release.report.page import Section, Shown

MOST = 12  # features shown, the most drifted first


def drift_section(earlier: Evaluation, evaluated: Evaluation) -> Section:
    """``earlier``: the same model on hold-out accounts in the last month that its trees were fitted
    on.
    """
    table = drift_table(earlier, evaluated)
    features = table.filter(pl.col("kind") == "feature").sort("psi", descending=True).head(MOST)
    of_all = table.filter((pl.col("kind") == "score") | (pl.col("name") == FIRST_REASON))
    reasons = table.filter((pl.col("kind") == "reason") & (pl.col("name") != FIRST_REASON)).sort(
        "psi", descending=True
    )
    text = (
        f"Accounts that no tree saw, {earlier.hold_out.as_of:%Y-%m} against "
        f"{evaluated.hold_out.as_of:%Y-%m}. PSI: the population stability index over tenths of "
        "the earlier month; by custom below 0.1 is stable and above 0.25 another population. "
        "Wasserstein: how far the values moved, in standard deviations.",
    )
    return Section(
        "Stability",
        text,
        (
            Shown("The score, and the mix of first reasons.", of_all),
            Shown("The features that moved most.", features),
            Shown("What each reason adds to the mix's index.", reasons),
        ),
    )
