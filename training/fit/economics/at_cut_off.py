"""Margin and credit conversion of each product at its cut-off.

Read :func:`move_to_cut_offs` first.  Accounts near the cut-off are not like the product's other
accounts.  They carry balances, so they earn more and draw more, and few of them are in arrears,
where nothing can be drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from features.types import Matrix, Rows, Vector
from serving.decision.config.economics import (
    Estimate,
    LearntEconomics,
    LearntProduct,
    numbers_of,
)
from serving.decision.config.policy import Policy
from serving.decision.scoring.score import logit
from training.data.labels import Labelled
from training.evaluate.bootstrap import Clusters, cluster, percentile_interval, resample_rows
from training.fit.economics.learn import FEWEST
from training.fit.economics.ratios import (
    Ratio,
    conversion_of,
    margin_of_unused,
    select_drawable,
    select_good,
)

# Log-odds; the weight of a row falls with its distance from the cut-off as a normal density of this
# width.  Chosen on accounts of another seed: half of it doubles the variance of the conversion, and
# twice as much brings back accounts of a third of the risk.
NEAR = 0.75
# Accounts near the cut-off that the product's other accounts count as: there a conversion deviates
# from the product's by about a tenth, so the product is worth some (0.5 / 0.1)^2 accounts.
SHRINK_NEAR = 25.0
_SAME = 1e-9  # variance of log-odds that are all the same but for rounding
_ROUNDS = 40  # each halves the distance to the cut-off that its own accounts give


def move_to_cut_offs(
    learnt: LearntEconomics, data: Labelled, log_odds: Vector, policy: Policy
) -> LearntEconomics:
    """Return the economics with each product's margin and conversion at the product's cut-off.

    The cut-off is the one that follows from them with the policy's harm, loss given default and
    stated numbers, so it is found in rounds.  What is cut is unused limit, so a row counts by it.
    The conversions by fifth of utilization are those of all accounts, and stay.

    ``log_odds`` are the model's, float64, of the rows of ``data``.
    """
    if data.amounts is None:
        return learnt
    scored = data.features.accounts.select("account_id", "as_of").with_columns(_log_odds=log_odds)
    amounts = data.amounts.join(
        scored,
        on=["account_id", "as_of"],
        maintain_order="left",
    )
    return {
        product: _move_to_cut_off(product, one, amounts.filter(product=product), policy)
        for product, one in learnt.items()
    }


def _move_to_cut_off(
    product: str, pooled: LearntProduct, amounts: pl.DataFrame, policy: Policy
) -> LearntProduct:
    drawable, good = select_drawable(amounts), select_good(amounts)
    conversion = _Scored.of(drawable, conversion_of(drawable), pooled.credit_conversion)
    margin = _Scored.of(good, margin_of_unused(good, policy.terms), pooled.margin)
    moved = pooled
    place = _cut_off(product, moved, policy)
    for _ in range(_ROUNDS):
        if place == np.inf:  # nothing is drawn, or nothing of it is lost: nothing is cut
            return moved
        moved = replace(
            pooled,
            credit_conversion=replace(pooled.credit_conversion, value=conversion.at(place)),
            margin=replace(pooled.margin, value=margin.at(place)),
        )
        # Halfway, so that the rounds end also where a higher cut-off asks for a lower one.
        place = 0.5 * place + 0.5 * _cut_off(product, moved, policy)
    return replace(
        pooled,
        credit_conversion=conversion.estimate_at(place),
        margin=margin.estimate_at(place),
    )


def _cut_off(product: str, learnt: LearntProduct, policy: Policy) -> float:
    """The log-odds of the cut-off that these economics give."""
    economics = replace(policy.economics, learnt=numbers_of({product: learnt}))
    return logit(replace(policy, economics=economics).cut_off(product))


@dataclass(frozen=True, slots=True)
class _Scored:
    """A share of sums as a function of the log-odds, by local linear regression.

    Fan and Gijbels, Local Polynomial Modelling and Its Applications, 1996.  A local mean would be
    that of rows of lower risk, of which there are many more below any cut-off than above it.
    """

    ratio: Ratio
    log_odds: Vector  # (rows,)
    owners: Clusters
    pooled: Estimate  # of all rows, whatever their log-odds

    @classmethod
    def of(cls, rows: pl.DataFrame, ratio: Ratio, pooled: Estimate) -> _Scored:
        """The share of these rows; those without log-odds, which the fit left out, count not."""
        is_scored = rows["_log_odds"].is_not_null()
        scored = is_scored.to_numpy()
        account = ratio.account.filter(is_scored)
        return cls(
            ratio=Ratio(account, ratio.part[scored], ratio.whole[scored]),
            log_odds=rows["_log_odds"].filter(is_scored).to_numpy(),
            owners=cluster(account),
            pooled=pooled,
        )

    def at(self, place: float) -> float:
        """The share at these log-odds, shrunk towards the pool's."""
        if self.owners.count == 0:
            return self.pooled.value
        line = _line_at_0(self._moments(place).sum(axis=1))
        weight = self._weight(place)
        return weight * line + (1.0 - weight) * self.pooled.value

    def estimate_at(self, place: float) -> Estimate:
        """The same with its interval; counts are of all rows."""
        value = self.at(place)
        if self.pooled.low is None or self.owners.count < FEWEST:
            return replace(self.pooled, value=value, low=None, high=None)
        moments, weight = self._moments(place), self._weight(place)
        lines = [_line_at_0(moments[:, drawn].sum(axis=1)) for drawn in self._resamples()]
        low, high = percentile_interval(lines)
        rest = (1.0 - weight) * self.pooled.value
        return replace(
            self.pooled,
            value=value,
            low=weight * low + rest,
            high=weight * high + rest,
        )

    def _resamples(self) -> Iterator[Rows]:
        return resample_rows(self.owners.count)

    def _nearness(self, place: float) -> Vector:
        distance = (self.log_odds - place) / NEAR
        nearness: Vector = np.exp(-0.5 * distance**2)
        return nearness

    def _weight(self, place: float) -> float:
        """The weight against the pool, by the number of accounts that are near (Kish 1965)."""
        of_account = self.owners.sum(self._nearness(place))
        squares = float((of_account**2).sum())
        near = float(of_account.sum()) ** 2 / squares if squares > 0.0 else 0.0
        return near / (near + SHRINK_NEAR)

    def _moments(self, place: float) -> Matrix:
        """Sums by account of weight, distance, its square, share, and share x distance."""
        distance = self.log_odds - place
        nearness = self._nearness(place)
        whole, part = nearness * self.ratio.whole, nearness * self.ratio.part
        columns = (
            whole,
            whole * distance,
            whole * distance**2,
            part,
            part * distance,
        )
        return np.array([self.owners.sum(column) for column in columns])


def _line_at_0(moments: Vector) -> float:
    """The value at distance 0 of the weighted least-squares line, within [0, 1]."""
    weight, distance, square, share, product = moments.tolist()
    if weight <= 0.0:
        return 0.0
    mean_distance, mean_share = distance / weight, share / weight
    variance = square / weight - mean_distance**2
    covariance = product / weight - mean_distance * mean_share
    slope = covariance / variance if variance > _SAME else 0.0
    return float(np.clip(mean_share - slope * mean_distance, 0.0, 1.0))
