"""Which way of taking accounts that were cut meanwhile gives the probability that is asked for:
that of doing nothing.

A model is fitted in each way of :mod:`training.data.censoring` on the same simulated data, and
measured on accounts that it did not see against what becomes of them if the incumbent cuts nobody.
The target is the share of many futures, whose noise biases no measure here (see
:mod:`training.examine.truth.outcomes`).  What matters is the region where decisions are made, so
all is measured again in the *band*: accounts whose log-odds, averaged over the ways (no way chooses
its own accounts), lie within BAND of the policy's cut-off.

The intervals are paired and of the accounts measured on.  They do not say what another training
sample would give: for that, fit on data of several seeds (docs/modelling/model.md has the figures and the
command).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from features.types import Vector
from serving.decision.config.policy import Policy
from serving.decision.scoring.score import logit, probability_of
from training.data.censoring import TREATED
from training.data.config import DataConfig
from training.data.dataset import Source
from training.data.labels import Labelled, label_accounts
from training.evaluate.bootstrap import bootstrap_counts, percentile_interval
from training.evaluate.metrics import expected_auc, expected_log_loss
from training.examine.truth.outcomes import TrueOutcomes, simulate_untreated
from training.examine.truth.population import ExamineConfig, Population
from training.fit.config import FitConfig
from training.fit.fit import fit, predict_log_odds
from training.fit.reference_population import decide_row

BAND = 1.0  # log-odds on either side of the cut-off


@dataclass(frozen=True, slots=True)
class Way:
    """A model fitted in one way: the rows that fitting took, and the log-odds that it gives the
    examined accounts.
    """

    rows: int
    log_odds: Vector


def censoring_study(
    world: Population,
    source: Source,
    policy: Policy,
    configs: tuple[DataConfig, FitConfig],
    config: ExamineConfig,
    truth: TrueOutcomes | None = None,
) -> pl.DataFrame:
    """One row a way of ``TREATED``, ``keep`` first: how well its model meets what becomes of
    accounts if nothing is done.

    - ``treated``; ``rows`` that trees and calibration were fitted on; ``auc_realised`` and ``auc_expected``
    - ``log_loss`` (expected, nats), ``log_loss_gain`` (how much less it is than that of ``keep``) and its 95 % paired
      interval, ``_low`` and ``_high``, ``brier`` (expected)
    - ``slope`` and ``intercept`` of calibration (Cox 1958: a logistic regression on the log-odds; the intercept is the one with
      slope 1, above 0 where the model's probabilities are too small)
    - the last seven in the band, with ``band_`` before their names, and ``band_accounts``
    - ``cut``: the share of accounts that the policy does not keep; ``changed``: the share whose action or limit is not that
      under ``keep``; ``changed_action``

    ``truth`` is what :func:`training.examine.truth.outcomes.simulate_untreated` gave, where it is
    at hand.  ValueError for data with labels of their own.
    """
    if source.labels is not None:
        raise ValueError(
            "treatment: expected simulated data, got data with labels of their own: what was cut cannot be undone"
        )
    known = simulate_untreated(world, config) if truth is None else truth
    return compared(known, fitted_ways(source, known, configs), policy)


def fitted_ways(
    source: Source, truth: TrueOutcomes, configs: tuple[DataConfig, FitConfig]
) -> dict[str, Way]:
    """A model fitted in each way, and its log-odds of the truth's accounts."""
    data_config, fit_config = configs
    ways = {}
    for name in TREATED:
        data = label_accounts(source, replace(data_config, treated=name))
        fitted = fit(data, fit_config)
        score = predict_log_odds(fitted, truth.features.matrix(fitted.features))
        ways[name] = Way(int((data.split != "test").sum()), score)
    return ways


def compared(truth: TrueOutcomes, ways: Mapping[str, Way], policy: Policy) -> pl.DataFrame:
    """The table of :func:`censoring_study`."""
    hold_out = truth.labelled()
    keep = ways["keep"].log_odds
    band = (
        np.abs(np.mean([way.log_odds for way in ways.values()], axis=0) - logit(policy.cut_off))
        <= BAND
    )
    before = _decisions(hold_out, keep, policy)
    rows = []
    for name, way in ways.items():
        everywhere = _measures(truth.probability, way.log_odds, keep)
        near = _measures(truth.probability[band], way.log_odds[band], keep[band])
        rows.append(
            {
                "treated": name,
                "rows": way.rows,
                "auc_realised": expected_auc(truth.realised, way.log_odds),
                "auc_expected": expected_auc(truth.probability, way.log_odds),
                **everywhere,
                "band_accounts": int(band.sum()),
                **{f"band_{measure}": value for measure, value in near.items()},
                **_changes(_decisions(hold_out, way.log_odds, policy), before),
            }
        )
    return pl.DataFrame(rows)


def _measures(probability: Vector, score: Vector, keep: Vector) -> dict[str, float]:
    loss, loss_of_keep = expected_log_loss(probability, score), expected_log_loss(probability, keep)
    gain = loss_of_keep - loss
    low, high = percentile_interval(bootstrap_counts(len(gain)) @ gain / len(gain))
    mean = probability_of(score)
    slope, intercept = _recalibration(probability, score)
    return {
        "log_loss": float(loss.mean()),
        "log_loss_gain": float(gain.mean()),
        "log_loss_gain_low": low,
        "log_loss_gain_high": high,
        "brier": float(np.mean(mean**2 - 2.0 * mean * probability + probability)),
        "slope": slope,
        "intercept": intercept,
    }


def _recalibration(probability: Vector, score: Vector) -> tuple[float, float]:
    """(slope with a free intercept, intercept with slope 1) that would calibrate the log-odds."""
    rows, labels = np.tile(score, 2)[:, None], np.repeat([1, 0], len(score))
    weights = np.concatenate([probability, 1.0 - probability])
    regression = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=200)
    regression.fit(rows, labels, weights)
    shift = 0.0
    for _ in range(50):  # Newton on one number, of a concave likelihood
        mean = probability_of(score + shift)
        shift += float((probability - mean).sum() / (mean * (1.0 - mean)).sum())
    return float(regression.coef_[0, 0]), shift


def _decisions(hold_out: Labelled, score: Vector, policy: Policy) -> list[tuple[str, float]]:
    """(action, new limit, or the one proposed to a person) of each account."""
    outcomes = (
        decide_row(policy, hold_out, row, value) for row, value in enumerate(score.tolist())
    )
    return [
        (o.action, o.new_limit if o.proposed_limit is None else o.proposed_limit) for o in outcomes
    ]


def _changes(now: list[tuple[str, float]], before: list[tuple[str, float]]) -> dict[str, float]:
    pairs = list(zip(now, before, strict=True))
    return {
        "cut": sum(action != "keep" for action, _ in now) / len(now),
        "changed": sum(one != other for one, other in pairs) / len(pairs),
        "changed_action": sum(one[0] != other[0] for one, other in pairs) / len(pairs),
    }
