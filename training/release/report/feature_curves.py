"""The effect of each feature on the log-odds, and whether it follows its declared direction.

Individual conditional expectation (Goldstein et al. 2015): one feature is varied, the others keep
their values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from features.catalogue import BY_NAME
from features.types import Matrix, Vector
from serving.decision.scoring.score import log_odds_of
from training.evaluate.figures import INK, SOFT
from training.evaluate.holdout import Evaluation
from training.release.report.model_card import measure_importance
from training.release.report.page import Exhibit, Section

MAX_FEATURES = 12  # drawn
MAX_ACCOUNTS = 300  # varied
MAX_LINES = 40  # of single accounts in a panel
POINTS = 15  # values of a feature, quantiles of the accounts' own
PANELS_ACROSS = 3
_TOLERANCE = 1e-12  # log-odds: rounding of LightGBM's sum
_DIRECTIONS = {1: "more is worse", -1: "less is worse"}

Curve = tuple[Vector, Matrix]  # the feature's values, ascending; log-odds (accounts, values)


def feature_curves_section(evaluation: Evaluation, seed: int = 0) -> Section:
    """Return the curves of the features with the largest contributions."""
    ranked = measure_importance(evaluation).head(MAX_FEATURES)
    curves = _vary_features(ranked["feature"].to_list(), evaluation, seed)
    table = _make_table(ranked, curves)
    turning = int(table["curves that turn"].sum())
    drawn = sum(len(log_odds) for _, log_odds in curves.values())
    verdict = ": the model is not constrained as the catalogue declares." if turning else "."
    text = (
        "Every feature is constrained to its declared direction: a worse value never lowers the "
        f"log-odds. The page shows the {MAX_FEATURES} of {len(evaluation.bundle.features)} "
        f"features that contribute most. Of {drawn:,} curves {turning} turn{verdict}"
    )
    caption = (
        f"Thin: {MAX_LINES} accounts. Thick: the mean of all varied accounts. Each curve starts "
        "at 0."
    )
    exhibits = (
        Exhibit(caption, _draw_curves(curves)),
        Exhibit("In log-odds; 0.69 doubles the odds.", table),
    )
    return Section("The effect of each feature", (text,), exhibits)


def count_turning_curves(log_odds: Matrix, direction: int) -> int:
    """Return how many rows go against ``direction`` (1 or -1) anywhere.

    ``log_odds`` has one row an account, its columns by ascending value of the feature.
    """
    steps = np.diff(log_odds, axis=1) * direction
    turning = (steps < -_TOLERANCE).any(axis=1)
    return int(turning.sum())


def _vary_features(
    names: Sequence[str],
    evaluation: Evaluation,
    seed: int,
) -> dict[str, Curve]:
    matrix = evaluation.stages.features.matrix(evaluation.bundle.features)
    sample = np.random.default_rng(seed).permutation(len(matrix))[:MAX_ACCOUNTS]
    curves = {}
    for name in names:
        place = evaluation.bundle.features.index(name)
        values = _choose_values(matrix[:, place])
        curves[name] = values, _vary_column(matrix[sample], place, values, evaluation)
    return curves


def _choose_values(column: Vector) -> Vector:
    known = column[~np.isnan(column)]
    # Without the outermost hundredths, where the model has seen next to no account.
    levels = np.linspace(0.01, 0.99, POINTS)
    values: Vector = np.unique(np.quantile(known, levels))
    return values


def _vary_column(
    rows: Matrix,
    place: int,
    values: Vector,
    evaluation: Evaluation,
) -> Matrix:
    varied = np.repeat(rows, len(values), axis=0)
    varied[:, place] = np.tile(values, len(rows))
    log_odds = log_odds_of(varied, evaluation.bundle.scorer)
    return log_odds.reshape(len(rows), len(values))


def _make_table(ranked: pl.DataFrame, curves: Mapping[str, Curve]) -> pl.DataFrame:
    rows = []
    for name, importance in ranked.select("feature", "importance").iter_rows():
        _, log_odds = curves[name]
        direction = BY_NAME[name].direction
        row = {
            "feature": name,
            "direction": _DIRECTIONS[direction],
            "mean |contribution|": importance,
            "span of the mean curve": float(np.ptp(log_odds.mean(axis=0))),
            "curves that turn": count_turning_curves(log_odds, direction),
        }
        rows.append(row)
    return pl.DataFrame(rows)


def _draw_curves(curves: Mapping[str, Curve]) -> Figure:
    down = -(-len(curves) // PANELS_ACROSS)  # rounded up
    figure = Figure(figsize=(10.5, 2.6 * down), layout="constrained")
    panels = np.atleast_1d(figure.subplots(down, PANELS_ACROSS)).ravel()
    # The last row of panels may have more places than curves.
    for panel, (name, (values, log_odds)) in zip(panels, curves.items(), strict=False):
        _draw_panel(panel, name, values, log_odds - log_odds[:, :1])
    for panel in panels[len(curves) :]:
        panel.set_visible(False)
    return figure


def _draw_panel(
    panel: Axes,
    name: str,
    values: Vector,
    log_odds: Matrix,
) -> None:
    panel.plot(
        values,
        log_odds[:MAX_LINES].T,
        color=SOFT,
        linewidth=0.5,
        alpha=0.6,
    )
    panel.plot(values, log_odds.mean(axis=0), color=INK, linewidth=2)
    panel.set_title(name, fontsize=9)
    panel.set_xlabel(BY_NAME[name].unit, fontsize=8)
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)
