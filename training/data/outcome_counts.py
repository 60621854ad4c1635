"""How many rows had which outcome: the table :attr:`training.data.labels.Labelled.outcomes`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from training.data.observation import CENSORED, Followed


def count_outcomes(split: NDArray[np.str_], followed: Followed) -> pl.DataFrame:
    """Return ``split``, ``product``, ``outcome`` and the number of ``rows`` that have them."""
    table = pl.DataFrame(
        {
            "split": split.astype(np.str_),
            "product": followed.product,
            "outcome": followed.outcome,
        }
    )
    one = pl.lit(1, pl.Int64)
    counted = table.with_columns(rows=one)
    return add_outcomes([counted])


def add_outcomes(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the sums of several tables of :func:`count_outcomes`."""
    keys = ("split", "product", "outcome")
    counted = pl.concat(tables)
    rows = pl.col("rows").sum()
    sums = counted.group_by(keys).agg(rows)
    return sums.sort(keys)


def no_outcomes() -> pl.DataFrame:
    """Return the table of :func:`count_outcomes` without rows."""
    return pl.DataFrame(
        schema={
            "split": pl.String,
            "product": pl.String,
            "outcome": pl.String,
            "rows": pl.Int64,
        }
    )


def describe_censored(outcomes: pl.DataFrame) -> str:
    """Return the censored rows of :func:`count_outcomes` by reason and product, in words.

    >>> row = {"split": "test", "product": "cash_loan", "outcome": "account_left", "rows": 1204}
    >>> describe_censored(pl.DataFrame([row]))
    'account left 1,204 (cash_loan 1,204)'
    """
    parts = []
    for reason in CENSORED:
        rows = outcomes.filter(outcome=reason)
        if rows.is_empty():
            continue
        count = pl.col("rows").sum()
        by_product = rows.group_by("product").agg(count)
        counts = []
        for product, of_product in by_product.sort("product").iter_rows():
            counts.append(f"{product} {of_product:,}")
        name = reason.replace("_", " ")
        total = by_product["rows"].sum()
        products = ", ".join(counts)
        parts.append(f"{name} {total:,} ({products})")
    return ", ".join(parts) or "none"


def share_censored(outcomes: pl.DataFrame) -> float:
    """Return the share of rows in :func:`count_outcomes` that are censored; 0 without rows."""
    total = int(outcomes["rows"].sum())
    if total == 0:
        return 0.0
    is_censored = pl.col("outcome").is_in(CENSORED)
    censored = outcomes.filter(is_censored)
    count = int(censored["rows"].sum())
    return count / total
