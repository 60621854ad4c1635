"""The value of a model's decisions under a policy, by the accounts' known outcomes.

For an account with limit L left by the hard rules alone and L' by the decision, balance B (0 where
it is overpaid), and the outcome y (1 = it defaulted), all in CNY over the outcome window:

    exposure(L) = B + credit_conversion (L - B)+
    avoided     = y      loss_given_default (exposure(L) - exposure(L'))  loss avoided
    forgone     = (1-y)  margin (L - L')                                  earnings lost
    harmed      = (1-y)  harm   (L - L')                                  cost of cutting the good
    value       = avoided - forgone - harmed

The four parameters are those of the policy's economics: ``[economics]`` in policy.toml, and margin
and credit conversion as the fit learnt them, by product and by fifth of utilization.  A proposal to
a reviewer counts as if it were confirmed.  A model that cuts no account is worth 0; cuts by hard
rules are in no model's value.  The policy lab values decisions in the same way
(:mod:`training.compare.policies.oracle`).

The policy's cut-off is the probability from which a cut of the unused part pays: it avoids only
``credit_conversion`` of it, and costs its whole margin.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from serving.decision.config.policy import Policy
from training.compare.policies.portfolio import Portfolio, portfolio_of
from training.evaluate.bootstrap import interval_of_mean
from training.evaluate.holdout import Evaluation
from training.evaluate.paired_tests import favours

PER = 1000  # accounts that a value is stated for


def worth(evaluation: Evaluation, portfolio: Portfolio, policy: Policy) -> pl.DataFrame:
    """Return one row for each account of the hold-out, float64 CNY.

    Columns: ``avoided``, ``forgone``, ``harmed``, ``value`` and ``taken``, L - L'.  ``portfolio``
    has L and B of the same accounts; the economics are the policy's.
    """
    _, after = evaluation.limits
    economics = policy.economics
    before = portfolio.rule_limit
    label = evaluation.label
    good = 1.0 - label
    taken = before - after
    exposure_before = portfolio.exposure(before, policy)
    exposure_after = portfolio.exposure(after, policy)
    exposure_cut = exposure_before - exposure_after
    avoided = label * (exposure_cut * economics.loss_given_default)
    forgone = good * portfolio.margin(policy) * taken
    harmed = good * economics.harm * taken
    return pl.DataFrame(
        {
            "avoided": avoided,
            "forgone": forgone,
            "harmed": harmed,
            "value": avoided - forgone - harmed,
            "taken": taken,
        }
    )


def value(models: Sequence[Evaluation]) -> pl.DataFrame:
    """Return one row for each model, in CNY per 1,000 accounts.

    The economics and rules are those of the first model's policy.  Columns: ``model``, the means of
    :func:`worth`, ``difference`` to the first model with its paired 95 % interval,
    ``low`` and ``high`` (all 0 for the first), and ``favours``.
    """
    portfolio = portfolio_of(models[0])
    policy = models[0].bundle.policy
    # All by the first model's economics: a policy that prices harm at 0 would win by that alone.
    tables = [worth(model, portfolio, policy) for model in models]
    first_value = tables[0]["value"]
    differences = [table["value"] - first_value for table in tables]
    rows = []
    for model, table, difference in zip(models, tables, differences, strict=True):
        gain = difference.to_numpy() * PER
        low, high = interval_of_mean(gain)
        # NumPy's mean and not Polars': they sum in another order.
        means = {name: float(table[name].to_numpy().mean()) * PER for name in table.columns}
        rows.append(
            {
                "model": model.name,
                **means,
                "difference": float(gain.mean()),
                "low": low,
                "high": high,
                "favours": favours(low, high),
            }
        )
    return pl.DataFrame(rows)
