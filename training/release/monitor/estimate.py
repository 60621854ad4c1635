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
from training.evaluate.bootstrap import (
    LEAST_OF_A_LABEL,
    RESAMPLES,
    count_fewest,
    one_row_each,
    percentile_interval,
    resample_counts,
)
from training.evaluate.metrics import MEASURES, SortedScores, auc, brier, expected_auc, wilson

SCHEMA = {"measure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}
_LEAST_EXPECTED = 10  # one draw in 20,000 then lacks a label
_DIGITS = 12  # of an estimate: hides the rounding of sums over accounts

_Draws = Mapping[str, list[float]]  # by measure, one value a resample
_Row = tuple[str, float | None, float | None, float | None]  # of SCHEMA


def estimate_performance(probability: Vector, seed: int = 0) -> pl.DataFrame:
    """Return the performance to expect from labels, one row a ``measure``.

    Columns: ``measure`` (auc, brier, or rate, the share of label 1), ``value``, ``low``, ``high``.
    The interval contains 95 % of the results that labels drawn with these probabilities would give
    on resampled accounts; it is wide where defaults are few.  The ends of AUC are null where fewer
    than 10 accounts of a label are expected, and AUC itself for one account.

    >>> estimate_performance(np.full(1000, 0.1)).select("measure", "value").rows()
    [('auc', 0.5), ('brier', 0.09), ('rate', 0.1)]
    """
    # The mean of (label - p)^2 over labels drawn with probability p is p (1 - p).
    expected_brier = float(np.mean(probability * (1.0 - probability)))
    # One account is no pair.
    expected = expected_auc(probability, probability) if len(probability) > 1 else None
    values = {
        "auc": expected,
        "brier": expected_brier,
        "rate": float(probability.mean()),
    }
    draws = _draw_labels(probability, np.random.default_rng(seed))
    ones = float(probability.sum())
    fewest = min(ones, len(probability) - ones)
    rows: list[_Row] = []
    for measure, value in values.items():
        interval: tuple[float | None, float | None] = (None, None)
        # Of few defaults, the draws with both labels are a selection.
        if measure != "auc" or fewest >= _LEAST_EXPECTED:
            interval = percentile_interval(draws[measure])
        rounded = None if value is None else round(value, _DIGITS)
        rows.append((measure, rounded, *interval))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def measure_performance(
    label: Vector,
    probability: Vector,
    seed: int = 0,
) -> pl.DataFrame:
    """Return the performance measured with labels, in the rows of :func:`estimate_performance`.

    Intervals are by bootstrap over accounts; the rate has Wilson's.  Those of AUC and Brier score
    are null where fewer than :data:`~training.evaluate.bootstrap.LEAST_OF_A_LABEL` accounts have
    one of the labels; ``auc`` is null if all labels are equal.
    """
    rate = float(label.mean())
    value = auc(label, probability) if _has_both(label) else None
    values = {"auc": value, "brier": brier(label, probability)}
    rows: list[_Row] = [(measure, number, None, None) for measure, number in values.items()]
    if count_fewest(label, one_row_each(len(label))) >= LEAST_OF_A_LABEL:
        scores = SortedScores(label, probability)
        drawn = [scores.measures(counts) for counts in resample_counts(label, seed=seed)]
        draws = dict(zip(MEASURES, np.array(drawn).T, strict=True))
        rows = [(name, values[name], *percentile_interval(draws[name])) for name in values]
    rows.append(("rate", rate, *wilson(rate, len(label))))
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


def _has_both(label: Vector) -> bool:
    """Return whether both labels are present, without which there is no ranking."""
    return bool(0 < label.sum() < len(label))
