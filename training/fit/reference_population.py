"""The reference populations: with whom an account is compared when it is told why its limit is cut.

For each product: accounts that the policy keeps, just inside the cut-off; the official comment
9(b)(2)-5 to 12 CFR 1002.9 names those at or slightly above the passing score as one group to
compare with.  Each account stands in it once, at the month in which it was nearest.  No chance is
in any of this.

1. The *pool*: the kept accounts within ``reference_band`` below where a person decides (nearer to the cut-off only those are
   kept from whom there is nothing to take, and they are not typical), nearest first, at most 10 N.  Where they are fewer
   than 2 N, the next nearest join until they are; the manifest says that it was widened, and how far it reaches.
2. The *reference*: N of them.  A random N would not do: between two random samples of 1,000, some 7 % of cut accounts get
   another set of reasons, because the samples differ in how strong each reason group is on average.  So the pool, in order
   of log-odds, is cut into N strata, and from each the account is taken that keeps the sums of the reason groups'
   contributions nearest to the pool's (balanced sampling: Deville and Tillé 2004, Biometrika 91; chosen greedily, as in
   Welling 2009, "Herding").  N and not the whole pool, for a bundle should carry no more people's data than it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.catalogue import BY_NAME
from features.types import Rows
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
    "accounts of the product that the policy keeps, each at its month nearest below the cut-off, test accounts left out, and "
    "those so near the cut-off that a person decides: the pool is those within the band below, nearest first, at most ten "
    "times the accounts wanted, widened by the next nearest where they are fewer than twice those wanted; from as many strata "
    "of log-odds as accounts are wanted one each, so that the reason groups' mean contributions are nearly the pool's"
)
_POOL_AT_LEAST, _POOL_AT_MOST = 2, 10  # times the accounts wanted


@dataclass(frozen=True, slots=True)
class Population:
    """The reference population of a product: rows of the labelled frame, and how they were chosen.

    ``pool`` are the rows that it was drawn from; ``second`` is a second sample by the same rule
    from what the first left, which shares no account with it and is smaller where not enough were
    left.
    """

    rows: Rows
    note: ReferenceNote
    pool: Rows
    second: Rows


def choose_populations(
    data: Labelled, fitted: Fitted, policy: Policy, size: int, band: float
) -> dict[str, Population]:
    """Product -> its reference population of ``size`` accounts, from a pool that reaches ``band``
    log-odds below the cut-off.

    Raises :class:`FitError` where the policy keeps fewer accounts of a product than that.
    """
    matrix = data.features.matrix(fitted.features)
    scores = predict_log_odds(fitted, matrix)
    products = data.features.accounts["product"].cast(pl.String).to_numpy()
    layout = flatten_trees(read_trees(fitted.booster))
    made = {}
    for product in sorted(set(products.tolist())):
        inside = (products == product) & (data.split != "test") & (scores <= _highest(policy))
        pool = _pool(data, np.flatnonzero(inside), scores, policy, (size, band))
        if len(pool) < size:
            raise FitError(
                f"reference population of {product}: expected {size} kept accounts, got {len(pool)}; "
                "fit on more accounts, or set reference_size lower"
            )
        weights = _group_contributions(matrix[pool], layout, fitted.features)
        first = draw_balanced(weights, size)
        rest = np.setdiff1d(np.arange(len(pool)), first)
        second = rest[draw_balanced(weights[rest], min(size, len(rest)))]
        imbalance = fitted.calibration.slope * float(np.abs(weights[first].mean(axis=0)).max())
        note = _note(scores, policy, band, pool, pool[first], imbalance)
        made[product] = Population(np.sort(pool[first]), note, pool, np.sort(pool[second]))
    return made


def draw_balanced(weights: NDArray[np.float64], size: int) -> Rows:
    """``size`` rows of ``weights``, float64 (rows, groups): one of each of ``size`` runs of
    neighbours, their mean near all's.

    >>> draw_balanced(np.array([[0.0], [1.0], [1.0], [0.0]]), 2).tolist()
    [0, 2]
    """
    chosen, gap = [], np.zeros(weights.shape[1])
    for stratum in np.array_split(np.arange(len(weights)), size) if size else []:
        gaps = gap + weights[stratum] - weights[stratum].mean(axis=0)
        best = int(np.argmin((gaps**2).sum(axis=1)))
        chosen.append(int(stratum[best]))
        gap = gaps[best]
    return np.array(chosen, dtype=np.int64)


def _pool(
    data: Labelled,
    inside: Rows,
    scores: NDArray[np.float64],
    policy: Policy,
    wanted: tuple[int, float],
) -> Rows:
    """Kept rows in order of nearness to the cut-off, one an account."""
    size, band = wanted
    nearest = inside[np.argsort(-scores[inside], kind="stable")]
    lowest = _highest(policy) - band
    accounts = data.features.accounts["account_id"].to_numpy()
    pool: list[int] = []
    seen: set[str] = set()
    for row in nearest.tolist():
        if len(pool) == _POOL_AT_MOST * size or (
            scores[row] < lowest and len(pool) >= _POOL_AT_LEAST * size
        ):
            break
        if (
            accounts[row] not in seen
            and decide_row(policy, data, row, float(scores[row])).action == "keep"
        ):
            seen.add(accounts[row])
            pool.append(row)
    return np.array(pool, dtype=np.int64)


def _highest(policy: Policy) -> float:
    """Log-odds below which the policy keeps accounts by itself: in the band above, only those with
    nothing to take are kept.
    """
    return logit(policy.cut_off) - policy.review.band


def decide_row(policy: Policy, data: Labelled, row: int, score: float) -> Outcome:
    """What the policy says of a row of the labelled frame with these log-odds, soon after its
    as_of.
    """
    _, product, as_of = data.features.accounts.row(row)
    probability = float(probability_of(np.array([score]))[0])
    values = dict(zip(data.features.names, data.features.values[row].tolist(), strict=True))
    return apply(Account(product, as_of, probability, values), policy, soon_after(as_of))


def _group_contributions(
    pool: NDArray[np.float64], layout: Layout, features: tuple[str, ...]
) -> NDArray[np.float64]:
    """Contributions of the pool's rows against the pool, summed over reason groups, (rows, groups):
    they average to 0.
    """
    groups = [BY_NAME[name].group for name in features]
    member = np.array([[group == one for one in sorted(set(groups))] for group in groups], float)
    summed: NDArray[np.float64] = explain_many(pool, make_explainer(layout, pool)) @ member
    return summed


def _note(
    scores: NDArray[np.float64],
    policy: Policy,
    band: float,
    pool: Rows,
    rows: Rows,
    imbalance: float,
) -> ReferenceNote:
    reach = _highest(policy) - float(scores[pool].min())
    return ReferenceNote(
        accounts=len(rows),
        pool=len(pool),
        band=band,
        widened=reach > band,
        reach=reach,
        imbalance=imbalance,
        lowest_log_odds=float(scores[rows].min()),
        highest_log_odds=float(scores[rows].max()),
        rule=RULE,
    )
