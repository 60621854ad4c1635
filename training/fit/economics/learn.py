"""Margin and credit conversion by product, learnt from the training rows.

Read :func:`learn_economics` first.

The *credit conversion* is learnt from rows that defaulted within the horizon: what they owed more
at the default than at as_of, as a share of the limit that was unused at as_of.  Rows whose limit
the lender cut before the default are left out: they could not draw what they would have drawn.
Rows without an unused limit are left out too.  Shares are those of sums and not means of shares:
the exposure of a group of accounts is then right in amount, and a small unused limit cannot decide.

A conversion is learnt for each fifth of utilization.  A fifth with few defaulting accounts is
shrunk towards its product, and a product towards all products.

The *margin* is learnt from rows that did not default and were not cut: the interest and fees of the
horizon by the policy's ``[terms]``, as a share of the limit at as_of.

A product's margin and conversion set its cut-off, and accounts near the cut-off are not like the
product's other accounts: they carry balances, so they earn more and draw more, and they are rarely
in arrears, where nothing can be drawn.  So a fit moves both to the cut-off that follows from them
(:func:`training.fit.economics.at_cut_off.move_to_cut_offs`).

Intervals are percentile intervals over resampled accounts, because an account is in several rows.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from features.ledger import Terms
from serving.decision.config.economics import (
    FIFTHS,
    Estimate,
    LearntEconomics,
    LearntProduct,
    utilization_fifth,
)
from training.data.labels import Labelled
from training.evaluate.bootstrap import cluster, percentile_interval, resample_rows
from training.fit.economics.ratios import (
    Ratio,
    charges_of,
    conversion_of,
    select_drawable,
    select_good,
    select_uncut,
)

# Defaulting accounts that the pool counts as.  Within a cell the conversion of an account deviates
# by about half of the unused limit, and cells deviate from their pool by about a quarter: the pool
# is worth some (0.5 / 0.25)^2 accounts, here rounded up.
SHRINK = 5.0
FEWEST = 10  # accounts; of fewer no interval is given


def learn_economics(data: Labelled, terms: Terms) -> LearntEconomics:
    """Return margin and credit conversion of each product, with 95 % intervals and counts.

    A product without a default has the conversion of all products together.  Without any default,
    or where nothing was followed (the data bring labels of their own), there are no economics: the
    policy has to state them.
    """
    amounts = data.amounts
    if amounts is None:
        return {}
    uncut, drawable = select_uncut(amounts), select_drawable(amounts)
    if drawable.is_empty():
        return {}
    pool = _share(conversion_of(drawable))
    defaulted = amounts.filter(pl.col("default").is_not_null())
    learnt = {}
    for product in amounts["product"].unique().sort().to_list():
        own = drawable.filter(product=product)
        own_uncut = uncut.filter(product=product)
        own_pool = _estimate(conversion_of(own), pool)
        learnt[str(product)] = LearntProduct(
            margin=_learn_margin(amounts.filter(product=product), terms),
            credit_conversion=own_pool,
            conversions=_by_fifth(own, own_pool.value),
            cut_before=defaulted.filter(product=product).height - own_uncut.height,
            fully_drawn=own_uncut.height - own.height,
        )
    return learnt


def _by_fifth(drawable: pl.DataFrame, pool: float) -> tuple[Estimate, ...]:
    limit = drawable["credit_limit"].to_numpy()
    balance = drawable["balance"].to_numpy()
    fifths = utilization_fifth(limit, balance)
    estimates = []
    for fifth in range(FIFTHS):
        own = drawable.filter(pl.Series(fifths == fifth))
        estimates.append(_estimate(conversion_of(own), pool))
    return tuple(estimates)


def _learn_margin(amounts: pl.DataFrame, terms: Terms) -> Estimate:
    good = select_good(amounts)
    limit = good["credit_limit"].to_numpy()
    margin = Ratio(good["account_id"], charges_of(good, terms), limit)
    # Without a good account nothing is earned; with one, the margin is its own.
    return _estimate(margin, pool=0.0, shrink=0.0)


def _share(ratio: Ratio) -> float:
    share = ratio.part.sum() / ratio.whole.sum()
    return float(np.clip(share, 0.0, 1.0))


def _estimate(ratio: Ratio, pool: float, shrink: float = SHRINK) -> Estimate:
    """The share within [0, 1], shrunk towards the pool's, with its interval."""
    rows = len(ratio.account)
    accounts = ratio.account.n_unique()
    if ratio.whole.sum() <= 0.0:
        return Estimate(pool, None, None, rows, accounts)
    weight = accounts / (accounts + shrink)
    rest = (1.0 - weight) * pool
    value = weight * _share(ratio) + rest
    if accounts < FEWEST:
        return Estimate(value, None, None, rows, accounts)
    low, high = percentile_interval(_resample(ratio))
    return Estimate(
        value,
        low=weight * low + rest,
        high=weight * high + rest,
        rows=rows,
        accounts=accounts,
    )


def _resample(ratio: Ratio) -> list[float]:
    """The share in each resample of the accounts."""
    owners = cluster(ratio.account)
    part = owners.sum(ratio.part)
    whole = owners.sum(ratio.whole)
    shares = []
    for drawn in resample_rows(owners.count):
        resampled = part[drawn].sum() / whole[drawn].sum()
        shares.append(float(np.clip(resampled, 0.0, 1.0)))
    return shares
