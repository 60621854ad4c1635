"""The frontier: expected loss avoided against good customers cut, over cut-offs and depths of cut.

A *point* is the bundle's policy with another cut-off and another ``cut.tolerated_share``.  The
cut-off is not in policy.toml; it is computed from ``economics``.  A point therefore states the
``economics.harm`` that gives its cut-off.  If even a harm of 0 gives a higher cut-off, the point
also states a lower ``economics.margin``.  Points are evaluated at these parameters as rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from features.types import Mask, Vector
from serving.decision.config.policy import Policy
from training.compare.policies.portfolio import Portfolio, limits_under
from training.evaluate.metrics import wilson

Point = dict[str, Any]  # a row of the frontier, by column
DIGITS = 5  # of a point's parameters
LOWEST_CUT_OFF = 0.01
SCHEMA = {
    "cut_off": pl.Float64,
    "harm": pl.Float64,
    "margin": pl.Float64,
    "tolerated_share": pl.Float64,
    "accounts_cut": pl.Int64,
    "good_cut": pl.Float64,
    "good_cut_low": pl.Float64,
    "good_cut_high": pl.Float64,
    "good_cut_by_rules": pl.Float64,
    "loss_avoided": pl.Float64,
    "loss_avoided_share": pl.Float64,
    "realised_loss_avoided": pl.Float64,
    "limit_cut": pl.Float64,
    "good_limit_cut": pl.Float64,
    "operating": pl.Boolean,
    "efficient": pl.Boolean,
}


class PolicyLabError(ValueError):
    """No point meets a constraint: the message has the constraint and what can be reached."""


def frontier(
    portfolio: Portfolio,
    policy: Policy,
    cut_offs: int = 60,
    depths: Sequence[float] = (),
) -> pl.DataFrame:
    """Return one row for each point, the operating one first, then by depth and cut-off.

    - ``cut_off``, ``harm``, ``margin``, ``tolerated_share``: the point's parameters
    - ``accounts_cut``; ``good_cut``, the share of the accounts of label 0 that are cut, suspended
      or proposed to be, with its 95 % Wilson interval; ``good_cut_by_rules``, the share that the
      hard rules alone cut, which no cut-off changes
    - ``loss_avoided``: probability x loss given default x (exposure before - after) over all
      accounts, CNY; ``loss_avoided_share``, its share of the expected loss before;
      ``realised_loss_avoided``, with the label for the probability
    - ``limit_cut``: CNY taken off limits; ``good_limit_cut``, off those of label 0, which grows
      with depth though their number does not
    - ``operating``: the served policy; ``efficient``: no other point avoids as much loss and cuts
      fewer good customers

    Raises ValueError where no account has label 0.
    """
    grid = policy_grid(policy, cut_offs, depths or _depths(policy))
    points = []
    for one in (policy, *grid):
        after, cut = limits_under(portfolio, one)
        points.append(measure(portfolio, one, after, cut))
    table = pl.DataFrame(points)
    operating = np.arange(table.height) == 0
    good_cut = table["good_cut"].to_numpy()
    loss_avoided = table["loss_avoided"].to_numpy()
    flagged = table.with_columns(
        pl.Series("operating", operating),
        pl.Series("efficient", efficient(good_cut, loss_avoided)),
    )
    return flagged.select(*SCHEMA)


def policy_grid(
    policy: Policy,
    cut_offs: int,
    depths: Sequence[float],
) -> list[Policy]:
    """Return policies for each depth, at cut-offs evenly spaced in log-odds.

    The cut-offs go from 1 % to the probability of suspension.
    """
    highest = max(policy.suspend.probability, 2 * LOWEST_CUT_OFF)
    low = np.log(LOWEST_CUT_OFF / (1.0 - LOWEST_CUT_OFF))
    high = np.log(highest / (1.0 - highest))
    # A policy that never suspends has probability 1 there, whose log-odds are infinite.
    high = min(high, 6.0)
    log_odds = np.linspace(low, high, cut_offs)
    probabilities = 1.0 / (1.0 + np.exp(-log_odds))
    return [
        with_values(policy, cut_off, depth)
        for depth in depths
        for cut_off in probabilities.tolist()
    ]


def with_values(policy: Policy, cut_off: float, tolerated_share: float) -> Policy:
    """Return the policy with about this cut-off, by its harm, and with this depth of cut.

    The margin is lowered too where even without harm the cut-off would be higher.

    >>> from importlib.resources import files
    >>> from serving.decision.config.policy import read_policy
    >>> text = files("serving.decision.config").joinpath("policy.toml").read_text("utf-8")
    >>> round(with_values(read_policy(text), 0.2, 0.5).cut_off("pay_later"), 4)
    0.2
    """
    # cut_off = (margin + harm) / (margin + harm + loss_given_default), solved for the sum.
    cost_of_good_cut = cut_off * policy.economics.loss_given_default / (1.0 - cut_off)
    margin = min(_margin(policy), cost_of_good_cut)
    harm = cost_of_good_cut - margin
    economics = replace(
        policy.economics,
        margin=round(margin, DIGITS),
        harm=round(harm, DIGITS),
    )
    depth = round(tolerated_share, DIGITS)
    cut = replace(policy.cut, tolerated_share=depth)
    return replace(policy, economics=economics, cut=cut)


def measure(portfolio: Portfolio, policy: Policy, after: Vector, cut: Mask) -> Point:
    """Return the columns of :func:`frontier` for these limits.

    ``operating`` and ``efficient`` are left out, because they compare points.
    """
    good = portfolio.label == 0
    if not good.any():
        raise ValueError("frontier: expected accounts of label 0, got none")
    good_cut = float(cut[good].mean())
    low, high = wilson(good_cut, int(good.sum()))
    reduced_by_rules = portfolio.rule_limit < portfolio.limit
    cut_by_rules = reduced_by_rules | portfolio.rule_suspends
    lgd = policy.economics.loss_given_default
    exposure_before = portfolio.exposure(portfolio.limit, policy)
    exposure_after = portfolio.exposure(after, policy)
    avoided_at_default = lgd * (exposure_before - exposure_after)
    loss_avoided = np.sum(portfolio.probability * avoided_at_default)
    loss_before = np.sum(portfolio.probability * lgd * exposure_before)
    realised_loss_avoided = np.sum(portfolio.label * avoided_at_default)
    limit_cut = portfolio.limit - after
    return {
        "cut_off": policy.cut_off(portfolio.product[0]),
        "harm": policy.economics.harm,
        "margin": policy.economics.margin,
        "tolerated_share": policy.cut.tolerated_share,
        "accounts_cut": int(cut.sum()),
        "good_cut": good_cut,
        "good_cut_low": low,
        "good_cut_high": high,
        "good_cut_by_rules": float(cut_by_rules[good].mean()),
        "loss_avoided": float(loss_avoided),
        "loss_avoided_share": float(loss_avoided / loss_before),
        "realised_loss_avoided": float(realised_loss_avoided),
        "limit_cut": float(np.sum(limit_cut)),
        "good_limit_cut": float(np.sum(limit_cut[good])),
    }


def efficient(good_cut: Vector, loss_avoided: Vector) -> Mask:
    """Return which points are Pareto-efficient, bool (points,).

    In ascending order of good customers cut, these are the points that avoid more loss than every
    point before them.
    """
    # Of points that cut equally many, the one that avoids most comes first and excludes the others.
    order = np.lexsort((-loss_avoided, good_cut))
    ordered = loss_avoided[order]
    best_so_far = np.maximum.accumulate(ordered)
    best_before = np.append(-np.inf, best_so_far[:-1])
    is_efficient = np.zeros(len(order), dtype=np.bool_)
    is_efficient[order] = ordered > best_before
    return is_efficient


def best_under(table: pl.DataFrame, max_good_cut: float) -> Point:
    """Return the row of :func:`frontier` that avoids the most loss within a constraint.

    It cuts at most the share ``max_good_cut`` of the good customers.  Raises
    :class:`PolicyLabError` for a share outside [0, 1], or where no point cuts so few.
    """
    if not 0 <= max_good_cut <= 1:
        raise PolicyLabError(f"most good cut: expected a share from 0 to 1, got {max_good_cut}")
    allowed = table.filter(pl.col("good_cut") <= max_good_cut)
    if allowed.is_empty():
        fewest = float(table["good_cut"].to_numpy().min())
        raise PolicyLabError(
            f"most good cut: expected a share that some policy reaches, got {max_good_cut:.2%}; "
            f"the fewest are {fewest:.2%}, of which {table['good_cut_by_rules'][0]:.2%} by hard "
            f"rules, which no cut-off changes"
        )
    ranked = allowed.sort(["loss_avoided", "good_cut"], descending=[True, False])
    return ranked.row(0, named=True)


def toml_of(point: Point, policy: Policy) -> str:
    """Return the lines of policy.toml that a point changes."""
    parameters: dict[str, dict[str, float]] = {
        "economics": {"margin": _margin(policy), "harm": policy.economics.harm},
        "cut": {"tolerated_share": policy.cut.tolerated_share},
    }
    lines = []
    for section, current in parameters.items():
        changed = [
            f"{name} = {float(point[name])}  # was {was}"
            for name, was in current.items()
            if point[name] != was
        ]
        if changed:
            lines += [f"[{section}]", *changed]
    return "\n".join(lines) or "# as it stands"


def _margin(policy: Policy) -> float:
    margin = policy.economics.margin
    if margin is None:
        raise PolicyLabError("economics: expected a margin in policy.toml, got none")
    return margin


def _depths(policy: Policy) -> list[float]:
    """Ten depths and the operating one."""
    tenths = [round(share / 10, 1) for share in range(10)]
    return sorted({*tenths, policy.cut.tolerated_share})
