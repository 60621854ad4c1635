"""The examination's tables to figures."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from serving.decision.advice.result import PlanPath
from serving.decision.result import Advised
from training.evaluate.figures import ALARM, INK, SOFT, axes_of


def recovery_path(advised: Advised) -> Figure:
    """One account's way back: probability and limit by month under the plan, paying on time only,
    and carrying on.
    """
    found, decision = advised.advice, advised.decision
    if found is None:
        raise ValueError(f"expected an account that is advised, got {decision.account_id}")
    figure = Figure(figsize=(7.2, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    courses = (
        ("the plan", found.plan, INK),
        ("on time only", found.on_time_only, SOFT),
        ("as before", found.carry_on, ALARM),
    )
    for name, course, colour in courses:
        _path(
            above,
            below,
            name,
            course,
            colour,
            decision.as_of,
            (decision.probability, decision.credit_limit),
        )
    above.axhline(decision.cut_off, color="black", linestyle="--", linewidth=1, label="cut-off")
    if found.plan.restored is not None:
        for axes in (above, below):
            axes.axvline(found.plan.restored.toordinal(), color=INK, linestyle=":", linewidth=1)
    above.set(
        ylabel="Probability of default",
        yscale="log",
        title=f"The way back of account {decision.account_id}",
    )
    above.yaxis.set_major_formatter(PercentFormatter(1.0))
    above.yaxis.set_minor_formatter(PercentFormatter(1.0))
    below.set(ylabel="Limit, CNY", ylim=(0, None))
    figure.legend(
        *above.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    months = [decision.as_of, *(month.month for month in found.plan.path)]
    below.set_xticks(
        [month.toordinal() for month in months[::2]],
        [f"{month:%Y-%m}" for month in months[::2]],
        rotation=30,
    )
    return figure


def _path(
    above: Axes,
    below: Axes,
    name: str,
    course: PlanPath,
    colour: str,
    as_of: datetime.date,
    now: tuple[float, float],
) -> None:
    days = [as_of.toordinal(), *(month.month.toordinal() for month in course.path)]
    above.plot(
        days,
        [now[0], *(month.probability for month in course.path)],
        color=colour,
        marker="o",
        ms=3,
        label=name,
    )
    below.step(days, [now[1], *(month.limit for month in course.path)], where="post", color=colour)


def fidelity_bars(table: pl.DataFrame) -> Figure:
    """How often each way of explaining names the largest true cause first, and among its reasons,
    with 95 % intervals.
    """
    names = {
        "served": "reasons served",
        "contributions": "exact contributions alone",
        "path_dependent": "LightGBM's own contributions",
        "gain": "gain of the whole model",
        "commonest": "the commonest causes, to all",
        "random": "random order",
    }
    rows = table.filter(pl.col("explained_by").is_in(list(names)))
    title = "Do the reasons name the largest true cause?"
    figure, axes = axes_of("Share of the accounts that have a cause", "", title, names=0.34)
    places = np.arange(rows.height)
    for offset, column, colour, label in (
        (-0.2, "top_1", INK, "named first"),
        (0.2, "top_4", SOFT, "among the reasons"),
    ):
        value = rows[column].to_numpy()
        reach = np.vstack(
            [value - rows[f"{column}_low"].to_numpy(), rows[f"{column}_high"].to_numpy() - value]
        ).clip(min=0)
        axes.barh(
            places + offset,
            value,
            0.38,
            xerr=reach,
            color=colour,
            ecolor=ALARM,
            capsize=3,
            label=label,
        )
    axes.set_yticks(places, [names[name] for name in rows["explained_by"]])
    axes.invert_yaxis()  # the reasons served on top
    axes.set_xlim(0, 1)
    axes.legend(loc="lower right", frameon=False)
    return figure


def validity_by_month(table: pl.DataFrame) -> Figure:
    """The share of promises kept by the month promised, with 95 % intervals and how many there are."""
    figure, axes = axes_of(
        "Months until the limit is promised back (in the bar: promises)",
        "Share kept within a month",
        "Does the advice come true?",
    )
    months, kept = table["month"].to_numpy(), table["kept"].to_numpy()
    reach = np.vstack(
        [kept - table["kept_low"].to_numpy(), table["kept_high"].to_numpy() - kept]
    ).clip(min=0)
    axes.bar(months, kept, color=INK, yerr=reach, ecolor=SOFT, capsize=3)
    for month, plans in table.select("month", "plans").iter_rows():
        axes.annotate(f"{plans}", (month, 0.02), ha="center", color="white", fontsize=8)
    axes.set(ylim=(0, 1.02), xticks=months)
    return figure


def example_of(advised: Sequence[Advised], promised: Sequence[int]) -> Advised:
    """The account shown: of the middle promise, so that a path is neither trivial nor hopeless."""
    order = np.argsort(promised, kind="stable")
    kept = [place for place in order.tolist() if promised[place] > 0] or order.tolist()
    shown: Advised = advised[kept[len(kept) // 2]]
    return shown
