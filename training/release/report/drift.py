"""How far the accounts of a later month differ from those that the model was fitted on."""

from __future__ import annotations

import polars as pl

from training.evaluate.drift import FIRST_REASON, drift_table
from training.evaluate.holdout import Evaluation
from training.release.report.page import Exhibit, Section

MAX_FEATURES = 12  # the most drifted ones


def drift_section(earlier: Evaluation, evaluation: Evaluation) -> Section:
    """Return the drift of the score, the reasons and the features.

    ``earlier`` is the same model on hold-out accounts in the last month that its trees were fitted
    on.
    """
    table = drift_table(earlier, evaluation)
    by_drift = table.sort("psi", descending=True)
    is_mix = pl.col("name") == FIRST_REASON
    # The table has the index of the whole mix of reasons in one row, and each code's part of it.
    overall = table.filter((pl.col("kind") == "score") | is_mix)
    codes = by_drift.filter((pl.col("kind") == "reason") & ~is_mix)
    features = by_drift.filter(kind="feature").head(MAX_FEATURES)
    was, now = earlier.hold_out.as_of, evaluation.hold_out.as_of
    text = (
        f"Accounts that no tree was fitted on, {now:%Y-%m} compared with {was:%Y-%m}. PSI is the "
        "population stability index over tenths of the earlier month; by custom a value below 0.1 "
        "is stable and a value above 0.25 is another population. Wasserstein is the distance "
        "between the two distributions in standard deviations."
    )
    exhibits = (
        Exhibit("Score and mix of first reasons.", overall),
        Exhibit("The features with the largest drift.", features),
        Exhibit("The part of each reason in the index of the mix.", codes),
    )
    return Section("Stability", (text,), exhibits)
