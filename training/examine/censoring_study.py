"""Which treatment of censored accounts estimates the probability without cuts best?

An account that the lender cut within the outcome window is censored: its outcome without the cut is
not observed.  A model is fitted with each treatment of :mod:`training.data.censoring` on the same
simulated data, and measured on other accounts against their outcome when the incumbent lender cuts
no limit.  The target is the share of many futures, whose noise biases no measure used here (see
:mod:`training.examine.truth.outcomes`).  Decisions depend on one region, so everything is measured
again in the *band*: accounts whose log-odds, averaged over the treatments, are within BAND of the
policy's cut-off.  The average ensures that no treatment selects its own accounts.

The intervals are paired and over the measured accounts.  They do not cover other training samples:
for that, fit on data of several seeds (docs/modelling/model.md has the figures and the command).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from features.types import Vector
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import cut_off_log_odds_of
from serving.decision.scoring.score import probability_of
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
BASELINE = "keep"  # of TREATED: censored accounts are used as they are
_NEWTON_STEPS = 50
_Decision = tuple[str, float]  # action, and the new or proposed limit


@dataclass(frozen=True, slots=True)
class FittedTreatment:
    """A model fitted with one treatment.

    ``rows`` is how many rows it was fitted on; ``log_odds`` are its scores of the examined
    accounts, float64 (accounts,).
    """

    rows: int
    log_odds: Vector


def censoring_study(
    population: Population,
    source: Source,
    policy: Policy,
    configs: tuple[DataConfig, FitConfig],
    config: ExamineConfig,
    truth: TrueOutcomes | None = None,
) -> pl.DataFrame:
    """Return one row for each treatment of ``TREATED``, ``keep`` first.

    - ``treated``; ``rows`` that trees and calibration were fitted on
    - ``auc_realised`` and ``auc_expected``
    - ``log_loss`` (expected, nats); ``log_loss_gain``, its reduction against ``keep``, with a 95 %
      paired interval, ``_low`` and ``_high``; ``brier`` (expected)
    - ``slope`` and ``intercept`` of calibration (Cox 1958: a logistic regression on the log-odds;
      the intercept is the one with slope 1, above 0 where the probabilities are too small)
    - ``band_accounts``, and the last seven in the band, prefixed ``band_``
    - ``cut``: the share of accounts that the policy does not keep; ``changed``: the share whose
      action or limit differs from that under ``keep``; ``changed_action``

    ``truth`` is the result of :func:`training.examine.truth.outcomes.simulate_untreated`; null =
    simulate it.  Raises ValueError for data with labels of their own.
    """
    if source.labels is not None:
        raise ValueError(
            "treatment: expected simulated data, got data with labels of their own: "
            "their cuts cannot be undone"
        )
    known = simulate_untreated(population, config) if truth is None else truth
    return compare_treatments(known, fit_treatments(source, known, configs), policy)


def fit_treatments(
    source: Source,
    truth: TrueOutcomes,
    configs: tuple[DataConfig, FitConfig],
) -> dict[str, FittedTreatment]:
    """Fit a model with each treatment, and score the accounts of ``truth`` with it."""
    data_config, fit_config = configs
    fitted = {}
    for name in TREATED:
        data = label_accounts(source, replace(data_config, treated=name))
        model = fit(data, fit_config)
        matrix = truth.features.matrix(model.features)
        log_odds = predict_log_odds(model, matrix)
        rows = int((data.split != "test").sum())
        fitted[name] = FittedTreatment(rows, log_odds)
    return fitted


def compare_treatments(
    truth: TrueOutcomes,
    fitted: Mapping[str, FittedTreatment],
    policy: Policy,
) -> pl.DataFrame:
    """Return the table of :func:`censoring_study`."""
    hold_out = truth.labelled()
    baseline = fitted[BASELINE].log_odds
    baseline_decisions = _decide(hold_out, baseline, policy)
    every_score = [treatment.log_odds for treatment in fitted.values()]
    # The mean, so that no treatment selects the accounts that it is measured on.
    mean_log_odds = np.mean(every_score, axis=0)
    products = hold_out.features.accounts["product"].cast(pl.String).to_list()
    distance = np.abs(mean_log_odds - cut_off_log_odds_of(products, policy))
    band = distance <= BAND
    rows = []
    for name, treatment in fitted.items():
        log_odds = treatment.log_odds
        everywhere = _measures(truth.probability, log_odds, baseline)
        in_band = _measures(
            truth.probability[band],
            log_odds[band],
            baseline[band],
        )
        decisions = _decide(hold_out, log_odds, policy)
        rows.append(
            {
                "treated": name,
                "rows": treatment.rows,
                "auc_realised": expected_auc(truth.realised, log_odds),
                "auc_expected": expected_auc(truth.probability, log_odds),
                **everywhere,
                "band_accounts": int(band.sum()),
                **{f"band_{measure}": value for measure, value in in_band.items()},
                **_compare_decisions(decisions, baseline_decisions),
            }
        )
    return pl.DataFrame(rows)


def _measures(probability: Vector, log_odds: Vector, baseline: Vector) -> dict[str, float]:
    """Measures of a score against the true probability, and against the baseline's score."""
    loss = expected_log_loss(probability, log_odds)
    gain = expected_log_loss(probability, baseline) - loss
    resampled_means = bootstrap_counts(len(gain)) @ gain / len(gain)
    low, high = percentile_interval(resampled_means)
    predicted = probability_of(log_odds)
    # The mean of (predicted - y)^2 over an outcome y of this probability.
    squared_error = predicted**2 - 2.0 * predicted * probability + probability
    slope, intercept = _recalibrate(probability, log_odds)
    return {
        "log_loss": float(loss.mean()),
        "log_loss_gain": float(gain.mean()),
        "log_loss_gain_low": low,
        "log_loss_gain_high": high,
        "brier": float(np.mean(squared_error)),
        "slope": slope,
        "intercept": intercept,
    }


def _recalibrate(probability: Vector, log_odds: Vector) -> tuple[float, float]:
    """The slope with a free intercept, and the intercept with slope 1, that calibrate log-odds."""
    # Each account is a 1 with weight p and a 0 with weight 1 - p.
    rows = np.tile(log_odds, 2)[:, None]
    labels = np.repeat([1, 0], len(log_odds))
    weights = np.concatenate([probability, 1.0 - probability])
    regression = LogisticRegression(
        C=np.inf,  # no penalty, which would shrink the slope
        solver="newton-cholesky",
        tol=1e-10,
        max_iter=200,
    )
    regression.fit(rows, labels, weights)
    # LogisticRegression cannot hold a slope at 1: Newton's method on the intercept alone.
    intercept = 0.0
    for _ in range(_NEWTON_STEPS):
        predicted = probability_of(log_odds + intercept)
        variance = predicted * (1.0 - predicted)
        gradient = (probability - predicted).sum()
        intercept += float(gradient / variance.sum())
    return float(regression.coef_[0, 0]), intercept


def _decide(hold_out: Labelled, log_odds: Vector, policy: Policy) -> list[_Decision]:
    decisions: list[_Decision] = []
    for row, value in enumerate(log_odds.tolist()):
        outcome = decide_row(policy, hold_out, row, value)
        proposed = outcome.proposed_limit
        limit = outcome.new_limit if proposed is None else proposed
        decisions.append((outcome.action, limit))
    return decisions


def _compare_decisions(
    decisions: Sequence[_Decision],
    baseline: Sequence[_Decision],
) -> dict[str, float]:
    pairs = list(zip(decisions, baseline, strict=True))
    cut = sum(action != "keep" for action, _ in decisions)
    changed = sum(one != other for one, other in pairs)
    changed_action = sum(one[0] != other[0] for one, other in pairs)
    return {
        "cut": cut / len(pairs),
        "changed": changed / len(pairs),
        "changed_action": changed_action / len(pairs),
    }
