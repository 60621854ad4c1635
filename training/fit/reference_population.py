"""The reference populations: the accounts that a cut account's contributions are measured against.

For each product: accounts whose limit the policy keeps, just below the cut-off.  The official
comment 9(b)(2)-5 to 12 CFR 1002.9 names accounts at or slightly above the passing score as one
group to compare with.  Each account is in it once, at the month in which it was nearest to the
cut-off.  No step is random.

1. The *pool*: kept accounts within ``reference_band`` log-odds below the review band, nearest
   first, at most ten times ``reference_size``.  (Accounts inside the review band keep their limit
   only if the cut would be too small to make, so they are not representative.)  If they are fewer
   than twice ``reference_size``, the next nearest are added; the manifest then says that the pool
   was widened, and how far it reaches.
2. The *reference*: ``reference_size`` accounts of the pool.  A random sample is not good
   enough: between two random samples of 1,000, some 7 % of cut accounts get another set of reasons,
   because the samples differ in how strong each reason group is on average.  Therefore the pool is
   sorted by log-odds and divided into strata.  One account is taken from each: the one that keeps
   the sums of the reason groups' contributions nearest to the pool's (balanced sampling: Deville
   and Tillé 2004, Biometrika 91; chosen greedily, as in Welling 2009, "Herding").  The whole pool
   is not used, because a bundle should carry no more people's data than it needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from features.catalogue import BY_NAME
from features.types import Matrix, Rows, Vector
from serving.decision.bundle import ReferenceNote
from serving.decision.config.policy import Policy
from serving.decision.policy.limit import Account
from serving.decision.policy.outcome import Outcome, apply
from serving.decision.scoring.lightgbm_trees import read_trees
from serving.decision.scoring.score import logit, probability_of
from serving.decision.scoring.shapley import explain_many, make_explainer
from serving.decision.scoring.shapley_tables import Layout, flatten_trees
from training.data.labels import Labelled, soon_after
from training.fit.config import FitError
from training.fit.fit import Fitted, predict_log_odds

RULE = (
    "accounts of the product that the policy keeps, each at its month nearest below the cut-off, "
    "test accounts left out, and those so near the cut-off that a person decides: the pool is "
    "those within the band below, nearest first, at most ten times the accounts wanted, widened "
    "by the next nearest where they are fewer than twice those wanted; from as many strata of "
    "log-odds as accounts are wanted one each, so that the reason groups' mean contributions are "
    "nearly the pool's"
)
# A multiple of the accounts wanted.
_POOL_AT_LEAST, _POOL_AT_MOST = 2, 10


@dataclass(frozen=True, slots=True)
class Population:
    """The reference population of a product, as rows of the labelled frame."""

    rows: Rows
    note: ReferenceNote
    pool: Rows  # the rows it was drawn from, nearest to the cut-off first
    # A second sample by the same rule from the rest of the pool: no account in common, and smaller
    # if the rest was too small.
    second: Rows


def choose_populations(
    data: Labelled,
    fitted: Fitted,
    policy: Policy,
    size: int,
    band: float,
) -> dict[str, Population]:
    """Choose the reference population of each product.

    ``size`` is the number of accounts, ``band`` how far below the cut-off the pool reaches, in
    log-odds.  Raises :class:`FitError` if the policy keeps fewer accounts of a product.
    """
    matrix = data.features.matrix(fitted.features)
    scores = predict_log_odds(fitted, matrix)
    products = data.features.accounts["product"].cast(pl.String).to_numpy()
    layout = flatten_trees(read_trees(fitted.booster))
    # Test accounts measure the model and its reasons, so the reference must not hold them.
    is_candidate = data.split != "test"
    populations = {}
    for product in sorted(set(products.tolist())):
        highest = _highest(policy, product)
        if not math.isfinite(highest):  # nothing of this product is ever cut or suspended
            highest = float(scores.max())
        is_below = scores <= highest
        eligible = np.flatnonzero((products == product) & is_candidate & is_below)
        pool = _choose_pool(data, eligible, scores, policy, (size, highest - band))
        if len(pool) < size:
            raise FitError(
                f"reference population of {product}: expected {size} kept accounts, "
                f"got {len(pool)}; fit on more accounts, or set reference_size lower"
            )
        weights = _group_contributions(matrix[pool], layout, fitted.features)
        first = draw_balanced(weights, size)
        rest = np.setdiff1d(np.arange(len(pool)), first)
        second_size = min(size, len(rest))
        second = rest[draw_balanced(weights[rest], second_size)]
        # The pool's means are 0, so the sample's are its distance from the pool.
        means = weights[first].mean(axis=0)
        largest_mean = float(np.abs(means).max())
        reach = highest - float(scores[pool].min())
        rows = pool[first]
        note = ReferenceNote(
            accounts=len(rows),
            pool=len(pool),
            band=band,
            widened=reach > band,
            reach=reach,
            imbalance=fitted.calibration.slope * largest_mean,
            lowest_log_odds=float(scores[rows].min()),
            highest_log_odds=float(scores[rows].max()),
            rule=RULE,
        )
        populations[product] = Population(
            rows=np.sort(rows),
            note=note,
            pool=pool,
            second=np.sort(pool[second]),
        )
    return populations


def draw_balanced(weights: Matrix, size: int) -> Rows:
    """Choose ``size`` rows whose mean is near the mean of all rows.

    ``weights`` are (rows, groups).  One row is chosen from each of ``size`` strata of neighbours.

    >>> draw_balanced(np.array([[0.0], [1.0], [1.0], [0.0]]), 2).tolist()
    [0, 2]
    """
    if size == 0:
        return np.array([], dtype=np.int64)
    chosen = []
    # The sum of the chosen rows less the sum of their strata's means, one a group.
    gap = np.zeros(weights.shape[1])
    strata = np.array_split(np.arange(len(weights)), size)
    for stratum in strata:
        members = weights[stratum]
        gaps = gap + members - members.mean(axis=0)
        distances = (gaps**2).sum(axis=1)
        best = int(np.argmin(distances))
        chosen.append(int(stratum[best]))
        gap = gaps[best]
    return np.array(chosen, dtype=np.int64)


def _choose_pool(
    data: Labelled,
    eligible: Rows,
    scores: Vector,
    policy: Policy,
    wanted: tuple[int, float],
) -> Rows:
    """Return kept rows, nearest to the cut-off first, one an account.

    ``wanted`` are the size of the population and the lowest log-odds of the band.
    """
    size, lowest = wanted
    # Stable: accounts of equal score keep the order of the frame, on any machine.
    order = np.argsort(-scores[eligible], kind="stable")
    nearest = eligible[order]
    accounts = data.features.accounts["account_id"].to_numpy()
    pool: list[int] = []
    seen: set[str] = set()
    for row in nearest.tolist():
        score = float(scores[row])
        is_full = len(pool) == _POOL_AT_MOST * size
        is_enough = len(pool) >= _POOL_AT_LEAST * size
        is_outside = score < lowest
        if is_full or (is_enough and is_outside):
            break
        # One month an account: several would give it the weight of several accounts.
        if accounts[row] in seen:
            continue
        outcome = decide_row(policy, data, row, score)
        if outcome.action == "keep":
            seen.add(accounts[row])
            pool.append(row)
    return np.array(pool, dtype=np.int64)


def _highest(policy: Policy, product: str) -> float:
    """Return the log-odds below which the policy keeps the product's accounts without a review."""
    # A cut-off may be above the probability of suspension, from which no account is kept.
    highest = min(policy.cut_off(product), policy.suspend.probability)
    return logit(highest) - policy.review.band


def decide_row(
    policy: Policy,
    data: Labelled,
    row: int,
    log_odds: float,
) -> Outcome:
    """Apply the policy to a row of the labelled frame with these log-odds, soon after its as_of."""
    features = data.features
    _, product, as_of = features.accounts.row(row)
    probability = float(probability_of(np.array([log_odds]))[0])
    values = dict(zip(features.names, features.values[row].tolist(), strict=True))
    account = Account(product, as_of, probability, values)
    return apply(account, policy, soon_after(as_of))


def _group_contributions(pool: Matrix, layout: Layout, features: tuple[str, ...]) -> Matrix:
    """Return the contributions of the pool's rows, summed over reason groups: (rows, groups).

    They are measured against the pool, so each group's mean is 0.
    """
    groups = np.array([BY_NAME[name].group for name in features])
    distinct = np.unique(groups)
    is_member = groups[:, None] == distinct[None, :]  # (features, groups)
    contributions = explain_many(pool, make_explainer(layout, pool))
    summed: Matrix = contributions @ is_member.astype(float)
    return summed
