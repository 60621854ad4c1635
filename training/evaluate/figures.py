"""Tables to figures; only the curves of raw scores compute anything that a table does not hold.

Figures are made without matplotlib's global state: callers need not close them, and the backend,
the settings and the figures of a notebook stay as they are.  The SHAP figures are drawn by ``shap``
from the contributions that are served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from features.types import Matrix, Vector

INK = "#1f3a5f"
SOFT = "#9db4c0"
ALARM = "#c8553d"
_SIZE = (6.4, 4.4)
_LEGEND_SHARE = 0.45  # of the height of the bars, for four lines
Curves = Mapping[str, tuple[Vector, Vector]]  # name -> label, probability
COLOURS = (INK, ALARM, "#5b8c5a", "#8a6fa8", "#b58b2b")  # of several models in one figure


def roc(label: Vector, probability: Vector, auc: float) -> Figure:
    """Draw the ROC curve with the diagonal of no signal."""
    return roc_of_models({"": (label, probability)}, f"ROC, AUC {auc:.3f}")


def roc_of_models(curves: Curves, title: str) -> Figure:
    """Draw the ROC curves of several models; a curve named "" is not in the legend."""
    figure, axes = axes_of("False positive rate", "True positive rate", title)
    for colour, (name, curve) in zip(cycle(COLOURS), curves.items(), strict=False):
        label, probability = curve
        false_rate, true_rate, _ = roc_curve(label, probability)
        axes.plot(false_rate, true_rate, color=colour, label=name)
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", label="no signal")
    axes.legend(loc="lower right")
    return figure


def precision_recall(label: Vector, probability: Vector) -> Figure:
    """Draw precision against recall, with the overall rate."""
    figure, axes = axes_of("Recall", "Precision", "Precision and recall")
    precision, recall, _ = precision_recall_curve(label, probability)
    rate = float(label.mean())
    axes.plot(recall, precision, color=INK)
    axes.axhline(rate, color=SOFT, linestyle="--", label=f"overall rate {rate:.1%}")
    axes.legend(loc="upper right")
    return figure


def calibration(table: pl.DataFrame) -> Figure:
    """Draw observed rate against probability from a table of ``metrics.calibration``."""
    return calibration_of_models({"": table})


def calibration_of_models(tables: Mapping[str, pl.DataFrame]) -> Figure:
    """Draw the calibration of several models, a point a bin with its interval.

    The axes are logarithmic, because rates span decades.  A model named "" is not in the legend.
    """
    figure, axes = axes_of(
        "Probability (mean of the bin)",
        "Observed rate",
        "Calibration, with 95 % intervals",
    )
    for colour, (name, table) in zip(cycle(COLOURS), tables.items(), strict=False):
        axes.errorbar(
            table["probability"],
            table["rate"],
            yerr=interval_reach(table, "rate"),
            fmt="o",
            color=colour,
            capsize=3,
            label=name,
        )
    lowest = _lowest_decade(tables)
    axes.plot([lowest, 1], [lowest, 1], color=SOFT, linestyle="--", label="perfect")
    axes.set_xscale("log")
    # Not "log": a bin without a default has rate 0, and would not be drawn.
    axes.set_yscale("symlog", linthresh=lowest)
    axes.set_ylim(0, 1)
    percent(axes.xaxis)
    percent(axes.yaxis)
    axes.legend(loc="upper left")
    return figure


def _lowest_decade(tables: Mapping[str, pl.DataFrame]) -> float:
    """Half of the smallest probability or rate shown, at least 0.01 %."""
    smallest = []
    for table in tables.values():
        smallest.append(float(table["probability"].to_numpy().min()))
        smallest.append(float(table["rate"].to_numpy().min()))
    return max(min(smallest) / 2, 1e-4)


def scores(label: Vector, probability: Vector, cut_offs: Mapping[str, float]) -> Figure:
    """Draw the probability's distribution by label, with the cut-off of each product."""
    figure, axes = axes_of(
        "Probability",
        "Share of the accounts with that label",
        "Probability by outcome",
    )
    lowest = max(float(probability.min()), 1e-4)
    edges = np.logspace(np.log10(lowest), 0, 41)
    outcomes = ((0.0, SOFT, "stayed good"), (1.0, ALARM, "defaulted"))
    for value, colour, name in outcomes:
        members = probability[label == value]
        # Shares within each outcome: by counts, the few defaults would hardly be seen.
        share = np.full(len(members), 1 / len(members))
        axes.hist(
            members,
            bins=edges.tolist(),
            weights=share,
            color=colour,
            alpha=0.6,
            label=name,
        )
    for style, (product, cut_off) in zip(cycle(("--", ":")), cut_offs.items(), strict=False):
        name = f"cut-off of {product} {cut_off:.1%}"
        axes.axvline(cut_off, color=INK, linestyle=style, label=name)
    axes.set_xscale("log")
    percent(axes.xaxis)
    # Above the bars: the legend hid the most frequent probabilities.
    axes.set_ylim(top=(1 + _LEGEND_SHARE) * axes.get_ylim()[1])
    axes.legend(loc="upper left")
    return figure


def gain(importance: Mapping[str, float], most: int = 20) -> Figure:
    """Draw the features by LightGBM's gain: their use in the trees, not reasons of decisions."""
    ascending = sorted(importance.items(), key=lambda item: item[1])
    ranked = ascending[-most:]
    figure, axes = axes_of(
        "Total gain",
        "",
        f"Gain, top {len(ranked)} features",
        height=0.28 * len(ranked) + 1.4,
        names=0.32,
    )
    names = [name for name, _ in ranked]
    values = [value for _, value in ranked]
    axes.barh(names, values, color=INK)
    return figure


def lift(table: pl.DataFrame) -> Figure:
    """Draw lift by tenth of the accounts, riskiest first, with intervals."""
    figure, axes = axes_of(
        "Tenth of the accounts, riskiest first",
        "Lift",
        "Lift, with 95 % intervals",
    )
    axes.bar(
        table["decile"],
        table["lift"].to_numpy(),
        yerr=interval_reach(table, "lift"),
        color=INK,
        ecolor=SOFT,
        capsize=3,
    )
    axes.set_xticks(table["decile"])
    axes.axhline(1.0, color=ALARM, linestyle="--", label="overall rate")
    axes.legend(loc="upper right")
    return figure


def contributions(
    values: Matrix,
    base: Vector,
    data: Matrix,
    names: Sequence[str],
    example: int,
) -> dict[str, Figure]:
    """Draw four figures of the served contributions; every array has one row for each account.

    ``shap_beeswarm`` and ``shap_bar`` show all accounts, ``shap_dependence`` the four features with
    the largest mean contribution, ``shap_waterfall`` the account in row ``example``.
    """
    import shap  # 2.5 s and 290 MB: only a run that draws pays for it

    explanation = shap.Explanation(
        values=values,
        base_values=base,
        data=data,
        feature_names=list(names),
    )
    plots = (
        ("shap_beeswarm", shap.plots.beeswarm, explanation),
        ("shap_bar", shap.plots.bar, explanation),
        ("shap_waterfall", shap.plots.waterfall, explanation[example]),
    )
    figures = {}
    for name, draw, explained in plots:
        with _current_figure() as figure:
            draw(explained, max_display=12, show=False)
        figure.set_size_inches(10, 6.8)
        figure.subplots_adjust(left=0.34, right=0.94, bottom=0.1, top=0.93)
        figures[name] = figure
    figures["shap_dependence"] = _dependence(values, data, names)
    return figures


@contextmanager
def _current_figure() -> Iterator[Figure]:
    """A figure without a window that is pyplot's current one in the block.

    shap draws on pyplot's current figure and switches its interactive mode off.  After the block
    pyplot has the backend, the mode and the current figure from before.
    """
    from matplotlib import pyplot as plt

    backend = mpl.get_backend()
    plt.switch_backend("agg")
    try:
        with plt.ioff():
            figure = plt.figure()
            try:
                yield figure
            finally:
                plt.close(figure)
    finally:
        plt.switch_backend(backend)


def _dependence(
    values: Matrix,
    data: Matrix,
    names: Sequence[str],
) -> Figure:
    """Contribution against value for four features; unknown values at the left."""
    import shap

    mean_size = np.abs(values).mean(axis=0)
    largest = np.argsort(-mean_size, kind="stable")[:4]
    with _current_figure() as figure:
        figure.set_size_inches(10, 7.6)
        panels = figure.subplots(2, 2)
        # Not strict: a model of fewer than four features leaves panels empty.
        for panel, place in zip(panels.flat, largest, strict=False):
            one = shap.Explanation(
                values=values[:, place],
                data=data[:, place],
                feature_names=names[place],
            )
            _draw_dependence(one, panel)
    figure.subplots_adjust(
        left=0.08,
        right=0.98,
        bottom=0.08,
        top=0.97,
        wspace=0.22,
        hspace=0.22,
    )
    return figure


def _draw_dependence(explanation: Any, panel: Axes) -> None:
    import shap

    # Without shap's histogram behind the points: that costs as much as the other three figures.
    shap.plots.scatter(
        explanation,
        ax=panel,
        show=False,
        color=INK,
        alpha=0.4,
        dot_size=9,
        hist=False,
    )
    panel.set_ylabel("contribution, log-odds")
    panel.axhline(0.0, color=SOFT, linestyle="--", linewidth=1)


def percent(axis: Axis) -> None:
    """Label a logarithmic axis as "0.1 %"."""
    # Typesetting powers of ten is a tenth of the cost of drawing, and they are harder to read.
    axis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axis.set_minor_locator(NullLocator())


def interval_reach(
    table: pl.DataFrame,
    name: str,
    low: str = "low",
    high: str = "high",
) -> Matrix:
    """Return how far the interval of column ``name`` reaches below and above, float64 (2, rows)."""
    value = table[name].to_numpy()
    below = value - table[low].to_numpy()
    above = table[high].to_numpy() - value
    reach: Matrix = np.vstack([below, above])
    # Rounding puts an end 1e-17 on the wrong side of the value in a fourth of the bins without a
    # default, and matplotlib rejects a negative reach.
    return reach.clip(min=0.0)


def front(trials: pl.DataFrame, taken: int) -> Figure:
    """Draw a search's trials by leaves and AUC, with the Pareto front and the selected trial.

    ``trials`` is the table of :func:`training.tune.mlflow_run.trials_table`;
    ``taken`` is the number of the selected one.
    """
    figure, axes = axes_of("Leaves of all trees", "AUC, mean over folds", "Trials of the search")
    # A trial that was pruned has AUC of its first folds alone: it is no point of the front.
    whole = trials.filter("whole")
    pruned = trials.filter(~pl.col("whole"))
    best = whole.filter("on_front").sort("leaves")
    selected = trials.filter(pl.col("trial") == taken)
    axes.scatter(
        pruned["leaves"],
        pruned["auc"],
        color=SOFT,
        marker="x",
        label="pruned",
    )
    axes.scatter(
        whole["leaves"],
        whole["auc"],
        color=INK,
        s=14,
        label="complete",
    )
    axes.step(
        best["leaves"],
        best["auc"],
        where="post",
        color=INK,
        linewidth=1,
        label="front",
    )
    axes.scatter(
        selected["leaves"],
        selected["auc"],
        color=ALARM,
        marker="*",
        s=160,
        zorder=3,
        label="selected",
    )
    axes.set_xscale("log")
    axes.legend(loc="lower right")
    return figure


def axes_of(
    x: str,
    y: str,
    title: str,
    height: float = _SIZE[1],
    names: float = 0.13,
) -> tuple[Figure, Axes]:
    """Return an empty figure in the common size, and its axes.

    ``names`` is the share of the width reserved for the names on the y axis.
    """
    width, _ = _SIZE
    figure = Figure(figsize=(width, height))
    # Margins and label places are fixed: an automatic layout draws twice, and drawing is most of
    # the cost of logging a run.
    bottom = 0.58 / height
    share_of_width = 0.97 - names
    share_of_height = 1 - 0.98 / height
    axes = figure.add_axes((names, bottom, share_of_width, share_of_height))
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, y=1.0)  # an automatic place for the title needs a second layout
    middle = (names + 0.97) / 2
    axes.xaxis.set_label_coords(middle, 0.25 / height, transform=figure.transFigure)
    axes.yaxis.set_label_coords(0.035, 0.5, transform=figure.transFigure)
    axes.locator_params(nbins=6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
