"""The frontier as a figure."""

from __future__ import annotations

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from training.compare.policies.frontier import Point
from training.evaluate.figures import ALARM, INK, SOFT

_SHOWN_DEPTHS = 4


def frontier_figure(
    table: pl.DataFrame,
    best: Point,
    max_good_cut: float,
    true: pl.DataFrame | None = None,
) -> Figure:
    """Draw loss avoided against good customers cut: curves of some depths, served and best points.

    ``true``, the table of ``oracle.true_frontier``, adds a panel by the true probability, with a
    curve each for the model and the oracle.
    """
    panels = 1 if true is None else 2
    figure = Figure(figsize=(6.4 * panels, 4.8), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    _draw_curves(axes[0], table)
    _mark_points(axes[0], table, best, max_good_cut)
    _finish_axes(axes[0], "By the model's probability")
    if true is not None:
        _draw_true_curves(axes[1], true)
        _finish_axes(axes[1], "By the true probability, at the operating depth")
    return figure


def _draw_true_curves(axes: Axes, true: pl.DataFrame) -> None:
    for decided_by, colour, line in (("oracle", ALARM, "--"), ("model", INK, "-")):
        curve = true.filter(decided_by=decided_by).sort("good_cut", "loss_avoided_share")
        axes.plot(
            curve["good_cut"],
            curve["loss_avoided_share"],
            line,
            color=colour,
            label=f"decided by the {decided_by}",
        )


def _draw_curves(axes: Axes, table: pl.DataFrame) -> None:
    grid = table.filter(~pl.col("operating"))
    depths = sorted(grid["depth"].unique().to_list())
    every = max(1, round((len(depths) - 1) / (_SHOWN_DEPTHS - 1)))
    shown = depths[::every]
    for place, depth in enumerate(shown):
        curve = grid.filter(depth=depth).sort("good_cut", "loss_avoided_share")
        axes.plot(
            curve["good_cut"],
            curve["loss_avoided_share"],
            color=INK,
            alpha=1.0 - 0.7 * place / max(len(shown) - 1, 1),
            label=f"depth {depth:g}",
        )


def _mark_points(axes: Axes, table: pl.DataFrame, best: Point, max_good_cut: float) -> None:
    served = table.filter("operating").row(0, named=True)
    axes.axvline(
        served["good_cut_by_rules"],
        color=SOFT,
        linestyle=":",
        label="cut by hard rules alone",
    )
    axes.axvline(
        max_good_cut,
        color=SOFT,
        linestyle="--",
        label=f"at most {max_good_cut:.1%}",
    )
    axes.plot(
        served["good_cut"],
        served["loss_avoided_share"],
        "o",
        color=ALARM,
        label="policy.toml as served",
    )
    axes.plot(
        [best["good_cut"]],
        [best["loss_avoided_share"]],
        "*",
        # Hollow: the best point may lie on the served one, which stays visible in it.
        markerfacecolor="none",
        markeredgecolor="black",
        ms=16,
        label="best under the constraint",
    )


def _finish_axes(axes: Axes, title: str) -> None:
    axes.set(xlabel="Good customers cut", ylabel="Expected loss avoided", title=title)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
