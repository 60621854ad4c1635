"""The performance of a model: estimated before labels arrive, and measured after.

The estimate is confidence-based performance estimation (CBPE; Guillory et al. 2021, NannyML): if
the probabilities are calibrated, they determine how often each ranking and each error occurs.  It
shows whether accounts have become easier or harder to rank.  It **cannot** show that the same
accounts default more often than before (concept drift): only labels can.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.types import Vector
from training.evaluate.bootstrap import RESAMPLES, percentile_interval, resample_rows
from training.evaluate.metrics import auc, brier, expected_auc, wilson

SCHEMA = {"measure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
_DIGITS = 12  # of an estimate: hides the rounding of sums over accounts

_Draws = Mapping[str, list[float]]  # by measure, one value a resample


def estimate_performance(probability: Vector, seed: int = 0) -> pl.DataFrame:
    """Return the performance to expect from labels, one row a ``measure``.

    Columns: ``measure`` (auc, brier, or rate, the share of label 1), ``value``, ``low``, ``high``.
    The interval contains 95 % of the results that labels drawn with these probabilities would give
    on resampled accounts; it is wide where defaults are few.  Its ends are null if too few draws
    have both labels.

    >>> estimate_performance(np.full(1000, 0.1)).select("measure", "value").rows()
    [('auc', 0.5), ('brier', 0.09), ('rate', 0.1)]
    """
    # The mean of (label - p)^2 over labels drawn with probability p is p (1 - p).
    expected_brier = float(np.mean(probability * (1.0 - probability)))
    values = {
        "auc": expected_auc(probability, probability),
        "brier": expected_brier,
        "rate": float(probability.mean()),
    }
    draws = _draw_labels(probability, np.random.default_rng(seed))
    rows = []
    for measure, value in values.items():
        low, high = _interval(draws[measure])
        rows.append((measure, round(value, _DIGITS), low, high))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def measure_performance(
    label: Vector,
    probability: Vector,
    seed: int = 0,
) -> pl.DataFrame:
    """Return the performance measured with labels, in the rows of :func:`estimate_performance`.

    Intervals are by bootstrap over accounts; the rate has Wilson's.  ``auc`` is null if all labels
    are equal.
    """
    draws = _resample(label, probability, seed)
    rate = float(label.mean())
    value, low, high = None, None, None
    if _has_both(label):
        value = auc(label, probability)
        low, high = _interval(draws["auc"])
    rows = [
        ("auc", value, low, high),
        ("brier", brier(label, probability), *_interval(draws["brier"])),
        ("rate", rate, *wilson(rate, len(label))),
    ]
    return pl.DataFrame(rows, SCHEMA, orient="row")


def _draw_labels(probability: Vector, generator: np.random.Generator) -> _Draws:
    """Return the measures of resampled accounts with labels drawn from their probabilities."""
    draws: dict[str, list[float]] = {"auc": [], "brier": [], "rate": []}
    accounts = len(probability)
    for _ in range(RESAMPLES):
        rows = generator.integers(0, accounts, accounts)
        p = probability[rows]
        uniform = generator.random(accounts)
        label = (uniform < p).astype(np.float64)
        draws["brier"].append(brier(label, p))
        draws["rate"].append(float(label.mean()))
        if _has_both(label):
            draws["auc"].append(auc(label, p))
    return draws


def _resample(label: Vector, probability: Vector, seed: int) -> _Draws:
    """Return the measures of resampled accounts with their own labels."""
    draws: dict[str, list[float]] = {"auc": [], "brier": []}
    for rows in resample_rows(len(label), seed=seed):
        resampled, p = label[rows], probability[rows]
        draws["brier"].append(brier(resampled, p))
        if _has_both(resampled):
            draws["auc"].append(auc(resampled, p))
    return draws


def _has_both(label: Vector) -> bool:
    """Return whether both labels are present, without which there is no ranking."""
    return bool(0 < label.sum() < len(label))


def _interval(draws: list[float]) -> tuple[float | None, float | None]:
    # Fewer draws are a selection: those in which a rare label happened to occur.
    if len(draws) < RESAMPLES / 2:
        return None, None
    return percentile_interval(draws)
