"""The comparison's tables to figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from training.evaluate.figures import ALARM, INK, SOFT, axes_of, percent
from training.evaluate.holdout import Evaluation

_COLOURS = (INK, ALARM, "#5b8c5a", "#8a6fa8", "#b58b2b")


def roc(models: Sequence[Evaluation]) -> Figure:
    """The ROC curves of all models in one."""
    figure, axes = axes_of("False positive rate", "True positive rate", "ROC on the same accounts")
    for place, model in enumerate(models):
        false_rate, true_rate, _ = roc_curve(model.label, model.probability)
        axes.plot(false_rate, true_rate, color=_COLOURS[place % len(_COLOURS)], label=model.name)
    axes.plot([0, 1], [0, 1], color=SOFT, linestyle="--", label="no signal")
    axes.legend(loc="lower right")
    return figure


def calibration(tables: pl.DataFrame) -> Figure:
    """Observed rate against probability of each ``model``, a point a bin with its interval, on
    logarithmic axes.
    """
    figure, axes = axes_of(
        "Probability (mean of the bin)", "Observed rate", "Calibration, with 95 % intervals"
    )
    lowest = max(float(tables["probability"].to_numpy().min()) / 2, 1e-4)
    for place, ((name,), table) in enumerate(tables.group_by("model", maintain_order=True)):
        rate = table["rate"].to_numpy()
        reach = np.vstack([rate - table["low"].to_numpy(), table["high"].to_numpy() - rate]).clip(
            min=0.0
        )
        colour = _COLOURS[place % len(_COLOURS)]
        axes.errorbar(
            table["probability"],
            rate,
            yerr=reach,
            fmt="o",
            color=colour,
            capsize=3,
            label=str(name),
        )
    axes.plot([lowest, 1], [lowest, 1], color=SOFT, linestyle="--", label="perfect")
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=lowest)
    axes.set_ylim(0, 1)
    percent(axes.xaxis)
    percent(axes.yaxis)
    axes.legend(loc="upper left")
    return figure


def scores(first: Evaluation, second: Evaluation) -> Figure:
    """Each account's log-odds by both models, defaults marked, with the cut-off of each."""
    figure, axes = axes_of(
        f"Log-odds by {first.name}",
        f"Log-odds by {second.name}",
        "The same accounts by both models",
    )
    for value, colour, size, name in ((0.0, SOFT, 6, "stayed good"), (1.0, ALARM, 12, "defaulted")):
        members = first.label == value
        axes.scatter(
            first.log_odds[members],
            second.log_odds[members],
            color=colour,
            s=size,
            alpha=0.6,
            label=name,
        )
    cuts = [
        float(np.log(p) - np.log1p(-p))
        for p in (first.bundle.policy.cut_off, second.bundle.policy.cut_off)
    ]
    axes.axvline(cuts[0], color=INK, linestyle="--", linewidth=1, label="cut-off")
    axes.axhline(cuts[1], color=INK, linestyle="--", linewidth=1)
    axes.legend(loc="upper left")
    return figure


def value(table: pl.DataFrame) -> Figure:
    """The value of each model under the policy, per 1,000 accounts, in its parts."""
    figure, axes = axes_of(
        "", "CNY for 1,000 accounts", "Value under the policy, as it turned out", names=0.16
    )
    names, base = table["model"].to_list(), np.arange(table.height)
    for place, (part, sign, colour) in enumerate(
        (("avoided", 1, INK), ("forgone", -1, SOFT), ("harmed", -1, ALARM))
    ):
        axes.bar(
            base + 0.2 * (place - 1.5), sign * table[part].to_numpy(), 0.2, color=colour, label=part
        )
    axes.bar(base + 0.3, table["value"], 0.2, color="black", label="value")
    axes.axhline(0.0, color="black", linewidth=1)
    axes.set_xticks(base, names)
    axes.legend(loc="upper right")
    return figure
