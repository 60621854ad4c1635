"""The rows that economics are learnt from, and what they drew and earned of which amounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from features.ledger import Terms, charges
from features.types import Vector


@dataclass(frozen=True, slots=True)
class Ratio:
    """A share of sums: ``part`` of ``whole``, float64 (rows,), of rows of these accounts."""

    account: pl.Series
    part: Vector
    whole: Vector


def select_uncut(amounts: pl.DataFrame) -> pl.DataFrame:
    """The rows that defaulted with the limit of as_of, or a higher one."""
    defaulted = amounts.filter(pl.col("default").is_not_null())
    # A statement that shows both a cut and a default shows that the cut came first.
    is_later = pl.col("cut") > pl.col("default")
    return defaulted.filter(pl.col("cut").is_null() | is_later)


def select_drawable(amounts: pl.DataFrame) -> pl.DataFrame:
    """Those of :func:`select_uncut` that had an unused limit."""
    uncut = select_uncut(amounts)
    return uncut.filter(unused_of(uncut) > 0.0)


def unused_of(rows: pl.DataFrame) -> pl.Series:
    """The unused limit of each row, CNY; below 0 over the limit."""
    owed = rows["balance"].clip(0.0)
    return rows["credit_limit"] - owed


def conversion_of(drawable: pl.DataFrame) -> Ratio:
    """What each row of :func:`select_drawable` drew by its default, of its unused limit."""
    owed = drawable["balance"].clip(0.0)
    owed_at_default = drawable["balance_at_default"].clip(0.0)
    drawn = owed_at_default - owed
    unused = unused_of(drawable)
    return Ratio(
        account=drawable["account_id"],
        part=drawn.to_numpy(),
        whole=unused.to_numpy(),
    )


def select_good(amounts: pl.DataFrame) -> pl.DataFrame:
    """The rows that neither defaulted nor were cut."""
    is_good = pl.col("default").is_null()
    is_uncut = pl.col("cut").is_null()
    return amounts.filter(is_good & is_uncut)


def margin_of_unused(good: pl.DataFrame, terms: Terms) -> Ratio:
    """What a unit of each row's limit earned, of as many units as are unused."""
    limit = good["credit_limit"].to_numpy()
    unused = np.maximum(unused_of(good).to_numpy(), 0.0)
    unused_share = np.divide(
        unused,
        limit,
        out=np.zeros_like(unused),
        where=limit > 0.0,
    )
    earned = charges_of(good, terms) * unused_share
    return Ratio(good["account_id"], earned, unused)


def charges_of(rows: pl.DataFrame, terms: Terms) -> Vector:
    """Interest and fees of the horizon, CNY, float64 (rows,)."""
    return charges(
        unpaid=rows["unpaid"].to_numpy(),
        shortfall=rows["shortfall"].to_numpy(),
        cash_advance=rows["cash"].to_numpy(),
        terms=terms,
    )
