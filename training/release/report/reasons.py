"""The reasons that customers get: how often each one, and examples as a customer reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from serving.decision.result import Decision
from training.evaluate.figures import INK, SOFT, axes_of
from training.evaluate.holdout import Evaluation
from training.release.report.page import Exhibit, Section
from training.release.report.reason_quality import NOT_MEASURED, ReasonQuality

MAX_EXAMPLES = 3
_AGREEMENT = (
    "Share of accounts that would get the same reasons from another reference population or "
    "another explanation. `second_sample` is another sample, as balanced as the served one: it is "
    "the one to judge by. `random_samples` are two plain samples. `path_dependent` is LightGBM's "
    "own explanation, which answers another question. `first_among_leaders`: the other first "
    "reason is ours or one of its equals."
)


def reasons_section(
    evaluation: Evaluation,
    agreement: pl.DataFrame | None,
    quality: ReasonQuality = NOT_MEASURED,
) -> Section:
    """Return how often each reason is given, how good the reasons are, and examples.

    ``agreement`` is the fit's table of :mod:`training.fit.reason_quality.agreement`, null if the
    run has none.
    """
    explained = [decision for decision in evaluation.stages.decisions if decision.reasons]
    if not explained:
        return Section("Reasons", ("No limit is cut, so no account gets a reason.",))
    table = measure_frequencies(explained)
    exhibits = [
        Exhibit(
            "How often each reason comes first, and how often it is among the four.",
            _draw_frequencies(table),
        ),
        Exhibit("The same in numbers.", table),
    ]
    if agreement is not None:
        exhibits.append(Exhibit(_AGREEMENT, agreement))
    exhibits += quality.exhibits()
    for decision in choose_examples(explained):
        caption = f"Account {decision.account_id}: {_describe(decision)}."
        exhibits.append(Exhibit(caption, _reason_table(decision)))
    mean_count = np.mean([len(decision.reasons) for decision in explained])
    text = (
        f"{len(explained):,} of {len(evaluation.label):,} accounts get reasons, {mean_count:.1f} "
        "on average: their limit is reduced or suspended, or either is proposed to a reviewer. "
        "Contributions are exact Shapley values of the log-odds against accounts of "
        "the same product just inside the cut-off. For every decision they add up to the log-odds "
        "within 1e-9; otherwise the decision is an error."
    )
    return Section("Reasons", (text, quality.paragraph()), tuple(exhibits))


def measure_frequencies(explained: Sequence[Decision]) -> pl.DataFrame:
    """Return one row a reason, the most frequent first reason at the top.

    Columns: ``reason`` (code), ``cause``, ``first`` and ``among`` (shares of the decisions, in
    which the reason is the first or any).  Each decision must have at least one reason.
    """
    first, among = Counter[str](), Counter[str]()
    causes: dict[str, str] = {}
    for decision in explained:
        first[decision.reasons[0].code] += 1
        for reason in decision.reasons:
            among[reason.code] += 1
            causes[reason.code] = reason.cause
    decisions = len(explained)
    rows = []
    for code, count in among.items():
        first_share = first[code] / decisions
        share = count / decisions
        rows.append((code, causes[code], first_share, share))
    table = pl.DataFrame(rows, ["reason", "cause", "first", "among"], orient="row")
    return table.sort(["first", "among", "reason"], descending=[True, True, False])


def choose_examples(explained: Sequence[Decision]) -> list[Decision]:
    """Return decisions with many reasons and different first reasons, at most MAX_EXAMPLES."""
    by_first: dict[str, Decision] = {}
    # By account where they tie, so that the same evaluation gives the same page.
    ordered = sorted(explained, key=lambda d: (-len(d.reasons), d.account_id))
    for decision in ordered:
        by_first.setdefault(decision.reasons[0].code, decision)
    return list(by_first.values())[:MAX_EXAMPLES]


def _describe(decision: Decision) -> str:
    # A decision that waits for a reviewer has not changed the limit: it proposes one.
    proposed = decision.proposed_limit is not None
    after = decision.proposed_limit if proposed else decision.new_limit
    verb = "proposed " if proposed else ""
    limits = f"limit CNY {decision.credit_limit:,.0f} {verb}to CNY {after:,.0f}"
    if after == decision.credit_limit:  # only drawings are stopped, or would be
        limits = f"limit CNY {after:,.0f} unchanged"
    return f"{decision.action}, probability {decision.probability:.1%}, {limits}"


def _reason_table(decision: Decision) -> pl.DataFrame:
    rows = []
    for reason in decision.reasons:
        # A hard rule has no share: it is the whole reason.
        share = "the rule decides" if reason.share is None else f"{reason.share:.0%}"
        rows.append((reason.rank, reason.code, share, reason.text.en, reason.text.zh))
    columns = ["rank", "reason", "share", "in English", "in Chinese"]
    return pl.DataFrame(rows, columns, orient="row")


def _draw_frequencies(table: pl.DataFrame) -> Figure:
    ordered = table.reverse()  # a bar chart is drawn from the bottom
    reasons = ordered["reason"].to_list()
    figure, axes = axes_of(
        "Share of the accounts that get reasons",
        "",
        "Reasons",
        height=0.32 * table.height + 1.4,
        names=0.3,
    )
    axes.barh(reasons, ordered["among"].to_list(), color=SOFT, label="among the reasons")
    axes.barh(
        reasons,
        ordered["first"].to_list(),
        color=INK,
        height=0.45,
        label="first",
    )
    axes.legend(loc="lower right")
    return figure
