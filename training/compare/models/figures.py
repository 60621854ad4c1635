"""The comparison's tables to figures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from serving.decision.scoring.score import logit
from training.evaluate.figures import (
    ALARM,
    INK,
    SOFT,
    axes_of,
    calibration_of_models,
    roc_of_models,
)
from training.evaluate.holdout import Evaluation

_LEGEND_LINE = 0.12  # of the height of the bars, for one line


def roc(models: Sequence[Evaluation]) -> Figure:
    """Draw the ROC curves of all models."""
    curves = {model.name: (model.label, model.probability) for model in models}
    return roc_of_models(curves, "ROC on the same accounts")


def calibration(table: pl.DataFrame) -> Figure:
    """Draw the calibration of each ``model`` of a table."""
    parts = table.partition_by("model", maintain_order=True)
    return calibration_of_models({str(part["model"][0]): part for part in parts})


def scores(first: Evaluation, second: Evaluation) -> Figure:
    """Draw each account's log-odds by both models, defaults marked, with the cut-offs of each."""
    figure, axes = axes_of(
        f"Log-odds by {first.name}",
        f"Log-odds by {second.name}",
        "The same accounts by both models",
    )
    # Defaults last and larger: they are few, and would lie under the others.
    outcomes = ((0.0, SOFT, 6, "stayed good"), (1.0, ALARM, 12, "defaulted"))
    for value, colour, size, name in outcomes:
        members = first.label == value
        axes.scatter(
            first.log_odds[members],
            second.log_odds[members],
            color=colour,
            s=size,
            alpha=0.6,
            label=name,
        )
    first_cut_offs, second_cut_offs = (
        model.bundle.policy.cut_offs(first.bundle.comparisons) for model in (first, second)
    )
    for style, (product, cut_off) in zip(cycle(("--", ":")), first_cut_offs.items(), strict=False):
        name = f"cut-off of {product}"
        axes.axvline(logit(cut_off), color=INK, linestyle=style, linewidth=1, label=name)
        axes.axhline(
            logit(second_cut_offs[product]),
            color=INK,
            linestyle=style,
            linewidth=1,
        )
    axes.legend(loc="upper left")
    return figure


def value(table: pl.DataFrame) -> Figure:
    """Draw the value of each model under the policy, per 1,000 accounts, with its parts."""
    figure, axes = axes_of(
        "",
        "CNY for 1,000 accounts",
        "Value under the policy, by outcome",
        names=0.16,
    )
    base = np.arange(table.height)
    parts = (("avoided", 1, INK), ("forgone", -1, SOFT), ("harmed", -1, ALARM))
    for place, (part, sign, colour) in enumerate(parts):
        axes.bar(
            base + 0.2 * (place - 1.5),
            sign * table[part].to_numpy(),
            0.2,
            color=colour,
            label=part,
        )
    axes.bar(base + 0.3, table["value"], 0.2, color="black", label="value")
    axes.axhline(0.0, color="black", linewidth=1)
    axes.set_xticks(base, table["model"].to_list())
    # Above the bars, in one line: the legend hid the value of the last model.
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + _LEGEND_LINE * (high - low))
    axes.legend(loc="upper center", ncols=4)
    return figure
