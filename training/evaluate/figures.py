"""Tables to figures.  Nothing is computed here that a table does not hold, but for the curves of
the raw scores.

Figures are matplotlib's, made without its global state; who asks for one closes nothing.  The SHAP
figures are drawn by ``shap`` from the contributions that are served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from features.types import Vector

# no screen; shap draws on pyplot's current figure, so the choice comes before it is imported
mpl.use("agg")

from matplotlib import pyplot as plt

mpl.rcParams["text.hinting"] = "none"  # hinted glyphs are an eighth of what drawing costs
mpl.rcParams["axes.titley"] = 1.0  # to find a place for a title everything is laid out once more

INK, SOFT, ALARM = "#1f3a5f", "#9db4c0", "#c8553d"
_SIZE = (6.4, 4.4)


def roc(label: Vector, probability: Vector, auc: float) -> Figure:
    """The ROC curve with the diagonal of no signal."""
    figure, axes = axes_of("False positive rate", "True positive rate", f"ROC, AUC {auc:.3f}")
    false_rate, true_rate, _ = roc_curve(label, probability)
    axes.plot(false_rate, true_rate, color=INK)
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", label="no signal")
    axes.legend(loc="lower right")
    return figure


def precision_recall(label: Vector, probability: Vector) -> Figure:
    """Precision against recall, with the overall rate."""
    figure, axes = axes_of("Recall", "Precision", "Precision and recall")
    precision, recall, _ = precision_recall_curve(label, probability)
    axes.plot(recall, precision, color=INK)
    axes.axhline(
        float(label.mean()), color=SOFT, linestyle="--", label=f"overall rate {label.mean():.1%}"
    )
    axes.legend(loc="upper right")
    return figure


def calibration(table: pl.DataFrame) -> Figure:
    """Observed rate against probability, a point a bin with its interval, on logarithmic axes:
    rates span decades.
    """
    figure, axes = axes_of(
        "Probability (mean of the bin)", "Observed rate", "Calibration, with 95 % intervals"
    )
    rate = table["rate"].to_numpy()
    axes.errorbar(
        table["probability"], rate, yerr=_spread(table, rate), fmt="o", color=INK, capsize=3
    )
    lowest = max(min(float(table["probability"].min() or 0.0), float(rate.min())) / 2, 1e-4)  # type: ignore[arg-type]
    axes.plot([lowest, 1], [lowest, 1], color=SOFT, linestyle="--", label="perfect")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=lowest)
    axes.set_ylim(0, 1)
    percent(axes.xaxis)
    percent(axes.yaxis)
    axes.legend(loc="upper left")
    return figure


def scores(label: Vector, probability: Vector, cut_off: float) -> Figure:
    """The probability's distribution by label, with the cut-off."""
    figure, axes = axes_of(
        "Probability", "Share of the accounts with that label", "Probability by outcome"
    )
    edges = np.logspace(np.log10(max(float(probability.min()), 1e-4)), 0, 41)
    for value, colour, name in ((0.0, SOFT, "stayed good"), (1.0, ALARM, "defaulted")):
        members = probability[label == value]
        axes.hist(
            members,
            bins=edges.tolist(),
            weights=np.full(len(members), 1 / len(members)),
            color=colour,
            alpha=0.6,
            label=name,
        )
    axes.axvline(cut_off, color=INK, linestyle="--", label=f"cut-off {cut_off:.1%}")
    axes.set_xscale("log")
    percent(axes.xaxis)
    axes.legend(loc="upper left")
    return figure


def gain(importance: Mapping[str, float], most: int = 20) -> Figure:
    """The features by LightGBM's gain: what the trees used, not why an account was decided."""
    ranked = sorted(importance.items(), key=lambda item: item[1])[-most:]
    figure, axes = axes_of(
        "Total gain",
        "",
        f"Gain, top {len(ranked)} features",
        height=0.28 * len(ranked) + 1.4,
        names=0.32,
    )
    axes.barh([name for name, _ in ranked], [value for _, value in ranked], color=INK)
    return figure


def lift(table: pl.DataFrame) -> Figure:
    """Lift by tenth of the accounts, riskiest first, with intervals."""
    figure, axes = axes_of(
        "Tenth of the accounts, riskiest first", "Lift", "Lift, with 95 % intervals"
    )
    value = table["lift"].to_numpy()
    axes.bar(table["decile"], value, yerr=_spread(table, value), color=INK, ecolor=SOFT, capsize=3)
    axes.set_xticks(table["decile"])
    axes.axhline(1.0, color=ALARM, linestyle="--", label="overall rate")
    axes.legend(loc="upper right")
    return figure


def contributions(
    values: NDArray[np.float64],
    base: Vector,
    data: NDArray[np.float64],
    names: Sequence[str],
    example: int,
) -> dict[str, Figure]:
    """Four figures of served contributions, all arrays in rows of accounts: ``shap_beeswarm`` and
    ``shap_bar`` of all accounts, ``shap_dependence`` of the four features that move the log-odds
    most, and ``shap_waterfall`` of the account ``example``."""
    import shap  # 2.5 s and 290 MB: only a run that draws pays for it

    explanation = shap.Explanation(
        values=values, base_values=base, data=data, feature_names=list(names)
    )
    figures = {}
    for name, draw, drawn in (
        ("shap_beeswarm", shap.plots.beeswarm, explanation),
        ("shap_bar", shap.plots.bar, explanation),
        ("shap_waterfall", shap.plots.waterfall, explanation[example]),
    ):
        figure = plt.figure()
        draw(drawn, max_display=12, show=False)
        figure.set_size_inches(10, 6.8)
        figure.subplots_adjust(left=0.34, right=0.94, bottom=0.1, top=0.93)
        plt.close(figure)
        figures[name] = figure
    figures["shap_dependence"] = _dependence(values, data, names)
    return figures


def _dependence(
    values: NDArray[np.float64], data: NDArray[np.float64], names: Sequence[str]
) -> Figure:
    """Contribution against value, for the four features of the largest mean contribution; unknown
    values at the left.
    """
    import shap

    figure, panels = plt.subplots(2, 2, figsize=(10, 7.6))
    most = np.argsort(-np.abs(values).mean(axis=0), kind="stable")[:4]
    for panel, place in zip(panels.flat, most, strict=False):
        one = shap.Explanation(
            values=values[:, place], data=data[:, place], feature_names=names[place]
        )
        # Without shap's histogram behind the points: that costs as much as the other three figures.
        shap.plots.scatter(one, ax=panel, show=False, color=INK, alpha=0.4, dot_size=9, hist=False)
        panel.set_ylabel("contribution, log-odds")
        panel.axhline(0.0, color=SOFT, linestyle="--", linewidth=1)
    figure.subplots_adjust(left=0.08, right=0.98, bottom=0.08, top=0.97, wspace=0.22, hspace=0.22)
    plt.close(figure)
    return figure


def percent(axis: Axis) -> None:
    """Decades as "0.1 %": powers of ten are read less easily, and typesetting them costs a tenth of
    all drawing.
    """
    axis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axis.set_minor_locator(NullLocator())


def _spread(table: pl.DataFrame, value: Vector) -> NDArray[np.float64]:
    """How far the interval reaches below and above, (2, rows): 0 where rounding puts its end 1e-17
    on the wrong side.

    matplotlib refuses a negative reach, and a bin whose accounts all stayed good has one in a
    fourth of the cases.
    """
    reach: NDArray[np.float64] = np.vstack(
        [value - table["low"].to_numpy(), table["high"].to_numpy() - value]
    )
    return reach.clip(min=0.0)


def front(trials: pl.DataFrame, taken: int) -> Figure:
    """A search's trials by leaves and AUC, the front joined, the one taken marked; the table of
    ``searched.trials_table``.
    """
    figure, axes = axes_of("Leaves of all trees", "AUC, mean over folds", "What was tried")
    whole, given_up = trials.filter("whole"), trials.filter(~pl.col("whole"))
    axes.scatter(
        given_up["leaves"], given_up["auc"], color=SOFT, marker="x", label="given up early"
    )
    axes.scatter(whole["leaves"], whole["auc"], color=INK, s=14, label="tried")
    best = whole.filter("on_front").sort("leaves")
    axes.step(best["leaves"], best["auc"], where="post", color=INK, linewidth=1, label="front")
    mark = trials.filter(pl.col("trial") == taken)
    axes.scatter(
        mark["leaves"], mark["auc"], color=ALARM, marker="*", s=160, zorder=3, label="taken"
    )
    axes.set_xscale("log")
    axes.legend(loc="lower right")
    return figure


def axes_of(
    x: str, y: str, title: str, height: float = _SIZE[1], names: float = 0.13
) -> tuple[Figure, Axes]:
    """An empty figure of the house's size, and its axes; ``names`` is the share of the width that
    is left to names.

    Margins and the places of names are fixed: to find them everything is laid out twice, and
    drawing is most of what keeping a run costs.
    """
    figure = Figure(figsize=(_SIZE[0], height))
    axes = figure.add_axes((names, 0.58 / height, 0.97 - names, 1 - 0.98 / height))
    axes.set(xlabel=x, ylabel=y, title=title)
    middle = (names + 0.97) / 2
    axes.xaxis.set_label_coords(middle, 0.25 / height, transform=figure.transFigure)
    axes.yaxis.set_label_coords(0.035, 0.5, transform=figure.transFigure)
    axes.locator_params(nbins=6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
