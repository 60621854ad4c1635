"""What can be had: expected loss avoided against good customers cut, over cut-offs and depths of
cut.

A *point* is a policy: the bundle's own but for its cut-off and ``cut.tolerated_share``.  A cut-off
is no number of policy.toml, it follows from what cutting a good customer costs: a point names the
``economics.harm`` (and, where none would still be too much, the ``economics.margin``) that has it.
Points are evaluated at the rounded numbers that they name.
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

Point = dict[str, Any]  # a row of the frontier
DIGITS = 5  # of the numbers that a point names
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
    """What cannot be reached by any point: what was asked for, and what there is."""


def frontier(
    book: Portfolio, policy: Policy, cut_offs: int = 60, depths: Sequence[float] = ()
) -> pl.DataFrame:
    """One row a point, the operating one first, then by depth and cut-off; amounts in CNY.

    ``good_cut`` is the share of the accounts of label 0 whose limit is cut, suspended or proposed
    to be, with its 95 % Wilson interval; ``good_cut_by_rules`` that of hard rules alone, which no
    cut-off changes.  ``loss_avoided`` is probability x loss given default x (exposure before -
    after) over all accounts, ``loss_avoided_share`` that to the expected loss before,
    ``realised_loss_avoided`` with the label for the probability.  ``limit_cut`` is what all lose,
    ``good_limit_cut`` what those lose who stayed good: depth costs them, though not their number.
    ``efficient``: no other point avoids as much loss and cuts fewer good customers.  ValueError
    where nobody stayed good.
    """
    policies = [policy, *grid(policy, cut_offs, depths or _depths(policy))]
    points = [measure(book, one, *limits_under(book, one)) for one in policies]
    table = pl.DataFrame(points).with_columns(
        pl.Series("operating", [True] + [False] * (len(points) - 1))
    )
    best = efficient(table["good_cut"].to_numpy(), table["loss_avoided"].to_numpy())
    return table.with_columns(pl.Series("efficient", best)).select(*SCHEMA)


def grid(policy: Policy, cut_offs: int, depths: Sequence[float]) -> list[Policy]:
    """Policies at cut-offs even in log-odds from 1 % to where all is suspended, for each depth."""
    low, high = (
        np.log(p / (1.0 - p))
        for p in (LOWEST_CUT_OFF, max(policy.suspend.probability, 2 * LOWEST_CUT_OFF))
    )
    spread = 1.0 / (1.0 + np.exp(-np.linspace(low, min(high, 6.0), cut_offs)))
    return [with_values(policy, cut_off, depth) for depth in depths for cut_off in spread.tolist()]


def with_values(policy: Policy, cut_off: float, tolerated_share: float) -> Policy:
    """The policy with about this cut-off: by its harm, or its margin where even no harm is too
    much.

    >>> from importlib.resources import files
    >>> from serving.decision.config.policy import read_policy
    >>> served = read_policy(files("serving.decision.config").joinpath("policy.toml").read_text("utf-8"))
    >>> round(with_values(served, 0.2, 0.5).cut_off, 4)
    0.2
    """
    kept = cut_off * policy.economics.loss_given_default / (1.0 - cut_off)
    margin = min(policy.economics.margin, kept)
    named = {"margin": round(margin, DIGITS), "harm": round(kept - margin, DIGITS)}
    return replace(
        policy,
        economics=replace(policy.economics, **named),
        cut=replace(policy.cut, tolerated_share=round(tolerated_share, DIGITS)),
    )


def measure(book: Portfolio, policy: Policy, after: Vector, cut: Mask) -> Point:
    """What these limits come to: the columns of :func:`frontier` but for the two that compare
    points.
    """
    good = book.label == 0
    if not good.any():
        raise ValueError("frontier: expected accounts of label 0, got none")
    rate = float(cut[good].mean())
    low, high = wilson(rate, int(good.sum()))
    lgd = policy.economics.loss_given_default
    before = book.exposure(book.limit, policy)
    spared = lgd * (before - book.exposure(after, policy))
    return {
        "cut_off": policy.cut_off,
        "harm": policy.economics.harm,
        "margin": policy.economics.margin,
        "tolerated_share": policy.cut.tolerated_share,
        "accounts_cut": int(cut.sum()),
        "good_cut": rate,
        "good_cut_low": low,
        "good_cut_high": high,
        "good_cut_by_rules": float(
            ((book.rule_limit < book.limit) | book.rule_suspends)[good].mean()
        ),
        "loss_avoided": float(np.sum(book.probability * spared)),
        "loss_avoided_share": float(
            np.sum(book.probability * spared) / np.sum(book.probability * lgd * before)
        ),
        "realised_loss_avoided": float(np.sum(book.label * spared)),
        "limit_cut": float(np.sum(book.limit - after)),
        "good_limit_cut": float(np.sum((book.limit - after)[good])),
    }


def efficient(good_cut: Vector, loss_avoided: Vector) -> Mask:
    """Which points no other betters: in rising order of good customers cut, those that avoid more
    than all before.
    """
    order = np.lexsort((-loss_avoided, good_cut))
    best = np.maximum.accumulate(np.append(-np.inf, loss_avoided[order]))
    found = np.zeros(len(order), dtype=np.bool_)
    found[order] = loss_avoided[order] > best[:-1]
    return found


def best_under(table: pl.DataFrame, max_good_cut: float) -> Point:
    """The row of :func:`frontier` that avoids the most loss and cuts at most this share of the good
    customers.

    Raises :class:`PolicyLabError` for a share outside [0, 1], or where hard rules alone cut more.
    """
    if not 0 <= max_good_cut <= 1:
        raise PolicyLabError(f"most good cut: expected a share from 0 to 1, got {max_good_cut}")
    allowed = table.filter(pl.col("good_cut") <= max_good_cut)
    if allowed.is_empty():
        least = float(table["good_cut"].to_numpy().min())
        raise PolicyLabError(
            f"most good cut: expected a share that some policy reaches, got {max_good_cut:.2%}; the fewest are {least:.2%}, "
            f"of which {table['good_cut_by_rules'][0]:.2%} by hard rules, which no cut-off changes"
        )
    return allowed.sort(["loss_avoided", "good_cut"], descending=[True, False]).row(0, named=True)


def toml_of(point: Point, policy: Policy) -> str:
    """What policy.toml has to say to be at a point; what it says already is left out."""
    stated: dict[str, dict[str, float]] = {
        "economics": {"margin": policy.economics.margin, "harm": policy.economics.harm},
        "cut": {"tolerated_share": policy.cut.tolerated_share},
    }
    lines = []
    for section, values in stated.items():
        changed = [
            f"{name} = {float(point[name])}  # was {was}"
            for name, was in values.items()
            if point[name] != was
        ]
        lines += [f"[{section}]", *changed] if changed else []
    return "\n".join(lines) or "# as it stands"


def _depths(policy: Policy) -> list[float]:
    """Ten depths and the operating one."""
    return sorted({*(round(share / 10, 1) for share in range(10)), policy.cut.tolerated_share})
