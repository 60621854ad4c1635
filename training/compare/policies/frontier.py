"""The frontier: expected loss avoided against good customers cut, over harms and depths of cut.

A *point* is the bundle's policy with another ``economics.harm`` and another ``cut.depth``.  The
cut-offs are not in policy.toml; they are computed from ``economics``, and differ by product.  The
harm is the one number of policy.toml that moves all of them.  Points are evaluated at these
parameters as rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from features.schema import PRODUCTS
from features.types import Mask, Vector
from serving.decision.config.policy import Policy
from training.compare.policies.portfolio import Portfolio, limits_under
from training.evaluate.metrics import wilson

Point = dict[str, Any]  # a row of the frontier, by column
DIGITS = 5  # of a point's parameters
LOWEST_HARM = 0.002
DEPTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
# A policy that never suspends has probability 1 there, which no harm reaches.
_HIGHEST_CUT_OFF = 0.99
SCHEMA = {
    "harm": pl.Float64,
    "depth": pl.Float64,
    **{f"cut_off_{product}": pl.Float64 for product in PRODUCTS},
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
    """Return one row for each point, the operating one first, then by depth and harm.

    - ``harm``, ``depth``: the point's parameters; ``cut_off_pay_later`` and so on: the cut-offs
      that follow, null for a product that no account has
    - ``accounts_cut``; ``good_cut``, the share of the accounts of label 0 that are cut, suspended
      or proposed to be, with its 95 % Wilson interval; ``good_cut_by_rules``, the share that the
      hard rules alone cut, which no harm changes
    - ``loss_avoided``: probability x loss given default x (exposure before - after) over all
      accounts, CNY; ``loss_avoided_share``, its share of the expected loss before;
      ``realised_loss_avoided``, with the label for the probability
    - ``limit_cut``: CNY taken off limits; ``good_limit_cut``, off those of label 0, which grows
      with depth though their number does not
    - ``operating``: the served policy; ``efficient``: no other point avoids as much loss and cuts
      fewer good customers

    Raises ValueError where no account has label 0.
    """
    grid = policy_grid(policy, portfolio.product, cut_offs, depths or _depths(policy))
    points = []
    for one in (policy, *grid):
        after, cut = limits_under(portfolio, one)
        points.append(measure(portfolio, one, after, cut))
    table = pl.DataFrame(points, infer_schema_length=None)
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
    products: Iterable[str],
    cut_offs: int,
    depths: Sequence[float],
) -> list[Policy]:
    """Return policies for each depth, at harms whose logarithms are evenly spaced.

    The harms go from LOWEST_HARM to the one at which even the lowest cut-off of the products is the
    probability of suspension: the model then cuts no limit, and only suspends.
    """
    suspension = min(policy.suspend.probability, _HIGHEST_CUT_OFF)
    highest = LOWEST_HARM
    for product in products:
        own = policy.economics.of(product)
        loss = policy.economics.loss_given_default * own.credit_conversion
        # cut_off = (margin + harm) / (margin + harm + loss), solved for the harm.
        harm = suspension * loss / (1.0 - suspension) - own.margin
        highest = max(highest, harm)
    harms = np.geomspace(LOWEST_HARM, min(highest, 1.0), cut_offs)
    return [with_values(policy, harm, depth) for depth in depths for harm in harms.tolist()]


def with_values(policy: Policy, harm: float, depth: float) -> Policy:
    """Return the policy with this harm and this depth of cut, both rounded."""
    economics = replace(policy.economics, harm=round(harm, DIGITS))
    cut = replace(policy.cut, depth=round(depth, DIGITS))
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
        "harm": policy.economics.harm,
        "depth": policy.cut.depth,
        **_cut_offs(portfolio, policy),
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


def _cut_offs(portfolio: Portfolio, policy: Policy) -> dict[str, float | None]:
    known = policy.cut_offs(portfolio.product)
    return {f"cut_off_{product}": known.get(product) for product in PRODUCTS}


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
            f"rules, which no harm changes"
        )
    ranked = allowed.sort(["loss_avoided", "good_cut"], descending=[True, False])
    return ranked.row(0, named=True)


def toml_of(point: Point, policy: Policy) -> str:
    """Return the lines of policy.toml that a point changes."""
    parameters: dict[str, dict[str, float]] = {
        "economics": {"harm": policy.economics.harm},
        "cut": {"depth": policy.cut.depth},
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


def _depths(policy: Policy) -> list[float]:
    """Six depths and the operating one."""
    return sorted({*DEPTHS, policy.cut.depth})
