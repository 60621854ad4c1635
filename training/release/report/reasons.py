"""What customers are told: how often each reason, and some accounts as they would read it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from serving.decision.result import Decision
from training.evaluate.figures import INK, SOFT, axes_of
from training.evaluate.holdout import Evaluation
from training.release.report.page import Section, Shown

EXAMPLES = 3


def reasons_section(evaluated: Evaluation, agreement: pl.DataFrame | None) -> Section:
    """``agreement``: the fit's table of how many would be told the same against another reference;
    None = not known.
    """
    told = [decision for decision in evaluated.stages.decisions if decision.reasons]
    if not told:
        return Section("Reasons", ("No limit is cut, so nobody is given a reason.",))
    table = frequencies(told)
    shown = [
        Shown(
            "How often each reason comes first, and how often it is among the four.", _figure(table)
        ),
        Shown("The same in numbers.", table),
    ]
    if agreement is not None:
        said = (
            "How many would be told the same against another reference or explanation: "
            "second_sample is another draw as balanced as the one served, and the one to be "
            "judged; random_samples shows what two plain draws would do; contributions leaves "
            "out the effects, path_dependent is LightGBM's own explanation: both answer other "
            "questions."
        )
        shown.append(Shown(said, agreement))
    shown += [
        Shown(f"Account {one.account_id}: {_decided(one)}.", _worded(one)) for one in examples(told)
    ]
    given = np.mean([len(decision.reasons) for decision in told])
    text = (
        f"{len(told):,} of {len(evaluated.label):,} accounts are given reasons, {given:.1f} on "
        "average. Contributions are exact Shapley values of the log-odds against accounts of the "
        "same product just inside the cut-off; they add up to the log-odds of every account "
        "within 1e-9, or there is no decision.",
    )
    return Section("Reasons", text, tuple(shown))


def frequencies(told: list[Decision]) -> pl.DataFrame:
    """One row a reason: ``reason``, ``cause``, ``first`` and ``among`` (shares of those who are
    told any), the first first.
    """
    first, among, cause = Counter[str](), Counter[str](), dict[str, str]()
    for decision in told:
        first[decision.reasons[0].code] += 1
        for reason in decision.reasons:
            among[reason.code] += 1
            cause[reason.code] = reason.cause
    rows = [
        {
            "reason": code,
            "cause": cause[code],
            "first": first[code] / len(told),
            "among": count / len(told),
        }
        for code, count in among.items()
    ]
    return pl.DataFrame(rows).sort(["first", "among", "reason"], descending=[True, True, False])


def examples(told: list[Decision]) -> list[Decision]:
    """Some of those with most reasons, one for each first reason."""
    by_first: dict[str, Decision] = {}
    for decision in sorted(told, key=lambda d: (-len(d.reasons), d.account_id)):
        by_first.setdefault(decision.reasons[0].code, decision)
    return list(by_first.values())[:EXAMPLES]


def _decided(decision: Decision) -> str:
    after = decision.new_limit if decision.proposed_limit is None else decision.proposed_limit
    return (
        f"{decision.action}, probability {decision.probability:.1%}, limit CNY "
        f"{decision.credit_limit:,.0f}{' proposed' if decision.proposed_limit is not None else ''} "
        f"to CNY {after:,.0f}"
    )


def _worded(decision: Decision) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "rank": reason.rank,
                "reason": reason.code,
                "share": "the rule decides" if reason.share is None else f"{reason.share:.0%}",
                "in English": reason.text.en,
                "in Chinese": reason.text.zh,
            }
            for reason in decision.reasons
        ]
    )


def _figure(table: pl.DataFrame) -> Figure:
    ordered = table.reverse()
    figure, axes = axes_of(
        "Share of those who are given reasons",
        "",
        "Reasons",
        height=0.32 * table.height + 1.4,
        names=0.3,
    )
    axes.barh(
        ordered["reason"].to_list(),
        ordered["among"].to_list(),
        color=SOFT,
        label="among the reasons",
    )
    axes.barh(
        ordered["reason"].to_list(),
        ordered["first"].to_list(),
        color=INK,
        height=0.45,
        label="first",
    )
    axes.legend(loc="lower right")
    return figure
