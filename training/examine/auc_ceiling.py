"""How near the served model comes to what could be known: its AUC beside that of the simulator's
own probability.

The *ceiling* is the AUC of the true probability given the full state: traits, shocks and savings
that no statement shows.  No score can have a larger one on average, and no model of statements is
expected to reach it.  Both are measured on the same accounts, against the same outcome of future 0,
in which nothing is done.

The true probability is known as the share of finitely many futures only.  As a score that share is
worse than the truth: noise swaps accounts of nearly the same probability, and those that default in
none of the futures tie at 0.  So ``full_state`` is below the ceiling, and ``ratio`` above what it
would be; with too few futures a good model beats their share.  How much is missing is seen by
halving the futures: what noise costs falls about as 1 / futures, so that ``limit`` = 2 x full_state
- full_state with half of the futures estimates the ceiling (Richardson's extrapolation).  Where
default is rarer than one in the futures it falls more slowly, so that ``limit`` is still a little
low.  ``reliability`` is the correlation of the shares of two halves of the futures, stepped up to
all of them (Spearman 1910, Brown 1910): 1 = no noise.

One realised outcome an account is few defaults.  ``expected`` rows have less noise: they count
every pair with its probability instead of one outcome.  There half of the futures score and the
other half count, and the two ways round are averaged: a share measured against itself would be
flattered by its own luck.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from features.types import Vector
from serving.decision.bundle import Bundle
from serving.decision.scoring.score import log_odds_of
from training.evaluate.bootstrap import bootstrap_counts, percentile_interval
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
    world: Population, bundle: Bundle, config: ExamineConfig, truth: TrueOutcomes | None = None
) -> pl.DataFrame:
    """AUC of the full state and of the served model, with paired bootstrap intervals over accounts.

    One row a measure: ``outcome`` (``realised``, ``expected``, or ``futures`` for what says how
    well the probability is known), ``measure``, ``value``, ``low``, ``high`` (95 %).  Of an
    outcome: ``full_state``; ``full_state_half`` (half as many futures score); ``limit``; ``model``;
    ``ratio`` (model to full_state); ``share_of_way`` (how far the model comes from 0.5 to
    full_state); ``ratio_limit`` and ``share_of_way_limit`` (to limit).  Of the futures:
    ``tied_at_0``, the share of accounts that default in none, and ``reliability``.  ``truth`` is
    what :func:`training.examine.truth.outcomes.simulate_untreated` gave, where it is at hand.
    ValueError where nobody defaults, or everybody.
    """
    known = simulate_untreated(world, config) if truth is None else truth
    return measured(known, log_odds_of(known.features.matrix(bundle.features), bundle.scorer))


def measured(truth: TrueOutcomes, log_odds: Vector) -> pl.DataFrame:
    """The table of :func:`auc_ceiling` for any score of the truth's accounts, float64 (accounts,)."""
    defaults = float(truth.realised.sum())
    if not 0 < defaults < len(truth.realised):
        raise ValueError(
            f"ceiling: expected both outcomes, got {defaults:.0f} defaults of {len(truth.realised)} accounts"
        )
    values = _measures(truth, log_odds, np.ones(len(log_odds)))
    drawn = [_measures(truth, log_odds, counts) for counts in bootstrap_counts(len(log_odds))]
    rows = [
        (
            outcome,
            measure,
            value,
            *percentile_interval(np.array([one[outcome, measure] for one in drawn])),
        )
        for (outcome, measure), value in values.items()
    ]
    return pl.DataFrame(rows, SCHEMA, orient="row")


def _measures(
    truth: TrueOutcomes, log_odds: Vector, counts: Vector
) -> Mapping[tuple[str, str], float]:
    """(outcome, measure) -> its value over a resample."""
    model = {
        "realised": expected_auc(truth.realised, log_odds, counts),
        "expected": expected_auc(truth.probability, log_odds, counts),
    }
    found = {
        (outcome, measure): value
        for outcome, (full, half) in _full_state(truth, counts).items()
        for measure, value in _compared(full, half, model[outcome]).items()
    }
    one, other = truth.share_of(0, 1), truth.share_of(2, 3)
    tied = float(np.average(truth.probability == 0, weights=counts))
    return found | {
        ("futures", "tied_at_0"): tied,
        ("futures", "reliability"): _reliability(one, other, counts),
    }


def _full_state(truth: TrueOutcomes, counts: Vector) -> Mapping[str, tuple[float, float]]:
    """Outcome -> AUC of the futures' share, and of the share of half as many."""
    halves, quarters = ((0, 1), (2, 3)), ((0,), (1,), (2,), (3,))

    def realised(*places: int) -> float:
        return expected_auc(truth.realised, truth.share_of(*places), counts)

    def expected(*places: int) -> float:
        counting = halves[1] if set(places) <= set(halves[0]) else halves[0]
        return expected_auc(truth.share_of(*counting), truth.share_of(*places), counts)

    return {
        "realised": (realised(0, 1, 2, 3), float(np.mean([realised(*half) for half in halves]))),
        "expected": (
            float(np.mean([expected(*half) for half in halves])),
            float(np.mean([expected(*quarter) for quarter in quarters])),
        ),
    }


def _compared(full: float, half: float, model: float) -> dict[str, float]:
    limit = 2.0 * full - half
    return {
        "full_state": full,
        "full_state_half": half,
        "limit": limit,
        "model": model,
        "ratio": model / full,
        "share_of_way": (model - 0.5) / (full - 0.5),
        "ratio_limit": model / limit,
        "share_of_way_limit": (model - 0.5) / (limit - 0.5),
    }


def _reliability(one: Vector, other: Vector, counts: Vector) -> float:
    """Of the mean of two measurements, from their correlation."""
    covariance = np.cov(one, other, aweights=counts)
    correlation = float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return 2.0 * correlation / (1.0 + correlation)
