"""Whom the cuts fall on, and how nearly the features tell who somebody is."""

from __future__ import annotations

import polars as pl

from training.evaluate.fairness import FOUR_FIFTHS, group_table, impact, proxies
from training.evaluate.holdout import GROUPS, Evaluation
from training.release.report.page import Section, Shown


def fairness_section(evaluated: Evaluation) -> Section:
    """Nothing is shown where nobody's group is known."""
    people = evaluated.hold_out.people
    if all(people[group].null_count() == people.height for group in GROUPS):
        return Section(
            "Fairness",
            ("The data do not say who people are, so that nothing can be measured here.",),
        )
    table = group_table(evaluated)
    ratios = impact(table)
    alone = table.filter(pl.col("attribute").is_in(GROUPS))
    low = ratios.filter(pl.col("adverse_impact_ratio") < FOUR_FIFTHS)["attribute"].to_list()
    found = f"Below it: {', '.join(low)}." if low else "None is."
    text = (
        "No protected attribute is a feature; here they are known only to measure. Selection: "
        "the limit is cut, suspended or proposed to be. False reduction: the same of accounts "
        "that stayed good. Calibration gap: observed rate less mean probability. Intervals are "
        "of 95 %.",
        "Adverse impact ratio: the share that keeps its limit in the worst group to that in the "
        f"best; below {FOUR_FIFTHS} it is generally regarded as evidence of adverse impact (29 "
        f"CFR 1607.4(D)). {found}",
    )
    return Section(
        "Fairness",
        text,
        (
            Shown("By group.", alone),
            Shown("The ratio of each attribute, and of attributes together.", ratios),
            Shown(
                "How well the features tell who belongs to a group: AUC, 0.5 = not at all.",
                proxies(evaluated),
            ),
        ),
    )
