"""How well a model does: estimated from its own probabilities before labels arrive, and measured
after.

The estimate is that of confidence-based performance estimation (CBPE; Guillory et al. 2021,
NannyML): if the probabilities are calibrated, they say how often each ranking and each error comes
about.  It sees that accounts become easier or harder to tell apart.  It **cannot** see that the
same accounts default more often than they did (concept drift): only labels can.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.types import Vector
from training.evaluate.bootstrap import RESAMPLES, percentile_interval, resample_rows
from training.evaluate.metrics import auc, brier, expected_auc, wilson

SCHEMA = {"measure": pl.String, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64}


def estimated(probability: Vector, seed: int = 0) -> pl.DataFrame:
    """What to expect of labels: one row a ``measure`` (auc, brier, rate) with ``value``, ``low``,
    ``high``.

    ``rate`` is that of label 1.  The interval holds 95 % of what labels would give that came about
    with these probabilities, among accounts such as these: it is wide where there are few
    defaults.  Ends are null where too few draws had both labels.

    >>> estimated(np.full(1000, 0.1)).select("measure", "value").rows()
    [('auc', 0.5), ('brier', 0.09), ('rate', 0.1)]
    """
    values = {
        "auc": expected_auc(probability, probability),
        "brier": float(np.mean(probability * (1.0 - probability))),
        "rate": float(probability.mean()),
    }
    draws = _drawn(probability, np.random.default_rng(seed))
    rows = [(name, round(value, 12), *_interval(draws[name])) for name, value in values.items()]
    return pl.DataFrame(rows, SCHEMA, orient="row")


def realised(label: Vector, probability: Vector, seed: int = 0) -> pl.DataFrame:
    """What labels say: the same rows, with intervals over accounts (bootstrap; Wilson for the
    rate).

    ``auc`` is null where there is one label only.
    """
    draws: dict[str, list[float]] = {"auc": [], "brier": []}
    for rows in resample_rows(len(label), seed=seed):
        draws["brier"].append(brier(label[rows], probability[rows]))
        if 0 < label[rows].sum() < len(label):
            draws["auc"].append(auc(label[rows], probability[rows]))
    rate = float(label.mean())
    both = 0 < rate < 1
    rows_told = [
        (
            "auc",
            auc(label, probability) if both else None,
            *(_interval(draws["auc"]) if both else (None, None)),
        ),
        ("brier", brier(label, probability), *_interval(draws["brier"])),
        ("rate", rate, *wilson(rate, len(label))),
    ]
    return pl.DataFrame(rows_told, SCHEMA, orient="row")


def _drawn(probability: Vector, generator: np.random.Generator) -> Mapping[str, list[float]]:
    draws: dict[str, list[float]] = {"auc": [], "brier": [], "rate": []}
    for _ in range(RESAMPLES):
        p = probability[generator.integers(0, len(probability), len(probability))]
        label = (generator.random(len(p)) < p).astype(np.float64)
        draws["brier"].append(brier(label, p))
        draws["rate"].append(float(label.mean()))
        if 0 < label.sum() < len(label):
            draws["auc"].append(auc(label, p))
    return draws


def _interval(draws: list[float]) -> tuple[float | None, float | None]:
    if len(draws) < RESAMPLES / 2:
        return None, None
    return percentile_interval(draws)
