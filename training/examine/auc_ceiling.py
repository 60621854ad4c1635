"""The ceiling of AUC: the served model against the simulator's own probability.

The *ceiling* is the AUC of the true probability given the full state: traits, shocks and savings
that no statement shows.  No score has a larger one on average, and no model of statements is
expected to reach it.  Both are measured on the same accounts, against the same outcome of future 0,
in which no limit is cut.

The true probability is known only as a share of finitely many futures.  As a score, that share is
worse than the true probability: noise swaps accounts of nearly equal probability, and accounts that
default in no future tie at 0.  So ``full_state`` is below the ceiling and ``ratio`` above its true
value; with too few futures a good model beats the share.  The loss to noise is about proportional
to 1 / futures.  So with a = ``full_state`` of all futures and b = that of half of them, ``limit`` =
2 a - b estimates the ceiling (Richardson's extrapolation).  Where default is rarer than one in the
number of futures, the loss falls more slowly and ``limit`` is still slightly low.  ``reliability``
(of a measurement, not of a calibration) is the correlation of the shares of two halves of the
futures, stepped up to all of them (Spearman 1910, Brown 1910): 1 = no noise.

With one realised outcome an account there are few defaults.  The ``expected`` rows have less noise:
they weight every pair of accounts by its probability instead of one outcome.  There, one half of
the futures gives the score and the other half the weights, then the reverse, and the two results
are averaged.  With the same futures for both, the score would gain from its own sampling noise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.types import Vector
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import log_odds_of
from training.evaluate.bootstrap import (
    LEAST_OF_A_LABEL,
    percentile_interval,
    resample_counts,
)
from training.evaluate.metrics import expected_auc
from training.examine.truth.outcomes import TrueOutcomes, simulate_untreated
from training.examine.truth.population import ExamineConfig, Population

SCHEMA = {
    "outcome": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
}


def auc_ceiling(
    population: Population,
    bundle: Bundle,
    config: ExamineConfig,
    truth: TrueOutcomes | None = None,
) -> pl.DataFrame:
    """Return the AUC of the full state and of the served model, with paired bootstrap intervals.

    One row for each measure: ``outcome``, ``measure``, ``value``, ``low``, ``high`` (95 %, over
    accounts).

    - outcome ``realised`` and ``expected``: ``full_state``; ``full_state_half`` (scored by half as
      many futures); ``limit``; ``model``; ``ratio`` (model to full_state); ``share_of_way`` (of the
      way from 0.5 to full_state); ``ratio_limit`` and ``share_of_way_limit`` (the same to limit)
    - outcome ``futures``, how well the probability is known: ``tied_at_0`` (the share of accounts
      that default in no future) and ``reliability``

    ``low`` and ``high`` are null where fewer than
    :data:`~training.evaluate.bootstrap.LEAST_OF_A_LABEL` accounts default, or do not.

    ``truth`` is the result of :func:`training.examine.truth.outcomes.simulate_untreated`; null =
    simulate it.  Raises ValueError where no account defaults, or all do.
    """
    known = simulate_untreated(population, config) if truth is None else truth
    matrix = known.features.matrix(bundle.features)
    return ceiling_table(known, log_odds_of(matrix, bundle.scorer))


def ceiling_table(truth: TrueOutcomes, log_odds: Vector) -> pl.DataFrame:
    """Return the table of :func:`auc_ceiling` for any score, float64 (accounts,)."""
    accounts = len(truth.realised)
    defaults = float(truth.realised.sum())
    if not 0 < defaults < accounts:
        raise ValueError(
            f"ceiling: expected both outcomes, got {defaults:.0f} defaults of {accounts} accounts"
        )
    every_account_once = np.ones(accounts)
    values = _measures(truth, log_odds, every_account_once)
    # All measures of a resample together: ratios of two of them have paired intervals.
    draws = []
    if min(defaults, accounts - defaults) >= LEAST_OF_A_LABEL:
        resamples = resample_counts(truth.realised)
        draws = [_measures(truth, log_odds, counts) for counts in resamples]
    rows: list[tuple[str, str, float, float | None, float | None]] = []
    for key, value in values.items():
        low, high = None, None
        if draws:
            low, high = percentile_interval([draw[key] for draw in draws])
        rows.append((*key, value, low, high))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def _measures(
    truth: TrueOutcomes,
    log_odds: Vector,
    counts: Vector,
) -> Mapping[tuple[str, str], float]:
    """(outcome, measure) -> its value over a resample."""
    full, half = _realised_auc(truth, counts)
    model = expected_auc(truth.realised, log_odds, counts)
    realised = _compare(full, half, model)
    full, half = _expected_auc(truth, counts)
    model = expected_auc(truth.probability, log_odds, counts)
    expected = _compare(full, half, model)
    tied_at_0 = np.average(truth.probability == 0, weights=counts)
    first_half = truth.share_of(0, 1)
    second_half = truth.share_of(2, 3)
    futures = {
        "tied_at_0": float(tied_at_0),
        "reliability": _reliability(first_half, second_half, counts),
    }
    tables = {"realised": realised, "expected": expected, "futures": futures}
    values = {}
    for outcome, table in tables.items():
        for measure, value in table.items():
            values[outcome, measure] = value
    return values


def _realised_auc(truth: TrueOutcomes, counts: Vector) -> tuple[float, float]:
    """AUC of the futures' share against the realised outcome: by all futures, by half of them."""

    def auc(*quarters: int) -> float:
        return expected_auc(truth.realised, truth.share_of(*quarters), counts)

    by_all = auc(0, 1, 2, 3)
    # Both halves, averaged: one alone would add the noise of its draws.
    by_half = [auc(0, 1), auc(2, 3)]
    return by_all, float(np.mean(by_half))


def _expected_auc(truth: TrueOutcomes, counts: Vector) -> tuple[float, float]:
    """AUC of futures against another half of the futures: by half of them, by a quarter."""

    def auc(*quarters: int) -> float:
        # The half that does not score: a share measured against itself profits from its own noise.
        other_half = (2, 3) if set(quarters) <= {0, 1} else (0, 1)
        target = truth.share_of(*other_half)
        return expected_auc(target, truth.share_of(*quarters), counts)

    by_half = [auc(0, 1), auc(2, 3)]
    by_quarter = [auc(0), auc(1), auc(2), auc(3)]
    mean_by_half = float(np.mean(by_half))
    mean_by_quarter = float(np.mean(by_quarter))
    return mean_by_half, mean_by_quarter


def _compare(full: float, half: float, model: float) -> dict[str, float]:
    # Richardson: the loss to noise falls as 1 / futures, so half of them lose twice as much.
    limit = 2.0 * full - half
    # 0.5 is the AUC of no signal.
    model_gain = model - 0.5
    return {
        "full_state": full,
        "full_state_half": half,
        "limit": limit,
        "model": model,
        "ratio": model / full,
        "share_of_way": model_gain / (full - 0.5),
        "ratio_limit": model / limit,
        "share_of_way_limit": model_gain / (limit - 0.5),
    }


def _reliability(one: Vector, other: Vector, counts: Vector) -> float:
    """The reliability of the mean of two measurements, from their correlation."""
    covariance = np.cov(one, other, aweights=counts)
    # Not np.corrcoef, which takes no weights.
    variances = covariance[0, 0] * covariance[1, 1]
    deviations = np.sqrt(variances)
    correlation = float(covariance[0, 1] / deviations)
    # Spearman-Brown, for twice the length.
    return 2.0 * correlation / (1.0 + correlation)
