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

Intervals are percentile intervals over resampled accounts, because an account is in several rows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import polars as pl

from features.ledger import Terms, charges
from features.types import Vector
from serving.decision.config.economics import (
    FIFTHS,
    Estimate,
    LearntEconomics,
    LearntProduct,
    utilization_fifth,
)
from training.data.labels import Labelled
from training.evaluate.bootstrap import cluster, percentile_interval, resample_rows

# Defaulting accounts that the pool counts as.  Within a cell the conversion of an account deviates
# by about half of the unused limit, and cells deviate from their pool by about a quarter: the pool
# is worth some (0.5 / 0.25)^2 accounts, here rounded up.
SHRINK = 5.0
FEWEST = 10  # accounts; of fewer no interval is given
ALL = "all"  # utilizations together
FIFTH_NAMES = tuple(f"{20 * fifth} to {20 * (fifth + 1)} %" for fifth in range(FIFTHS))

SCHEMA = {
    "product": pl.String,
    "measure": pl.String,
    "utilization": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "rows": pl.Int64,
    "accounts": pl.Int64,
    "cut_before": pl.Int64,
    "fully_drawn": pl.Int64,
}


@dataclass(frozen=True, slots=True)
class _Ratio:
    """A share of sums: ``part`` of ``whole``, float64 (rows,), of rows of these accounts."""

    account: pl.Series
    part: Vector
    whole: Vector


def learn_economics(data: Labelled, terms: Terms) -> LearntEconomics:
    """Return margin and credit conversion of each product, with 95 % intervals and counts.

    A product without a default has the conversion of all products together.  Without any default,
    or where nothing was followed (the data bring labels of their own), there are no economics: the
    policy has to state them.
    """
    amounts = data.amounts
    if amounts is None:
        return {}
    uncut, drawable = _uncut(amounts), _drawable(amounts)
    if drawable.is_empty():
        return {}
    pool = _share(_conversion(drawable))
    defaulted = amounts.filter(pl.col("default").is_not_null())
    learnt = {}
    for product in amounts["product"].unique().sort().to_list():
        own = drawable.filter(product=product)
        own_uncut = uncut.filter(product=product)
        own_pool = _estimate(_conversion(own), pool)
        learnt[str(product)] = LearntProduct(
            margin=_learn_margin(amounts.filter(product=product), terms),
            credit_conversion=own_pool,
            conversions=_by_fifth(own, own_pool.value),
            cut_before=defaulted.filter(product=product).height - own_uncut.height,
            fully_drawn=own_uncut.height - own.height,
        )
    return learnt


def economics_table(learnt: LearntEconomics) -> pl.DataFrame:
    """Return one row for each estimate, with the columns of :data:`SCHEMA`.

    ``measure`` is ``margin`` or ``credit_conversion``; ``utilization`` is ``all`` or a fifth such
    as ``20 to 40 %``; ``low`` and ``high`` are null where the accounts are too few.  ``cut_before``
    and ``fully_drawn`` count the product's rows that were left out.
    """
    rows = []
    for product, one in learnt.items():
        measured = [
            ("margin", ALL, one.margin),
            ("credit_conversion", ALL, one.credit_conversion),
        ]
        for name, estimate in zip(FIFTH_NAMES, one.conversions, strict=True):
            measured.append(("credit_conversion", name, estimate))
        for measure, utilization, estimate in measured:
            row = {
                "product": product,
                "measure": measure,
                "utilization": utilization,
                **asdict(estimate),
                "cut_before": one.cut_before,
                "fully_drawn": one.fully_drawn,
            }
            rows.append(row)
    return pl.DataFrame(rows, SCHEMA)


def describe_economics(learnt: LearntEconomics) -> tuple[str, ...]:
    """Return two lines a product: its margin, and its credit conversion with that of each fifth."""
    lines = []
    for product, one in learnt.items():
        cells = ", ".join(f"{cell.value:.3f}" for cell in one.conversions)
        margin = _describe(one.margin, 4)
        conversion = _describe(one.credit_conversion, 3)
        lines.append(f"margin of {product}: {margin}")
        lines.append(f"credit conversion of {product}: {conversion}; by utilization {cells}")
    return tuple(lines)


def _describe(estimate: Estimate, digits: int) -> str:
    accounts = f"{estimate.accounts:,} accounts"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} (too few for an interval: {accounts})"
    interval = f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{estimate.value:.{digits}f} {interval} ({accounts})"


def _uncut(amounts: pl.DataFrame) -> pl.DataFrame:
    """The rows that defaulted with the limit of as_of, or a higher one."""
    defaulted = amounts.filter(pl.col("default").is_not_null())
    # A statement that shows both a cut and a default shows that the cut came first.
    is_later = pl.col("cut") > pl.col("default")
    return defaulted.filter(pl.col("cut").is_null() | is_later)


def _drawable(amounts: pl.DataFrame) -> pl.DataFrame:
    """Those of :func:`_uncut` that had an unused limit."""
    uncut = _uncut(amounts)
    return uncut.filter(_unused(uncut) > 0.0)


def _unused(rows: pl.DataFrame) -> pl.Series:
    owed = rows["balance"].clip(0.0)
    return rows["credit_limit"] - owed


def _conversion(drawable: pl.DataFrame) -> _Ratio:
    owed = drawable["balance"].clip(0.0)
    owed_at_default = drawable["balance_at_default"].clip(0.0)
    drawn = owed_at_default - owed
    unused = _unused(drawable)
    return _Ratio(
        account=drawable["account_id"],
        part=drawn.to_numpy(),
        whole=unused.to_numpy(),
    )


def _by_fifth(drawable: pl.DataFrame, pool: float) -> tuple[Estimate, ...]:
    limit = drawable["credit_limit"].to_numpy()
    balance = drawable["balance"].to_numpy()
    fifths = utilization_fifth(limit, balance)
    estimates = []
    for fifth in range(FIFTHS):
        own = drawable.filter(pl.Series(fifths == fifth))
        estimates.append(_estimate(_conversion(own), pool))
    return tuple(estimates)


def _learn_margin(amounts: pl.DataFrame, terms: Terms) -> Estimate:
    is_good = pl.col("default").is_null()
    is_uncut = pl.col("cut").is_null()
    good = amounts.filter(is_good & is_uncut)
    earned = charges(
        unpaid=good["unpaid"].to_numpy(),
        shortfall=good["shortfall"].to_numpy(),
        cash_advance=good["cash"].to_numpy(),
        terms=terms,
    )
    limit = good["credit_limit"].to_numpy()
    margin = _Ratio(good["account_id"], earned, limit)
    # Without a good account nothing is earned; with one, the margin is its own.
    return _estimate(margin, pool=0.0, shrink=0.0)


def _share(ratio: _Ratio) -> float:
    share = ratio.part.sum() / ratio.whole.sum()
    return float(np.clip(share, 0.0, 1.0))


def _estimate(ratio: _Ratio, pool: float, shrink: float = SHRINK) -> Estimate:
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


def _resample(ratio: _Ratio) -> list[float]:
    """The share in each resample of the accounts."""
    owners = cluster(ratio.account)
    part = owners.sum(ratio.part)
    whole = owners.sum(ratio.whole)
    shares = []
    for drawn in resample_rows(owners.count):
        resampled = part[drawn].sum() / whole[drawn].sum()
        shares.append(float(np.clip(resampled, 0.0, 1.0)))
    return shares
