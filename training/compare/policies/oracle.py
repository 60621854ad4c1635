"""The same policy in the hands of one who knows the true probability: how much of its value the
model reaches.

On simulated data alone.  The hold-out's accounts are brought back to the state that the simulation
left them in, and live many futures in which nobody is cut; the share that default in is the
probability that the model estimates.

Value, in CNY: of what the model adds to the hard rules, the loss that is avoided where an account
defaults, less what the lender forgoes and a good customer is harmed where it does not::

    p lgd (exposure(rules' limit) - exposure(limit)) - (1 - p) (margin + harm) (rules' limit -
    limit)

The oracle must not profit from its luck: it decides by one half of the futures and is valued by the
other, and the two ways round are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.types import Vector
from serving.decision.config.policy import Policy
from training.compare.policies.frontier import measure
from training.compare.policies.portfolio import Portfolio, limits_under
from training.data.config import DataError
from training.data.simulate.config import SimulationConfig, month_number_of
from training.data.simulate.output import SUMMARY, account_names, as_table
from training.data.simulate.state import State
from training.data.simulate.step import begin, step
from training.evaluate.holdout import HoldOut
from training.evaluate.metrics import bootstrap_counts, percentile_interval
from training.examine.truth.futures import probability, untreated
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
class Truth:
    """The true probability of a hold-out's accounts by two halves of the futures, with no luck in
    common; (2, accounts).
    """

    halves: NDArray[np.float64]

    @property
    def probability(self) -> Vector:
        """By all futures."""
        mean: Vector = self.halves.mean(axis=0)
        return mean


def is_simulated(folder: Path) -> bool:
    """Whether a data folder holds a simulation, whose truth can be known."""
    return (folder / SUMMARY).exists()


def truth_of(on: HoldOut, folder: Path, futures: int) -> Truth:
    """Live ``futures`` (two or more, in two halves) of each account of a hold-out of the simulation
    in ``folder``.

    DataError where the folder holds no simulation, or another than the hold-out is of.
    """
    if futures < 2:
        raise DataError(f"futures: expected at least 2, got {futures}")
    simulation = simulation_of(folder)
    state = _state_of(on, simulation, folder)
    half = futures // 2
    firsts = ((1, half), (1 + half, futures - half))
    return Truth(
        np.array(
            [
                probability(state, untreated(simulation), count, first=first)
                for first, count in firsts
            ]
        )
    )


def oracle_table(book: Portfolio, policy: Policy, truth: Truth) -> pl.DataFrame:
    """The value of what the model and the oracle add to the rules under one policy; two rows each.

    ``decided_by`` model or oracle; ``good_cut`` the share of the accounts of label 0 that it cuts,
    suspends or proposes to; ``outcome`` says how it was valued: ``expected`` (by the true
    probability) or ``realised`` (by the label); ``value`` in CNY and ``share`` of the oracle's,
    with 95 % bootstrap intervals over accounts, the same resamples for both.
    """
    oracles = [book.with_probability(half) for half in truth.halves]
    decided = {"model": (book, book), "oracle": (oracles[0], oracles[1])}
    valued = {"expected": (truth.halves[1], truth.halves[0]), "realised": (book.label, book.label)}
    counts = bootstrap_counts(len(book.label))
    rows: list[tuple[object, ...]] = []
    for outcome, by in valued.items():
        each = {
            who: np.mean(
                [_value(mind, policy, p) for mind, p in zip(minds, by, strict=True)], axis=0
            )
            for who, minds in decided.items()
        }
        best, drawn_best = float(each["oracle"].sum()), counts @ each["oracle"]
        for who, values in each.items():
            value, drawn = float(values.sum()), counts @ values
            share = (
                (value / best, *percentile_interval(drawn / drawn_best))
                if best > 0 and (drawn_best > 0).all()
                else (None,) * 3
            )
            rows.append(
                (
                    who,
                    *_cut(decided[who], policy),
                    outcome,
                    value,
                    *percentile_interval(drawn),
                    *share,
                )
            )
    return pl.DataFrame(rows, SCHEMA, orient="row")


def _value(mind: Portfolio, policy: Policy, p: Vector) -> Vector:
    """Each account's value of what is decided by one who has these beliefs, where the probability
    is ``p``.
    """
    economics = policy.economics
    after, _ = limits_under(mind, policy)
    drawn = np.minimum(mind.limit, np.maximum(mind.balance, 0.0))
    without = np.where(mind.rule_suspends, drawn, mind.rule_limit)
    spared = economics.loss_given_default * (
        mind.exposure(without, policy) - mind.exposure(after, policy)
    )
    value: Vector = p * spared - (1.0 - p) * (economics.margin + economics.harm) * (without - after)
    return value


def _cut(minds: tuple[Portfolio, Portfolio], policy: Policy) -> tuple[int, float]:
    cut = np.mean([limits_under(mind, policy)[1] for mind in minds], axis=0)
    return round(float(cut.sum())), float(cut[minds[0].label == 0].mean())


def _state_of(on: HoldOut, simulation: SimulationConfig, folder: Path) -> State:
    """Their state on the day, the simulation lived again; checked against the hold-out's statements
    of that month.
    """
    day = month_number_of(on.as_of, simulation)
    names = on.people["account_id"]
    if not 0 <= day < simulation.months or not names.str.contains(r"^sim-\d{7}$").all():
        raise DataError(f"{folder}: expected the simulation that the hold-out is of, got another")
    state = begin(simulation, 0, simulation.accounts)
    for month in range(day + 1):
        state, columns = step(state, month, simulation)
    lived = as_table(
        account_names(state.accounts), state.traits.cash_loan, [(day, columns)], simulation
    )
    there = on.statements.filter(pl.col("month") == on.as_of)
    again = lived.join(there.select("account_id"), on="account_id", how="semi").sort("account_id")
    if not again.select("balance", "credit_limit").equals(
        there.sort("account_id").select("balance", "credit_limit")
    ):
        raise DataError(
            f"{folder}: expected the simulation that the hold-out is of, got one with other statements"
        )
    return state.take(names.str.slice(4).cast(pl.Int64).to_numpy() - 1)


def true_frontier(book: Portfolio, policies: Sequence[Policy], truth: Truth) -> pl.DataFrame:
    """The points of :func:`training.compare.policies.frontier.frontier` by the true probability,
    for the model and the oracle.

    One row a policy and ``decided_by``; what the oracle avoids is counted by the half of the
    futures that it did not see.
    """
    rows = []
    for policy in policies:
        for who in ("model", "oracle"):
            ways = [
                measure(
                    book.with_probability(seen),
                    policy,
                    *limits_under(book.with_probability(own) if who == "oracle" else book, policy),
                )
                for own, seen in zip(truth.halves, truth.halves[::-1], strict=True)
            ]
            kept = ("good_cut", "loss_avoided_share")
            means = {key: float(np.mean([way[key] for way in ways])) for key in kept}
            rows.append({"decided_by": who, "cut_off": policy.cut_off, **means})
    return pl.DataFrame(rows)
