"""What a model's decisions were worth under a policy, by what became of the accounts.

For an account with limit L left by the hard rules alone and L' by the decision, balance B (0 where
it is overpaid), and the outcome y (1 = it defaulted), all in CNY over the outcome window:

    exposure(L) = B + credit_conversion (L - B)+
    avoided     = y      loss_given_default (exposure(L) - exposure(L'))      the loss that the cut spared the lender
    forgone     = (1-y)  margin (L - L')                                      what the limit taken away would have earned
    harmed      = (1-y)  harm   (L - L')                                      what cutting a good customer costs
    value       = avoided - forgone - harmed

All four numbers are those of ``[economics]`` in policy.toml.  A proposal to a person counts as if
it were confirmed.  A model that cuts nobody is worth 0; what the rules take, no model can give
back.  The policy lab's value is the same one (:mod:`training.compare.policies.oracle`).

A cut of the unused part spares only ``credit_conversion`` of it, and costs its margin whole: such a
cut pays from a probability above the policy's cut-off, which is that of an exposed unit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.decision.config.policy import Policy
from training.compare.policies.portfolio import Portfolio, portfolio_of
from training.evaluate.holdout import Evaluation
from training.evaluate.paired_tests import favours

RESAMPLES = 1000
PER = 1000  # accounts that a value is stated for


def worth(evaluated: Evaluation, book: Portfolio, policy: Policy) -> pl.DataFrame:
    """One row an account of the hold-out, float64 CNY: ``avoided``, ``forgone``, ``harmed``,
    ``value`` and ``taken``, L - L'.

    ``book`` tells L and B of the same accounts; the numbers are the policy's.
    """
    _, after = evaluated.limits
    economics, before = policy.economics, book.rule_limit
    spared = (
        book.exposure(before, policy) - book.exposure(after, policy)
    ) * economics.loss_given_default
    taken, label = before - after, evaluated.label
    avoided = label * spared
    forgone, harmed = (
        (1.0 - label) * share * taken for share in (economics.margin, economics.harm)
    )
    columns = {
        "avoided": avoided,
        "forgone": forgone,
        "harmed": harmed,
        "value": avoided - forgone - harmed,
        "taken": taken,
    }
    return pl.DataFrame(columns)


def value(models: Sequence[Evaluation], seed: int = 0) -> pl.DataFrame:
    """One row a model, by the first one's economics and rules and per 1,000 accounts, CNY.

    ``model``, the means of :func:`worth`, ``difference`` to the first with its 95 % paired
    bootstrap interval over accounts, ``low`` and ``high`` (all 0 for the first), and ``favours``.
    """
    book, policy = portfolio_of(models[0]), models[0].bundle.policy
    tables = [worth(model, book, policy) for model in models]
    resampled = _resampled(len(models[0].label), seed)
    rows = []
    for model, table in zip(models, tables, strict=True):
        gain = (table["value"] - tables[0]["value"]).to_numpy() * PER
        low, high = np.quantile([gain[drawn].mean() for drawn in resampled], [0.025, 0.975])
        means = {name: float(table[name].to_numpy().mean()) * PER for name in table.columns}
        compared = {"difference": float(gain.mean()), "low": float(low), "high": float(high)}
        rows.append(
            {"model": model.name} | means | compared | {"favours": favours(float(low), float(high))}
        )
    return pl.DataFrame(rows)


def _resampled(accounts: int, seed: int) -> list[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, accounts, accounts) for _ in range(RESAMPLES)]
