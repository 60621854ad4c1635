"""The oracle: the same policy with the true probability, as an upper bound for the model's value.

On simulated data only.  The hold-out's accounts are restored to the state that the simulation left
them in, and simulated in many futures in which no limit is cut.  The share of futures with a
default is the probability that the model estimates.

The value of an account, CNY, counts what a decision adds to the hard rules: the loss avoided where
the account defaults, less the margin lost and the harm to a good customer where it does not::

    p lgd (exposure(rules' limit) - exposure(limit))
    - (1 - p) (margin + harm) (rules' limit - limit)

The oracle must not profit from sampling luck: it decides by one half of the futures and is valued
by the other half, and both ways round are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from features.types import Matrix, Vector
from serving.decision.config.policy import Policy
from training.compare.policies.frontier import measure
from training.compare.policies.portfolio import Portfolio, limits_under
from training.data.config import DataError
from training.data.simulate.config import SimulationConfig, month_number_of
from training.data.simulate.output import SUMMARY, account_names, as_table
from training.data.simulate.state import State
from training.data.simulate.step import begin, step
from training.evaluate.bootstrap import bootstrap_counts, percentile_interval
from training.evaluate.holdout import HoldOut
from training.examine.truth.futures import default_probability, untreated
from training.examine.truth.population import simulation_of

SCHEMA = {
    "decided_by": pl.String,
    "accounts_cut": pl.Int64,
    "good_cut": pl.Float64,
    "outcome": pl.String,
    "value": pl.Float64,
    "value_low": pl.Float64,
    "value_high": pl.Float64,
    "share": pl.Float64,
    "share_low": pl.Float64,
    "share_high": pl.Float64,
}


@dataclass(frozen=True, slots=True)
class TrueProbability:
    """The true probability of a hold-out's accounts, estimated by each half of the futures.

    ``halves`` is float64 (2, accounts); no future is in both halves.
    """

    halves: Matrix

    @property
    def probability(self) -> Vector:
        """By all futures, float64 (accounts,)."""
        mean: Vector = self.halves.mean(axis=0)
        return mean


def is_simulated(folder: Path) -> bool:
    """Whether a data folder holds a simulation, whose true probabilities can be known."""
    return (folder / SUMMARY).exists()


def simulate_truth(on: HoldOut, folder: Path, futures: int) -> TrueProbability:
    """Simulate ``futures`` (at least two) of each account of a hold-out.

    Raises DataError where the folder holds no simulation, or not the hold-out's.
    """
    if futures < 2:
        raise DataError(f"futures: expected at least 2, got {futures}")
    simulation = simulation_of(folder)
    state = _restore_state(on, simulation, folder)
    config = untreated(simulation)
    half = futures // 2
    # Future 0 is the accounts' own: its outcome is the label.
    first_half = default_probability(state, config, half, first=1)
    second_half = default_probability(state, config, futures - half, first=1 + half)
    return TrueProbability(np.array([first_half, second_half]))


def oracle_table(portfolio: Portfolio, policy: Policy, truth: TrueProbability) -> pl.DataFrame:
    """Return the value that the model and the oracle add to the hard rules; two rows each.

    - ``decided_by``: model or oracle
    - ``accounts_cut``; ``good_cut``, the share of the accounts of label 0 that are cut, suspended
      or proposed to be
    - ``outcome``: ``expected`` (valued by the true probability) or ``realised`` (by the label)
    - ``value``, CNY, and ``share`` of the oracle's value, with 95 % bootstrap intervals over
      accounts from the same resamples for both; ``share`` is null where the oracle's value is not
      positive in every resample
    """
    deciders = {
        "model": (portfolio, portfolio),
        "oracle": tuple(portfolio.with_probability(half) for half in truth.halves),
    }
    # The half that decided does not value.
    valued_by = {
        "expected": (truth.halves[1], truth.halves[0]),
        "realised": (portfolio.label, portfolio.label),
    }
    # The same resamples for both deciders, so that their noise cancels in the share.
    counts = bootstrap_counts(len(portfolio.label))
    rows: list[tuple[object, ...]] = []
    for outcome, probabilities in valued_by.items():
        values = {}
        for name, portfolios in deciders.items():
            pairs = zip(portfolios, probabilities, strict=True)
            by_half = [_value(one, policy, p) for one, p in pairs]
            values[name] = np.mean(by_half, axis=0)
        for name, own in values.items():
            cut, good_cut = _cut(deciders[name], policy)
            low, high = percentile_interval(counts @ own)
            value = float(own.sum())
            share = _share(own, values["oracle"], counts)
            rows.append((name, cut, good_cut, outcome, value, low, high, *share))
    return pl.DataFrame(rows, SCHEMA, orient="row")


def _share(own: Vector, best: Vector, counts: Vector) -> tuple[float | None, ...]:
    """A decider's value as a share of the oracle's, and its interval."""
    drawn_best = counts @ best
    # A share of a value near 0, or below, says nothing: its sign depends on the resample.
    if best.sum() <= 0 or (drawn_best <= 0).any():
        return None, None, None
    share = float(own.sum()) / float(best.sum())
    return share, *percentile_interval(counts @ own / drawn_best)


def _value(portfolio: Portfolio, policy: Policy, p: Vector) -> Vector:
    """Each account's value where the portfolio's probabilities decide and ``p`` is the true one."""
    economics = policy.economics
    after, _ = limits_under(portfolio, policy)
    by_suspension = portfolio.limit_of_suspension(policy)
    at_most = np.where(portfolio.rule_suspends, by_suspension, np.inf)
    by_rules = np.minimum(at_most, portfolio.rule_limit)
    exposure_by_rules = portfolio.exposure(by_rules, policy)
    exposure_after = portfolio.exposure(after, policy)
    avoided = economics.loss_given_default * (exposure_by_rules - exposure_after)
    cost = (portfolio.margin(policy) + economics.harm) * (by_rules - after)
    value: Vector = p * avoided - (1.0 - p) * cost
    return value


def _cut(portfolios: tuple[Portfolio, ...], policy: Policy) -> tuple[int, float]:
    """How many accounts are cut, and the share of the good ones, averaged over the portfolios."""
    by_portfolio = []
    for one in portfolios:
        _, is_cut = limits_under(one, policy)
        by_portfolio.append(is_cut)
    cut = np.mean(by_portfolio, axis=0)
    good = portfolios[0].label == 0
    accounts_cut = round(float(cut.sum()))
    return accounts_cut, float(cut[good].mean())


def _restore_state(on: HoldOut, simulation: SimulationConfig, folder: Path) -> State:
    """The accounts' state on the hold-out's day, from a new run of the simulation.

    The run is checked against the hold-out's statements of that month.
    """
    day = month_number_of(on.as_of, simulation)
    ids = on.people["account_id"]
    of_simulation = ids.str.contains(r"^sim-\d{7}$").all()
    if not 0 <= day < simulation.months or not of_simulation:
        raise DataError(f"{folder}: expected the simulation that the hold-out is of, got another")
    state = begin(simulation, 0, simulation.accounts)
    for month in range(day + 1):
        state, columns = step(state, month, simulation)
    statements = as_table(
        account_names(state.accounts),
        state.traits.cash_loan,
        [(day, columns)],
        simulation,
    )
    last_month = on.statements.filter(pl.col("month") == on.as_of)
    expected = last_month.sort("account_id")
    of_hold_out = statements.join(
        expected.select("account_id"),
        on="account_id",
        how="semi",
    )
    actual = of_hold_out.sort("account_id")
    # Another version of the simulator writes equal ids: without this check, the oracle would know
    # other customers.
    compared = ("balance", "credit_limit")
    if not actual.select(compared).equals(expected.select(compared)):
        raise DataError(
            f"{folder}: expected the simulation that the hold-out is of, "
            f"got one with other statements"
        )
    numbers = ids.str.slice(4).cast(pl.Int64)
    places = numbers.to_numpy() - 1
    return state.take(places)


def true_frontier(
    portfolio: Portfolio,
    policies: Sequence[Policy],
    truth: TrueProbability,
) -> pl.DataFrame:
    """Return points of the frontier by the true probability, decided by the model and the oracle.

    One row for each policy and ``decided_by``: ``harm``, ``good_cut`` and
    ``loss_avoided_share`` as in :func:`training.compare.policies.frontier.frontier`.  The half of
    the futures that the oracle decides by does not measure.
    """
    by_truth = [portfolio.with_probability(half) for half in truth.halves]
    deciders = {"model": [portfolio, portfolio], "oracle": by_truth}
    rows = []
    for policy in policies:
        for decided_by, portfolios in deciders.items():
            points = []
            # The other half measures.
            for decider, valuer in zip(portfolios, by_truth[::-1], strict=True):
                after, cut = limits_under(decider, policy)
                points.append(measure(valuer, policy, after, cut))
            good_cut = np.mean([point["good_cut"] for point in points])
            avoided = np.mean([point["loss_avoided_share"] for point in points])
            rows.append(
                {
                    "decided_by": decided_by,
                    "harm": policy.economics.harm,
                    "good_cut": float(good_cut),
                    "loss_avoided_share": float(avoided),
                }
            )
    return pl.DataFrame(rows)
