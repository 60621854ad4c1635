"""What each feature does to the log-odds, and whether any account would ever be better off for
being worse.

Individual conditional expectation (Goldstein et al. 2015): one feature is varied, the others stay
as they are.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from features.catalogue import BY_NAME
from features.types import Matrix
from serving.decision.scoring.score import log_odds_of
from training.evaluate.figures import INK, SOFT
from training.evaluate.holdout import Evaluation
from training.release.report.model_card import importance
from training.release.report.page import Section, Shown

FEATURES = 12  # drawn
ACCOUNTS = 300  # varied
POINTS = 15  # values tried, quantiles of the accounts' own
_TOLERANCE = 1e-12  # log-odds: rounding of LightGBM's sum


def feature_curves_section(evaluated: Evaluation, seed: int = 0) -> Section:
    """The features that move the log-odds most, each over the values that it has."""
    ranked = importance(evaluated)
    names = ranked["feature"].head(FEATURES).to_list()
    matrix = evaluated.stages.features.matrix(evaluated.bundle.features)
    rows = np.random.default_rng(seed).permutation(len(matrix))[:ACCOUNTS]
    curves = {name: _curves(name, matrix, matrix[rows], evaluated) for name in names}
    table = pl.DataFrame(
        [
            {
                "feature": name,
                "direction": {1: "more is worse", -1: "less is worse"}[BY_NAME[name].direction],
                "mean |contribution|": float(
                    ranked.filter(pl.col("feature") == name)["importance"].item()
                ),
                "span of the mean curve": float(np.ptp(lines.mean(axis=0))),
                "curves that turn": turns(lines, BY_NAME[name].direction),
            }
            for name, (_, lines) in curves.items()
        ]
    )
    broken = int(table["curves that turn"].sum())
    text = (
        "Every feature is constrained to its declared direction: making an account worse in one "
        f"of them never lowers its log-odds. The {FEATURES} of {len(evaluated.bundle.features)} "
        f"that contribute most are shown. Of {table.height * len(rows):,} curves {broken} turn"
        + (": the model is not constrained as the catalogue declares." if broken else "."),
    )
    return Section(
        "What each feature does",
        text,
        (
            Shown(
                "Thin: 40 accounts, the one feature varied. Thick: the mean of all drawn. Each "
                "starts at 0.",
                _figure(curves),
            ),
            Shown("In log-odds; 0.69 doubles the odds.", table),
        ),
    )


def turns(lines: Matrix, direction: int) -> int:
    """How many of these curves, rows of log-odds by ascending value, go against ``direction``
    anywhere.
    """
    steps = np.diff(lines, axis=1) * (direction or 1)
    return int((steps < -_TOLERANCE).any(axis=1).sum())


def _curves(
    name: str, matrix: Matrix, varied: Matrix, evaluated: Evaluation
) -> tuple[NDArray[np.float64], Matrix]:
    """Values tried, ascending, and log-odds (accounts, values)."""
    place = evaluated.bundle.features.index(name)
    column = matrix[:, place]
    values = np.unique(np.quantile(column[~np.isnan(column)], np.linspace(0.01, 0.99, POINTS)))
    asked = np.repeat(varied, len(values), axis=0)
    asked[:, place] = np.tile(values, len(varied))
    return values, log_odds_of(asked, evaluated.bundle.scorer).reshape(len(varied), len(values))


def _figure(curves: dict[str, tuple[NDArray[np.float64], Matrix]]) -> Figure:
    across = 3
    figure = Figure(figsize=(10.5, 2.6 * -(-len(curves) // across)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(-(-len(curves) // across), across)).ravel()
    for panel, (name, (values, lines)) in zip(panels, curves.items(), strict=False):
        _draw(panel, name, values, lines - lines[:, :1])
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    return figure


def _draw(panel: Axes, name: str, values: NDArray[np.float64], lines: Matrix) -> None:
    panel.plot(values, lines[:40].T, color=SOFT, linewidth=0.5, alpha=0.6)
    panel.plot(values, lines.mean(axis=0), color=INK, linewidth=2)
    panel.set_title(name, fontsize=9)
    panel.set_xlabel(BY_NAME[name].unit, fontsize=8)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
