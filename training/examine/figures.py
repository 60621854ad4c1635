"""The examination's tables to figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from serving.decision.advice.result import PlanPath
from serving.decision.result import Advised, Decision
from training.evaluate.figures import ALARM, INK, SOFT, axes_of, interval_reach
from training.fit.reason_quality import deletion, stability

EXPLAINED_BY = {
    "served": "reasons served",
    "path_dependent": "LightGBM's own contributions",
    "effects": "effects, by the ledger",
    "gain": "gain of the whole model",
    "commonest": "the commonest causes, to all",
    "random": "random order",
}
CHOSEN = (deletion.FIRST, deletion.STATED)  # the others are controls
DELETED = {
    deletion.FIRST: "the first reason",
    deletion.STATED: "all reasons stated",
    deletion.ONE_RANDOM: "a random group",
    deletion.FOUR_RANDOM: "four random groups",
}
AGAINST = {
    stability.REFERENCE: "other reference accounts",
    stability.NUDGE: "an amount 0.1 % off",
    stability.SEED: "another seed",
    stability.REDRAWN: "accounts drawn anew",
}


def recovery_path(advised: Advised) -> Figure:
    """Draw one account's probability and limit by month: the plan and both baselines.

    Raises ValueError for an account without advice.
    """
    advice = advised.advice
    decision = advised.decision
    if advice is None:
        raise ValueError(f"expected an account that is advised, got {decision.account_id}")
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    paths = (
        ("the plan", advice.plan, INK),
        ("on time only", advice.on_time_only, SOFT),
        ("as before", advice.carry_on, ALARM),
    )
    for name, path, colour in paths:
        days, probabilities, limits = _path_points(decision, path)
        above.plot(days, probabilities, color=colour, marker="o", ms=3, label=name)
        below.step(days, limits, where="post", color=colour)
    above.axhline(
        decision.cut_off,
        color="black",
        linestyle="--",
        linewidth=1,
        label="cut-off",
    )
    if advice.plan.restored is not None:
        restored = advice.plan.restored.toordinal()
        for axes in (above, below):
            axes.axvline(restored, color=INK, linestyle=":", linewidth=1)
    above.set(
        ylabel="Probability of default",
        yscale="log",
        title=f"The way back of account {decision.account_id}",
    )
    above.yaxis.set_major_formatter(PercentFormatter(1.0))
    above.yaxis.set_minor_formatter(PercentFormatter(1.0))
    below.set(ylabel="Limit, CNY", ylim=(0, None))
    handles, labels = above.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    every_month = [decision.as_of, *(month.month for month in advice.plan.path)]
    # Every second: thirteen labels would overlap.
    months = every_month[::2]
    below.set_xticks(
        [month.toordinal() for month in months],
        [f"{month:%Y-%m}" for month in months],
        rotation=30,
    )
    return figure


def _path_points(
    decision: Decision,
    path: PlanPath,
) -> tuple[list[int], list[float], list[float]]:
    """Days, probabilities and limits of a path, the decision first."""
    days = [decision.as_of.toordinal()]
    probabilities = [decision.probability]
    limits = [decision.credit_limit]
    for month in path.path:
        days.append(month.month.toordinal())
        probabilities.append(month.probability)
        limits.append(month.limit)
    return days, probabilities, limits


def fidelity_bars(table: pl.DataFrame) -> Figure:
    """Draw how often each method names the largest true cause, with 95 % intervals."""
    rows = table.filter(pl.col("explained_by").is_in(list(EXPLAINED_BY)))
    figure, axes = axes_of(
        "Share of the accounts that have a cause",
        "",
        "Do the reasons name the largest true cause?",
        names=0.34,
    )
    places = np.arange(rows.height)
    bars = (
        (-0.2, "top_1", INK, "named first"),
        (0.2, "top_4", SOFT, "among the reasons"),
    )
    for offset, column, colour, label in bars:
        axes.barh(
            places + offset,
            rows[column].to_numpy(),
            0.38,
            xerr=interval_reach(rows, column, f"{column}_low", f"{column}_high"),
            color=colour,
            ecolor=ALARM,
            capsize=3,
            label=label,
        )
    axes.set_yticks(places, [EXPLAINED_BY[name] for name in rows["explained_by"]])
    axes.invert_yaxis()  # the reasons served on top
    axes.set_xlim(0, 1)
    axes.legend(loc="lower right", frameon=False)
    return figure


def deletion_bars(table: pl.DataFrame) -> Figure:
    """Draw the share of cuts that are undone by each deletion, with 95 % intervals and aims."""
    figure, axes = axes_of(
        "Share of the cuts that are undone",
        "",
        "The cut without its reasons",
        height=3.2,
        names=0.26,
    )
    places = np.arange(table.height)
    axes.barh(
        places,
        table["undone"].to_numpy(),
        0.6,
        xerr=interval_reach(table, "undone", "undone_low", "undone_high"),
        color=[INK if name in CHOSEN else SOFT for name in table["deleted"]],
        ecolor="black",
        capsize=3,
    )
    _mark_aims(axes, table["aim"].to_list())
    axes.legend(loc="lower right", frameon=False)
    axes.set_yticks(places, [DELETED[name] for name in table["deleted"]])
    axes.invert_yaxis()  # the first reason on top
    axes.set_xlim(0, 1.02)
    return figure


def stability_points(table: pl.DataFrame) -> Figure:
    """Draw how often others state the same first reason, or one of its equals, with aims."""
    figure, axes = axes_of(
        "Share of the cuts that both make",
        "",
        "Do other models state the same first reason?",
        height=3.2,
        names=0.3,
    )
    places = np.arange(table.height)
    points = (
        (-0.14, "among_equals", INK, "the same, or an equal of it"),
        (0.14, "same_first", SOFT, "the same"),
    )
    for offset, column, colour, label in points:
        axes.errorbar(
            table[column].to_numpy(),
            places + offset,
            xerr=interval_reach(table, column, f"{column}_low", f"{column}_high"),
            color=colour,
            fmt="o",
            capsize=3,
            label=label,
        )
    _mark_aims(axes, table["aim"].to_list(), -0.14)
    axes.set_yticks(places, [AGAINST[name] for name in table["against"]])
    axes.set_ylim(table.height - 0.5, -0.5)  # downwards, as in the table
    axes.legend(loc="upper left", frameon=False)  # where the shares are near 1
    return figure


def _mark_aims(axes: Axes, aims: Sequence[float | None], offset: float = 0.0) -> None:
    """Mark the least value aimed at on each bar that has one."""
    label = "aim"
    for row, aim in enumerate(aims):
        if aim is None:
            continue
        place = row + offset
        axes.plot(
            [aim, aim],
            [place - 0.25, place + 0.25],
            color=ALARM,
            linewidth=2,
            label=label,
        )
        label = "_nolegend_"  # once in the legend


def validity_by_month(table: pl.DataFrame) -> Figure:
    """Draw the share of promises kept by promised month, with 95 % intervals and their number."""
    figure, axes = axes_of(
        "Months until the limit is promised back (in the bar: promises)",
        "Share kept within a month",
        "Does the advice come true?",
    )
    months = table["month"].to_numpy()
    axes.bar(
        months,
        table["kept"].to_numpy(),
        color=INK,
        yerr=interval_reach(table, "kept", "kept_low", "kept_high"),
        ecolor=SOFT,
        capsize=3,
    )
    for month, plans in table.select("month", "plans").iter_rows():
        axes.annotate(f"{plans}", (month, 0.02), ha="center", color="white", fontsize=8)
    axes.set(ylim=(0, 1.02), xticks=months)
    return figure


def choose_example(advised: Sequence[Advised], promised: Sequence[int]) -> Advised:
    """Return the account with the median promise, whose path is neither trivial nor hopeless."""
    order = np.argsort(promised, kind="stable").tolist()
    with_promise = [place for place in order if promised[place] > 0]
    # A population without any promise still has a figure.
    candidates = with_promise or order
    median = candidates[len(candidates) // 2]
    example: Advised = advised[median]
    return example
