"""Outcomes by group, and how well the features predict the group of an account."""

from __future__ import annotations

import polars as pl

from training.evaluate.fairness import FOUR_FIFTHS, group_table, impact, proxies
from training.evaluate.holdout import GROUPS, Evaluation
from training.release.report.page import Exhibit, Section

_DEFINITIONS = (
    "No protected attribute is a feature; the attributes are used here for measurement only. "
    "Selection: the limit is cut or suspended, or a cut is proposed to a reviewer. False "
    "reduction: the selection rate of the accounts that stayed good. Calibration gap: observed "
    "rate minus mean probability. Intervals are 95 % intervals."
)


def fairness_section(evaluation: Evaluation) -> Section:
    """Return the outcomes by group; only a sentence where the group of no account is known."""
    people = evaluation.hold_out.people
    if all(people[group].null_count() == people.height for group in GROUPS):
        unknown = "The data contain no groups, so fairness cannot be measured here."
        return Section("Fairness", (unknown,))
    table = group_table(evaluation)
    ratios = impact(table)
    single = table.filter(pl.col("attribute").is_in(GROUPS))
    exhibits = (
        Exhibit("Outcomes by group.", single),
        Exhibit("Adverse impact ratio of each attribute and each intersection.", ratios),
        Exhibit("How well the features predict a group (AUC; 0.5 is chance).", proxies(evaluation)),
    )
    return Section("Fairness", (_DEFINITIONS, _impact_text(ratios)), exhibits)


def _impact_text(ratios: pl.DataFrame) -> str:
    low = ratios.filter(pl.col("adverse_impact_ratio") < FOUR_FIFTHS)["attribute"].to_list()
    finding = f"Below it: {', '.join(low)}." if low else "No attribute is below it."
    return (
        "Adverse impact ratio: the share of accounts that keep their limit in the worst group, "
        f"divided by that of the best group. A ratio below {FOUR_FIFTHS} is generally regarded as "
        f"evidence of adverse impact (29 CFR 1607.4(D)). {finding}"
    )
